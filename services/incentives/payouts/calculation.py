"""A run's lines, calculated for everybody in one statement; `ledger.rules.figures` says the same of one line."""

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from shared.configuration import all_in_force
from shared.contracts.incentives import Plan
from shared.contracts.payouts import Hold, PayeeMerge
from shared.database.unit_of_work import UnitOfWork
from shared.periods import Calendar, Period, parse_period

from ..assignments.rules import last_day
from ..policies import policy
from .rules import resolved

HASHED = 20_000  # lines that are hashed by one statement; another number makes other hashes
NO_ACCOUNT = "No payment account is known."

_MERGED = "merged AS (SELECT * FROM unnest(CAST(:merged AS text[]), CAST(:into AS text[])) AS m(payee, into_payee))"
# What lies in the accounts of each payee, those of merged ones included, without what is on its way to the bank.
_OPENING = """
    unsettled AS (SELECT payee, plan, coalesce(sum(amount) FILTER (WHERE status = 'released'), 0) AS flying,
     min(promised) FILTER (WHERE status = 'failed') AS promised FROM payout_line WHERE company = :company
     AND currency = :currency AND status IN ('released', 'failed') GROUP BY payee, plan),
    account AS (SELECT coalesce(m.into_payee, b.payee) AS payee, b.plan, b.payee AS of,
     b.payable - coalesce(u.flying, 0) AS payable, b.held, b.carried, -b.draw AS draw, -b.expense AS expense, u.promised
     FROM balance b LEFT JOIN unsettled u USING (payee, plan) LEFT JOIN merged m ON m.payee = b.payee
     WHERE b.company = :company AND b.currency = :currency),
    opening AS (SELECT payee, plan, sum(payable) AS payable, sum(held) AS held, sum(carried) AS carried,
     sum(draw) AS draw, sum(expense) AS expense, min(promised) AS promised,
     coalesce(jsonb_agg(jsonb_build_object('payee', of, 'payable', CAST(trim_scale(payable) AS text), 'held',
      CAST(trim_scale(held) AS text), 'carried', CAST(trim_scale(carried) AS text), 'draw',
      CAST(trim_scale(draw) AS text), 'expense', CAST(trim_scale(expense) AS text)) ORDER BY of)
      FILTER (WHERE of <> payee AND (payable, held, carried, draw, expense) <> (0, 0, 0, 0, 0)), '[]') AS moved
     FROM account GROUP BY payee, plan)"""
_DIFFERENCES = """
    difference AS (SELECT coalesce(m.into_payee, e.payee) AS payee, e.plan,
     coalesce(sum(e.amount) FILTER (WHERE b.amount IS NULL AND e.period = :period), 0) AS regular,
     coalesce(sum(e.amount - coalesce(b.amount, 0)) FILTER (WHERE b.amount IS NOT NULL OR e.period <> :period), 0)
      AS adjustment, bool_or(b.amount IS NULL AND e.period = :period) AS first,
     jsonb_agg(jsonb_build_object('period', e.period, 'payee', e.payee, 'version', e.version, 'before',
      CAST(trim_scale(b.amount) AS text), 'after', CAST(trim_scale(e.amount) AS text)) ORDER BY e.period, e.payee)
      AS parts
     FROM entitlement e LEFT JOIN booked b USING (company, period, plan, payee) LEFT JOIN merged m ON m.payee = e.payee
     WHERE e.company = :company AND e.currency = :currency AND e.latest AND e.period = ANY(:periods)
     AND e.amount IS DISTINCT FROM b.amount GROUP BY 1, 2)"""
_TERMS = """
    minimum AS (SELECT * FROM unnest(CAST(:plans AS text[]), CAST(:minimums AS numeric[])) AS m(plan, minimum)),
    due AS (SELECT * FROM unnest(CAST(:awards AS text[]), CAST(:dates AS date[])) AS a(plan, promised)),
    hold AS (SELECT payee, plan, min(why) AS why FROM unnest(CAST(:held AS text[]), CAST(:held_plans AS text[]),
     CAST(:reasons AS text[])) AS h(payee, plan, why) GROUP BY payee, plan),
    known AS (SELECT DISTINCT content->>'payee' AS payee FROM configuration WHERE company = :company
     AND kind = 'payment-accounts' AND effective_from <= :promised),
    drawn AS (SELECT 'person:' || (content->>'person') AS payee, content->>'plan' AS plan,
     max(CAST(content#>>'{draw,amount}' AS numeric)) AS draw,
     bool_and(CAST(content#>>'{draw,recoverable}' AS boolean)) AS recoverable
     FROM (SELECT DISTINCT ON (code) content FROM configuration WHERE company = :company AND kind = 'assignments'
      AND effective_from <= :until ORDER BY code, effective_from DESC, version DESC) AS assigned
     WHERE jsonb_typeof(content->'draw') = 'object' AND CAST(content->>'starts' AS date) <= :until
     AND coalesce(CAST(content->>'ends' AS date), :until) >= :start
     AND coalesce(CAST(content#>>'{draw,until}' AS date), :until) >= :until GROUP BY 1, 2)"""
