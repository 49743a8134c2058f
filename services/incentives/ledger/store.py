"""The ledger in the database: postings in bulk, what they add up to, and what is booked of each entitlement.

Functions take lines of one run by their numbers, `first` and `last` included. What `rules.postings` says of a line,
`post` says of many; a test holds the two together, and `valueloop verify` every line that was released.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from shared.database.unit_of_work import Jsonb, UnitOfWork

from .rules import ACCOUNTS

_RANGE = "l.company = :company AND l.run = :run AND l.line BETWEEN :first AND :last"
_POSTING = (
    "company, run, line, entry, number, plan, currency, debit, debit_payee, credit, credit_payee, amount, cause, day"
)

# What a merged payee's accounts hold, by sign of the balance: see `rules.taken_over`.
_TAKEN_OVER = """
    SELECT 0 AS place, kind.name AS debit, CASE WHEN had > 0 THEN m.payee ELSE l.payee END AS debit_payee,
    kind.name AS credit, CASE WHEN had > 0 THEN l.payee ELSE m.payee END AS credit_payee, abs(had) AS amount,
    'merged' AS cause FROM jsonb_to_recordset(l.moved) AS m(payee text, payable numeric, held numeric, carried numeric,
    draw numeric, expense numeric), LATERAL (VALUES ('payable', m.payable), ('held', m.held), ('carried', m.carried),
    ('draw', -m.draw), ('expense', -m.expense)) AS kind(name, had)"""
# See `rules.postings`; amounts of zero or less are left out below.
_OWN = """
    SELECT own.place, own.debit, l.payee, own.credit, l.payee, own.amount, own.cause FROM (VALUES
    (1, 'expense', l.account, l.regular + l.adjustment, 'entitled'),
    (2, 'payable', l.account, l.payable, 'gathered'), (3, 'held', l.account, l.held, 'gathered'),
    (4, 'carried', l.account, l.carried, 'gathered'), (5, 'draw', l.account, l.advance, 'advance'),
    (6, 'grant', l.account, l.granted, 'advance'), (7, l.account, 'carried', -l.carried, 'gathered'),
    (8, l.account, 'expense', -(l.regular + l.adjustment) - l.clawed_back, 'entitled to less'),
    (9, l.account, 'clawback', l.clawed_back, 'clawed back'),
    (10, l.account, 'draw', l.recovered, 'advance recovered')) AS own(place, debit, credit, amount, cause)
    WHERE own.debit <> own.credit"""


def post(uow: UnitOfWork, company: str, run: str, first: int, last: int, day: date) -> None:
    """Posts lines: what `rules.postings` and `rules.taken_over` make of each."""
    uow.run(
        f"INSERT INTO posting ({_POSTING}) SELECT l.company, l.run, l.line, 'release', "
        "row_number() OVER (PARTITION BY l.line ORDER BY p.place, p.debit, p.debit_payee, p.credit_payee), "
        "l.plan, l.currency, p.debit, p.debit_payee, p.credit, p.credit_payee, p.amount, p.cause, :day "
        f"FROM payout_line l, LATERAL ({_TAKEN_OVER} UNION ALL {_OWN}) AS p WHERE {_RANGE} AND p.amount > 0",
        company=company, run=run, first=first, last=last, day=day,
    )  # fmt: skip


def post_again(uow: UnitOfWork, company: str, run: str, day: date, lines: Sequence[Any]) -> None:
    """Posts lines as they were posted once."""
    uow.run(
        f"INSERT INTO posting ({_POSTING}) SELECT :company, :run, l.line, 'release', p.number, l.plan, r.currency, "
        "p.debit, p.debit_payee, p.credit, p.credit_payee, p.amount, p.cause, :day FROM payout_run r, "
        "jsonb_to_recordset(:lines) AS l(line int, plan text, postings jsonb), jsonb_to_recordset(l.postings) AS "
        "p(number int, debit text, debit_payee text, credit text, credit_payee text, amount numeric, cause text) "
        "WHERE r.company = :company AND r.code = :run",
        company=company, run=run, day=day, lines=Jsonb(lines),
    )  # fmt: skip


def post_settled(uow: UnitOfWork, company: str, run: str, numbers: Sequence[int], day: date) -> None:
    """What was paid is no longer due; of a line that was reversed meanwhile it is owed."""
    uow.run(
        f"INSERT INTO posting ({_POSTING}) SELECT company, run, line, 'settlement', 1, plan, currency, "
        "CASE WHEN status = 'reversed' THEN 'carried' ELSE 'payable' END, payee, 'paid', payee, amount, 'paid', :day "
        "FROM payout_line WHERE company = :company AND run = :run AND line = ANY(:numbers)",
        company=company, run=run, numbers=numbers, day=day,
    )  # fmt: skip


def post_returned(uow: UnitOfWork, company: str, run: str, line: int, day: date) -> None:
    """What was paid came back: the settlement's row the other way round."""
    uow.run(
        f"INSERT INTO posting ({_POSTING}) SELECT company, run, line, 'return', 1, plan, currency, 'paid', payee, "
        "CASE WHEN status = 'reversed' THEN 'carried' ELSE 'payable' END, payee, amount, 'returned', :day "
        "FROM payout_line WHERE company = :company AND run = :run AND line = :line",
        company=company, run=run, line=line, day=day,
    )  # fmt: skip


