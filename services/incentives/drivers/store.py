"""Scores and readings as they came, and the drivers that plans hang on."""

from collections.abc import Collection, Sequence
from typing import Any

from shared.contracts.base import Citation
from shared.contracts.incentives import DriverChanged
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.numbers import plain

from ..plans.rules import OWN, DriverKey

Source = tuple[str, str, str, str]
"""Kind, code, subject and period of a score or reading."""


def record(uow: UnitOfWork, company: str, arrivals: Sequence[dict[str, Any]]) -> None:
    """Keeps the latest of each score or reading, and marks it for `settle`; an older one than known changes nothing."""
    latest: dict[Source, dict[str, Any]] = {}
    moved: dict[Source, int] = uow.state.setdefault("moved", {}).setdefault(company, {})
    for arrival in arrivals:
        key = (arrival["kind"], arrival["code"], arrival["subject"], arrival["period"])
        if key not in latest or latest[key]["version"] < arrival["version"]:
            latest[key] = arrival
        moved[key] = min(moved.get(key, arrival["version"]), arrival["version"])
    uow.run(
        "INSERT INTO arrived (company, kind, code, subject, period, period_kind, version, value, reason, qualified, "
        "unit) "
        "SELECT :company, * FROM jsonb_to_recordset(:rows) AS came(kind text, code text, subject text, period text, "
        "period_kind text, version int, value numeric, reason text, qualified jsonb, unit text) "
        "ORDER BY kind, code, subject, "
        "period ON CONFLICT (company, kind, code, subject, period) DO UPDATE SET version = excluded.version, "
        "value = excluded.value, reason = excluded.reason, qualified = excluded.qualified, unit = excluded.unit "
        "WHERE arrived.version < excluded.version",
        company=company, rows=Jsonb(list(latest.values())),
    )  # fmt: skip


def settle(uow: UnitOfWork) -> None:
    """Gives every driver whose value moved a new version: one row and one event, however many people."""
    moved, wanted = uow.state.pop("moved", {}), uow.state.pop("wanted", {})
    for company in sorted(moved.keys() | wanted.keys()):
        # The lock comes before reading what plans want: a plan defined meanwhile has seen what came, or is seen here.
        change = uow.lock_company(company)
        sources: dict[Source, int] = moved.get(company, {})
        marks = [*sources, *_anew(uow, company, wanted.get(company, ()))]
        fresh = _stale(uow, company, change, marks)
        if fresh:
            rows = [(company, *row, sources.get(tuple(row)[:4], row.source_version)) for row in fresh]
            uow.copy("driver", ("company", *fresh[0]._fields, "source_from"), rows)
        for row in fresh:
            uow.publish(as_event(row), company=company, key=f"{row.kind}/{row.code}")


def _anew(uow: UnitOfWork, company: str, keys: Collection[DriverKey]) -> list[Source]:
    """What has come for drivers that a plan just began to want; people's own readings are many."""
    marks = [(key.kind, key.code, key.subject, "") for key in keys if key.subject != OWN]
    for key in (key for key in keys if key.subject == OWN):
        rows = uow.rows(
            "SELECT DISTINCT subject FROM arrived WHERE company = :company AND kind = :kind AND code = :code "
            "AND subject LIKE 'person:%'",
            company=company, kind=key.kind, code=key.code,
        )  # fmt: skip
        marks += [(key.kind, key.code, row.subject, "") for row in rows]
    return marks


