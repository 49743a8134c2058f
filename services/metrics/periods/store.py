"""What is known of a period's completeness, and where its close is."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any

from services.metrics.mappings.rules import Event
from services.metrics.mappings.store import calendar
from services.metrics.readings.versions import Records
from shared.closing import closed
from shared.configuration import all_in_force
from shared.contracts.base import Closing, Missing, PeriodClosed
from shared.contracts.metrics import EventAccepted, Source
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.periods import Calendar, Period, bounds, business_day

from . import rules

_MARKS = Records("source text, day date, partition int, pos bigint, at timestamptz, events bigint")


def mark(uow: UnitOfWork, company: str, known: Calendar | None, events: Iterable[tuple[int, int, Event]]) -> None:
    """Counts handled events by source and day. Before the company's calendar is known, days are those of UTC."""
    found = dict[tuple[str, date, int], list[Any]]()
    for partition, pos, event in events:
        day = business_day(known, event.time) if known else event.time.date()
        each = found.setdefault((event.source, day, partition), [pos, event.time, 0])
        each[:] = max(each[0], pos), max(each[1], event.time), each[2] + 1
    uow.run(
        f"INSERT INTO source_mark (company, {_MARKS.names}) SELECT :company, r.* FROM {_MARKS.named('r')} "
        "ON CONFLICT (company, source, day, partition) DO UPDATE SET pos = greatest(source_mark.pos, excluded.pos), "
        "at = greatest(source_mark.at, excluded.at), events = source_mark.events + excluded.events",
        company=company, rows=_MARKS.json((*key, *each) for key, each in found.items()),
    )  # fmt: skip


def high_water(uow: UnitOfWork, company: str, before: date) -> Sequence[Any]:
    """How far each source was, of days before one: by source the latest time, events, and positions by partition."""
    return uow.rows(
        "SELECT source, max(at) AS at, CAST(sum(events) AS bigint) AS events, jsonb_object_agg(partition, pos) AS pos "
        "FROM (SELECT source, partition, max(at) AS at, max(pos) AS pos, sum(events) AS events FROM source_mark "
        "WHERE company = :company AND day < :before GROUP BY source, partition) AS each GROUP BY source",
        company=company, before=before,
    )  # fmt: skip


def missing(uow: UnitOfWork, company: str, period: Period) -> list[Missing]:
    """Everything without which the period is not complete, as far as events have been handled."""
    known = calendar(uow, company)
    assert known, "the period was read by it"
    in_force = all_in_force(uow, Source, company, period.end - rules.ONE_DAY)
    sources = {code: each.content for code, each in in_force.items()}
    days: dict[str, set[date]] = {}
    for row in uow.rows(
        "SELECT DISTINCT source, day FROM source_mark WHERE company = :company AND day >= :start AND day < :end",
        company=company, start=period.start, end=period.end,
    ):  # fmt: skip
        days.setdefault(row.source, set()).add(row.day)
    first, until = bounds(known, period)
    waiting = uow.rows(
        "SELECT w.reference, r.data::json->>'source' AS source, count(*) AS n FROM waiting w JOIN log.record r "
        "ON r.topic = :topic AND (r.partition, r.pos) = (w.partition, w.pos) WHERE w.company = :company "
        "AND (r.data::json->>'time')::timestamptz >= :first AND (r.data::json->>'time')::timestamptz < :until "
        "GROUP BY 1, 2", topic=EventAccepted.TOPIC, company=company, first=first, until=until,
    )  # fmt: skip
    parked = uow.rows(
        "SELECT topic, count(*) AS n FROM log.parked WHERE company = :company AND topic LIKE '%.%' GROUP BY topic "
        "ORDER BY topic", company=company,
    )  # fmt: skip
    return [
        *rules.silent(sources, days, period, known),
        *rules.waiting(sources.values(), [(row.reference, row.source, row.n) for row in waiting]),
        *(Missing(kind="parked", what=row.topic, count=row.n) for row in parked),
    ]


def waiting_counts(uow: UnitOfWork, company: str) -> dict[str, int]:
    """How many events wait under each reference, of whatever time."""
    rows = uow.rows("SELECT reference, count(*) AS n FROM waiting WHERE company = :c GROUP BY reference", c=company)
    return {row.reference: row.n for row in rows}


