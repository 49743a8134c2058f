"""Whether payments were made by their promised date, and to whom those that were not are escalated (mechanism M8)."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from shared.database.unit_of_work import UnitOfWork
from shared.organisation import superior

# A line that was held, or that failed and was taken up again, was paid when a later line of its payee and plan was.
_LATER = """
    SELECT min(n.paid_on) FROM payout_line n JOIN payout_run s ON (s.company, s.code) = (n.company, n.run)
    WHERE (n.company, n.currency, n.payee, n.plan) = (l.company, l.currency, l.payee, l.plan) AND n.run <> l.run
    AND n.promised >= l.promised AND s.released_on >= r.released_on"""
_DUE = f"""
    WITH award AS (SELECT DISTINCT ON (code) code, content, recorded_by FROM configuration
     WHERE company = :company AND kind = 'awards' ORDER BY code, effective_from DESC, version DESC),
    promise AS (SELECT l.run, l.line, l.payee, l.plan, l.amount, l.promised, coalesce(l.answer, l.why) AS why,
     CASE WHEN l.status IN ('retried', 'kept') THEN ({_LATER}) ELSE l.paid_on END AS paid_on, r.released_by AS owner
     FROM payout_line l JOIN payout_run r ON (r.company, r.code) = (l.company, l.run)
     WHERE l.company = :company AND r.period = :period AND (l.status IN ('released', 'settled', 'failed', 'retried')
     OR l.status = 'kept' AND l.account = 'held')
     UNION ALL SELECT NULL, NULL, p.payee, a.code, e.amount, CAST(a.content->>'promised' AS date), 'No run pays it.',
     NULL, a.recorded_by FROM award a CROSS JOIN jsonb_to_recordset(a.content->'participants') AS p(payee text)
     LEFT JOIN entitlement e ON (e.company, e.period, e.plan, e.payee) = (:company, :period, a.code, p.payee)
     AND e.latest LEFT JOIN booked b ON (b.company, b.period, b.plan, b.payee) = (:company, :period, a.code, p.payee)
     WHERE a.content->>'period' = :period AND p.payee <> 'company' AND b.amount IS NULL
     AND e.amount IS DISTINCT FROM 0),
    due AS (SELECT *, coalesce(paid_on, :day) - promised AS days FROM promise
     WHERE paid_on IS NOT NULL OR promised < :day)"""


def punctuality(uow: UnitOfWork, company: str, period: str, day: date) -> tuple[int, int]:
    """Payments of a period that are due by a day, and how many of them were on time."""
    counts: Any = uow.row(
        f"{_DUE} SELECT count(*) AS due, count(*) FILTER (WHERE days <= 0) AS on_time FROM due",
        company=company, period=period, day=day,
    )  # fmt: skip
    return counts.due, counts.on_time


def overdue(uow: UnitOfWork, company: str, period: str, day: date, most: int) -> Iterator[dict[str, Any]]:
    """The first that were not on time; while one is unpaid it is escalated to the superior of its owner.

    The owner is who released it, or who promised an award that no run pays.
    """
    rows: Sequence[Any] = uow.rows(
        f"{_DUE} SELECT * FROM due WHERE days > 0 ORDER BY promised, run, line, plan, payee LIMIT :most",
        company=company, period=period, day=day, most=most,
    )  # fmt: skip
    above = {owner: superior(uow, company, owner, day) for owner in {row.owner for row in rows} if owner}
    for row in rows:
        yield row._asdict() | {"escalated_to": above.get(row.owner) if row.paid_on is None else None}
