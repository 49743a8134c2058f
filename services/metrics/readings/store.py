"""Definitions, cells, roll-ups and readings in the database."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from sqlalchemy import Engine

from services.metrics.observations.rules import CellKey
from services.metrics.readings.rules import Cell, Dated, Definitions, Finding, Key, Rollup, Tree
from shared.contracts.base import Configuration
from shared.contracts.goals import Company, Person, Unit
from shared.contracts.metrics import Conversion, Guard, Linkage, Metric, MetricsPolicy, Node, Rate
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.periods import Calendar

_KINDS: tuple[type[Configuration], ...] = (
    Company, Unit, Metric, Rate, Conversion, MetricsPolicy, Guard, Node, Linkage,
)  # fmt: skip
_loaded: "WeakKeyDictionary[Engine, dict[str, tuple[object, Definitions]]]" = WeakKeyDictionary()


class _Records:
    """Many rows as one JSON parameter `:rows`: faster than arrays, and needs no temporary table."""

    def __call__(self, columns: str, name: str) -> str:
        return f"json_to_recordset(CAST(:rows AS json)) AS {name}({columns})"

    @staticmethod
    def text(rows: Any) -> str:
        return msgspec.json.encode(rows).decode()

    def of(self, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> str:
        """Sorted, so that transactions meet rows in one order."""
        return self.text([dict(zip(names, row, strict=True)) for row in sorted(rows)])


records = _Records()


# --- definitions ---


def definitions(uow: UnitOfWork, company: str) -> Definitions:
    """The company's settings. Kept until one is recorded: settings are only ever added, so their number tells, together
    with the last transaction among them, which tells two apart of which one was rolled back."""
    version = uow.row(
        "SELECT count(*), max(xmin::text::bigint) FROM configuration WHERE company = :company AND kind = ANY(:kinds)",
        company=company, kinds=[kind.KIND for kind in _KINDS],
    )  # fmt: skip
    kept = _loaded.setdefault(uow.connection.engine, {})
    found = kept.get(company)
    if found is None or found[0] != version:
        found = kept[company] = (version, _load(uow, company))
    return found[1]


def _load(uow: UnitOfWork, company: str) -> Definitions:
    rows: Sequence[Any] = uow.rows(
        "SELECT kind, code, effective_from, version, content FROM configuration WHERE company = :company "
        "AND kind = ANY(:kinds) ORDER BY kind, code, effective_from, version",
        company=company, kinds=[kind.KIND for kind in _KINDS if kind is not Unit],
    )  # fmt: skip
    kinds = {kind.KIND: kind for kind in _KINDS}
    versions: dict[str, dict[str, list[tuple[date, int, Any]]]] = {kind: {} for kind in kinds}
    for kind, code, start, version, content in rows:
        versions[kind].setdefault(code, []).append((start, version, kinds[kind].model_validate(content)))
    dated = {kind: Dated(found) for kind, found in versions.items()}
    own = dated[Company.KIND].on("company")
    calendar = Calendar(own[1].time_zone, own[1].fiscal_year_start_month) if own else None
    return Definitions(
        calendar, Tree(_units(uow, company)), dated[Metric.KIND], dated[Rate.KIND], dated[Conversion.KIND],
        dated[MetricsPolicy.KIND], dated[Guard.KIND], dated[Node.KIND], dated[Linkage.KIND],
    )  # fmt: skip


Above = dict[str, list[tuple[date, str | None]]]


def _units(uow: UnitOfWork, company: str, without: Collection[tuple[str, int]] = ()) -> Above:
    return _above(
        uow.rows(
            "SELECT 'unit:' || code, effective_from, 'unit:' || (content->>'parent'), version FROM configuration "
            "WHERE company = :company AND kind = :kind ORDER BY code, effective_from, version",
            company=company, kind=Unit.KIND,
        ),
        without,
    )  # fmt: skip


def _people(uow: UnitOfWork, company: str, people: Collection[str], without: Collection[tuple[str, int]] = ()) -> Above:
    return _above(
        uow.rows(
            "SELECT 'person:' || code, effective_from, 'unit:' || (content->>'unit'), version FROM configuration "
            "WHERE company = :company AND kind = :kind AND code = ANY(:codes) ORDER BY code, effective_from, version",
            company=company, kind=Person.KIND, codes=[person.split(":", 1)[1] for person in people],
        ),
        without,
    )  # fmt: skip


def _above(rows: Iterable[Any], without: Collection[tuple[str, int]]) -> Above:
    found: Above = {}
    for subject, start, above, version in rows:
        if (subject, version) not in without:
            found.setdefault(subject, []).append((start, above))
    return found


def tree_with(uow: UnitOfWork, company: str, found: Definitions, subjects: Iterable[str]) -> Tree:
    """The units, and those of the subjects that are people."""
    people = sorted({subject for subject in subjects if subject.startswith("person:")})
    if not people:
        return found.tree
    return Tree({**found.tree.above, **_people(uow, company, people)})


def tree_before(uow: UnitOfWork, company: str, subjects: Iterable[str], without: Collection[tuple[str, int]]) -> Tree:
    """The same as it was without some versions: (subject, version)."""
    people = sorted({subject for subject in subjects if subject.startswith("person:")})
    return Tree({**_units(uow, company, without), **_people(uow, company, people, without)})


def people_ever_in(uow: UnitOfWork, company: str, units: Collection[str]) -> set[str]:
    """The people who belonged to one of the units on any day."""
    rows: Sequence[Any] = uow.rows(
        "SELECT DISTINCT 'person:' || code FROM configuration WHERE company = :company AND kind = 'people' "
        "AND content->>'unit' = ANY(:units)",
        company=company, units=[unit.split(":", 1)[1] for unit in units],
    )  # fmt: skip
    return {row[0] for row in rows}


# --- cells and roll-ups ---

_CELL = "metric, subject, day, dims, member, n, total, minimum, maximum, last"
_CELL_KEY = "metric text, subject text, day date, dims text, member text"


def add_to_cells(uow: UnitOfWork, company: str, changes: Mapping[CellKey, tuple[int, Decimal]]) -> None:
    """Applies differences; a cell without observations goes."""
    if not changes:
        return
    rows = records.text(
        [
            {"metric": m, "subject": s, "day": d, "dims": dims, "member": member, "n": n, "total": total}
            for (m, s, d, dims, member), (n, total) in sorted(changes.items())
        ]
    )
    uow.run(
        "INSERT INTO cell (company, metric, subject, day, dims, member, n, total) SELECT :company, r.* "
        f"FROM {records(_CELL_KEY + ', n bigint, total numeric', 'r')} "
        "ON CONFLICT (company, metric, subject, day, dims, member) DO UPDATE "
        "SET n = cell.n + excluded.n, total = cell.total + excluded.total",
        company=company, rows=rows,
    )  # fmt: skip
    gone = [change for change in changes.values() if change[0] < 0]
    if gone:
        uow.run(
            f"DELETE FROM cell USING {records(_CELL_KEY, 'r')} WHERE cell.company = :company "
            "AND cell.metric = r.metric AND cell.subject = r.subject AND cell.day = r.day "
            "AND cell.dims = r.dims AND cell.member = r.member AND cell.n = 0",
            company=company, rows=rows,
        )  # fmt: skip


def refresh_extremes(uow: UnitOfWork, company: str, keys: Collection[CellKey]) -> None:
    """Smallest, largest and last value of cells, from the observations that count in them."""
    if not keys:
        return
    rows = [{"metric": m, "subject": s, "day": d, "dims": dims} for m, s, d, dims in sorted({key[:4] for key in keys})]
    # An aggregate of its own for each cell, so that the planner looks each up, whatever its statistics say.
    uow.run(
        "UPDATE cell SET minimum = f.minimum, maximum = f.maximum, last = f.last "
        f"FROM {records('metric text, subject text, day date, dims text', 'r')}, LATERAL ("
        "SELECT min(o.value) AS minimum, max(o.value) AS maximum, "
        "(array_agg(o.value ORDER BY o.at DESC, o.revision DESC, o.event_time DESC, o.source DESC, o.event_id DESC, "
        "o.mapping DESC, o.item DESC, o.rule DESC))[1] AS last FROM observation o "
        "WHERE o.company = :company AND o.metric = r.metric AND o.subject = r.subject AND o.day = r.day "
        "AND o.dims = r.dims AND o.removed IS NULL AND o.state = 'counts') f "
        "WHERE cell.company = :company AND cell.metric = r.metric AND cell.subject = r.subject AND cell.day = r.day "
        "AND cell.dims = r.dims",
        company=company, rows=records.text(rows),
    )  # fmt: skip


def rebuild_cells(uow: UnitOfWork, company: str, metrics: Collection[str]) -> set[Key]:
    """Folds metrics anew from all that counts; the roll-ups that they had, now gone."""
    names = sorted(metrics)
    uow.run("DELETE FROM cell WHERE company = :company AND metric = ANY(:metrics)", company=company, metrics=names)
    uow.run(
        f"INSERT INTO cell (company, {_CELL}) SELECT company, metric, subject, day, dims, member, count(*), "
        "sum(value), min(value), max(value), (array_agg(value ORDER BY at DESC, revision DESC, event_time DESC, "
        "source DESC, event_id DESC, mapping DESC, item DESC, rule DESC))[1] FROM observation "
        "WHERE company = :company AND metric = ANY(:metrics) AND removed IS NULL AND state = 'counts' "
        "GROUP BY company, metric, subject, day, dims, member",
        company=company, metrics=names,
    )  # fmt: skip
    rows: Sequence[Any] = uow.rows(
        "DELETE FROM rollup WHERE company = :company AND metric = ANY(:metrics) RETURNING metric, subject, kind, start",
        company=company, metrics=names,
    )  # fmt: skip
    return {tuple(row) for row in rows}


class Span(NamedTuple):
    """Cells of a metric between two days (the second excluded)."""

    metric: str
    start: date
    until: date


def _disjoint(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for span in sorted(spans):
        if found and found[-1].metric == span.metric and span.start <= found[-1].until:
            found[-1] = Span(span.metric, found[-1].start, max(span.until, found[-1].until))
        else:
            found.append(span)
    return found


def cells_in(
    uow: UnitOfWork, company: str, spans: Collection[Span], dimensions: Mapping[str, str] | None = None
) -> list[Cell]:
    """Every cell within spans, of one dimension value each where given."""
    rows: Sequence[Any] = uow.rows(
        f"SELECT {_prefixed('c', _CELL)} FROM {records('metric text, start date, until date', 's')} "
        "JOIN cell c ON c.company = :company AND c.metric = s.metric AND c.day >= s.start AND c.day < s.until "
        "WHERE CAST(:dimensions AS text) IS NULL OR CAST(c.dims AS jsonb) @> CAST(:dimensions AS jsonb)",
        company=company, rows=records.text([span._asdict() for span in _disjoint(spans)]),
        dimensions=records.text(dimensions) if dimensions else None,
    )  # fmt: skip
    return [Cell(*row) for row in rows]


def cells_of(uow: UnitOfWork, company: str, subjects: Collection[str], from_day: date) -> list[Cell]:
    """Every cell of subjects from a day on, of whatever metric."""
    rows: Sequence[Any] = uow.rows(
        f"SELECT {_CELL} FROM cell WHERE company = :company AND subject = ANY(:subjects) AND day >= :day",
        company=company, subjects=sorted(subjects), day=from_day,
    )  # fmt: skip
    return [Cell(*row) for row in rows]


RollupKey = tuple[str, str, str, date, str]
_ROLLUP = "metric text, subject text, kind text, start date, currency text, n bigint, total numeric"


def add_to_rollups(uow: UnitOfWork, company: str, changes: Mapping[RollupKey, tuple[int, Decimal]]) -> None:
    """Applies differences."""
    _upsert(uow, company, changes, "n = rollup.n + excluded.n, total = rollup.total + excluded.total")


def set_rollups(
    uow: UnitOfWork, company: str, keys: Collection[Key], values: Mapping[RollupKey, tuple[int, Decimal]]
) -> None:
    """Writes roll-ups that were folded anew in place of all that the keys had."""
    uow.run(
        f"DELETE FROM rollup USING {records(_KEY, 'k')} WHERE rollup.company = :company AND rollup.metric = k.metric "
        "AND rollup.subject = k.subject AND rollup.kind = k.kind AND rollup.start = k.start",
        company=company, rows=_keys(keys),
    )  # fmt: skip
    _upsert(uow, company, values, "n = excluded.n, total = excluded.total")


def _upsert(uow: UnitOfWork, company: str, rows: Mapping[RollupKey, tuple[int, Decimal]], update: str) -> None:
    if rows:
        names = ("metric", "subject", "kind", "start", "currency", "n", "total")
        uow.run(
            f"INSERT INTO rollup (company, metric, subject, kind, start, currency, n, total) SELECT :company, r.* "
            f"FROM {records(_ROLLUP, 'r')} ON CONFLICT (company, metric, subject, kind, start, currency) "
            f"DO UPDATE SET {update}",
            company=company,
            rows=records.of(names, ((*key, *value) for key, value in rows.items())),
        )  # fmt: skip


def rollups(uow: UnitOfWork, company: str, keys: Collection[Key]) -> dict[Key, list[Rollup]]:
    """The roll-ups of keys, by currency."""
    found: dict[Key, list[Rollup]] = {key: [] for key in keys}
    if keys:
        rows: Sequence[Any] = uow.rows(
            f"SELECT r.metric, r.subject, r.kind, r.start, r.currency, r.n, r.total FROM {records(_KEY, 'k')} "
            "JOIN rollup r ON r.company = :company AND r.metric = k.metric AND r.subject = k.subject "
            "AND r.kind = k.kind AND r.start = k.start",
            company=company, rows=_keys(keys),
        )  # fmt: skip
        for metric, subject, kind, start, *rest in rows:
            found[metric, subject, kind, start].append(Rollup(*rest))
    return found


_KEY = "metric text, subject text, kind text, start date"


def _keys(keys: Collection[Key]) -> str:
    return records.of(("metric", "subject", "kind", "start"), keys)


def _prefixed(alias: str, columns: str) -> str:
    return ", ".join(f"{alias}.{column}" for column in columns.split(", "))


# --- readings ---


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a reading."""

    key: Key
    period: str
    version: int
    change: int
    finding: Finding
    formula: str | None
    definition: int
    inputs: list[dict[str, Any]]
    recorded_at: datetime


