"""Accepted events, what they wait for, and what was wrong with them: all SQL of the intake but the accepting."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.metrics.events.accept import TOPIC
from services.metrics.events.cloudevents import type_prefix
from services.metrics.mappings.rules import Fault
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import plain

Place = tuple[int, int]
"""Partition and position in `metrics.source-events`."""
# Behind this service's own reader, and not parked: what has been handled.
_HANDLED = (
    "EXISTS (SELECT FROM log.position p WHERE p.topic = r.topic AND p.partition = r.partition AND r.pos < p.next_pos) "
    "AND NOT EXISTS (SELECT FROM log.parked k WHERE (k.topic, k.partition, k.pos) = (r.topic, r.partition, r.pos))"
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted event where it stands in the log."""

    partition: int
    pos: int
    data: str
    recorded_at: datetime


def at(uow: UnitOfWork, company: str, places: Sequence[Place]) -> list[Accepted]:
    """The events at these places, in the order of the log."""
    rows: Sequence[Any] = uow.rows(
        "SELECT r.partition, r.pos, r.data, r.recorded_at FROM log.record r "
        "JOIN unnest(CAST(:partitions AS int[]), CAST(:positions AS bigint[])) AS e(partition, pos) "
        "ON r.partition = e.partition AND r.pos = e.pos "
        f"WHERE r.topic = :topic AND r.company = :company AND {_HANDLED} ORDER BY r.partition, r.pos",
        topic=TOPIC, company=company, partitions=[p for p, _ in places], positions=[p for _, p in places],
    )  # fmt: skip
    return [Accepted(*row) for row in rows]


def accepted_at(uow: UnitOfWork, company: str, place: Place) -> Accepted:
    """The event at a place, handled or not."""
    row: Any = uow.row(
        "SELECT partition, pos, data, recorded_at FROM log.record "
        "WHERE topic = :topic AND company = :company AND partition = :partition AND pos = :pos",
        topic=TOPIC, company=company, partition=place[0], pos=place[1],
    )  # fmt: skip
    assert row is not None, "what event_seen names is in the log, which is never trimmed"
    return Accepted(*row)


def of_type(uow: UnitOfWork, company: str, event_type: str) -> list[Place]:
    """The places of every handled event of a type. Reads the company's whole log: only for mappings that change."""
    rows: Sequence[Any] = uow.rows(
        "SELECT r.partition, r.pos FROM log.record r "
        f"WHERE r.topic = :topic AND r.company = :company AND starts_with(r.data, :prefix) AND {_HANDLED} "
        "ORDER BY r.partition, r.pos",
        topic=TOPIC, company=company, prefix=type_prefix(event_type),
    )  # fmt: skip
    return [(row[0], row[1]) for row in rows]


def waiting_under(uow: UnitOfWork, company: str, references: Collection[str]) -> list[Place]:
    """The places of the events that wait under any of these references."""
    rows: Sequence[Any] = uow.rows(
        "SELECT DISTINCT partition, pos FROM waiting WHERE company = :company AND reference = ANY(:references) "
        "ORDER BY partition, pos",
        company=company, references=sorted(references),
    )  # fmt: skip
    return [(row[0], row[1]) for row in rows]


def forget(uow: UnitOfWork, company: str, places: Sequence[Place]) -> None:
    """Takes events out of the lists of what waits and what had faults, before they are judged again."""
    for table in ("waiting", "event_fault"):
        uow.run(
            f"DELETE FROM {table} t USING unnest(CAST(:partitions AS int[]), CAST(:positions AS bigint[])) "
            "AS e(partition, pos) WHERE t.company = :company AND t.partition = e.partition AND t.pos = e.pos",
            company=company, partitions=[p for p, _ in places], positions=[p for _, p in places],
        )  # fmt: skip


def remember(
    uow: UnitOfWork, company: str, waits: Iterable[tuple[str, Place]], faults: Iterable[tuple[Place, Sequence[Fault]]]
) -> None:
    """Lists what waits, by reference, and the faults of events."""
    rows = sorted({(company, reference, *place) for reference, place in waits})
    if rows:
        uow.copy("waiting", ("company", "reference", "partition", "pos"), rows)
    found: list[tuple[Any, ...]] = [
        (*place, number, company, fault.mapping, fault.item, fault.rule, fault.field, fault.reason)
        for place, each in faults
        for number, fault in enumerate(each)
    ]
    if found:
        columns = ("partition", "pos", "number", "company", "mapping", "item", "rule", "field", "reason")
        uow.copy("event_fault", columns, found)


def state_of(uow: UnitOfWork, company: str, place: Place) -> dict[str, Any]:
    """What became of an event: how far it is, what it waits for, its faults, what it made."""
    where = {"company": company, "partition": place[0], "pos": place[1]}
    handled = uow.value(
        "SELECT next_pos > :pos FROM log.position WHERE topic = :topic AND partition = :partition", topic=TOPIC, **where
    )
    parked = uow.value(
        "SELECT coalesce(error, 'waits for an earlier event of its key that is parked') FROM log.parked "
        "WHERE topic = :topic AND partition = :partition AND pos = :pos", topic=TOPIC, **where,
    )  # fmt: skip
    at_place = "WHERE company = :company AND partition = :partition AND pos = :pos"
    waits = [row[0] for row in uow.rows(f"SELECT reference FROM waiting {at_place} ORDER BY reference", **where)]
    faults = uow.rows(f"SELECT mapping, item, rule, field, reason FROM event_fault {at_place} ORDER BY number", **where)
    made = uow.rows(
        "SELECT mapping, mapping_version, item, rule, metric, effect, subject, day, value, source_unit, key, document, "
        f"state FROM observation {at_place} AND removed IS NULL ORDER BY mapping, item, rule", **where,
    )  # fmt: skip
    return {
        "status": _status(bool(handled), parked, waits), "error": parked, "waits_for": waits,
        "faults": [row._asdict() for row in faults], "observations": [_observation(row) for row in made],
    }  # fmt: skip


