"""Readings over HTTP: values, series, breakdowns, and the causes in both directions."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Annotated, Any

import msgspec
from fastapi import Path, Query

from services.metrics.events.accept import identity, look_up
from services.metrics.observations import store as observations
from services.metrics.readings import store
from services.metrics.readings.definitions import Definitions
from services.metrics.readings.handlers import currency_of
from services.metrics.readings.ripple import effects_of_change, effects_of_event
from services.metrics.readings.rules import Cell, Finding, Rollup, base_finding, folded
from services.metrics.readings.schemas import (
    Breakdown,
    Effect,
    EventEffects,
    Explanation,
    ObservationView,
    ReadingView,
    Slice,
    event_link,
    inputs_of,
    shown,
)
from shared.closing import change_at_close
from shared.configuration import configuration_router
from shared.contracts.base import MetricCode, Subject
from shared.contracts.metrics import Guard, Kind, Metric
from shared.errors import Forbidden, Invalid, NotFound
from shared.http.context import Context, RequestContext
from shared.http.paging import Page, PageRequest, Paging
from shared.http.routing import Router
from shared.http.times import AskedPeriod, KnownAt
from shared.organisation import manages
from shared.periods import Calendar, Period, parse_period

READS_ALL = frozenset(("admin", "strategist", "analyst", "compensation", "auditor"))
LONGEST_SERIES = 800
Closed = Annotated[bool, Query(description="The version that the period was closed with.")]
PeriodText = Annotated[str, Query(max_length=20, examples=["2025-03"])]

router = Router(tags=["readings"])
router.include_router(configuration_router(Guard, write_roles=("analyst", "strategist")))


class ReadingNotFound(NotFound):
    """There is no such reading, or none as old as asked for."""


class PersonalReading(Forbidden):
    """The reading is about a person that the caller neither is nor leads."""


class NoDimensions(Invalid):
    """The metric is derived, or is not defined: it has no observations that could be told apart."""


class DimensionMalformed(Invalid):
    """A dimension is not written `name:value`."""


class EventUnknown(NotFound):
    """No event was accepted under that source and id."""


def may_see(context: RequestContext, subject: str) -> bool:
    """Whether a number about a subject is the caller's to read: units are everybody's, people are their own."""
    kind, code = subject.split(":", 1)
    if kind == "unit" or context.principal.roles & READS_ALL or code == context.principal.subject:
        return True
    # Rights are about now, so this is the one place here that asks the clock.
    return manages(context.uow, context.company, context.principal.subject, code, datetime.now(UTC).date())


def require_visible(context: RequestContext, subject: str) -> None:
    """Raises PersonalReading."""
    context.require_reader()
    if not may_see(context, subject):
        raise PersonalReading(
            "This is about another person; it is visible to them and to those who lead them.",
            field="subject", remedy="Ask for a unit, or for yourself.",
        )  # fmt: skip


def period_named(found: Definitions, label: str) -> Period:
    """The period a label names in the company's calendar."""
    return parse_period(calendar_in(found), label)


def calendar_in(found: Definitions) -> Calendar:
    """The company's calendar. Raises ReadingNotFound while it is not known."""
    if found.calendar is None:
        rule = "The company is not known yet."
        raise ReadingNotFound(rule, remedy="Define it with PUT /goals/v1/companies/company.")
    return found.calendar


@router.get("/readings", operation_id="getReading", summary="A metric of a subject in a period")
def get_reading(
    context: Context,
    metric: MetricCode,
    subject: Subject,
    asked: AskedPeriod,
    known_at: KnownAt = None,
    closed: Closed = False,
    dimensions: Annotated[
        list[str] | None, Query(max_length=10, description="Only observations with these, each as `currency:EUR`.")
    ] = None,
) -> ReadingView:
    require_visible(context, subject)
    period = asked.label(lambda: calendar_in(store.definitions(context.uow, context.company)))
    if dimensions:
        found = store.definitions(context.uow, context.company)
        base, place = _base(found, metric), period_named(found, period)
        cells = _cells(context, found, metric, subject, place, _dimensions(dimensions))
        return ReadingView(metric=metric, subject=subject, period=period, version=None, change=None, recorded_at=None,
                           **asdict(_folded(base, cells)))  # fmt: skip
    change = change_at_close(context.uow, context.company, period) if closed else None
    return shown(_required(context, metric, subject, period, None, known_at, change))


