"""Facts in, observations and their effect on cells out. Everything here holds the company's lock."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from functools import lru_cache

import msgspec

from services.metrics.mappings.rules import EventFacts, Fact, Fault
from services.metrics.observations import store
from services.metrics.observations.rules import (
    DURATIONS,
    CellKey,
    Observation,
    Rank,
    differences,
    floors,
    measure,
    standings,
)
from services.metrics.observations.store import Stored
from services.metrics.readings import store as readings
from services.metrics.readings.definitions import Definitions, Tree
from services.metrics.readings.handlers import apply, derived_defined, keys_above, marked, refold, roll
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import plain
from shared.periods import FIRST_YEAR, LAST_YEAR
from shared.service import Received

Place = tuple[int, int]


def fold(uow: UnitOfWork, company: str, batch: Sequence[EventFacts]) -> dict[Place, list[str]]:
    """Makes observations of the facts of events and folds them; an event that was folded before is compared with that.

    Returns, by (partition, pos), the references that facts wait for: `metric:CODE`, `unit:CODE`, `person:CODE`,
    `currency:blank`, `rate:FROM-TO`, `conversion:FROM-TO`, `company`. Facts that cannot be measured at all are added to
    the event's own `faults`.
    """
    change = uow.lock_company(company)
    found = readings.definitions(uow, company)
    tree = readings.tree_with(uow, company, found, {fact.subject for event in batch for fact in event.facts})
    wanted, waits = _judged(found, tree, batch)
    before = store.of_events(uow, company, [(event.partition, event.pos) for event in batch])
    gone, fresh = _compared(before, wanted)
    _replace(uow, company, change, found, gone, fresh)
    return waits


def _judged(
    found: Definitions, tree: Tree, batch: Sequence[EventFacts]
) -> tuple[list[Observation], dict[Place, list[str]]]:
    wanted: list[Observation] = []
    waits: dict[Place, list[str]] = {}
    for event in batch:
        references: dict[str, None] = {}
        for fact in event.facts:
            outcome = _observed(found, tree, event, fact)
            if isinstance(outcome, Observation):
                wanted.append(outcome)
            elif isinstance(outcome, str):
                references[outcome] = None
            else:
                event.faults.append(outcome)
        if references:
            waits[event.partition, event.pos] = list(references)
    return wanted, waits


def _observed(found: Definitions, tree: Tree, event: EventFacts, fact: Fact) -> Observation | str | Fault:
    """The observation of a fact; or the reference it waits for; or what is wrong with it."""
    if found.calendar is None:
        return "company"
    metric = found.latest.get(fact.metric)
    if metric is None:
        return f"metric:{fact.metric}"
    if metric.formula:
        return _fault(fact, "metric", f"{fact.metric} is derived by a formula: no observation feeds it")
    if not FIRST_YEAR + 2 <= fact.day.year <= LAST_YEAR - 2:  # formulas look a year back, and ripple into the next
        return _fault(fact, "time", f"the year {fact.day.year} is a typing error: years are 1902 to 2197")
    if fact.effect not in ("retract", "open"):  # these never count themselves, so whom they are about decides nothing
        unknown = tree.path(fact.subject, fact.day)[1]
        if unknown is not None:
            return unknown
    measured = measure(found, metric, fact.effect, fact.value, fact.unit, fact.day)
    if measured.waits:
        return measured.waits
    if measured.fault:
        return _fault(fact, *measured.fault)
    dims = fact.dimensions if measured.currency is None else {**fact.dimensions, "currency": measured.currency}
    return Observation(
        event.partition, event.pos, event.source, event.id, event.time, fact.mapping, fact.mapping_version, fact.item,
        fact.rule, fact.metric, fact.effect, fact.subject, fact.at, fact.day, measured.value, measured.member,
        plain(fact.value) if isinstance(fact.value, Decimal) else fact.value, fact.unit, fact.key, fact.document,
        _canonical(tuple(sorted(dims.items()))), fact.revision,
    )  # fmt: skip


def _fault(fact: Fact, place: str, reason: str) -> Fault:
    return Fault(fact.mapping, fact.item, fact.rule, place, reason)


@lru_cache(maxsize=65536)
def _canonical(dimensions: tuple[tuple[str, str], ...]) -> str:
    return msgspec.json.encode(dict(dimensions)).decode()


def _compared(before: Sequence[Stored], wanted: Sequence[Observation]) -> tuple[list[Stored], list[Observation]]:
    """What of earlier observations is gone, and what is new; equal ones stay untouched."""
    if not before:
        return [], list(wanted)
    kept = {each.content for each in wanted}
    known = {each.observation.content for each in before}
    return (
        [each for each in before if each.observation.content not in kept],
        [each for each in wanted if each.content not in known],
    )


def _replace(
    uow: UnitOfWork, company: str, change: int, found: Definitions, gone: Sequence[Stored], fresh: Sequence[Observation]
) -> None:
    """Takes observations out and puts others in; whatever shares a key or document with them is judged again."""
    if not gone and not fresh:
        return
    others, below = _related(uow, company, gone, fresh)
    judged = [*fresh, *(each.observation for each in others)]
    units = {each.metric: found.latest[each.metric].unit for each in judged if each.effect in DURATIONS}
    verdicts = standings(judged, below, units)
    moved = [(old, new) for old, new in zip(others, verdicts[len(fresh) :], strict=True) if old.standing != new]
    ended = [*gone, *(old for old, _ in moved)]
    begun = [*zip(fresh, verdicts, strict=False), *((old.observation, new) for old, new in moved)]
    store.write(uow, company, change, [each.id for each in ended], begun)
    changes = differences([(each.observation, each.standing) for each in ended], begun)
    apply(uow, company, found, readings.tree_with(uow, company, found, {key[1] for key in changes}), changes)


def _related(
    uow: UnitOfWork, company: str, gone: Sequence[Stored], fresh: Sequence[Observation]
) -> tuple[list[Stored], dict[tuple[str, str], Rank]]:
    """Every other observation whose standing may depend on these, with the floors of all documents among them."""
    touched = [*fresh, *(each.observation for each in gone)]
    documents = {each.document for each in touched if each.document is not None}
    found = {each.id: each for each in store.of_documents(uow, company, documents)}
    touched += [each.observation for each in found.values()]
    keys = {(each.metric, each.key) for each in touched if each.key is not None}
    found |= {each.id: each for each in store.of_keys(uow, company, keys)}
    leaving = {each.id for each in gone}
    others = [each for number, each in sorted(found.items()) if number not in leaving]
    # Those that only share a key may stand in documents that nobody touched: read for their floors alone.
    apart = {document for each in others if (document := each.observation.document) is not None} - documents
    standing = [*others, *store.of_documents(uow, company, apart)]
    return others, floors([*fresh, *(each.observation for each in standing)])


# --- the organisation ---


def organisation_changed(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Units or people have new versions: roll-ups of old and new superiors move by what the days concerned hold."""
    for company in sorted({event.company for event in events}):
        mine = [event for event in events if event.company == company]
        kind = "unit" if mine[0].event.content.KIND == "units" else "person"
        versions = {(f"{kind}:{event.event.code}", event.event.version) for event in mine}
        reorganise(uow, company, versions, min(event.event.content.effective_from for event in mine))


