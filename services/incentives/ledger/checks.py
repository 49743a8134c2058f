"""The standing check: the ledger in detail, what it adds up to, what runs say and what is exported are the same."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, text

from ..payouts.calculation import content_hash
from .rules import ACCOUNTS, DUE, Booking, Figures, Opening, postings, taken_over

_KINDS = ", ".join(f'"{kind}"' for kind in ACCOUNTS)
_SIDES = (
    "(SELECT company, currency, debit_payee AS payee, plan, debit AS kind, -amount AS amount FROM posting UNION ALL "
    "SELECT company, currency, credit_payee, plan, credit, amount FROM posting) AS side"
)
_UNPIVOTED = ", ".join(f"('{kind}', \"{kind}\")" for kind in ACCOUNTS)
# Each finds what contradicts its sentence: rows of one text that says where.
CHECKS: Mapping[str, str] = {
    "Postings add up to other balances": f"""
        SELECT concat_ws(' ', company, currency, kind, payee, plan) FROM (
        SELECT company, currency, payee, plan, kind, amount FROM {_SIDES} UNION ALL
        SELECT company, currency, payee, plan, kind, -sum FROM balance, LATERAL (VALUES {_UNPIVOTED}) AS k(kind, sum)
        ) AS both_sides GROUP BY company, currency, payee, plan, kind HAVING sum(amount) <> 0""",
    "Balances of a currency do not add up to zero": f"""
        SELECT concat_ws(' ', company, currency) FROM balance GROUP BY company, currency
        HAVING sum({" + ".join(_KINDS.split(", "))}) <> 0""",
    "What is booked of entitlements is not the accrued expense": """
        SELECT concat_ws(' ', company, plan) FROM (SELECT company, plan, amount FROM booked UNION ALL
        SELECT company, plan, expense + clawback FROM balance) AS both_sides GROUP BY company, plan
        HAVING sum(amount) <> 0""",
    "What was paid is not what runs say was paid": """
        SELECT concat_ws(' ', company, currency, payee, plan) FROM (SELECT company, currency, payee, plan, amount
        FROM payout_line WHERE paid_on IS NOT NULL UNION ALL SELECT company, currency, payee, plan, -paid FROM balance)
        AS both_sides GROUP BY company, currency, payee, plan HAVING sum(amount) <> 0""",
    "An account stands on the wrong side": """
        SELECT concat_ws(' ', company, currency, payee, plan) FROM balance
        WHERE least(payable, held, paid) < 0""",
}
_LINES = """
    SELECT l.*, p.debit, p.debit_payee, p.credit, p.credit_payee, p.amount AS posted FROM payout_line l
    LEFT JOIN posting p ON (p.company, p.run, p.line) = (l.company, l.run, l.line) AND p.entry = 'release'
    WHERE l.status <> 'open' ORDER BY l.company, l.run, l.line"""


def findings(connection: Connection) -> Iterator[str]:
    """What is wrong with the ledger, in sentences; nothing where it is sound."""
    with connection.begin():
        for sentence, sql in CHECKS.items():
            if found := connection.execute(text(f"{sql} LIMIT 1")).scalar():
                yield f"{sentence}: {found}."
        runs = connection.execute(text("SELECT * FROM payout_run WHERE status IN ('released', 'settled')")).fetchall()
        for run in runs:
            if content_hash(partial(_ask, connection), run.company, run) != run.hash:
                yield f"A run is not what was approved: {run.company} {run.code}."
        rows = connection.execution_options(yield_per=5_000).execute(text(_LINES))
        for (company, run, line), posted in groupby(rows, key=lambda row: (row.company, row.run, row.line)):
            if not _follows(list(posted)):
                yield f"Postings do not follow from their payout line: {company} {run} {line}."
                return


def _ask(connection: Connection, sql: str, **params: Any) -> Any:
    return connection.execute(text(sql), params).scalar()


def _follows(rows: list[Any]) -> bool:
    """Whether the postings of a line are those that the rules make of its figures."""
    line = rows[0]
    opening = Opening(line.payable, line.held, line.carried, line.draw, line.expense)
    made = Figures(line.regular + line.adjustment, line.advance, line.granted, line.recovered, line.clawed_back,
                   line.account, line.amount)  # fmt: skip
    wanted = [_flat(one, line.payee) for one in postings(opening, made)]
    for moved in line.moved:
        names = (*DUE, "draw", "expense")
        wanted += [
            _flat(b, line.payee) for b in taken_over(moved["payee"], Opening(**{n: Decimal(moved[n]) for n in names}))
        ]
    found = [(r.debit, r.debit_payee, r.credit, r.credit_payee, r.posted) for r in rows if r.debit]
    return sorted(wanted) == sorted(found)


def _flat(booking: Booking, payee: str) -> tuple[Any, ...]:
    return (booking.debit, booking.debtor or payee, booking.credit, booking.creditor or payee, booking.amount)