def _required(context: RequestContext, metric: str, subject: str, period: str, *which: Any) -> store.Version:
    place = {"company": context.company, "metric": metric, "subject": subject, "period": period}
    version = store.readings.one(context.uow, *which, **place)
    if version is None:
        such = "such version of the reading" if any(which) else "reading"
        raise ReadingNotFound(
            f"There is no {such} of {metric} for {subject} in {period}.",
            field="metric", remedy="It appears with its first observation; see /metrics/v1/waiting for what waits.",
        )  # fmt: skip
    return version


def _dimensions(texts: Iterable[str]) -> dict[str, str]:
    pairs = [text.partition(":") for text in texts]
    if bad := next((name for name, colon, _ in pairs if not colon), None):
        raise DimensionMalformed(f"{bad[:40]!r} is not a dimension.", field="dimensions", remedy="Write name:value.")
    return {name: value for name, _, value in pairs}


def _base(found: Definitions, code: str) -> Metric:
    metric = found.base(code)
    if metric is None:
        raise NoDimensions(f"{code} is no base metric, so it has no dimensions.", field="metric",
                           remedy="Ask for a metric that observations feed.")  # fmt: skip
    return metric


def _cells(
    context: RequestContext, found: Definitions, metric: str, subject: str, period: Period,
    dimensions: dict[str, str] | None = None,
) -> list[Cell]:  # fmt: skip
    cells = store.cells_in(context.uow, context.company, [(metric, period.start, period.end)], dimensions)
    tree = store.tree_with(context.uow, context.company, found, {cell.subject for cell in cells})
    return [cell for cell in cells if subject in tree.path(cell.subject, cell.day)[0]]


def _folded(metric: Metric, cells: Iterable[Cell]) -> Finding:
    by_currency: dict[str, list[Cell]] = {}
    for cell in cells:
        by_currency.setdefault(currency_of(metric, cell.dims), []).append(cell)
    return base_finding(metric, [Rollup(name, *folded(metric, group)) for name, group in by_currency.items()])


@router.get("/readings/series", operation_id="listReadings", summary="A metric of a subject over time")
def list_series(
    context: Context,
    metric: MetricCode,
    subject: Subject,
    kind: Kind,
    from_: Annotated[date, Query(alias="from", description="Periods that begin on this day or later.")],
    to: Annotated[date, Query(description="Periods that begin on this day or earlier.")],
    known_at: KnownAt = None,
) -> list[ReadingView]:
    require_visible(context, subject)
    place = {"company": context.company, "metric": metric, "subject": subject, "kind": kind}
    return [shown(each) for each in store.readings.series(context.uow, from_, to, LONGEST_SERIES, known_at, **place)]


@router.get("/readings/breakdown", operation_id="getBreakdown", summary="A base metric by the members of a dimension")
def get_breakdown(
    context: Context, metric: MetricCode, subject: Subject, period: PeriodText, by: Annotated[MetricCode, Query()]
) -> Breakdown:
    require_visible(context, subject)
    found = store.definitions(context.uow, context.company)
    base = _base(found, metric)
    members: dict[str | None, list[Cell]] = {}
    for cell in _cells(context, found, metric, subject, period_named(found, period)):
        members.setdefault(msgspec.json.decode(cell.dims).get(by), []).append(cell)
    items = []
    for member, cells in sorted(members.items(), key=lambda pair: (pair[0] is None, pair[0] or "")):
        finding = _folded(base, cells)
        n = sum(cell.n for cell in cells)
        items.append(Slice(member=member, observations=n, **asdict(finding)))
    return Breakdown(metric=metric, subject=subject, period=period, by=by, items=items)


