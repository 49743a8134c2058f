"""Every statement that a test makes is computed again by the program that shares no code with what made it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from services.incentives.statements.checks import broken_statements

CHECKER = Path(__file__).parents[1] / "tools" / "check_statement.py"


def check(answers: Sequence[Any]) -> "subprocess.CompletedProcess[str]":
    """Runs the checker on its own, without anything of the project on its path."""
    command = [sys.executable, "-I", str(CHECKER), "-"]
    return subprocess.run(command, input=json.dumps(answers), capture_output=True, text=True, check=False)


def told(engine: Engine) -> list[Any]:
    """All statements of a database, as the API answers them."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT content, hash FROM statement ORDER BY company, payee, number"))
        return [{"hash": row.hash, "statement": row.content} for row in rows]


def verified(engine: Engine) -> list[Any]:
    """All statements, of which both the checker and the standing check find nothing wrong."""
    answers = told(engine)
    done = check(answers)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    with engine.connect() as connection:
        assert list(broken_statements(connection)) == []
    return answers
