"""Readings, derived readings and value nodes, folded over all observations at once."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from tests.simulation.dates import Calendar, Span
from tests.simulation.expressions import Missing, evaluate, inputs
from tests.simulation.observed import MONEY, Observation
from tests.simulation.settings import ZERO, Settings, over, plus, told

Readings = dict[tuple[str, str, Span], Decimal]
"""By metric, subject and period; what has no value is not in it."""
GRAINS = ("month", "quarter", "year")


def readings(settings: Settings, observations: Iterable[Observation]) -> Readings:
    """Every reading that has a value, base metrics first, then derived ones after what they read."""
    calendar = settings.calendar
    if calendar is None:
        return {}
    held: dict[tuple[str, str, Span], list[Observation]] = {}
    for each in observations:
        body = settings.body("metrics/metrics", each.fact.metric)
        assert body is not None, "what has no metric waits"
        for above in settings.path(each.fact.subject, each.fact.day)[0]:
            for grain in body.get("grains", GRAINS):
                key = (each.fact.metric, above, calendar.span(grain, each.fact.day))
                held.setdefault(key, []).append(each)
    found: Readings = {}
    for key, group in held.items():
        value = _folded(settings.body("metrics/metrics", key[0]) or {}, group)
        if value is not None:
            found[key] = value
    _derive(settings, calendar, found)
    return found


def _folded(metric: Any, group: list[Observation]) -> Decimal | None:
    """One value of what happened; None where amounts of several currencies would be added."""
    if metric["unit"] == "money" and len({each.fact.unit for each in group}) > 1:
        return None
    over_time, across = metric.get("over_time", "sum"), metric.get("across_subjects", "sum")
    values = [each.value for each in group]
    if over_time == "distinct" and across == "distinct":
        return Decimal(len(set(values)))
    if over_time == "average" and across in ("sum", "average"):
        return _rounded(metric, over(plus(*values), Decimal(len(values))))
    by_subject: dict[Any, list[Observation]] = {}
    for each in group:
        dimensions = each.fact.dimensions if over_time == "last" else None  # a stock is kept per dimension
        by_subject.setdefault((each.fact.subject, dimensions), []).append(each)
    return _rounded(metric, _across(across, [_over_time(over_time, mine) for mine in by_subject.values()]))


def _over_time(how: str, group: list[Observation]) -> Decimal:
    values = [each.value for each in group]
    match how:
        case "minimum":
            return Decimal(min(values))
        case "maximum":
            return Decimal(max(values))
        case "last":
            return Decimal(max(group, key=lambda each: (each.fact.at, each.fact.rank, each.fact.place)).value)
        case "distinct":
            return Decimal(len(set(values)))
        case "average":
            return over(plus(*values), Decimal(len(values)))
    return plus(*values)


def _across(how: str, values: list[Decimal]) -> Decimal:
    match how:
        case "minimum":
            return min(values)
        case "maximum":
            return max(values)
        case "average":
            return over(plus(*values), Decimal(len(values)))
    return plus(*values)


def _rounded(metric: Any, value: Decimal) -> Decimal:
    """Money is kept as it is; whatever else is told with 10 decimals."""
    return value if metric["unit"] in MONEY else told(value)


def _derive(settings: Settings, calendar: Calendar, found: Readings) -> None:
    """Again and again until nothing changes: plain, and independent of any order."""
    places = {(subject, span) for _, subject, span in found}
    places |= {(subject, calendar.span(span.kind, span.end)) for subject, span in places}
    changed = True
    while changed:
        changed = False
        for code, latest in settings.each("metrics/metrics"):
            for subject, span in places:
                metric = settings.body("metrics/metrics", code, span.last)
                if not metric or "formula" not in metric or span.kind not in latest.get("grains", GRAINS):
                    continue
                value = _derived(settings, calendar, found, metric, subject, span)
                if value is not None and found.get((code, subject, span)) != value:
                    found[code, subject, span] = value
                    changed = True


def _derived(
    settings: Settings, calendar: Calendar, found: Readings, metric: Any, subject: str, span: Span
) -> Decimal | None:
    def look(how: str | None, name: str) -> Any:
        if how == "parameter":
            return _parameter(settings, name, span)
        return found.get((name, subject, calendar.before(span) if how == "previous" else span))

    assert all(how in (None, "previous", "parameter") for how, _ in inputs(metric["formula"])), metric["formula"]
    try:
        return _rounded(metric, evaluate(metric["formula"], look))
    except Missing:
        return None


def _parameter(settings: Settings, name: str, span: Span) -> Decimal | None:
    body = settings.body("metrics/policies", name, span.last)
    return Decimal(body["value"]) if body else None


def nodes(settings: Settings, found: Readings) -> dict[tuple[str, Span], Decimal]:
    """Output over input of each value node and period; nothing where the input is zero or missing."""
    ratios = {}
    for span in {span for _, _, span in found}:
        for code, node in settings.each("metrics/nodes", span.last):
            output = found.get((node.get("output", ""), node["subject"], span))
            entered = found.get((node.get("input", ""), node["subject"], span), ZERO)
            if node.get("period", "month") == span.kind and output is not None and entered:
                ratios[code, span] = told(over(output, entered))
    return ratios