# Each name is that of `ledger.rules`.
_FIGURES = """
    facts AS (SELECT payee, plan, coalesce(d.regular, 0) AS regular, coalesce(d.adjustment, 0) AS adjustment,
     coalesce(d.parts, '[]') AS parts, coalesce(o.payable, 0) AS payable, coalesce(o.held, 0) AS held,
     coalesce(o.carried, 0) AS carried, coalesce(o.draw, 0) AS draw, coalesce(o.expense, 0) AS expense,
     coalesce(o.moved, '[]') AS moved, coalesce(n.minimum, 0) AS minimum, CASE WHEN d.first THEN w.draw END AS drawn,
     coalesce(w.recoverable, true) AS recoverable, coalesce(h.why, a.why,
      CASE WHEN :accounts AND k.payee IS NULL THEN :no_account END) AS hold,
     coalesce(least(coalesce(t.promised, :promised), o.promised), :promised) AS promised
     FROM difference d FULL JOIN opening o USING (payee, plan) LEFT JOIN minimum n USING (plan)
     LEFT JOIN due t USING (plan) LEFT JOIN hold h USING (payee, plan)
     LEFT JOIN (SELECT payee, why FROM hold WHERE plan = '') AS a USING (payee) LEFT JOIN known k USING (payee)
     LEFT JOIN drawn w USING (payee, plan)),
    available AS (SELECT *, regular + adjustment AS difference,
     greatest(-draw, 0) AS returned, payable + held + carried + regular + adjustment + greatest(-draw, 0) AS available
     FROM facts),
    advanced AS (SELECT *, CASE WHEN drawn > 0 THEN greatest(drawn - available, 0) ELSE 0 END AS short,
     least(greatest(draw, 0), greatest(available - coalesce(drawn, 0), 0)) AS recovered,
     greatest(-difference - least(payable + held + greatest(carried, 0), greatest(expense, 0)), 0)
      AS clawed_back FROM available),
    summed AS (SELECT *, available + short - recovered AS amount FROM advanced),
    decided AS (SELECT *, CASE WHEN amount < 0 THEN 'carried' WHEN hold IS NOT NULL AND amount > 0 THEN 'held'
     WHEN amount < minimum THEN 'carried' ELSE 'payable' END AS account FROM summed)"""
_LINES = f"""
    WITH {_MERGED}, {_OPENING}, {_DIFFERENCES}, {_TERMS}, {_FIGURES}
    INSERT INTO payout_line (company, run, line, payee, plan, currency, regular, adjustment, parts, payable, held,
     carried, draw, expense, moved, advance, granted, recovered, clawed_back, account, amount, why, promised)
    SELECT :company, :run, row_number() OVER (ORDER BY payee COLLATE "C", plan COLLATE "C"), payee, plan, :currency,
     regular, adjustment, parts, payable, held, carried, draw, expense, moved,
     returned + CASE WHEN recoverable THEN short ELSE 0 END, CASE WHEN recoverable THEN 0 ELSE short END, recovered,
     clawed_back, account, amount, CASE WHEN amount < 0 THEN 'More was paid than is due.'
     WHEN account = 'held' THEN hold WHEN account = 'carried' THEN 'Below the minimum payout.' END, promised
    FROM decided WHERE parts <> '[]' OR moved <> '[]' OR (account, amount) NOT IN
     (('payable', 0), ('held', held), ('carried', carried))"""
_OUTDATED = f"""
    WITH {_MERGED}, {_OPENING}
    SELECT l.payee FROM payout_line l LEFT JOIN opening o USING (payee, plan)
    WHERE l.company = :company AND l.run = :run AND ((l.payable, l.held, l.carried, l.draw, l.expense) IS DISTINCT FROM
     (coalesce(o.payable, 0), coalesce(o.held, 0), coalesce(o.carried, 0), coalesce(o.draw, 0), coalesce(o.expense, 0))
     OR l.moved <> coalesce(o.moved, '[]') OR EXISTS (SELECT 1 FROM jsonb_to_recordset(l.parts) AS p(period text,
      payee text, before numeric) LEFT JOIN booked b ON (b.company, b.period, b.plan, b.payee)
      = (l.company, p.period, l.plan, p.payee) WHERE b.amount IS DISTINCT FROM p.before)) LIMIT 1"""