_VERSION = (
    "metric, subject, kind, start, period, version, change, value, unit, reason, qualified, formula, definition, "
    "inputs, recorded_at"
)


def _version(row: Any) -> Version:
    key, rest = tuple(row[:4]), row[4:]
    period, version, change, value, unit, reason, qualified, formula, definition, inputs, recorded_at = rest
    found = Finding(value, unit, reason, tuple(qualified))
    return Version(key, period, version, change, found, formula, definition, inputs, recorded_at)  # type: ignore[arg-type]


def latest(uow: UnitOfWork, company: str, keys: Collection[Key]) -> dict[Key, tuple[int, Finding]]:
    """The latest version and what it says, of those keys that have a reading."""
    if not keys:
        return {}
    rows: Sequence[Any] = uow.rows(
        f"SELECT r.metric, r.subject, r.kind, r.start, r.version, r.value, r.unit, r.reason, r.qualified "
        f"FROM {records(_KEY, 'k')} JOIN reading r ON r.company = :company AND r.metric = k.metric "
        "AND r.subject = k.subject AND r.kind = k.kind AND r.start = k.start AND r.latest",
        company=company, rows=_keys(keys),
    )  # fmt: skip
    return {tuple(row[:4]): (row[4], Finding(row[5], row[6], row[7], tuple(row[8]))) for row in rows}


