"""Copies of readings, and all versions of scores."""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

from shared.contracts.metrics import ReadingChanged
from shared.database.unit_of_work import Jsonb, UnitOfWork

from .dirty import ReadingKey
from .rules import Scored


@dataclass(frozen=True, slots=True)
class Reading:
    """The latest known version of a reading."""

    metric: str
    subject: str
    period: str
    version: int
    value: Decimal | None
    reason: str | None
    qualified: Sequence[str]


@dataclass(frozen=True, slots=True)
class Score:
    """One version of a score. `inputs` are citations, `parts` the steps of its explanation, both as JSON."""

    kind: Literal["goal", "scorecard"]
    code: str
    period: str
    version: int
    period_start: date
    period_end: date
    change: int
    score: Decimal | None
    attainment: Decimal | None
    actual: Decimal | None
    target: Decimal | None
    reason: str | None
    qualified: Sequence[str]
    rule: str
    inputs: Sequence[dict[str, Any]]
    parts: Sequence[dict[str, Any]]

    def says(self, scored: Scored) -> bool:
        """Whether this is what was computed now: then there is nothing to write or to tell."""
        mine = (self.score, self.attainment, self.actual, self.target, self.reason, tuple(self.qualified))
        new = (scored.score, scored.attainment, scored.actual, scored.target, scored.reason, scored.qualified)
        return mine == new


COLUMNS = (
    "kind", "code", "period", "version", "period_start", "period_end", "change",
    "score", "attainment", "actual", "target", "reason", "qualified", "rule", "inputs", "parts",
)  # fmt: skip
SELECT = f"SELECT {', '.join(f's.{column}' for column in COLUMNS)} FROM score s"
# Without what only explains: it is most of a row, and nothing is computed from it.
_FIGURES = SELECT.replace("s.inputs, s.parts", "CAST('[]' AS jsonb), CAST('[]' AS jsonb)")
_READING = "SELECT r.metric, r.subject, r.period, r.version, r.value, r.reason, r.qualified FROM reading_copy r"


def keep_readings(uow: UnitOfWork, company: str, events: Iterable[ReadingChanged]) -> None:
    """Keeps the newest version of each reading; one that is older than what is known changes nothing."""
    newest: dict[ReadingKey, ReadingChanged] = {}
    for event in events:
        key = event.metric, event.subject, event.period
        if key not in newest or event.version > newest[key].version:
            newest[key] = event
    found = list(newest.values())
    uow.run(
        "INSERT INTO reading_copy (company, metric, subject, period, version, change, value, reason, qualified) "
        "SELECT :company, m, s, p, v, c, x, r, CAST(q AS jsonb) FROM unnest(CAST(:metrics AS text[]), "
        "CAST(:subjects AS text[]), CAST(:periods AS text[]), CAST(:versions AS int[]), CAST(:changes AS bigint[]), "
        "CAST(:values AS numeric[]), CAST(:reasons AS text[]), CAST(:qualified AS text[])) "
        "AS new (m, s, p, v, c, x, r, q) ON CONFLICT (company, metric, subject, period) DO UPDATE SET "
        "version = excluded.version, change = excluded.change, value = excluded.value, reason = excluded.reason, "
        "qualified = excluded.qualified WHERE excluded.version > reading_copy.version",
        company=company, metrics=[e.metric for e in found], subjects=[e.subject for e in found],
        periods=[e.period for e in found], versions=[e.version for e in found], changes=[e.change for e in found],
        values=[e.value for e in found], reasons=[e.reason for e in found],
        qualified=[json.dumps(e.qualified) for e in found],
    )  # fmt: skip


def readings(
    uow: UnitOfWork, company: str, exact: Collection[ReadingKey], whole: Collection[tuple[str, str]]
) -> dict[ReadingKey, Reading]:
    """Some readings, and those of all periods of some (metric, subject)."""
    rows = uow.rows(
        f"{_READING} JOIN unnest(CAST(:m AS text[]), CAST(:s AS text[]), CAST(:p AS text[])) AS wanted (m, s, p) "
        "ON r.metric = m AND r.subject = s AND r.period = p WHERE r.company = :company "
        f"UNION {_READING} JOIN unnest(CAST(:wm AS text[]), CAST(:ws AS text[])) AS wanted (m, s) "
        "ON r.metric = m AND r.subject = s WHERE r.company = :company",
        company=company, m=[key[0] for key in exact], s=[key[1] for key in exact], p=[key[2] for key in exact],
        wm=[key[0] for key in whole], ws=[key[1] for key in whole],
    )  # fmt: skip
    return {(row.metric, row.subject, row.period): Reading(*tuple(row)) for row in rows}


def latest_scores(
    uow: UnitOfWork, company: str, nodes: Collection[str], span: tuple[date, date] = (date.min, date.max)
) -> list[Score]:
    """The latest scores of some nodes (`goal:g`, `scorecard:s`) in periods that touch a span; no inputs, no parts."""
    rows = uow.rows(
        f"{_FIGURES} JOIN unnest(CAST(:kinds AS text[]), CAST(:codes AS text[])) AS wanted (k, c) "
        "ON s.kind = k AND s.code = c WHERE s.company = :company AND s.latest "
        "AND s.period_end > :begin AND s.period_start < :end",
        company=company, begin=span[0], end=span[1],
        kinds=[node.split(":", 1)[0] for node in nodes], codes=[node.split(":", 1)[1] for node in nodes],
    )  # fmt: skip
    return [Score(*tuple(row)) for row in rows]


def keep_scores(uow: UnitOfWork, company: str, scores: Sequence[Score]) -> None:
    """Adds new versions; those before are no longer the latest."""
    uow.run(
        "UPDATE score s SET latest = false FROM unnest(CAST(:kinds AS text[]), CAST(:codes AS text[]), "
        "CAST(:periods AS text[])) AS new (k, c, p) WHERE s.company = :company AND s.kind = k AND s.code = c "
        "AND s.period = p AND s.latest",
        company=company, kinds=[s.kind for s in scores], codes=[s.code for s in scores],
        periods=[s.period for s in scores],
    )  # fmt: skip
    rows = [
        (company, True, *(Jsonb(list(value)) if name in ("qualified", "inputs", "parts") else value
                          for name, value in ((name, getattr(score, name)) for name in COLUMNS)))
        for score in scores
    ]  # fmt: skip
    uow.copy("score", ("company", "latest", *COLUMNS), rows)


def last_tick(uow: UnitOfWork, company: str) -> datetime | None:
    """When the last tick was."""
    found: datetime | None = uow.value("SELECT at FROM clock WHERE company = :company", company=company)
    return found