def reorganise(uow: UnitOfWork, company: str, versions: Iterable[tuple[str, int]], from_day: date) -> None:
    """Moves what the new versions of subjects move: from what is above them without these versions, to what is now.

    Only roll-ups of superiors lost or won change, and only from `from_day` on.
    """
    uow.lock_company(company)
    found, new = readings.definitions(uow, company), set(versions)
    if found.calendar is None or not uow.value("SELECT EXISTS (SELECT FROM cell WHERE company = :c)", c=company):
        return
    below = found.tree.ever_below({subject for subject, _ in new})
    below |= readings.people_ever_in(uow, company, [subject for subject in below if subject.startswith("unit:")])
    cells = readings.cells_of(uow, company, below, from_day)
    subjects = {cell.subject for cell in cells}
    after = readings.tree_with(uow, company, found, subjects)
    before = readings.tree_with(uow, company, found, subjects, new)
    minus: dict[CellKey, tuple[int, Decimal]] = {}
    plus: dict[CellKey, tuple[int, Decimal]] = {}
    for cell in cells:
        if before.path(cell.subject, cell.day) != after.path(cell.subject, cell.day):
            minus[cell[:5]] = (-cell.n, cell.total.copy_negate())
            plus[cell[:5]] = (cell.n, cell.total)
    roll(uow, company, found, [(before, minus), (after, plus)])


# --- settings by which observations are measured ---


def metrics_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A metric has a new version: its observations are folded by its grains, and what is derived is derived anew.

    Its unit and folds stay: where observations feed it, `check_metric` refuses others.
    """
    for event in events:
        company, code = event.company, event.event.code
        found = readings.definitions(uow, company)
        # Later versions may be recorded already, so it is not the one before this that tells what was folded.
        if len({frozenset(each.grains) for each in found.metrics.every(code)}) > 1 and found.base(code):
            uow.lock_company(company)
            cells = readings.cells_in(uow, company, [(code, date.min, date.max)])
            tree = readings.tree_with(uow, company, found, {cell.subject for cell in cells})
            keys = {key for cell in cells for key in keys_above(found, tree, *cell[:3])}
            keys |= readings.rolled_up(uow, company, code)
            refold(uow, company, found, keys)
            marked(uow, company).rollups |= keys
        derived_defined(uow, company, code)


def rates_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A rate has a new version: amounts converted by the one it replaces are converted again."""
    for event in events:
        rate = event.event.content
        _convert_again(uow, event, rate.from_currency, rate.to_currency)


def conversions_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A factor between units has a new version, and is used both ways."""
    for event in events:
        content = event.event.content
        _convert_again(uow, event, content.from_unit, content.to_unit)
        _convert_again(uow, event, content.to_unit, content.from_unit)


def _convert_again(uow: UnitOfWork, event: Received, from_unit: str, to_unit: str) -> None:
    """Measures what came in one unit and is kept in the other by the settings as they now are."""
    company, start = event.company, event.event.content.effective_from
    change, found = uow.lock_company(company), readings.definitions(uow, company)
    metrics = [
        code
        for code, metric in found.latest.items()
        if metric.unit == to_unit and not metric.formula and metric.over_time not in ("count", "distinct")
    ]
    gone: list[Stored] = []
    fresh: list[Observation] = []
    for stored in store.converted(uow, company, metrics, from_unit, start):
        each = stored.observation
        value = Decimal(1) if each.source_value is None else Decimal(each.source_value)
        measured = measure(found, found.latest[each.metric], each.effect, value, from_unit, each.day)
        if measured.value != each.value:
            gone.append(stored)
            fresh.append(replace(each, value=measured.value))
    _replace(uow, company, change, found, gone, fresh)
