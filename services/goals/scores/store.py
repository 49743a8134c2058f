"""Copies of readings, and all versions of scores."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Row

from shared.contracts.metrics import ReadingChanged
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.numbers import plain

from .dirty import ReadingKey
from .rules import Scored, tellable


@dataclass(frozen=True, slots=True, kw_only=True)
class Score(Scored):
    """One version of a score. `inputs` are citations as JSON; so are `parts` once it was read back."""

    kind: Literal["goal", "scorecard"]
    code: str
    period: str
    version: int
    period_start: date
    period_end: date
    change: int
    inputs: Sequence[Any] = ()


COLUMNS = tuple(field.name for field in fields(Score))
SELECT = f"SELECT {', '.join(f's.{column}' for column in COLUMNS)} FROM score s"
# Without what only explains: it is most of a row, and nothing is computed from it.
_FIGURES = f"SELECT {', '.join(f's.{column}' for column in COLUMNS if column not in ('inputs', 'parts'))} FROM score s"
_READING = "SELECT r.* FROM reading_copy r"


def keep_readings(uow: UnitOfWork, company: str, events: Iterable[ReadingChanged]) -> None:
    """Keeps the newest version of each reading; one that is older than what is known changes nothing."""
    rows = [event.model_dump(mode="json") | {"company": company} for event in events]
    uow.run(
        "INSERT INTO reading_copy SELECT DISTINCT ON (metric, subject, period) * "
        "FROM jsonb_populate_recordset(CAST(NULL AS reading_copy), :rows) "
        "ORDER BY metric, subject, period, version DESC "
        "ON CONFLICT (company, metric, subject, period) DO UPDATE SET (version, change, value, reason, qualified) = "
        "(excluded.version, excluded.change, excluded.value, excluded.reason, excluded.qualified) "
        "WHERE excluded.version > reading_copy.version", rows=Jsonb(rows),
    )  # fmt: skip


def readings(
    uow: UnitOfWork, company: str, exact: Collection[ReadingKey], whole: Collection[tuple[str, str]]
) -> dict[ReadingKey, Row[Any]]:
    """The rows of some readings, and of all periods of some (metric, subject)."""
    rows = uow.rows(
        f"{_READING} JOIN unnest(CAST(:m AS text[]), CAST(:s AS text[]), CAST(:p AS text[])) AS wanted (m, s, p) "
        "ON r.metric = m AND r.subject = s AND r.period = p WHERE r.company = :company "
        f"UNION {_READING} JOIN unnest(CAST(:wm AS text[]), CAST(:ws AS text[])) AS wanted (m, s) "
        "ON r.metric = m AND r.subject = s WHERE r.company = :company",
        company=company, m=[key[0] for key in exact], s=[key[1] for key in exact], p=[key[2] for key in exact],
        wm=[key[0] for key in whole], ws=[key[1] for key in whole],
    )  # fmt: skip
    return {(row.metric, row.subject, row.period): row for row in rows}


def latest_scores(
    uow: UnitOfWork, company: str, nodes: Collection[str], span: tuple[date, date] = (date.min, date.max)
) -> list[Score]:
    """The latest scores of some nodes (`goal:g`, `scorecard:s`) in periods that touch a span; no inputs, no parts."""
    kinds, codes = [node.partition(":")[0] for node in nodes], [node.partition(":")[2] for node in nodes]
    rows = uow.rows(
        f"{_FIGURES} JOIN unnest(CAST(:kinds AS text[]), CAST(:codes AS text[])) AS wanted (k, c) "
        "ON s.kind = k AND s.code = c WHERE s.company = :company AND s.latest "
        "AND s.period_end > :begin AND s.period_start < :end",
        company=company, begin=span[0], end=span[1], kinds=kinds, codes=codes,
    )  # fmt: skip
    return [Score(**row._mapping) for row in rows]


def keep_scores(uow: UnitOfWork, company: str, scores: Sequence[Score]) -> None:
    """Adds new versions; those before are no longer the latest."""
    uow.run(
        "UPDATE score s SET latest = false FROM unnest(CAST(:kinds AS text[]), CAST(:codes AS text[]), "
        "CAST(:periods AS text[])) AS new (k, c, p) WHERE s.company = :company AND s.kind = k AND s.code = c "
        "AND s.period = p AND s.latest",
        company=company, kinds=[s.kind for s in scores], codes=[s.code for s in scores],
        periods=[s.period for s in scores],
    )  # fmt: skip
    now = datetime.now(UTC)
    rows = [(company, True, now, *(_stored(score, column) for column in COLUMNS)) for score in scores]
    uow.copy("score", ("company", "latest", "recorded_at", *COLUMNS), rows)


def _stored(score: Score, column: str) -> Any:
    """Parts are for showing only, so they are kept as they are shown."""
    value = getattr(score, column)
    if column == "parts":
        named = [[(field.name, getattr(part, field.name)) for field in fields(part)] for part in value]
        return Jsonb([{name: _shown(found) for name, found in part if found is not None} for part in named])
    return Jsonb(list(value)) if column in ("inputs", "qualified") else value


def _shown(value: Any) -> Any:
    if not isinstance(value, Decimal):
        return value
    told = tellable(value)
    return None if told is None else plain(told)
