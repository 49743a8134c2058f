"""Accepted events become facts; what is defined later takes up what waited for it, or changes what it touches."""

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import islice

from services.metrics.events import store
from services.metrics.events.cloudevents import stored
from services.metrics.events.store import Place
from services.metrics.mappings import store as mappings
from services.metrics.mappings.rules import Compiled, Event, EventFacts, facts_of
from services.metrics.observations.handlers import fold
from services.metrics.periods.store import mark
from shared.configuration import history
from shared.contracts.metrics import Mapping
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
    batch = [_facts(compiled, *each) for each in decoded]
    uow.lock_company(company)
    if mappings.version(uow, company) != version:
        _, compiled = mappings.compiled(uow, company)
        batch = [_facts(compiled, *each) for each in decoded]
    mark(uow, company, compiled.calendar if compiled else None, decoded)
    _fold(uow, company, batch)


def _facts(compiled: Compiled | None, partition: int, pos: int, event: Event) -> EventFacts:
    place = (partition, pos, event.source, event.id, event.time)
    if compiled is None:
        return EventFacts(*place, waits=["company"])
    found = facts_of(event, compiled)
    return EventFacts(*place, found.facts, found.faults, [] if found.known else [f"mapping:{event.type}"])


def _fold(uow: UnitOfWork, company: str, batch: list[EventFacts]) -> None:
    """The fold adds what it finds: references to what it does not know, faults of what it cannot measure."""
    added = fold(uow, company, batch)
    for event in batch:
        event.waits.extend(added.get((event.partition, event.pos), ()))
    store.remember(uow, company, batch)


def _retake(uow: UnitOfWork, company: str, places: Iterable[Place], since: date = date.min) -> None:
    """Maps and folds events again, as mappings and settings now are; what is folded differs only where they do.

    Args:
        since: leaves events alone whose own business day is earlier.
    """
    _, compiled = mappings.compiled(uow, company)
    left = iter(sorted(set(places)))
    while chunk := list(islice(left, AT_ONCE)):
        found = [(partition, pos, stored(data)) for partition, pos, data in store.at(uow, company, chunk)]
        if compiled and since > date.min:
            found = [each for each in found if business_day(compiled.calendar, each[2].time) >= since]
        store.forget(uow, company, [(partition, pos) for partition, pos, _ in found])
        _fold(uow, company, [_facts(compiled, *each) for each in found])


def on_mapping(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A mapping has a new version: events of its type are taken again, if they are of its first day or later.

    A version may also let go of events: those of the types that its other versions take. Of a type that no other
    version of any mapping takes, all events wait.
    """
    company = events[0].company
    uow.lock_company(company)
    versions = history(uow, Mapping, company)
    for new in (event.event for event in events):
        places: set[Place] = set()
        for kind in {each.content.event_type for each in versions if each.code == new.code}:
            taking = [(each.code, each.version) for each in versions if each.content.event_type == kind]
            alone = taking == [(new.code, new.version)]
            places.update(
                store.waiting_under(uow, company, [f"mapping:{kind}"]) if alone else store.of_type(uow, company, kind)
            )
        _retake(uow, company, places, since=new.content.effective_from)


def taking_up(*references: str) -> Handler:
    """A handler that takes up what waited for a setting: a reference may name its `{code}` and its `{content.…}`."""

    def handle(uow: UnitOfWork, events: Sequence[Received]) -> None:
        company = events[0].company
        uow.lock_company(company)
        found = {each.format(code=of.event.code, content=of.event.content) for each in references for of in events}
        _retake(uow, company, store.waiting_under(uow, company, found))

    return handle