def keys_of(uow: UnitOfWork, company: str, metrics: Collection[str], from_day: date = date.min) -> set[Key]:
    """The readings that metrics have for periods from the one of a day on."""
    rows: Sequence[Any] = uow.rows(
        "SELECT metric, subject, kind, start FROM reading WHERE company = :company AND metric = ANY(:metrics) "
        "AND latest AND start >= :day",
        company=company, metrics=sorted(metrics), day=from_day,
    )  # fmt: skip
    return {tuple(row) for row in rows}


def add_versions(uow: UnitOfWork, company: str, versions: Collection[Version]) -> None:
    """Writes new versions, each the latest of its reading."""
    older = [version.key for version in versions if version.version > 1]
    if older:
        uow.run(
            f"UPDATE reading r SET latest = false FROM {records(_KEY, 'k')} WHERE r.company = :company "
            "AND r.metric = k.metric AND r.subject = k.subject AND r.kind = k.kind AND r.start = k.start AND r.latest",
            company=company, rows=_keys(older),
        )  # fmt: skip
    uow.copy(
        "reading", ("company", "latest", *_VERSION.split(", ")),
        (
            (
                company, True, *each.key, each.period, each.version, each.change, each.finding.value, each.finding.unit,
                each.finding.reason, Jsonb(list(each.finding.qualified)), each.formula, each.definition,
                Jsonb(each.inputs), each.recorded_at,
            )
            for each in versions
        ),
    )  # fmt: skip


