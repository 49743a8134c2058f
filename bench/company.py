"""A company to measure with, set up through the public API, and its events."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from services.client import ValueLoopClient

PERIOD = "2025-Q1"
UNITS = 20
SOURCE, TYPE = "urn:bench:erp", "com.example.erp.invoice-posted"
PADDING = "x" * 260  # makes an event about 600 bytes, as ERP documents are
_FIRST = date(2025, 1, 1)


@dataclass(frozen=True, slots=True)
class Events:
    """Encoded events with what they amount to."""

    ids: Sequence[str]
    bodies: Sequence[bytes]
    revenue: Decimal


def events(prefix: str, count: int) -> Events:
    """Invoices over a quarter, spread over 20 units: each yields revenue and cost. The same for the same arguments."""
    ids = [f"{prefix}-{number:09}" for number in range(count)]
    amounts = [Decimal(number * 7919 % 100_000 + 100) / 100 for number in range(count)]
    bodies = [_event(ids[i], i, amounts[i]) for i in range(count)]
    return Events(ids, bodies, sum(amounts, Decimal(0)))


def _event(id_: str, number: int, amount: Decimal) -> bytes:
    day = _FIRST + timedelta(days=number * 31 % 90)
    data = {
        "invoice": id_, "plant": f"u{number % UNITS}", "amount": str(amount), "cost": str(amount / 2), "note": PADDING,
    }  # fmt: skip
    event = {
        "specversion": "1.0", "id": id_, "source": SOURCE, "type": TYPE, "subject": f"u{number % UNITS}",
        "time": f"{day}T10:00:00+08:00", "datacontenttype": "application/json", "data": data,
    }  # fmt: skip
    return json.dumps(event, separators=(",", ":")).encode()


def set_up(client: ValueLoopClient, name: str) -> None:
    """Units, metrics, a mapping, a goal for the company and for each unit, a scorecard, a plan, one person in it."""
    put = client.put
    put("/goals/v1/companies/company", {"name": name, "currency": "CNY", "time_zone": "Asia/Shanghai"})
    put("/goals/v1/units/company", {"name": name, "kind": "company"})
    for number in range(UNITS):
        put(f"/goals/v1/units/u{number}", {"name": f"Unit {number}", "kind": "department", "parent": "company"})
    put("/goals/v1/people/p0", {"name": "Person 0", "unit": "u0"})
    _metrics(client)
    _goals(client)
    _plan(client)
    put("/incentives/v1/assignments/p0", {"person": "p0", "plan": "plan", "amount": "10000", "starts": "2025-01-01"})


def _metrics(client: ValueLoopClient) -> None:
    for code in ("revenue", "cost"):
        client.put(f"/metrics/v1/metrics/{code}", {"name": code, "unit": "CNY"})
    formula = {"name": "Margin", "unit": "ratio", "formula": "(revenue - cost) / revenue"}
    client.put("/metrics/v1/metrics/margin", formula)
    rule = {"subject": "concat('unit:', data.plant)"}
    observations = [
        rule | {"metric": "revenue", "value": "number(data.amount)"},
        rule | {"metric": "cost", "value": "number(data.cost)"},
    ]
    client.put("/metrics/v1/mappings/invoices", {"name": "i", "event_type": TYPE, "observations": observations})


def _goals(client: ValueLoopClient) -> None:
    units = ("company", *(f"u{number}" for number in range(UNITS)))
    for unit in units:
        goal = {"name": unit, "owner_unit": unit, "metric": "revenue", "period": "quarter", "starts": "2025-01-01"}
        goal |= {"due": "2025-12-31", "status": "active", "parent": None if unit == "company" else "company"}
        client.put(f"/goals/v1/goals/{unit}", goal)
        client.put(f"/goals/v1/goals/{unit}/targets", target(1_000_000_000))
    line = {"goal": "company", "weight": "1", "perspective": "financial"}
    card = {"name": "Card", "owner_unit": "company", "period": "quarter", "lines": [line]}
    client.put("/goals/v1/scorecards/card", card)


def target(value: int) -> dict[str, str]:
    """A target so large that no event ever reaches it: every change moves the score."""
    return {"value": str(value), "phasing": "none", "direction": "higher", "reason": "Planned anew."}


def _plan(client: ValueLoopClient) -> None:
    curve = {"kind": "linear", "slope": "1000"}  # so steep that a single event moves the accrual by cents
    component = {"code": "revenue", "name": "Revenue", "driver": {"kind": "goal", "code": "company"}, "weight": "1"}
    plan = {"name": "Plan", "period": "quarter", "currency": "CNY", "components": [component | {"curve": curve}]}
    client.put("/incentives/v1/plans/plan", plan)
