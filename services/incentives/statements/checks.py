"""The standing check: statements are as they were told, and none is missing."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from sqlalchemy import Connection, text

from shared.contracts.statements import StatementsIssued

from .rules import hash_of
from .store import whole_of

_TOLD = "SELECT company, data FROM log.record WHERE type = :type"
_UNTOLD = """
    SELECT DISTINCT l.company, l.payee, l.run FROM payout_line l JOIN payout_run r ON (r.company, r.code)
    = (l.company, l.run) WHERE r.status IN ('released', 'settled') AND NOT EXISTS (SELECT 1 FROM statement s
    WHERE (s.company, s.run, s.payee) = (l.company, l.run, l.payee)) ORDER BY 1, 2, 3"""


def broken_statements(connection: Connection) -> Iterator[str]:
    """What is wrong with the statements, in sentences; nothing where they are untouched."""
    with connection.begin():
        told, ask = _told(connection), partial(_ask, connection)
        before: tuple[str, str, int, str | None] = ("", "", 0, None)
        rows = connection.execution_options(yield_per=1_000).execute(
            text("SELECT * FROM statement ORDER BY company, payee, number")
        )
        pairs = (pair for some in rows.partitions() for pair in zip(some, whole_of(ask, some), strict=True))
        for row, content in pairs:
            name = f"Statement {row.number} of {row.payee} in {row.company}"
            if (row.company, row.payee) != before[:2]:
                before = (row.company, row.payee, 0, None)
            if hash_of(content) != row.hash:
                yield f"{name} was edited: it does not have the hash it names."
            if (row.number, row.previous, row.content["previous"]) != (before[2] + 1, before[3], before[3]):
                yield f"{name} does not name the one before it: one was deleted, inserted or moved there."
            if told.pop((row.company, row.payee, row.number), None) != row.hash:
                yield f"{name} is not the one that was published."
            before = (row.company, row.payee, row.number, row.hash)
        for company, payee, number in sorted(told):
            yield f"Statement {number} of {payee} in {company} was published and is gone."
        for row in connection.execute(text(_UNTOLD)):
            yield f"{row.payee} in {row.company} has no statement of the run {row.run}."


def _ask(connection: Connection, sql: str, **params: Any) -> Any:
    return connection.execute(text(sql), params)


def _told(connection: Connection) -> dict[tuple[str, str, int], str]:
    rows = connection.execute(text(_TOLD), {"type": StatementsIssued.TYPE})
    return {
        (row.company, one["payee"], one["number"]): one["hash"]
        for row in rows for one in json.loads(row.data)["statements"]
    }  # fmt: skip
