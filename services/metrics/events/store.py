"""Accepted events, what they wait for, and what was wrong with them: all SQL of the intake but the accepting."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from services.metrics.events.accept import TOPIC
from services.metrics.events.cloudevents import type_prefix
from services.metrics.mappings.rules import EventFacts, Fault
from shared.database.unit_of_work import UnitOfWork

MOST_FAULTS = 100  # listed of one event

Place = tuple[int, int]
"""Partition and position in `metrics.source-events`."""
# Behind this service's own reader, and not parked: what has been handled.
_HANDLED = (
    "EXISTS (SELECT FROM log.position p WHERE p.topic = r.topic AND p.partition = r.partition AND r.pos < p.next_pos) "
    "AND NOT EXISTS (SELECT FROM log.parked k WHERE (k.topic, k.partition, k.pos) = (r.topic, r.partition, r.pos))"
)
_PLACES = "unnest(CAST(:partitions AS int[]), CAST(:positions AS bigint[])) AS e(partition, pos)"
_POSITION = "json_build_object('topic', r.topic, 'partition', r.partition, 'pos', r.pos)"
_LISTED = (
    "r.data::json->>'source' AS source, r.data::json->>'id' AS id, r.data::json->>'type' AS type, "
    f"r.data::json->>'time' AS time, {_POSITION} AS position"
)


def _arrays(places: Sequence[Place]) -> dict[str, list[int]]:
    return {"partitions": [place[0] for place in places], "positions": [place[1] for place in places]}


def _places(uow: UnitOfWork, sql: str, **params: Any) -> list[Place]:
    rows: Sequence[Any] = uow.rows(sql, **params)
    return [(row.partition, row.pos) for row in rows]


def at(uow: UnitOfWork, company: str, places: Sequence[Place]) -> Sequence[Any]:
    """Partition, position and text of the handled events at these places."""
    return uow.rows(
        f"SELECT r.partition, r.pos, r.data FROM log.record r JOIN {_PLACES} USING (partition, pos) "
        f"WHERE r.topic = :topic AND r.company = :company AND {_HANDLED} ORDER BY r.partition, r.pos",
        topic=TOPIC, company=company, **_arrays(places),
    )  # fmt: skip


def of_type(uow: UnitOfWork, company: str, event_type: str) -> list[Place]:
    """The places of every handled event of a type. Reads the company's whole log: only for mappings that change."""
    return _places(
        uow, "SELECT r.partition, r.pos FROM log.record r "
        f"WHERE r.topic = :topic AND r.company = :company AND starts_with(r.data, :prefix) AND {_HANDLED}",
        topic=TOPIC, company=company, prefix=type_prefix(event_type),
    )  # fmt: skip


def waiting_under(uow: UnitOfWork, company: str, references: Collection[str]) -> list[Place]:
    """The places of the events that wait under any of these references."""
    sql = "SELECT partition, pos FROM waiting WHERE company = :company AND reference = ANY(:references)"
    return _places(uow, sql, company=company, references=list(references))


def forget(uow: UnitOfWork, company: str, places: Sequence[Place]) -> None:
    """Takes events out of the lists of what waits and what had faults, before they are judged again."""
    for table in ("waiting", "event_fault"):
        uow.run(
            f"DELETE FROM {table} t USING {_PLACES} "
            "WHERE t.company = :company AND t.partition = e.partition AND t.pos = e.pos",
            company=company, **_arrays(places),
        )  # fmt: skip


def _first(faults: list[Fault]) -> list[Fault]:
    """The faults of one event that are worth listing, and how many more there are."""
    if len(faults) <= MOST_FAULTS:
        return faults
    last = faults[MOST_FAULTS]
    more = Fault(last.mapping, last.item, last.rule, last.field, f"and {len(faults) - MOST_FAULTS} more faults")
    return [*faults[:MOST_FAULTS], more]