def _observation(row: Any) -> dict[str, Any]:
    return {**row._asdict(), "value": None if row.value is None else plain(row.value)}


def _status(handled: bool, parked: str | None, waits: list[str]) -> str:
    if parked is not None:
        return "parked"
    if not handled:
        return "accepted"
    if any(reference.startswith("mapping:") for reference in waits):
        return "no_mapping"
    return "waiting" if waits else "processed"


def waiting(uow: UnitOfWork, company: str, reference: str | None, after: list[Any], limit: int) -> Sequence[Any]:
    """Waiting events with their references, by reference and place."""
    return uow.rows(
        "SELECT w.reference, w.partition, w.pos, r.data FROM waiting w JOIN log.record r "
        "ON r.topic = :topic AND r.partition = w.partition AND r.pos = w.pos WHERE w.company = :company "
        "AND (CAST(:reference AS text) IS NULL OR w.reference = :reference) "
        "AND (w.reference, w.partition, w.pos) > (:after_reference, :after_partition, :after_pos) "
        "ORDER BY w.reference, w.partition, w.pos LIMIT :limit",
        topic=TOPIC, company=company, reference=reference, limit=limit,
        after_reference=after[0], after_partition=after[1], after_pos=after[2],
    )  # fmt: skip


def waiting_counts(uow: UnitOfWork, company: str, after: str, limit: int) -> Sequence[Any]:
    """How many events wait under each reference."""
    return uow.rows(
        "SELECT reference, count(*) AS events FROM waiting WHERE company = :company AND reference > :after "
        "GROUP BY reference ORDER BY reference LIMIT :limit",
        company=company, after=after, limit=limit,
    )  # fmt: skip


def with_faults(uow: UnitOfWork, company: str, after: list[int], limit: int) -> Sequence[Any]:
    """The faults of events, in the order of the log."""
    return uow.rows(
        "SELECT f.partition, f.pos, f.number, f.mapping, f.item, f.rule, f.field, f.reason, r.data FROM event_fault f "
        "JOIN log.record r ON r.topic = :topic AND r.partition = f.partition AND r.pos = f.pos "
        "WHERE f.company = :company AND (f.partition, f.pos, f.number) > (:partition, :pos, :number) "
        "ORDER BY f.partition, f.pos, f.number LIMIT :limit",
        topic=TOPIC, company=company, partition=after[0], pos=after[1], number=after[2], limit=limit,
    )  # fmt: skip


def quarantined(uow: UnitOfWork, company: str, source: str | None, event_id: str | None, after: int, limit: int) -> Any:
    """Events that came under a known (source, id) with another content, with the first one of each."""
    return uow.rows(
        "SELECT q.number, q.source, q.id, q.data, q.first_partition, q.first_pos, q.recorded_at, r.data AS first_data "
        "FROM quarantined_event q JOIN log.record r ON r.topic = :topic AND r.partition = q.first_partition "
        "AND r.pos = q.first_pos WHERE q.company = :company AND q.number > :after "
        "AND (CAST(:source AS text) IS NULL OR q.source = :source) AND (CAST(:id AS text) IS NULL OR q.id = :id) "
        "ORDER BY q.number LIMIT :limit",
        topic=TOPIC, company=company, source=source, id=event_id, after=after, limit=limit,
    )  # fmt: skip


def secret_of(uow: UnitOfWork, company: str, source: str) -> str | None:
    """The secret a source signs with."""
    found: str | None = uow.value(
        "SELECT secret FROM source_secret WHERE company = :company AND source = :source", company=company, source=source
    )
    return found


def keep_secret(uow: UnitOfWork, company: str, source: str, secret: str) -> None:
    """Sets or replaces it."""
    uow.run(
        "INSERT INTO source_secret (company, source, secret, recorded_by) VALUES (:company, :source, :secret, :actor) "
        "ON CONFLICT (company, source) DO UPDATE SET secret = excluded.secret, recorded_by = excluded.recorded_by, "
        "recorded_at = now()",
        company=company, source=source, secret=secret, actor=uow.actor,
    )  # fmt: skip


def last_tick(uow: UnitOfWork, company: str) -> datetime | None:
    """The instant of the company's last tick."""
    found: datetime | None = uow.value("SELECT at FROM company_clock WHERE company = :company", company=company)
    return found


def advance(uow: UnitOfWork, company: str, at: datetime) -> bool:
    """Moves the company's clock on; whether it was behind. One row decides, so no instant is ticked twice."""
    return bool(
        uow.run(
            "INSERT INTO company_clock (company, at) VALUES (:company, :at) "
            "ON CONFLICT (company) DO UPDATE SET at = excluded.at WHERE company_clock.at < excluded.at",
            company=company, at=at,
        )
    )  # fmt: skip


def companies(uow: UnitOfWork) -> list[str]:
    """Every company that is known."""
    return [row[0] for row in uow.rows("SELECT DISTINCT company FROM configuration WHERE kind = 'companies'")]
