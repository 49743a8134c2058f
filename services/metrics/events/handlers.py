"""Accepted events become facts; what is defined later takes up what waited for it, or changes what it touches."""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import islice
from typing import Any

from services.metrics.events import store
from services.metrics.events.cloudevents import CloudEvent, stored
from services.metrics.events.store import Place
from services.metrics.mappings import store as mappings
from services.metrics.mappings.rules import Compiled, EventFacts, facts_of
from services.metrics.observations.handlers import fold
from shared.contracts.base import Tick
from shared.contracts.metrics import EventAccepted, Mapping
from shared.database.unit_of_work import UnitOfWork
from shared.periods import business_day
from shared.service import Handler, Received

AT_ONCE = 2_000  # events held in memory while old ones are mapped again


def on_accepted(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Maps a run of new events outside the company's lock, and folds them inside.

    Mapping is most of the work, so it runs beside other workers. Where a mapping was defined meanwhile it is done
    again, because the definition took up only what it found folded or waiting.
    """
    company = events[0].company
    decoded = [(event.partition, event.pos, stored(event.event)) for event in events]
    version, compiled = mappings.compiled(uow, company)
    batch = [facts(compiled, *each) for each in decoded]
    uow.lock_company(company)
    if mappings.version(uow, company) != version:
        _, compiled = mappings.compiled(uow, company)
        batch = [facts(compiled, *each) for each in decoded]
    _fold(uow, company, batch)


def facts(compiled: Compiled | None, partition: int, pos: int, event: CloudEvent) -> EventFacts:
    """What the company's mappings find in an event, or what it waits for."""
    place = (partition, pos, event.source, event.id, event.time)
    if compiled is None:
        return EventFacts(*place, waits=["company"])
    found = facts_of(event, compiled)
    return EventFacts(*place, found.facts, found.faults, [] if found.known else [f"mapping:{event.type}"])


def _fold(uow: UnitOfWork, company: str, batch: list[EventFacts]) -> None:
    """The fold adds what it finds: references to what it does not know, faults of what it cannot measure."""
    added = fold(uow, company, batch)
    waits = [
        (reference, place)
        for event in batch
        for place in [(event.partition, event.pos)]
        for reference in (*event.waits, *added.get(place, ()))
    ]
    store.remember(uow, company, waits, [((e.partition, e.pos), e.faults) for e in batch if e.faults])


def retake(uow: UnitOfWork, company: str, places: Iterable[Place], *, since: date = date.min) -> None:
    """Maps and folds events again, as mappings and settings now are; what is folded differs only where they do.

    Args:
        since: leaves events alone whose own business day is earlier.
    """
    uow.lock_company(company)
    _, compiled = mappings.compiled(uow, company)
    left = iter(sorted(set(places)))
    while chunk := list(islice(left, AT_ONCE)):
        found = [(each.partition, each.pos, stored(each.data)) for each in store.at(uow, company, chunk)]
        if compiled and since > date.min:
            found = [each for each in found if business_day(compiled.calendar, each[2].time) >= since]
        store.forget(uow, company, [(partition, pos) for partition, pos, _ in found])
        _fold(uow, company, [facts(compiled, *each) for each in found])


def take_up(uow: UnitOfWork, company: str, references: Iterable[str]) -> None:
    """Takes up the events that waited for something that is now there."""
    uow.lock_company(company)
    if places := store.waiting_under(uow, company, set(references)):
        retake(uow, company, places)


def on_mapping(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A mapping has a new version: events of its type are taken again, if they are of its first day or later.

    A version may also let go of events: those of the types that its other versions take.
    """
    company = events[0].company
    uow.lock_company(company)
    for event in events:
        mapping: Mapping = event.event.content
        types = {mapping.event_type} | _types_of(uow, company, event.event.code)
        places: set[Place] = set()
        for each in types:
            if mappings.mapped_before(uow, company, each, event.event.code, event.event.version):
                places.update(store.of_type(uow, company, each))
            else:
                places.update(store.waiting_under(uow, company, [f"mapping:{each}"]))
        retake(uow, company, places, since=mapping.effective_from)


def _types_of(uow: UnitOfWork, company: str, code: str) -> set[str]:
    rows: Sequence[Any] = uow.rows(
        "SELECT DISTINCT content->>'event_type' FROM configuration "
        "WHERE company = :company AND kind = :kind AND code = :code",
        company=company, kind=Mapping.KIND, code=code,
    )  # fmt: skip
    return {row[0] for row in rows}


def taking_up(*references: str) -> Handler:
    """A handler that takes up what waited for a setting: `{code}` in a reference stands for its code."""

    def handle(uow: UnitOfWork, events: Sequence[Received]) -> None:
        codes = [event.event.code for event in events]
        take_up(uow, events[0].company, [reference.format(code=code) for reference in references for code in codes])

    return handle


def on_conversion(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A factor is used both ways, so what waits for either is taken up."""
    pairs = [(event.event.content.from_unit, event.event.content.to_unit) for event in events]
    take_up(uow, events[0].company, [f"conversion:{a}-{b}" for pair in pairs for a, b in (pair, pair[::-1])])


def on_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Everything accepted before the tick is folded: the readings' readers may judge up to it."""
    uow.publish_everywhere(tick, company=company, topic="metrics.readings")


def publish_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Puts a tick behind everything accepted so far."""
    uow.publish_everywhere(tick, company=company, topic=EventAccepted.TOPIC)
