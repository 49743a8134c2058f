"""The accept transaction: each (source, id) once and for ever, a fate for each event, the new ones into the log."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg.errors import UniqueViolation

from services.metrics.events.cloudevents import CloudEvent, from_log
from shared.contracts.metrics import EventAccepted
from shared.database.unit_of_work import UnitOfWork
from shared.log.append import Outgoing, append
from shared.service import Received

TOPIC = EventAccepted.TOPIC
Status = Literal["accepted", "duplicate", "quarantined"]


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event on its way in, with its company and the hash that names it there for ever."""

    company: str
    event: CloudEvent
    id_hash: bytes
    traceparent: str | None
    recorded_at: datetime | None = None


class Seen(NamedTuple):
    """What is known of an event that was accepted."""

    content_hash: bytes
    partition: int
    pos: int


class Fate(NamedTuple):
    """What became of an event; the position is that of the first event with its (source, id)."""

    status: Status
    partition: int
    pos: int


def incoming(company: str, event: CloudEvent, traceparent: str | None = None) -> Incoming:
    """The event with its identity; the trace it belongs to is its own, else its request's."""
    return Incoming(company, event, identity(company, event.source, event.id), event.traceparent or traceparent)


def identity(company: str, source: str, event_id: str) -> bytes:
    """What `event_seen` knows an event by [16 bytes]. The parts' lengths go in, so that no two run together."""
    text = f"{len(company)}:{company}{len(source)}:{source}{event_id}"
    return hashlib.sha256(text.encode()).digest()[:16]


def key_of(event: CloudEvent) -> str:
    """What an event is ordered by: others of its subject, where it has one."""
    return f"{event.source} {event.subject or event.id}"


def accept(uow: UnitOfWork, events: Sequence[Incoming]) -> list[Fate]:
    """Accepts events, in order; of one (source, id) the first counts, here and for ever.

    Called last in its transaction: it takes the log's counters.
    """
    first: dict[bytes, Incoming] = {}
    for event in events:
        first.setdefault(event.id_hash, event)
    known, new = _append_new(uow, list(first.values()))
    fates = []
    for event in events:
        seen = known[event.id_hash]
        status: Status = "duplicate"
        if event.id_hash in new:
            new.remove(event.id_hash)
            status = "accepted"
        elif seen.content_hash != event.event.content_hash:
            _quarantine(uow, event, seen)
            status = "quarantined"
        fates.append(Fate(status, seen.partition, seen.pos))
    return fates


def _append_new(uow: UnitOfWork, events: list[Incoming]) -> tuple[dict[bytes, Seen], set[bytes]]:
    """Where each identity stands, and which of them are new.

    Optimistic: usually all are, and two COPYs are all it takes. Where one is not, everything is taken back, the topic's
    counters are locked, which every accept transaction holds until it commits, and what is known is looked up.
    """
    try:
        with uow.connection.begin_nested():
            found = _append(uow, events)
            return found, set(found)
    except UniqueViolation:
        uow.rows("SELECT 1 FROM log.partition WHERE topic = :topic ORDER BY partition FOR UPDATE", topic=TOPIC)
    known = look_up(uow, [event.id_hash for event in events])
    found = _append(uow, [event for event in events if event.id_hash not in known])
    return known | found, set(found)


def accepted_again(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Events that were accepted once, where the log is rebuilt: they keep their text and their accept time."""
    accept(uow, [
        replace(incoming(each.company, from_log(each.event), each.traceparent), recorded_at=each.recorded_at)
        for each in events
    ])  # fmt: skip


def look_up(uow: UnitOfWork, hashes: list[bytes]) -> dict[bytes, Seen]:
    """The events that were accepted under these identities."""
    rows: Sequence[Any] = uow.rows(
        "SELECT id_hash, content_hash, partition, pos FROM event_seen WHERE id_hash = ANY(:hashes)", hashes=hashes
    )
    return {id_hash: Seen(*place) for id_hash, *place in rows}


def _append(uow: UnitOfWork, events: list[Incoming]) -> dict[bytes, Seen]:
    places = append(uow, [
        Outgoing(TOPIC, key_of(each.event), EventAccepted.TYPE, each.company, each.event.text, each.traceparent,
                 each.recorded_at)
        for each in events
    ])  # fmt: skip
    found = {
        each.id_hash: Seen(each.event.content_hash, partition, pos)
        for each, (_, partition, pos) in zip(events, places, strict=True)
    }
    # In one order everywhere: a transaction waits here for another that inserts the same identity.
    uow.copy("event_seen", ("id_hash", *Seen._fields), [(key, *found[key]) for key in sorted(found)])
    return found


def _quarantine(uow: UnitOfWork, event: Incoming, first: Seen) -> None:
    uow.run(
        "INSERT INTO quarantined_event (company, source, id, id_hash, content_hash, data, first_partition, first_pos) "
        "VALUES (:company, :source, :id, :id_hash, :content_hash, :data, :partition, :pos) ON CONFLICT DO NOTHING",
        company=event.company, source=event.event.source, id=event.event.id, id_hash=event.id_hash,
        content_hash=event.event.content_hash, data=event.event.text, partition=first.partition, pos=first.pos,
    )  # fmt: skip