def _stale(uow: UnitOfWork, company: str, change: int, marks: Collection[Source]) -> Sequence[Any]:
    """New versions of the drivers that some plan uses and whose latest is not what has arrived.

    A mark with a blank period stands for every period.
    """
    kinds, codes, subjects, periods = ([mark[i] for mark in marks] for i in range(4))
    return uow.rows(
        "SELECT DISTINCT a.kind, a.code, a.subject, a.period, coalesce(d.version, 0) + 1 AS version, "
        "CAST(:change AS bigint) AS change, a.version AS source_version, a.value, a.reason FROM "
        "unnest(CAST(:kinds AS text[]), CAST(:codes AS text[]), CAST(:subjects AS text[]), CAST(:periods AS text[])) "
        "AS mark(kind, code, subject, period) JOIN arrived a ON a.company = :company AND mark.period IN ('', a.period) "
        "AND (a.kind, a.code, a.subject) = (mark.kind, mark.code, mark.subject) "
        "LEFT JOIN LATERAL (SELECT version, value, reason FROM driver d WHERE (d.company, d.kind, d.code, d.subject, "
        " d.period) = (:company, a.kind, a.code, a.subject, a.period) ORDER BY version DESC LIMIT 1) d ON true "
        "WHERE EXISTS (SELECT 1 FROM plan_driver p WHERE (p.company, p.kind, p.code, p.period_kind) = "
        " (:company, a.kind, a.code, a.period_kind) "
        " AND p.subject IN (a.subject, CASE WHEN a.subject LIKE 'person:%' THEN 'self' END)) "
        "AND (d.version IS NULL OR (d.value, d.reason) IS DISTINCT FROM (a.value, a.reason)) "
        "ORDER BY a.kind, a.code, a.subject, a.period",
        company=company, change=change, kinds=kinds, codes=codes, subjects=subjects, periods=periods,
    )  # fmt: skip


def as_event(row: Any) -> DriverChanged:
    """A row of `driver` as it is told to others, with the score or reading behind it."""
    named = {"code": row.code, "subject": row.subject or None, "period": row.period}
    what, value = "score" if row.kind == "goal" else row.kind, None if row.value is None else plain(row.value)
    return DriverChanged(
        kind=row.kind, version=row.version, change=row.change, value=row.value, reason=row.reason, **named,
        inputs=[Citation(what=what, version=row.source_version, value=value, **named)],
    )  # fmt: skip


def latest_drivers(uow: UnitOfWork, company: str, keys: Collection[DriverKey], period: str) -> dict[DriverKey, Any]:
    """The latest version of each driver in a period, with the guards that qualify it now; one statement."""
    rows = uow.rows(
        "SELECT d.*, a.qualified, a.unit FROM unnest(CAST(:kinds AS text[]), CAST(:codes AS text[]), "
        "CAST(:subjects AS text[])) AS wanted(kind, code, subject) JOIN arrived a USING (kind, code, subject) "
        "JOIN LATERAL (SELECT * FROM driver d WHERE (d.company, d.kind, d.code, d.subject, d.period) = "
        " (a.company, a.kind, a.code, a.subject, a.period) ORDER BY version DESC LIMIT 1) d ON true "
        "WHERE a.company = :company AND a.period = :period",
        company=company, period=period, kinds=[k.kind for k in keys], codes=[k.code for k in keys],
        subjects=[k.subject for k in keys],
    )  # fmt: skip
    return {DriverKey(row.kind, row.code, row.subject): row for row in rows}


def find(uow: UnitOfWork, company: str, *, after: Sequence[str], limit: int, **filters: str | None) -> Sequence[Any]:
    """The latest version of each driver, by kind, code, subject and period. `filters` are these columns."""
    conditions = "".join(f"AND (CAST(:{name} AS text) IS NULL OR {name} = :{name}) " for name in filters)
    return uow.rows(
        f"SELECT DISTINCT ON (kind, code, subject, period) * FROM driver WHERE company = :company {conditions}"
        "AND (kind, code, subject, period) > (:a, :b, :c, :d) "
        "ORDER BY kind, code, subject, period, version DESC LIMIT :limit",
        company=company, limit=limit, **filters, a=after[0], b=after[1], c=after[2], d=after[3],
    )  # fmt: skip


def moved_by(uow: UnitOfWork, company: str, key: DriverKey, period: str, version: int) -> Any | None:
    """The driver version that took in a version of its score or reading, with the value before it."""
    return uow.row(
        "SELECT d.*, b.value AS before FROM driver d LEFT JOIN driver b ON (b.company, b.kind, b.code, b.subject, "
        "b.period, b.version) = (d.company, d.kind, d.code, d.subject, d.period, d.version - 1) "
        "WHERE (d.company, d.kind, d.code, d.subject, d.period) = (:company, :kind, :code, :subject, :period) "
        "AND :version BETWEEN d.source_from AND d.source_version ORDER BY d.version DESC LIMIT 1",
        company=company, kind=key.kind, code=key.code, subject=key.subject, period=period, version=version,
    )  # fmt: skip
