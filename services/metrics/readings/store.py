"""Definitions, cells, roll-ups and readings in the database."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from sqlalchemy import Engine

from services.metrics.observations.rules import CellKey
from services.metrics.readings.definitions import Dated, Definitions, Key, Tree
from services.metrics.readings.rules import Cell, Finding, Rollup
from services.metrics.readings.versions import Records, Versions
from shared.contracts.base import Configuration
from shared.contracts.goals import Company, Person, Unit
from shared.contracts.metrics import Conversion, Guard, Linkage, Metric, MetricsPolicy, Node, Rate
from shared.database.unit_of_work import UnitOfWork
from shared.periods import Calendar

_DATED: tuple[type[Configuration], ...] = (Metric, Rate, Conversion, MetricsPolicy, Guard, Node, Linkage)
_ALL: tuple[type[Configuration], ...] = (Company, Unit, *_DATED)
_KINDS = {kind.KIND: kind for kind in _ALL}
_loaded: "WeakKeyDictionary[Engine, dict[str, tuple[object, Definitions]]]" = WeakKeyDictionary()


# --- definitions ---


def definitions(uow: UnitOfWork, company: str) -> Definitions:
    """The company's settings. Kept until one is recorded: settings are only ever added, so their number tells, together
    with the last transaction among them, which tells two apart of which one was rolled back."""
    version = uow.row(
        "SELECT count(*), max(xmin::text::bigint) FROM configuration WHERE company = :company AND kind = ANY(:kinds)",
        company=company, kinds=list(_KINDS),
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
        company=company, kinds=[kind for kind in _KINDS if kind != Unit.KIND],
    )  # fmt: skip
    versions: dict[str, dict[str, list[tuple[date, int, Any]]]] = {kind: {} for kind in _KINDS}
    for kind, code, start, version, content in rows:
        versions[kind].setdefault(code, []).append((start, version, _KINDS[kind].model_validate(content)))
    own = Dated(versions[Company.KIND]).on("company")
    calendar = Calendar(own[1].time_zone, own[1].fiscal_year_start_month) if own else None
    dated: list[Dated[Any]] = [Dated(versions[kind.KIND]) for kind in _DATED]
    return Definitions(calendar, Tree(_above(uow, company, "unit", ())), *dated)


Revision = tuple[str, int]
"""A subject and a version of its setting."""


def _above(
    uow: UnitOfWork, company: str, what: str, without: Collection[Revision], codes: Collection[str] | None = None
) -> dict[str, list[tuple[date, str | None]]]:
    """What is above every unit, or above people of given codes."""
    kind, superior = (Unit.KIND, "parent") if what == "unit" else (Person.KIND, "unit")
    rows: Sequence[Any] = uow.rows(
        f"SELECT code, effective_from, 'unit:' || (content->>'{superior}') AS above, version FROM configuration "
        f"WHERE company = :company AND kind = :kind {'' if codes is None else 'AND code = ANY(:codes)'} "
        "ORDER BY code, effective_from, version",
        company=company, kind=kind, **({} if codes is None else {"codes": codes}),
    )  # fmt: skip
    found: dict[str, list[tuple[date, str | None]]] = {}
    for code, start, above, version in rows:
        if (f"{what}:{code}", version) not in without:
            found.setdefault(f"{what}:{code}", []).append((start, above))
    return found


def tree_with(
    uow: UnitOfWork, company: str, found: Definitions, subjects: Iterable[str], without: Collection[Revision] = ()
) -> Tree:
    """The units, and those of the subjects that are people; as if some revisions did not exist."""
    people = sorted({subject.removeprefix("person:") for subject in subjects if subject.startswith("person:")})
    if not people and not without:
        return found.tree
    units = _above(uow, company, "unit", without) if without else found.tree.above
    return Tree({**units, **_above(uow, company, "person", without, people)})


def people_ever_in(uow: UnitOfWork, company: str, units: Collection[str]) -> set[str]:
    """The people who belonged to one of the units on any day."""
    rows = uow.rows(
        "SELECT DISTINCT 'person:' || code FROM configuration WHERE company = :company AND kind = :kind "
        "AND content->>'unit' = ANY(:units)",
        company=company, kind=Person.KIND, units=[unit.removeprefix("unit:") for unit in units],
    )  # fmt: skip
    return {row[0] for row in rows}


# --- cells and roll-ups ---

_CELL = "metric, subject, day, dims, member, n, total, minimum, maximum, last"
_CHANGED = Records("metric text, subject text, day date, dims text, member text, n bigint, total numeric")
_CELLS = Records("metric text, subject text, day date, dims text")
_SPANS = Records("metric text, start date, until date")
_ROLLUPS = Records("metric text, subject text, kind text, start date, currency text, n bigint, total numeric")
_KEYS = Records("metric text, subject text, kind text, start date")


def add_to_cells(uow: UnitOfWork, company: str, changes: Mapping[CellKey, tuple[int, Decimal]]) -> None:
    """Applies differences; a cell without observations goes."""
    if not changes:
        return
    rows = _CHANGED.json((*key, *change) for key, change in changes.items())
    uow.run(
        f"INSERT INTO cell (company, {_CHANGED.names}) SELECT :company, r.* FROM {_CHANGED.named('r')} "
        "ON CONFLICT (company, metric, subject, day, dims, member) DO UPDATE "
        "SET n = cell.n + excluded.n, total = cell.total + excluded.total",
        company=company, rows=rows,
    )  # fmt: skip
    if any(n < 0 for n, _ in changes.values()):
        uow.run(
            f"DELETE FROM cell USING {_CHANGED.named('r')} WHERE cell.company = :company "
            "AND cell.metric = r.metric AND cell.subject = r.subject AND cell.day = r.day "
            "AND cell.dims = r.dims AND cell.member = r.member AND cell.n = 0",
            company=company, rows=rows,
        )  # fmt: skip


def refresh_extremes(uow: UnitOfWork, company: str, keys: Collection[CellKey]) -> None:
    """Smallest, largest and last value of cells, from the observations that count in them."""
    if not keys:
        return
    # An aggregate of its own for each cell, so that the planner looks each up, whatever its statistics say.
    uow.run(
        "UPDATE cell SET minimum = f.minimum, maximum = f.maximum, last = f.last "
        f"FROM {_CELLS.named('r')}, LATERAL ("
        "SELECT min(o.value) AS minimum, max(o.value) AS maximum, "
        "(array_agg(o.value ORDER BY o.at DESC, o.revision DESC, o.event_time DESC, o.source DESC, o.event_id DESC, "
        "o.mapping DESC, o.item DESC, o.rule DESC))[1] AS last FROM observation o "
        "WHERE o.company = :company AND o.metric = r.metric AND o.subject = r.subject AND o.day = r.day "
        "AND o.dims = r.dims AND o.removed IS NULL AND o.state = 'counts') f "
        "WHERE cell.company = :company AND cell.metric = r.metric AND cell.subject = r.subject AND cell.day = r.day "
        "AND cell.dims = r.dims",
        company=company, rows=_CELLS.json({key[:4] for key in keys}),
    )  # fmt: skip


Span = tuple[str, date, date]
"""Cells of a metric between two days, the second excluded."""


def _disjoint(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for metric, start, until in sorted(spans):
        if found and found[-1][0] == metric and start <= found[-1][2]:
            found[-1] = (metric, found[-1][1], max(until, found[-1][2]))
        else:
            found.append((metric, start, until))
    return found


def cells_in(
    uow: UnitOfWork, company: str, spans: Iterable[Span], dimensions: Mapping[str, str] | None = None
) -> list[Cell]:
    """Every cell within spans, of one dimension value each where given."""
    rows: Sequence[Any] = uow.rows(
        f"SELECT {_CELL} FROM {_SPANS.named('s')} JOIN cell USING (metric) "
        "WHERE company = :company AND day >= s.start AND day < s.until "
        "AND (CAST(:like AS text) IS NULL OR CAST(dims AS jsonb) @> CAST(:like AS jsonb))",
        company=company, rows=_SPANS.json(_disjoint(spans)),
        like=msgspec.json.encode(dimensions).decode() if dimensions else None,
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


def add_to_rollups(uow: UnitOfWork, company: str, changes: Mapping[RollupKey, tuple[int, Decimal]]) -> None:
    """Applies differences; a roll-up that is not there yet begins with them."""
    if changes:
        uow.run(
            f"INSERT INTO rollup (company, {_ROLLUPS.names}) SELECT :company, r.* FROM {_ROLLUPS.named('r')} "
            "ON CONFLICT (company, metric, subject, kind, start, currency) DO UPDATE "
            "SET n = rollup.n + excluded.n, total = rollup.total + excluded.total",
            company=company, rows=_ROLLUPS.json((*key, *change) for key, change in changes.items()),
        )  # fmt: skip


def remove_rollups(uow: UnitOfWork, company: str, keys: Collection[Key]) -> None:
    """Removes all that keys have, in whatever currency."""
    uow.run(
        f"DELETE FROM rollup USING {_KEYS.named('k')} WHERE rollup.company = :company AND rollup.metric = k.metric "
        "AND rollup.subject = k.subject AND rollup.kind = k.kind AND rollup.start = k.start",
        company=company, rows=_KEYS.json(keys),
    )  # fmt: skip


def rolled_up(uow: UnitOfWork, company: str, metric: str) -> set[Key]:
    """Every key of a metric that has roll-ups."""
    rows: Sequence[Any] = uow.rows(
        f"SELECT DISTINCT {_KEYS.names} FROM rollup WHERE company = :company AND metric = :metric",
        company=company, metric=metric,
    )  # fmt: skip
    return {tuple(row) for row in rows}


def rollups(uow: UnitOfWork, company: str, keys: Collection[Key]) -> dict[Key, list[Rollup]]:
    """The roll-ups of keys, by currency."""
    found: dict[Key, list[Rollup]] = {key: [] for key in keys}
    rows: Sequence[Any] = uow.rows(
        f"SELECT {_ROLLUPS.names} FROM {_KEYS.named('k')} JOIN rollup USING ({_KEYS.names}) WHERE company = :company",
        company=company, rows=_KEYS.json(keys),
    ) if keys else ()  # fmt: skip
    for metric, subject, kind, start, *rest in rows:
        found[metric, subject, kind, start].append(Rollup(*rest))
    return found


# --- readings ---


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a reading; `inputs` are citations of what it was made of."""

    metric: str
    subject: str
    kind: str
    start: date
    period: str
    version: int
    change: int
    value: Decimal | None
    unit: str
    reason: str | None
    qualified: list[str]
    formula: str | None
    definition: int
    inputs: list[dict[str, Any]]
    recorded_at: datetime

    @property
    def key(self) -> Key:
        return self.metric, self.subject, self.kind, self.start

    @property
    def finding(self) -> Finding:
        return Finding(self.value, self.unit, self.reason, tuple(self.qualified))


readings = Versions("reading", Version, _KEYS)


def keys_of(uow: UnitOfWork, company: str, metrics: Collection[str], from_day: date = date.min) -> set[Key]:
    """The readings that metrics have for periods that begin on a day or later."""
    condition = "metric = ANY(:metrics) AND start >= :day"
    return readings.keys(uow, condition, company=company, metrics=sorted(metrics), day=from_day)
