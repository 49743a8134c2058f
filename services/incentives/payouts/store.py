"""Payout runs and their lines in the database. A run changes its state by compare-and-set only."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from shared.contracts.base import Tick
from shared.contracts.payouts import PayoutReleased, RunOpened
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.errors import Conflict, NotFound
from shared.periods import business_day

from ..accruals.store import calendar_of
from ..ledger import store as ledger

LINE = (
    "line, payee, plan, regular, adjustment, parts, payable, held, carried, draw, expense, moved, advance, granted, "
    "recovered, clawed_back, account, amount, why, promised"
)
_TYPED = (
    "line int, payee text, plan text, regular numeric, adjustment numeric, parts jsonb, payable numeric, held numeric, "
    "carried numeric, draw numeric, expense numeric, moved jsonb, advance numeric, granted numeric, recovered numeric, "
    "clawed_back numeric, account text, amount numeric, why text, promised date"
)
_RANGE = "company = :company AND run = :run AND line BETWEEN :first AND :last"
_AMOUNTS = ("regular", "adjustment", "payable", "held", "carried", "draw", "expense", "advance", "granted", "recovered",
            "clawed_back", "amount")  # fmt: skip
_PLAIN = ", ".join(f"'{name}', CAST(trim_scale({name}) AS text)" for name in _AMOUNTS)
# A `PayoutLine`, as the event has it.
_AS_JSON = f"""
    jsonb_build_object('line', line, 'payee', payee, 'plan', plan, 'parts', parts, 'moved', moved, 'account', account,
    'why', why, 'promised', promised, {_PLAIN}, 'postings', coalesce((SELECT jsonb_agg(jsonb_build_object('number',
    p.number, 'debit', p.debit, 'debit_payee', p.debit_payee, 'credit', p.credit, 'credit_payee', p.credit_payee,
    'amount', CAST(trim_scale(p.amount) AS text), 'cause', p.cause) ORDER BY p.number) FROM posting p
    WHERE (p.company, p.run, p.line, p.entry) = (l.company, l.run, l.line, 'release')), '[]'))"""


class RunNotFound(NotFound):
    """There is no such payout run."""


class LineNotFound(NotFound):
    """The run has no such line."""


class ChangedMeanwhile(Conflict):
    """Somebody else moved the run on first."""


def open_run(uow: UnitOfWork, company: str, opened: RunOpened) -> bool:
    """Makes a draft; whether its code was free."""
    return bool(
        uow.run(
            "INSERT INTO payout_run (company, code, period, currency, promised, status, preparers) VALUES "
            "(:company, :run, :period, :currency, :promised, 'draft', ARRAY[:by]) ON CONFLICT DO NOTHING",
            company=company, **dict(opened),
        )
    )  # fmt: skip


def get(uow: UnitOfWork, company: str, code: str, *, lock: bool = False) -> Any:
    """A run; locked until the transaction ends where it is about to change. Raises RunNotFound."""
    row = uow.row(
        "SELECT * FROM payout_run WHERE company = :company AND code = :code" + " FOR UPDATE" * lock,
        company=company, code=code,
    )  # fmt: skip
    if row is None:
        rule = f"There is no payout run {code!r}."
        raise RunNotFound(rule, field="run", remedy="List them with GET /incentives/v1/payout-runs.")
    return row


def find(uow: UnitOfWork, company: str, after: str, limit: int) -> Sequence[Any]:
    """Runs by code."""
    sql = "SELECT * FROM payout_run WHERE company = :company AND code > :after ORDER BY code LIMIT :limit"
    return uow.rows(sql, company=company, after=after, limit=limit)


def move(
    uow: UnitOfWork, run: Any, status: str, what: str, who: str, reason: str | None = None, **columns: Any
) -> None:
    """Moves a run from the state it was read in to another, and notes who did what. Raises ChangedMeanwhile."""
    changes = "".join(f", {name} = :{name}" for name in columns)
    note = Jsonb([{"what": what, "who": who, "reason": reason, "recorded_at": datetime.now(UTC).isoformat()}])
    if not uow.run(
        f"UPDATE payout_run SET status = :to, history = history || CAST(:note AS jsonb){changes} "
        "WHERE company = :company AND code = :code AND status = :status AND attempt = :attempt_read",
        company=run.company, code=run.code, status=run.status, attempt_read=run.attempt, to=status, note=note,
        **columns,
    ):  # fmt: skip
        raise ChangedMeanwhile(f"The run {run.code} was moved on meanwhile.", remedy="Read it again, then decide.")


def progress(uow: UnitOfWork, run: Any, phase: str | None, done: int = 0, **columns: Any) -> None:
    """Says how far the work on a run is."""
    changes = "".join(f", {name} = :{name}" for name in columns)
    uow.run(f"UPDATE payout_run SET phase = :phase, done = :done{changes} WHERE company = :company AND code = :code",
            company=run.company, code=run.code, phase=phase, done=done, **columns)  # fmt: skip


def lines(
    uow: UnitOfWork, company: str, run: str, *, after: int = 0, limit: int, last: int = 2**31 - 1,
    status: str | None = None, payee: str | None = None,
) -> Sequence[Any]:  # fmt: skip
    """Lines of a run by number, from the one behind `after` on."""
    return uow.rows(
        "SELECT * FROM payout_line WHERE company = :company AND run = :run AND line > :after AND line <= :last "
        "AND (CAST(:status AS text) IS NULL OR status = :status) AND (CAST(:payee AS text) IS NULL OR payee = :payee) "
        "ORDER BY line LIMIT :limit",
        company=company, run=run, after=after, last=last, limit=limit, status=status, payee=payee,
    )  # fmt: skip


def get_line(uow: UnitOfWork, company: str, run: str, line: int) -> Any:
    """One line. Raises LineNotFound."""
    if found := lines(uow, company, run, after=line - 1, last=line, limit=1):
        return found[0]
    remedy = f"List its lines with GET /incentives/v1/payout-runs/{run}/lines."
    raise LineNotFound(f"The run {run} has no line {line}.", field="line", remedy=remedy)


def postings_of(uow: UnitOfWork, company: str, run: str, after: int, last: int) -> Sequence[Any]:
    """The postings of some lines, in order."""
    return uow.rows(
        "SELECT * FROM posting WHERE company = :company AND run = :run AND line > :after AND line <= :last "
        "ORDER BY line, entry, number",
        company=company, run=run, after=after, last=last,
    )  # fmt: skip


def lines_as_json(uow: UnitOfWork, company: str, run: str, after: int, last: int) -> list[str]:
    """Released lines with their postings as JSON, a `PayoutLine` each, by number."""
    rows = uow.rows(
        f"SELECT CAST({_AS_JSON} AS text) AS line FROM payout_line l WHERE {_RANGE} ORDER BY l.line",
        company=company, run=run, first=after + 1, last=last,
    )  # fmt: skip
    return [row.line for row in rows]


def release_lines(uow: UnitOfWork, company: str, run: str, first: int, last: int) -> None:
    """Lines that were posted are to be paid, or kept; what the bank refused before is paid by them now."""
    ledger.add_up(uow, company, run, "release", range(first, last + 1))
    ledger.book(uow, company, run, first, last)
    names = {"company": company, "run": run, "first": first, "last": last}
    uow.run(
        f"WITH l AS (SELECT currency, payee, plan, moved FROM payout_line WHERE {_RANGE}) UPDATE payout_line "
        "SET status = 'retried' WHERE company = :company AND status = 'failed' AND (currency, payee, plan) IN "
        "(SELECT currency, payee, plan FROM l UNION ALL SELECT currency, m.payee, plan FROM l, "
        "jsonb_to_recordset(moved) AS m(payee text))", **names,
    )  # fmt: skip
    uow.run(
        "UPDATE payout_line SET status = CASE WHEN account = 'payable' AND amount > 0 THEN 'released' ELSE 'kept' END "
        f"WHERE {_RANGE}", **names,
    )  # fmt: skip


def insert_released(uow: UnitOfWork, company: str, released: PayoutReleased) -> None:
    """Lines as they were released once."""
    given = [line.model_dump(mode="json") for line in released.lines]
    uow.run(
        f"INSERT INTO payout_line (company, run, currency, {LINE}) SELECT r.company, r.code, r.currency, l.* "
        f"FROM payout_run r, jsonb_to_recordset(:lines) AS l({_TYPED}) WHERE r.company = :company AND r.code = :run",
        company=company, run=released.run, lines=Jsonb(given),
    )  # fmt: skip
    ledger.post_again(uow, company, released.run, released.day, given)


def settle_lines(
    uow: UnitOfWork, company: str, run: str, numbers: Sequence[int] | None, day: date
) -> list[int]:  # fmt: skip
    """Marks lines as paid, all that are unanswered where `numbers` is None; posts them. Which they were."""
    chosen = "status = 'released'" if numbers is None else (
        "line = ANY(:numbers) AND (status = 'released' OR status = 'reversed' AND paid_on IS NULL)"
    )  # fmt: skip
    rows = uow.rows(
        "UPDATE payout_line SET paid_on = :day, status = CASE WHEN status = 'released' THEN 'settled' ELSE status END "
        f"WHERE company = :company AND run = :run AND {chosen} RETURNING line",
        company=company, run=run, day=day, **({} if numbers is None else {"numbers": list(numbers)}),
    )  # fmt: skip
    paid = [row.line for row in rows]
    ledger.post_settled(uow, company, run, paid, day)
    ledger.add_up(uow, company, run, "settlement", paid)
    return paid


def fail_line(uow: UnitOfWork, company: str, run: str, line: int, reason: str) -> bool:
    """The bank refused a line: what it pays is due again in the next run. Whether it waited for an answer."""
    return bool(
        uow.run(
            "UPDATE payout_line SET status = 'failed', answer = :reason WHERE company = :company AND run = :run "
            "AND line = :line AND status = 'released'",
            company=company, run=run, line=line, reason=reason,
        )
    )  # fmt: skip


def return_line(uow: UnitOfWork, company: str, run: str, line: int, reason: str, day: date) -> None:
    """The bank sent back what it had paid: it is due again in the next run, or not owed any more where reversed."""
    uow.run(
        "UPDATE payout_line SET paid_on = NULL, answer = :reason, "
        "status = CASE WHEN status = 'settled' THEN 'failed' ELSE status END "
        "WHERE company = :company AND run = :run AND line = :line",
        company=company, run=run, line=line, reason=reason,
    )  # fmt: skip
    ledger.post_returned(uow, company, run, line, day)
    ledger.add_up(uow, company, run, "return", [line])


def reverse_line(uow: UnitOfWork, company: str, run: str, line: int, reason: str, day: date) -> bool:
    """Takes a line back, once; whether it could be."""
    done = uow.run(
        "UPDATE payout_line SET status = 'reversed', answer = :reason WHERE company = :company AND run = :run "
        "AND line = :line AND status IN ('released', 'settled', 'failed')",
        company=company, run=run, line=line, reason=reason,
    )  # fmt: skip
    if done:
        ledger.post_reversed(uow, company, run, line, day)
        ledger.add_up(uow, company, run, "reversal", [line])
        ledger.unbook(uow, company, run, line)
    return bool(done)


def unanswered(uow: UnitOfWork, company: str, run: str) -> bool:
    """Whether lines of a run wait for the bank's answer."""
    sql = "SELECT EXISTS (SELECT 1 FROM payout_line WHERE company = :company AND run = :run AND status = 'released')"
    return bool(uow.value(sql, company=company, run=run))