def now() -> datetime:
    """When something is recorded; decides about no number."""
    return datetime.now(UTC)


def version_of(
    uow: UnitOfWork, company: str, metric: str, subject: str, period: str,
    version: int | None = None, as_of: datetime | None = None,
) -> Version | None:  # fmt: skip
    """One version of a reading: the latest, one by number, or the one current at an instant."""
    row = uow.row(
        f"SELECT {_VERSION} FROM reading WHERE company = :company AND metric = :metric AND subject = :subject "
        "AND period = :period AND (CAST(:version AS int) IS NULL OR version = :version) "
        "AND (CAST(:as_of AS timestamptz) IS NULL OR recorded_at <= :as_of) ORDER BY version DESC LIMIT 1",
        company=company, metric=metric, subject=subject, period=period, version=version, as_of=as_of,
    )  # fmt: skip
    return _version(row) if row else None


def series(
    uow: UnitOfWork, company: str, metric: str, subject: str, kind: str, start: date, end: date, limit: int
) -> list[Version]:
    """The latest readings of the periods of a kind that begin between two days, the second included."""
    rows: Sequence[Any] = uow.rows(
        f"SELECT {_VERSION} FROM reading WHERE company = :company AND metric = :metric AND subject = :subject "
        "AND kind = :kind AND start BETWEEN :start AND :end AND latest ORDER BY start LIMIT :limit",
        company=company, metric=metric, subject=subject, kind=kind, start=start, end=end, limit=limit,
    )  # fmt: skip
    return [_version(row) for row in rows]