@router.get("/readings/explanation", operation_id="explainReading", summary="Why a reading is what it is")
def explain_reading(
    context: Context,
    page: Paging,
    metric: MetricCode,
    subject: Subject,
    period: PeriodText,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Default: the latest.")] = None,
) -> Explanation:
    """A base reading down to its observations and their events, a page at a time; a derived one to its inputs."""
    require_visible(context, subject)
    reading = _required(context, metric, subject, period, version)
    count = next((each["count"] for each in reading.inputs if each["role"] == "observations"), None)
    base = reading.formula is None
    observed = _observed(context, page, reading) if base else None
    return Explanation(
        reading=shown(reading), kind="base" if base else "derived", rule=reading.formula or _rule(context, metric),
        definition=reading.definition, inputs=inputs_of(reading.inputs), count=count, observations=observed,
        links={"definition": f"/metrics/v1/metrics/{metric}/versions"},
    )  # fmt: skip


def _rule(context: RequestContext, code: str) -> str:
    metric = store.definitions(context.uow, context.company).latest.get(code)
    return f"{metric.over_time} over time, {metric.across_subjects} across subjects" if metric else "no longer defined"


def _observed(context: RequestContext, page: PageRequest, reading: store.Version) -> Page[ObservationView]:
    uow, company, (metric, subject, kind, start) = context.uow, context.company, reading.key
    found = store.definitions(uow, company)
    period = found.period(kind, start)
    candidates = observations.subjects_of(uow, company, metric, period.start, period.end)
    members = store.tree_with(uow, company, found, candidates).members(subject, candidates, period)
    hidden = {name for name, _, _ in members if not may_see(context, name)}
    rows = observations.counted(
        uow, company, metric, [each for each in members if each[0] not in hidden], reading.change, page.after or 0,
        page.fetch,
    )  # fmt: skip
    return _paged(page, rows)


def _paged(page: PageRequest, rows: Sequence[Any]) -> Page[ObservationView]:
    part = page.of(rows, lambda row: row.number)
    return Page(items=[observation(row) for row in part.items], next_cursor=part.next_cursor)


def observation(row: Any) -> ObservationView:
    """An observation as the API shows it."""
    return ObservationView(**row._mapping, link=event_link(row.source, row.id))


@router.get(
    "/durations/unmatched", operation_id="listUnmatchedDurations", summary="Opened and not closed, or the reverse"
)
def list_unmatched(context: Context, page: Paging, metric: Annotated[MetricCode, Query()]) -> Page[ObservationView]:
    context.require("strategist", "analyst", "compensation", "finance", "auditor")
    return _paged(page, observations.unmatched(context.uow, context.company, metric, page.after or 0, page.fetch))


@router.get("/events/effects", operation_id="listEventEffects", summary="What one event changed, up to value nodes")
def event_effects(
    context: Context,
    source: Annotated[str, Query(max_length=500)],
    id: Annotated[str, Query(max_length=300)],
) -> EventEffects:
    """Goes on at the links to goals: what each reading changed there."""
    context.require_reader()
    key = identity(context.company, source, id)
    seen = look_up(context.uow, [key]).get(key)
    if seen is None:
        raise EventUnknown("No event was accepted under this source and id.", field="id", remedy="Look at its receipt.")
    rows = observations.of_event(context.uow, context.company, seen.partition, seen.pos)
    visible = [row for row in rows if may_see(context, row.subject)]
    effects = effects_of_event(context.uow, context.company, visible)
    return EventEffects(
        source=source, id=id, link=event_link(source, id),
        observations=[observation(row) for row in visible], effects=_visible(context, effects),
    )  # fmt: skip


@router.get("/changes/{change}", operation_id="listEffectsOfChange", summary="What one change moved, in order")
def list_change(context: Context, page: Paging, change: Annotated[int, Path(ge=1, le=2**62)]) -> Page[Effect]:
    """Cells, then readings, then value nodes: each step after those that moved it (mechanism L2)."""
    context.require_reader()
    steps = _visible(context, effects_of_change(context.uow, context.company, change))
    return page.of([step for step in steps if step.step > (page.after or 0)], lambda step: step.step)


def _visible(context: RequestContext, effects: Sequence[Effect]) -> list[Effect]:
    subjects = {effect.subject for effect in effects if effect.subject}
    seen = {subject for subject in subjects if may_see(context, subject)}
    return [effect for effect in effects if effect.subject is None or effect.subject in seen]