def open_before(uow: UnitOfWork, company: str, period: Period) -> str | None:
    """The first earlier period of the same kind that has figures and is not closed."""
    label: str | None = uow.value(
        "SELECT period FROM reading r WHERE company = :company AND kind = :kind AND start < :start AND latest "
        "AND value IS NOT NULL AND NOT EXISTS (SELECT FROM certificate c WHERE c.company = r.company "
        "AND c.period = r.period) ORDER BY start LIMIT 1",
        company=company, kind=period.kind, start=period.start,
    )  # fmt: skip
    return label


def has_read_its_settings(uow: UnitOfWork, company: str) -> bool:
    """Whether every setting that was accepted here has had its effect. The company's lock keeps further ones out."""
    return not uow.value(
        "SELECT EXISTS (SELECT FROM log.record r LEFT JOIN log.position p USING (topic, partition) "
        "WHERE r.topic = :topic AND r.company = :company AND r.pos >= coalesce(p.next_pos, 0))",
        topic=Source.TOPIC, company=company,
    )  # fmt: skip


def clock(uow: UnitOfWork, company: str) -> datetime | None:
    """The instant of the company's last tick; it does not move on until this transaction ends."""
    found: datetime | None = uow.value("SELECT at FROM company_clock WHERE company = :c FOR UPDATE", c=company)
    return found


# --- where a close is ---


def asked(uow: UnitOfWork, company: str, label: str) -> Any | None:
    """The last attempt to close a period."""
    return uow.row("SELECT * FROM period_close WHERE company = :c AND period = :p", c=company, p=label)


def ask(uow: UnitOfWork, company: str, closing: Closing, at: datetime) -> int:
    """Notes an attempt; its number."""
    return int(uow.value(
        'INSERT INTO period_close (company, period, attempt, state, by, "override", asked_at, missing) '
        "VALUES (:company, :period, 1, 'closing', :by, :override, :at, '[]') ON CONFLICT (company, period) DO UPDATE "
        "SET (attempt, state, by, \"override\", asked_at, missing) = (period_close.attempt + 1, excluded.state, "
        'excluded.by, excluded."override", excluded.asked_at, excluded.missing) RETURNING attempt',
        company=company, period=closing.period, by=closing.by, override=closing.override, at=at,
    ))  # fmt: skip


def ended(uow: UnitOfWork, company: str, label: str, state: str, missing: Sequence[Missing]) -> None:
    """Notes how the attempt ended."""
    uow.run(
        "UPDATE period_close SET state = :state, missing = :missing WHERE company = :company AND period = :label",
        company=company, label=label, state=state, missing=Jsonb([each.model_dump() for each in missing]),
    )  # fmt: skip


def service_closed(uow: UnitOfWork, company: str, event: PeriodClosed, recorded_at: datetime) -> None:
    """Keeps the word of a service that it closed a period; the same again changes nothing."""
    uow.run(
        'INSERT INTO service_closed (company, period, service, change, "at", certificate, recorded_at) '
        "VALUES (:company, :period, :service, :change, :at, :certificate, :recorded_at) ON CONFLICT DO NOTHING",
        company=company, recorded_at=recorded_at,
        **event.model_dump(include={"period", "service", "change", "at", "certificate"}),
    )  # fmt: skip


def closed_by(uow: UnitOfWork, company: str, label: str) -> Sequence[Any]:
    """The services that have closed a period."""
    return uow.rows(
        "SELECT * FROM service_closed WHERE company = :company AND period = :label ORDER BY recorded_at, service",
        company=company, label=label,
    )  # fmt: skip


def state_of(uow: UnitOfWork, company: str, label: str) -> str:
    """`open`, `closing`, `refused`, or `closed` once every service has closed it."""
    if closed(uow, company, label):
        counts = Counter(row.service for row in closed_by(uow, company, label))
        return "closed" if counts.keys() >= set(rules.SERVICES) else "closing"
    found = asked(uow, company, label)
    return found.state if found else "open"