def releasing(uow: UnitOfWork, company: str, currency: str) -> str | None:
    """The run of a currency that is being posted now."""
    sql = "SELECT code FROM payout_run WHERE company = :company AND currency = :currency AND status = 'releasing'"
    found: str | None = uow.value(sql, company=company, currency=currency)
    return found


def counts(uow: UnitOfWork, company: str, run: str) -> dict[str, tuple[int, Any]]:
    """How many lines of a run there are in each state, and what they pay, hold or carry together."""
    rows = uow.rows(
        "SELECT CASE WHEN status IN ('open', 'kept') AND account <> 'payable' THEN account ELSE status END AS what, "
        "count(*) AS lines, sum(amount) AS amount FROM payout_line WHERE company = :company AND run = :run GROUP BY 1",
        company=company, run=run,
    )  # fmt: skip
    return {row.what: (row.lines, row.amount) for row in rows}


def time_has_come(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Remembers a tick; time never runs back."""
    uow.run(
        "INSERT INTO payout_clock (company, at) VALUES (:company, :at) "
        "ON CONFLICT (company) DO UPDATE SET at = greatest(payout_clock.at, excluded.at)",
        company=company, at=tick.at,
    )  # fmt: skip


def today(uow: UnitOfWork, company: str) -> date | None:
    """The company's date by the last tick; None before the first."""
    at = uow.value("SELECT at FROM payout_clock WHERE company = :company", company=company)
    return business_day(calendar_of(uow, company), at) if at else None


def payments(uow: UnitOfWork, run: Any, after: int, last: int) -> Sequence[Any]:
    """What a released run pays, with the account of each payee; not what was reversed before it was paid."""
    return uow.rows(
        "WITH account AS (SELECT DISTINCT ON (content->>'payee') content->>'payee' AS payee, content "
        "FROM configuration WHERE company = :company AND kind = 'payment-accounts' AND effective_from <= :promised "
        "ORDER BY content->>'payee', effective_from DESC, recorded_at DESC, version DESC) "
        "SELECT l.line, l.payee, l.plan, l.amount, l.promised, a.content AS account FROM payout_line l "
        "LEFT JOIN account a USING (payee) WHERE l.company = :company AND l.run = :run AND l.line > :after "
        "AND l.line <= :last AND (l.status IN ('released', 'settled', 'failed', 'retried') "
        "OR l.status = 'reversed' AND l.paid_on IS NOT NULL) ORDER BY l.line",
        company=run.company, run=run.code, promised=run.promised, after=after, last=last,
    )  # fmt: skip


def account_of(uow: UnitOfWork, company: str, payee: str, day: date) -> Any | None:
    """The payment account of a payee, or of the company, on a day."""
    return uow.value(
        "SELECT content FROM configuration WHERE company = :company AND kind = 'payment-accounts' "
        "AND content->>'payee' = :payee AND effective_from <= :day "
        "ORDER BY effective_from DESC, recorded_at DESC, version DESC LIMIT 1",
        company=company, payee=payee, day=day,
    )  # fmt: skip
