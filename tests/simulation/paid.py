"""What people would be entitled to: from driver values to an amount, in the one order of steps (mechanism M11)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from tests.simulation.dates import Calendar, Span
from tests.simulation.judged import on_curve
from tests.simulation.settings import ZERO, Settings, money, over, plus, times

Drivers = Mapping[tuple[str, str, str, Span], Decimal]
"""Scores and readings as they are told, by kind, code, subject (empty for a score) and period."""


def accruals(
    settings: Settings, calendar: Calendar, drivers: Drivers, first: date, last: date
) -> Iterator[tuple[str, str, Span, Decimal | None]]:
    """Person, plan, period and total for every period between two days that a plan pays for."""
    codes = sorted(settings.kinds["incentives/plans"])
    kinds = {version.body["period"] for code in codes for version in settings.kinds["incentives/plans"][code]}
    for span in [span for kind in sorted(kinds) for span in calendar.between(kind, first, last)]:
        parts = _parts(settings, span)
        for code in codes:
            plan = settings.body("incentives/plans", code, span.last)
            if plan is None or plan["period"] != span.kind:
                continue
            factor = _factor(settings, plan, drivers, span)
            for person in sorted({each["person"] for each in parts if each["plan"] == code}):
                mine = [each for each in parts if (each["person"], each["plan"]) == (person, code)]
                yield person, code, span, _total(plan, factor, mine, span)


def _parts(settings: Settings, span: Span) -> list[Mapping[str, Any]]:
    """The assignments in force on the period's last day that cover any of its days."""
    return [body for _, body in settings.each("incentives/assignments", span.last) if _eligible(body, span) > 0]


def _eligible(body: Mapping[str, Any], span: Span) -> int:
    first = max(date.fromisoformat(body["starts"]), span.start)
    last = min(date.fromisoformat(body["ends"]) if body.get("ends") else date.max, span.last)
    return (last - first).days + 1


def _factor(settings: Settings, plan: Mapping[str, Any], drivers: Drivers, span: Span) -> Decimal | None:
    shares = [_component(each, drivers, span) for each in plan["components"]]
    known = [share for share in shares if share is not None]
    partial = settings.policy("incentives", "incomplete_total", span.last, "partial") == "partial"
    if not known or (len(known) < len(shares) and not partial):
        return None
    factor = plus(*known)
    return min(factor, Decimal(plan["cap"])) if plan.get("cap") is not None else factor


def _component(component: Mapping[str, Any], drivers: Drivers, span: Span) -> Decimal | None:
    driver = component["driver"]
    value = drivers.get((driver["kind"], driver["code"], driver.get("subject") or "", span))
    if value is None:
        return None
    if component.get("gate") is not None and value < Decimal(component["gate"]):
        return ZERO
    factor = times(on_curve(component["curve"], value), Decimal(component.get("factor", "1")))
    if component.get("cap") is not None:
        factor = min(factor, Decimal(component["cap"]))
    return times(max(factor, ZERO), Decimal(component["weight"]))


def _total(
    plan: Mapping[str, Any], factor: Decimal | None, parts: Sequence[Mapping[str, Any]], span: Span
) -> Decimal | None:
    """Everything is multiplied exactly, divided once by the days of the period, and rounded once."""
    if factor is None:
        return None
    basis = plus(*(
        times(Decimal(each["amount"]), Decimal(each.get("factor", "1")), Decimal(each.get("share", "1")),
              Decimal(_eligible(each, span)))
        for each in parts
    ))  # fmt: skip
    whole = times(basis, Decimal(plan.get("factor", "1")), factor)
    return money(over(whole, Decimal((span.end - span.start).days)), plan["currency"])