def remember(uow: UnitOfWork, company: str, batch: Iterable[EventFacts]) -> None:
    """Lists what events wait for, and their faults."""
    waits, faults = set[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for event in batch:
        waits.update((company, reference, event.partition, event.pos) for reference in event.waits)
        faults.extend(
            (company, event.partition, event.pos, number, each.mapping, each.item, each.rule, each.field, each.reason)
            for number, each in enumerate(_first(event.faults))
        )
    if waits:
        uow.copy("waiting", ("company", "reference", "partition", "pos"), sorted(waits))
    if faults:
        columns = ("company", "partition", "pos", "number", "mapping", "item", "rule", "field", "reason")
        uow.copy("event_fault", columns, faults)


def outcomes(uow: UnitOfWork, company: str, places: Sequence[Place]) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """What events wait for, and their faults, in the order given."""
    sql = "FROM {table} t JOIN " + _PLACES + " USING (partition, pos) WHERE t.company = :company ORDER BY {order}"
    found: dict[Place, tuple[list[str], list[dict[str, Any]]]] = {place: ([], []) for place in places}
    for row in uow.rows("SELECT t.* " + sql.format(table="waiting", order="reference"), company=company,
                        **_arrays(places)):  # fmt: skip
        found[row.partition, row.pos][0].append(row.reference)
    for row in uow.rows("SELECT t.* " + sql.format(table="event_fault", order="number"), company=company,
                        **_arrays(places)):  # fmt: skip
        names = ("mapping", "item", "rule", "field", "reason")
        found[row.partition, row.pos][1].append({name: getattr(row, name) for name in names})
    return [found[place] for place in places]


def event_at(uow: UnitOfWork, company: str, place: Place) -> dict[str, Any]:
    """An accepted event with what became of it: how far it is, what it waits for, its faults, what it made."""
    where = {"company": company, "partition": place[0], "pos": place[1]}
    at_place = "WHERE company = :company AND partition = :partition AND pos = :pos"
    event: Any = uow.row(
        f"SELECT data AS event, {_POSITION} AS position, r.recorded_at AS accepted_at, {_HANDLED} AS handled, "
        "(SELECT coalesce(error, 'waits for an earlier event of its key that is parked') FROM log.parked k "
        f"WHERE (k.topic, k.partition, k.pos) = (r.topic, r.partition, r.pos)) AS error FROM log.record r {at_place} "
        "AND topic = :topic", topic=TOPIC, **where,
    )  # fmt: skip
    waits = uow.rows(f"SELECT reference FROM waiting {at_place} ORDER BY reference", **where)
    faults = uow.rows(f"SELECT mapping, item, rule, field, reason FROM event_fault {at_place} ORDER BY number", **where)
    made = uow.rows(
        "SELECT mapping, mapping_version, item, rule, metric, effect, subject, day, trim_scale(value)::text AS value, "
        f"source_unit, key, document, state FROM observation {at_place} AND removed IS NULL "
        "ORDER BY mapping, item, rule", **where,
    )  # fmt: skip
    references = [row[0] for row in waits]
    return {
        "event": event.event, "position": event.position, "accepted_at": event.accepted_at, "error": event.error,
        "status": _status(event, references), "waits_for": references,
        "faults": [row._asdict() for row in faults], "observations": [row._asdict() for row in made],
    }  # fmt: skip


def _status(event: Any, waits_for: list[str]) -> str:
    if event.error or not event.handled:
        return "parked" if event.error else "accepted"
    if any(reference.startswith("mapping:") for reference in waits_for):
        return "no_mapping"
    return "waiting" if waits_for else "processed"


def waiting(uow: UnitOfWork, company: str, reference: str | None, after: list[Any], limit: int) -> Sequence[Any]:
    """Waiting events with their references, by reference and place."""
    return uow.rows(
        f"SELECT w.reference, w.partition, w.pos, {_LISTED} FROM waiting w "
        "JOIN log.record r ON r.topic = :topic AND r.partition = w.partition AND r.pos = w.pos "
        "WHERE w.company = :company AND (CAST(:reference AS text) IS NULL OR w.reference = :reference) "
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
        f"SELECT f.*, {_LISTED} FROM event_fault f "
        "JOIN log.record r ON r.topic = :topic AND r.partition = f.partition AND r.pos = f.pos "
        "WHERE f.company = :company AND (f.partition, f.pos, f.number) > (:partition, :pos, :number) "
        "ORDER BY f.partition, f.pos, f.number LIMIT :limit",
        topic=TOPIC, company=company, partition=after[0], pos=after[1], number=after[2], limit=limit,
    )  # fmt: skip


def quarantined(
    uow: UnitOfWork, company: str, source: str | None, event_id: str | None, after: int, limit: int
) -> Sequence[Any]:
    """Events that came under a known (source, id) with another content, with the first one of each."""
    return uow.rows(
        f"SELECT q.number, q.source, q.id, q.data AS event, r.data AS first, {_POSITION} AS first_position, "
        "q.recorded_at FROM quarantined_event q JOIN log.record r "
        "ON r.topic = :topic AND r.partition = q.first_partition AND r.pos = q.first_pos "
        "WHERE q.company = :company AND q.number > :after "
        "AND (CAST(:source AS text) IS NULL OR q.source = :source) AND (CAST(:id AS text) IS NULL OR q.id = :id) "
        "ORDER BY q.number LIMIT :limit",
        topic=TOPIC, company=company, source=source, id=event_id, after=after, limit=limit,
    )  # fmt: skip


def secret_of(uow: UnitOfWork, company: str, source: str) -> Any:
    """The secret a source signs with, or None."""
    sql = "SELECT secret FROM source_secret WHERE company = :company AND source = :source"
    return uow.value(sql, company=company, source=source)


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
    sql = (
        "INSERT INTO company_clock (company, at) VALUES (:company, :at) "
        "ON CONFLICT (company) DO UPDATE SET at = excluded.at WHERE company_clock.at < excluded.at"
    )
    return uow.run(sql, company=company, at=at) > 0


def known(uow: UnitOfWork, named: Collection[str]) -> set[str]:
    """Those of these companies that exist."""
    sql = "SELECT DISTINCT company FROM configuration WHERE kind = 'companies' AND company = ANY(:named)"
    return {row[0] for row in uow.rows(sql, named=list(named))}


def companies(uow: UnitOfWork) -> list[str]:
    """Every company that is known."""
    return [row[0] for row in uow.rows("SELECT DISTINCT company FROM configuration WHERE kind = 'companies'")]
