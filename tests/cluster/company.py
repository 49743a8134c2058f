"""A small company whose events can be summed in plain Python: what goes in, and what must come out."""

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from services.client import ValueLoopClient

PERIOD = "2025-Q1"
UNITS = [f"u{number}" for number in range(8)]
SOURCE = "urn:cluster:erp"
INVOICE, COUNT = "invoice-posted", "stock-counted"
METRICS = ("revenue", "documents", "stock", "revenue_per_document")
END_OF_PERIOD = "2025-04-01T00:00:00+08:00"
_FIRST = datetime(2025, 1, 1, tzinfo=UTC)
Key = tuple[str, str]  # metric, subject


def set_up(client: ValueLoopClient) -> None:
    """Units, people, metrics, mappings, goals with targets, a plan and whom it pays."""
    put = client.put
    put("/goals/v1/companies/company", {"name": "Cluster", "currency": "CNY", "time_zone": "Asia/Shanghai"})
    put("/goals/v1/units/company", {"name": "Cluster", "kind": "company"})
    for unit in UNITS:
        put(f"/goals/v1/units/{unit}", {"name": unit, "kind": "department", "parent": "company", "head": f"p-{unit}"})
        put(f"/goals/v1/people/p-{unit}", {"name": unit, "unit": unit})
    _metrics(client)
    for unit in ("company", *UNITS):
        goal: dict[str, str | None] = {
            "name": unit,
            "owner_unit": unit,
            "metric": "revenue",
            "period": "quarter",
            "starts": "2025-01-01",
        }
        goal |= {"due": "2025-12-31", "status": "active", "parent": None if unit == "company" else "company"}
        put(f"/goals/v1/goals/{unit}", goal)
        put(f"/goals/v1/goals/{unit}/targets", target(10_000_000))
        _plan(client, unit)


def _metrics(client: ValueLoopClient) -> None:
    put = client.put
    put("/metrics/v1/metrics/revenue", {"name": "Revenue", "unit": "CNY"})
    put("/metrics/v1/metrics/documents", {"name": "Documents", "unit": "document"})
    put("/metrics/v1/metrics/stock", {"name": "Stock", "unit": "pcs", "over_time": "last"})
    per = {"name": "Revenue per document", "unit": "CNY/document", "formula": "revenue / documents"}
    put("/metrics/v1/metrics/revenue_per_document", per)
    subject = {"subject": "concat('unit:', data.unit)"}
    invoice = subject | {"metric": "revenue", "value": "number(data.amount)", "key": "data.invoice"}
    rules = [invoice, subject | {"metric": "documents"}]
    mapping = {"name": "Invoices", "event_type": INVOICE, "revision": "number(data.revision)", "observations": rules}
    put("/metrics/v1/mappings/invoices", mapping)
    counted = subject | {"metric": "stock", "value": "number(data.pieces)"}
    put("/metrics/v1/mappings/counts", {"name": "Counts", "event_type": COUNT, "observations": [counted]})


def _plan(client: ValueLoopClient, unit: str) -> None:
    curve = {"kind": "linear", "slope": "0.01"}
    component = {"code": "revenue", "name": "Revenue", "driver": {"kind": "goal", "code": unit}, "weight": "1"}
    plan = {"name": unit, "period": "quarter", "currency": "CNY", "components": [component | {"curve": curve}]}
    client.put(f"/incentives/v1/plans/{unit}", plan)
    if unit != "company":
        paid = {"person": f"p-{unit}", "plan": unit, "amount": "10000", "starts": "2025-01-01"}
        client.put(f"/incentives/v1/assignments/{unit}", paid)


def target(value: int) -> dict[str, str]:
    return {"value": str(value), "phasing": "none", "direction": "higher", "reason": "Planned."}


@dataclass(frozen=True, slots=True)
class Event:
    """One business event; `body` is its JSON."""

    id: str
    type: str
    unit: str
    at: datetime
    data: dict[str, Any]

    @property
    def body(self) -> bytes:
        event = {
            "specversion": "1.0", "id": self.id, "source": SOURCE, "type": self.type, "subject": self.unit,
            "time": self.at.isoformat(), "datacontenttype": "application/json", "data": {"unit": self.unit} | self.data,
        }  # fmt: skip
        return json.dumps(event, separators=(",", ":")).encode()


def events(count: int, seed: int, prefix: str = "e") -> list[Event]:
    """Invoices, of which every fifth corrects an earlier one, and counts of stock: the same for the same arguments."""
    rng = random.Random(seed)
    made: list[Event] = []
    invoices: list[tuple[str, str, int]] = []
    for number in range(count):
        at = _FIRST + timedelta(seconds=rng.randrange(89 * 86_400))
        id_ = f"{prefix}-{number:07}"
        if number % 5 == 4:
            made.append(Event(id_, COUNT, rng.choice(UNITS), at, {"pieces": str(rng.randrange(1_000))}))
            continue
        if number % 5 == 3 and invoices:
            place = rng.randrange(len(invoices))
            invoice, unit, revised = invoices[place]
            revision = revised + 1
            invoices[place] = (invoice, unit, revision)
        else:
            invoice, unit, revision = f"{prefix}-i{number}", rng.choice(UNITS), 1
            invoices.append((invoice, unit, revision))
        amount = Decimal(rng.randrange(100, 1_000_000)) / 100
        made.append(
            Event(id_, INVOICE, unit, at, {"invoice": invoice, "revision": str(revision), "amount": str(amount)})
        )
    return made


def totals(sent: Sequence[Event]) -> dict[Key, Decimal]:
    """What the base readings of the quarter must be, summed in plain Python, for each unit and the company."""
    revised: dict[str, tuple[int, str, Decimal]] = {}
    stock: dict[str, tuple[tuple[datetime, str], Decimal]] = {}
    found: defaultdict[Key, Decimal] = defaultdict(Decimal)
    for event in sent:
        if event.type == COUNT:
            when = (event.at, event.id)
            if event.unit not in stock or when > stock[event.unit][0]:
                stock[event.unit] = (when, Decimal(event.data["pieces"]))
            continue
        found["documents", event.unit] += 1
        invoice, revision = event.data["invoice"], int(event.data["revision"])
        if revision > revised.get(invoice, (0,))[0]:
            revised[invoice] = (revision, event.unit, Decimal(event.data["amount"]))
    for _, unit, amount in revised.values():
        found["revenue", unit] += amount
    for unit, (_, pieces) in stock.items():
        found["stock", unit] += pieces
    for (metric, _unit), value in list(found.items()):
        found[metric, "company"] += value
    return {(metric, f"unit:{unit}"): value for (metric, unit), value in found.items()}


def readings(client: ValueLoopClient) -> dict[Key, Decimal]:
    """The base readings of the quarter, as the API tells them."""
    return {
        (metric, f"unit:{unit}"): Decimal(found["value"])
        for metric in METRICS[:3]
        for unit in ("company", *UNITS)
        if (found := reading(client, metric, f"unit:{unit}"))
    }


def reading(client: ValueLoopClient, metric: str, subject: str) -> Any:
    return client.get("/metrics/v1/readings", metric=metric, subject=subject, period=PERIOD)


def batches(sent: Sequence[Event], size: int, repeat: int, seed: int) -> Iterator[list[Event]]:
    """The events in batches; every `repeat`th event comes once more in a later one."""
    rng = random.Random(seed)
    again: list[Event] = []
    for start in range(0, len(sent), size):
        fresh = list(sent[start : start + size])
        yield fresh + [again.pop(rng.randrange(len(again))) for _ in range(min(len(again), size // repeat))]
        again += fresh[::repeat]
    yield again