def post_reversed(uow: UnitOfWork, company: str, run: str, line: int, day: date) -> None:
    """Takes a line's postings back by reversing rows: see `rules.reversal`."""
    uow.run(
        f"INSERT INTO posting ({_POSTING}) SELECT company, run, line, 'reversal', number, plan, currency, "
        "credit, credit_payee, debit, debit_payee, amount, 'reversed', CAST(:day AS date) FROM posting "
        "WHERE company = :company AND run = :run AND line = :line AND entry = 'release' UNION ALL "
        "SELECT company, run, line, 'reversal', 0, plan, currency, 'carried', payee, 'payable', payee, amount, "
        "'paid before it was reversed', CAST(:day AS date) FROM payout_line "
        "WHERE company = :company AND run = :run AND line = :line AND paid_on IS NOT NULL",
        company=company, run=run, line=line, day=day,
    )  # fmt: skip


def add_up(uow: UnitOfWork, company: str, run: str, entry: str, numbers: Sequence[int] | range) -> None:
    """Takes the postings of an entry of some lines into the balances."""
    kinds = ", ".join(f'"{kind}"' for kind in ACCOUNTS)
    sums = ", ".join(f"coalesce(sum(amount) FILTER (WHERE kind = '{kind}'), 0)" for kind in ACCOUNTS)
    grown = ", ".join(f'"{kind}" = balance."{kind}" + excluded."{kind}"' for kind in ACCOUNTS)
    where, params = "company = :company AND run = :run AND entry = :entry AND ", dict[str, Any]()
    if isinstance(numbers, range):
        where, params = where + "line >= :first AND line < :end", {"first": numbers.start, "end": numbers.stop}
    else:
        where, params = where + "line = ANY(:numbers)", {"numbers": list(numbers)}
    uow.run(
        f"INSERT INTO balance (company, currency, payee, plan, {kinds}) SELECT :company, currency, payee, plan, {sums} "
        f"FROM (SELECT currency, debit_payee AS payee, plan, debit AS kind, -amount AS amount FROM posting "
        f"WHERE {where} UNION ALL SELECT currency, credit_payee, plan, credit, amount FROM posting WHERE {where}) "
        "AS one GROUP BY currency, payee, plan ORDER BY payee, plan "
        f"ON CONFLICT (company, currency, payee, plan) DO UPDATE SET {grown}",
        company=company, run=run, entry=entry, **params,
    )  # fmt: skip


def book(uow: UnitOfWork, company: str, run: str, first: int, last: int) -> None:
    """Remembers how much of each entitlement these lines book."""
    uow.run(
        "INSERT INTO booked (company, period, plan, payee, amount, version) SELECT l.company, p.period, l.plan, "
        "p.payee, p.after, p.version FROM payout_line l, jsonb_to_recordset(l.parts) AS p(period text, payee text, "
        f"after numeric, version int) WHERE {_RANGE} ORDER BY p.period, l.plan, p.payee "
        "ON CONFLICT (company, period, plan, payee) DO UPDATE SET amount = excluded.amount, version = excluded.version",
        company=company, run=run, first=first, last=last,
    )  # fmt: skip


def unbook(uow: UnitOfWork, company: str, run: str, line: int) -> None:
    """Forgets what a line booked, so that the next calculation takes it up again; later adjustments stay."""
    part = (
        "FROM payout_line l, jsonb_to_recordset(l.parts) AS p(period text, payee text, before numeric, after numeric) "
        "WHERE l.company = :company AND l.run = :run AND l.line = :line AND (b.company, b.period, b.plan, b.payee) "
        "= (l.company, p.period, l.plan, p.payee)"
    )
    names = {"company": company, "run": run, "line": line}
    uow.run(f"UPDATE booked b SET amount = b.amount - (p.after - coalesce(p.before, 0)) {part}", **names)
    uow.run(f"DELETE FROM booked b USING {part.removeprefix('FROM ')} AND p.before IS NULL AND b.amount = 0", **names)


def balances(uow: UnitOfWork, company: str, *, payee: str | None, after: Sequence[str], limit: int) -> Sequence[Any]:
    """Accounts by payee and plan, each with what is entitled and not booked yet; of one payee also where nothing is."""
    zeros = ", ".join("0" for _ in ACCOUNTS)
    return uow.rows(
        "SELECT b.*, coalesce((SELECT sum(e.amount) FROM entitlement e WHERE e.company = b.company AND e.plan = b.plan "
        "AND e.payee = b.payee AND e.currency = b.currency AND e.latest), 0) AS entitled FROM (SELECT * FROM balance "
        f"UNION ALL SELECT DISTINCT company, currency, payee, plan, {zeros} FROM entitlement WHERE company = :company "
        "AND payee = :payee AND latest AND (company, currency, payee, plan) NOT IN (SELECT company, currency, payee, "
        "plan FROM balance WHERE company = :company AND payee = :payee)) AS b "
        "WHERE company = :company AND (CAST(:payee AS text) IS NULL OR payee = :payee) "
        "AND (currency, payee, plan) > (:a, :b, :c) ORDER BY currency, payee, plan LIMIT :limit",
        company=company, payee=payee, a=after[0], b=after[1], c=after[2], limit=limit,
    )  # fmt: skip


def journal(uow: UnitOfWork, company: str, first: date, last: date) -> Sequence[Any]:
    """Postings of some days, added up by day, run, entry, currency, plan and pair of accounts."""
    return uow.rows(
        "SELECT day, run, entry, currency, plan, debit, credit, sum(amount) AS amount, count(*) AS postings "
        "FROM posting WHERE company = :company AND day BETWEEN :first AND :last "
        "GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 1, 2, 3, 4, 5, 6, 7",
        company=company, first=first, last=last,
    )  # fmt: skip
