"""Every statement that a test makes is computed again by the program that shares no code with what made it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from services.incentives.statements.checks import broken_statements
from services.incentives.statements.store import whole_of

CHECKER = Path(__file__).parents[1] / "tools" / "check_statement.py"


def check(answers: Sequence[Any]) -> "subprocess.CompletedProcess[str]":
    """Runs the checker on its own, without anything of the project on its path."""
    command = [sys.executable, "-I", str(CHECKER), "-"]
    return subprocess.run(command, input=json.dumps(answers), capture_output=True, text=True, check=False)


def told(engine: Engine) -> list[Any]:
    """All statements of a database, as the API answers them."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM statement ORDER BY company, payee, number")).fetchall()
        contents = whole_of(lambda sql, **params: connection.execute(text(sql), params), rows)
        return [{"hash": row.hash, "statement": content} for row, content in zip(rows, contents, strict=True)]


def verified(engine: Engine) -> list[Any]:
    """All statements, of which both the checker and the standing check find nothing wrong."""
    answers = told(engine)
    done = check(answers)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    with engine.connect() as connection:
        assert list(broken_statements(connection)) == []
    return answers