_HASH = """
    SELECT encode(sha256(convert_to(:before || string_agg(CAST(jsonb_build_array(line, payee, plan, trim_scale(regular),
    trim_scale(adjustment), parts, trim_scale(payable), trim_scale(held), trim_scale(carried), trim_scale(draw),
    trim_scale(expense), moved, trim_scale(advance), trim_scale(granted), trim_scale(recovered),
    trim_scale(clawed_back), account, trim_scale(amount), why, promised) AS text), E'\\n' ORDER BY line),
    'UTF8')), 'hex') FROM payout_line WHERE company = :company AND run = :run AND line > :after AND line <= :last"""


def calculate(uow: UnitOfWork, company: str, run: Any, calendar: Calendar) -> int:
    """Writes the lines of a run from what is entitled and what is booked; how many there are."""
    period = parse_period(calendar, run.period)
    uow.run("SET LOCAL work_mem = '256MB'")  # joins of a million payees stay in memory
    return uow.run(_LINES, **_shared(uow, company, run), **_terms(uow, company, run, period), period=period.label,
                   periods=_closed(uow, company, period, calendar))  # fmt: skip


def outdated(uow: UnitOfWork, company: str, run: Any) -> str | None:
    """A payee whose accounts are not as the run's lines found them any more."""
    found: str | None = uow.value(_OUTDATED, **_shared(uow, company, run))
    return found


def held_meanwhile(uow: UnitOfWork, company: str, run: Any) -> str | None:
    """A payee who would be paid and has been put on hold since the run was calculated."""
    found: str | None = uow.value(
        "SELECT l.payee FROM payout_line l JOIN unnest(CAST(:held AS text[]), CAST(:held_plans AS text[])) "
        "AS h(payee, plan) ON h.payee = l.payee AND h.plan IN ('', l.plan) WHERE l.company = :company "
        "AND l.run = :run AND l.account = 'payable' AND l.amount > 0 ORDER BY l.line LIMIT 1",
        company=company, run=run.code, **_holds(uow, company, run.promised),
    )  # fmt: skip
    return found


def content_hash(ask: Callable[..., Any], company: str, run: Any) -> str:
    """SHA-256 over all lines of a run, chained chunk by chunk, from what the run is for on.

    Args:
        ask: gives the first value of a statement with parameters, such as `uow.value`.
    """
    found: str = f"{run.code} {run.period} {run.currency} {run.promised}"
    lines = ask("SELECT count(*) FROM payout_line WHERE company = :c AND run = :r", c=company, r=run.code)
    for after in range(0, max(lines, 1), HASHED):
        found = ask(_HASH, company=company, run=run.code, before=found, after=after, last=after + HASHED) or found
    return found if lines else "0" * 64


def _shared(uow: UnitOfWork, company: str, run: Any) -> dict[str, Any]:
    known = all_in_force(uow, PayeeMerge, company, run.promised).values()
    merges = resolved({each.content.from_payee: each.content.to_payee for each in known})
    return {"company": company, "run": run.code, "currency": run.currency, "merged": list(merges),
            "into": list(merges.values())}  # fmt: skip


def _terms(uow: UnitOfWork, company: str, run: Any, period: Period) -> dict[str, Any]:
    day = last_day(period)
    minimums: Mapping[str, Decimal] = {
        code: plan.content.minimum_payout
        for code, plan in all_in_force(uow, Plan, company, day).items()
        if plan.content.minimum_payout
    }
    awards = _awards(uow, company)
    return {
        "plans": list(minimums), "minimums": list(minimums.values()), **_holds(uow, company, run.promised),
        "awards": list(awards), "dates": list(awards.values()), "promised": run.promised, "start": period.start,
        "until": day, "no_account": NO_ACCOUNT,
        "accounts": policy(uow, company, "without_account", run.promised) == "hold",
    }  # fmt: skip


def _holds(uow: UnitOfWork, company: str, day: date) -> dict[str, list[str]]:
    """The holds that cover a day, as columns."""
    found = [each.content for each in all_in_force(uow, Hold, company, day).values()]
    found = [one for one in found if one.starts <= day <= (one.ends or date.max)]
    return {"held": [one.payee for one in found], "held_plans": [one.plan or "" for one in found],
            "reasons": [one.reason or "" for one in found]}  # fmt: skip


def _awards(uow: UnitOfWork, company: str) -> dict[str, date]:
    """The promised dates that awards have of their own."""
    rows = uow.rows(
        "SELECT DISTINCT ON (code) code, CAST(content->>'promised' AS date) AS promised FROM configuration "
        "WHERE company = :company AND kind = 'awards' ORDER BY code, effective_from DESC, version DESC",
        company=company,
    )  # fmt: skip
    return {row.code: row.promised for row in rows if row.promised}


def _closed(uow: UnitOfWork, company: str, upto: Period, calendar: Calendar) -> list[str]:
    """The closed periods that end no later than a period."""
    labels = uow.rows("SELECT period FROM frozen WHERE company = :company AND plan = ''", company=company)
    return [row.period for row in labels if parse_period(calendar, row.period).end <= upto.end]