def versions_of_change(uow: UnitOfWork, company: str, changes: Collection[int]) -> list[Version]:
    """The versions of readings that changes made."""
    rows: Sequence[Any] = uow.rows(
        f"SELECT {_VERSION} FROM reading WHERE company = :company AND change = ANY(:changes) "
        "ORDER BY change, kind, start, metric, subject",
        company=company, changes=sorted(changes),
    )  # fmt: skip
    return [_version(row) for row in rows]


def before(uow: UnitOfWork, company: str, versions: Collection[Version]) -> dict[Key, Finding]:
    """What the version before each of these said."""
    rows: Sequence[Any] = uow.rows(
        "SELECT r.metric, r.subject, r.kind, r.start, r.value, r.unit, r.reason, r.qualified FROM "
        f"{records('metric text, subject text, period text, version int', 'k')} JOIN reading r ON r.company = :company "
        "AND r.metric = k.metric AND r.subject = k.subject AND r.period = k.period AND r.version = k.version - 1",
        company=company,
        rows=records.text(
            [
                {"metric": v.key[0], "subject": v.key[1], "period": v.period, "version": v.version}
                for v in versions
            ]
        ),
    )  # fmt: skip
    return {tuple(row[:4]): Finding(row[4], row[5], row[6], tuple(row[7])) for row in rows}
