"""Observations in the database: one statement however many there are."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields, replace
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple

from services.metrics.observations.rules import COUNTS, DURATIONS, Observation, Standing
from services.metrics.readings.versions import Records
from shared.database.unit_of_work import UnitOfWork

_COLUMNS = tuple(field.name for field in fields(Observation))
_OTHERS = tuple(name for name in _COLUMNS if name != "value")
_values = attrgetter(*_OTHERS)
_SELECT = f"SELECT o.id, o.state, o.mate, {', '.join('o.' + column for column in _COLUMNS)} FROM observation o "
_MEMBERS = Records("subject text, start date, until date")


class Stored(NamedTuple):
    """A row that holds: an observation and how it stands."""

    id: int
    observation: Observation
    standing: Standing


def _standing(uow: UnitOfWork, company: str, condition: str, joined: str = "", **params: Any) -> list[Stored]:
    """The rows that hold and meet a condition."""
    sql = f"{_SELECT} {joined} WHERE o.company = :company AND o.removed IS NULL AND {condition}"
    rows: Sequence[Any] = uow.rows(sql, company=company, **params)
    found = []
    for number, state, mate, *values in rows:
        each = Observation(*values)
        standing = Standing(state, each.value if state == COUNTS else None, mate)
        if each.effect in DURATIONS:  # its value is the duration: what it stands for, not what it says
            each = replace(each, value=None)
        found.append(Stored(number, each, standing))
    return found


def of_events(uow: UnitOfWork, company: str, places: Sequence[tuple[int, int]]) -> list[Stored]:
    """What events were folded into before. New events are recognised by standing after all others."""
    rows = uow.rows(
        "SELECT p, coalesce((SELECT max(pos) FROM observation WHERE company = :company AND partition = p), -1) "
        "FROM unnest(CAST(:partitions AS int[])) AS p",
        company=company, partitions=sorted({partition for partition, _ in places}),
    )  # fmt: skip
    last: dict[int, int] = dict(map(tuple, rows))
    again = [(partition, pos) for partition, pos in places if pos <= last[partition]]
    events = "unnest(CAST(:partitions AS int[]), CAST(:positions AS bigint[])) AS e(partition, pos)"
    return _standing(
        uow, company, "true", f"JOIN {events} ON o.partition = e.partition AND o.pos = e.pos",
        partitions=[each[0] for each in again], positions=[each[1] for each in again],
    ) if again else []  # fmt: skip


def of_documents(uow: UnitOfWork, company: str, documents: Collection[str]) -> list[Stored]:
    """Everything that stands in documents."""
    condition = "o.document = ANY(:documents) AND o.document IS NOT NULL"
    return _standing(uow, company, condition, documents=sorted(documents)) if documents else []


def of_keys(uow: UnitOfWork, company: str, keys: Collection[tuple[str, str]]) -> list[Stored]:
    """Everything that stands under (metric, key)."""
    if not keys:
        return []
    # By key alone, as the index has it: without fresh statistics the planner takes any other index for as good.
    condition = "o.key = ANY(:keys) AND o.key IS NOT NULL"
    found = _standing(uow, company, condition, keys=sorted({key for _, key in keys}))
    return [each for each in found if (each.observation.metric, each.observation.key) in keys]


def converted(uow: UnitOfWork, company: str, metrics: Collection[str], unit: str, from_day: date) -> list[Stored]:
    """What stands in metrics and came in a unit, from a day on."""
    condition = "o.metric = ANY(:metrics) AND o.day >= :day AND o.source_unit = :unit AND o.effect = ANY(:effects)"
    given: dict[str, Any] = {"metrics": sorted(metrics), "day": from_day, "unit": unit, "effects": ["add", "replace"]}
    return _standing(uow, company, condition, **given) if metrics else []


def write(
    uow: UnitOfWork, company: str, change: int, removed: Collection[int], added: Iterable[tuple[Observation, Standing]]
) -> None:
    """Ends rows with a change and begins others."""
    if removed:
        uow.run(
            "UPDATE observation SET removed = :change WHERE id = ANY(:ids) AND removed IS NULL",
            change=change, ids=sorted(removed),
        )  # fmt: skip
    rows = (
        (company, change, how.state, how.mate, how.value if each.effect in DURATIONS else each.value, *_values(each))
        for each, how in added
    )
    uow.copy("observation", ("company", "added", "state", "mate", "value", *_OTHERS), rows)


# --- for readers: named as the API names them ---

_SHOWN = (
    "SELECT o.id AS number, o.event_id AS id, o.pos AS position, NULLIF(o.member, '') AS member, "
    "CAST(o.dims AS jsonb) AS dimensions, o.state, o.mate, o.added, o.removed, "
    + ", ".join(f"o.{name}" for name in _COLUMNS if name not in ("event_id", "pos", "member", "dims"))
    + " FROM observation o "
)


def counted(
    uow: UnitOfWork, company: str, metric: str, members: Sequence[tuple[str, date, date]], change: int, after: int,
    limit: int,
) -> Sequence[Any]:  # fmt: skip
    """The observations that counted after a change, of subjects on the days of theirs."""
    return uow.rows(
        f"{_SHOWN} JOIN {_MEMBERS.named('m')} ON o.subject = m.subject AND o.day >= m.start AND o.day < m.until "
        "WHERE o.company = :company AND o.metric = :metric AND o.state = 'counts' AND o.added <= :change "
        "AND (o.removed IS NULL OR o.removed > :change) AND o.id > :after ORDER BY o.id LIMIT :limit",
        company=company, metric=metric, change=change, after=after, limit=limit, rows=_MEMBERS.json(members),
    )  # fmt: skip


def subjects_of(uow: UnitOfWork, company: str, metric: str, start: date, end: date) -> list[str]:
    """The subjects of which there ever were observations of a metric between two days (the second excluded)."""
    rows = uow.rows(
        "SELECT DISTINCT subject FROM observation WHERE company = :company AND metric = :metric "
        "AND day >= :start AND day < :end",
        company=company, metric=metric, start=start, end=end,
    )  # fmt: skip
    return [row[0] for row in rows]


def of_event(uow: UnitOfWork, company: str, partition: int, pos: int) -> Sequence[Any]:
    """All that an event ever came to, ended rows included."""
    return uow.rows(
        f"{_SHOWN} WHERE o.company = :company AND o.partition = :partition AND o.pos = :pos "
        "ORDER BY o.mapping, o.item, o.rule, o.id",
        company=company, partition=partition, pos=pos,
    )  # fmt: skip


def unmatched(uow: UnitOfWork, company: str, metric: str, after: int, limit: int) -> Sequence[Any]:
    """Opens without a close, and closes without an open."""
    return uow.rows(
        f"{_SHOWN} WHERE o.company = :company AND o.metric = :metric AND o.removed IS NULL "
        "AND o.state = 'unmatched' AND o.id > :after ORDER BY o.id LIMIT :limit",
        company=company, metric=metric, after=after, limit=limit,
    )  # fmt: skip


def moved_by(uow: UnitOfWork, company: str, change: int) -> Sequence[Any]:
    """By metric, subject and day: how many observations a change let count, and how many it took out."""
    return uow.rows(
        "SELECT metric, subject, day, count(*) FILTER (WHERE added = :change) AS added, "
        "count(*) FILTER (WHERE removed = :change) AS removed FROM ("
        "SELECT metric, subject, day, added, removed FROM observation "
        "WHERE company = :company AND state = 'counts' AND added = :change UNION ALL "
        "SELECT metric, subject, day, NULL, removed FROM observation "
        "WHERE company = :company AND state = 'counts' AND removed = :change AND added <> :change) o "
        "GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        company=company, change=change,
    )  # fmt: skip
