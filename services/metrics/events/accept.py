"""The accept transaction: each (source, id) once and for ever, a receipt for each event, the new ones into the log."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from psycopg.errors import UniqueViolation

from services.metrics.events.cloudevents import CloudEvent
from shared.contracts.metrics import EventAccepted
from shared.database.unit_of_work import UnitOfWork
from shared.log.append import Outgoing, append

TOPIC = EventAccepted.TOPIC
Status = Literal["accepted", "duplicate", "quarantined"]


@dataclass(frozen=True, slots=True)
class Incoming:
    """An event on its way in, with its company and the hash that names it there for ever."""

    company: str
    event: CloudEvent
    id_hash: bytes
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of an event; the position is that of the first event with its (source, id)."""

    status: Status
    partition: int
    pos: int


@dataclass(frozen=True, slots=True)
class _Seen:
    content_hash: bytes
    partition: int
    pos: int


def incoming(company: str, event: CloudEvent, traceparent: str | None = None) -> Incoming:
    """The event with its identity; the trace it belongs to is its own, else its request's."""
    return Incoming(company, event, identity(company, event.source, event.id), event.traceparent or traceparent)


def identity(company: str, source: str, event_id: str) -> bytes:
    """What `event_seen` knows an event by [16 bytes]. The parts' lengths go in, so that no two run together."""
    text = f"{len(company)}:{company}{len(source)}:{source}{event_id}"
    return hashlib.sha256(text.encode()).digest()[:16]


def accept(uow: UnitOfWork, events: Sequence[Incoming]) -> list[Fate]:
    """Accepts events, in order; of one (source, id) the first counts, here and for ever.

    Called last in its transaction: it takes the log's counters.
    """
    first: dict[bytes, Incoming] = {}
    for event in events:
        first.setdefault(event.id_hash, event)
    known, new = _append_new(uow, list(first.values()))
    fates, taken = [], set()
    for event in events:
        seen, content = known[event.id_hash], event.event.content_hash
        status: Status = "quarantined" if seen.content_hash != content else "duplicate"
        if event.id_hash in new and event.id_hash not in taken:
            taken.add(event.id_hash)
            status = "accepted"
        fates.append(Fate(status, seen.partition, seen.pos))
    _quarantine(uow, [pair for pair in zip(events, fates, strict=True) if pair[1].status == "quarantined"])
    return fates


def _append_new(uow: UnitOfWork, events: list[Incoming]) -> tuple[dict[bytes, _Seen], set[bytes]]:
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


def look_up(uow: UnitOfWork, hashes: list[bytes]) -> dict[bytes, _Seen]:
    """The events that were accepted under these identities."""
    rows: Sequence[Any] = uow.rows(
        "SELECT id_hash, content_hash, partition, pos FROM event_seen WHERE id_hash = ANY(:hashes)", hashes=hashes
    )
    return {bytes(row[0]): _Seen(bytes(row[1]), row[2], row[3]) for row in rows}


def _append(uow: UnitOfWork, events: list[Incoming]) -> dict[bytes, _Seen]:
    places = append(uow, [_outgoing(event) for event in events])
    found = {
        event.id_hash: _Seen(event.event.content_hash, partition, pos)
        for event, (_, partition, pos) in zip(events, places, strict=True)
    }
    # In one order everywhere: a transaction waits here for another that inserts the same identity.
    rows = [(key, found[key].content_hash, found[key].partition, found[key].pos) for key in sorted(found)]
    uow.copy("event_seen", ("id_hash", "content_hash", "partition", "pos"), rows)
    return found


def _outgoing(incoming: Incoming) -> Outgoing:
    event = incoming.event
    key = f"{event.source} {event.subject or event.id}"
    return Outgoing(TOPIC, key, EventAccepted.TYPE, incoming.company, event.text, incoming.traceparent)


def _quarantine(uow: UnitOfWork, events: list[tuple[Incoming, Fate]]) -> None:
    for event, fate in events:
        uow.run(
            "INSERT INTO quarantined_event "
            "(company, source, id, id_hash, content_hash, data, first_partition, first_pos) VALUES "
            "(:company, :source, :id, :id_hash, :content_hash, :data, :partition, :pos) "
            "ON CONFLICT (id_hash, content_hash) DO NOTHING",
            company=event.company, source=event.event.source, id=event.event.id, id_hash=event.id_hash,
            content_hash=event.event.content_hash, data=event.event.text, partition=fate.partition, pos=fate.pos,
        )  # fmt: skip
