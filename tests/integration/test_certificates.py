"""Certificates are chained: whatever is done to a row afterwards is found and named."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import ProgrammingError

from services.cli_verify import ChainBroken, check_chains
from shared.closing import broken_links, close
from shared.contracts.base import Closing, Tick
from shared.database.unit_of_work import unit_of_work
from shared.service import Runtime

Tamper = Callable[..., None]
COPIED = "company, '2025-05', kind, start, until, change + 100, at, content, hash, previous, recorded_at"
EDITS = {
    "edited": ("UPDATE certificate SET content = content || '{\"by\": \"eve\"}' WHERE period = '2025-02'",
               ["for 2025-02 was edited"]),
    "deleted": ("DELETE FROM certificate WHERE period = '2025-02'",
                ["for 2025-03 does not name the one before", "for 2025-02 was published and is gone"]),
    "last deleted": ("DELETE FROM certificate WHERE period = '2025-03'", ["for 2025-03 was published and is gone"]),
    "inserted": (f"INSERT INTO certificate SELECT {COPIED} FROM certificate WHERE period = '2025-03'",
                 ["for 2025-05 was edited", "for 2025-05 does not name the one before", "for 2025-05 is not the one"]),
    "moved": ("UPDATE certificate SET change = change + 100 WHERE period = '2025-02'",
              ["for 2025-03 does not name the one before", "for 2025-02 was edited", "for 2025-02 does not name"]),
}  # fmt: skip


@pytest.fixture
def goals(runtimes: Any) -> Runtime:
    """Three months, closed."""
    made: Runtime = runtimes("goals")["goals"]
    for month in (1, 2, 3):
        start, end = date(2025, month, 1), date(2025, month + 1, 1)
        closing = Closing(period=f"2025-{month:02}", kind="month", start=start, end=end, by="li-na")
        with unit_of_work(made, actor="goals") as uow:
            close(uow, "acme", Tick(at=datetime(2025, 4, 1, tzinfo=UTC), id=f"t{month}", closes=closing), {"n": month})
    return made


@pytest.fixture
def tamper(goals: Runtime, postgres_url: str) -> Tamper:
    """What somebody with the administrator's login may do."""

    def run(sql: str) -> None:
        url = make_url(postgres_url).set(database=goals.engine.url.database).render_as_string(hide_password=False)
        with psycopg.connect(url) as connection:
            connection.execute(sql.encode())

    return run


def found(goals: Runtime) -> list[str]:
    with goals.engine.connect() as connection:
        return list(broken_links(connection))


def test_an_untouched_chain_has_no_broken_link(goals: Runtime) -> None:
    assert found(goals) == []


@pytest.mark.parametrize("how", EDITS)
def test_whatever_is_done_to_a_row_is_named(goals: Runtime, tamper: Tamper, how: str) -> None:
    sql, sentences = EDITS[how]
    tamper(sql)
    said = found(goals)
    assert len(said) == len(sentences), said
    assert all(sentence in line for sentence, line in zip(sentences, said, strict=True)), said


def test_the_command_that_verifies_ends_with_an_error(goals: Runtime, runtimes: Any, tamper: Tamper) -> None:
    others = runtimes("metrics", "reviews", "incentives")
    check_chains({**others, "goals": goals})
    tamper(EDITS["edited"][0])
    with pytest.raises(ChainBroken, match="1 fault in"):
        check_chains({**others, "goals": goals})


@pytest.mark.parametrize("sql", ["UPDATE certificate SET change = 1", "DELETE FROM certificate"])
def test_the_application_may_not_change_a_certificate(goals: Runtime, sql: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"), unit_of_work(goals, actor="eve") as uow:
        uow.run(sql)


def test_a_period_closes_once(goals: Runtime) -> None:
    closing = Closing(period="2025-01", kind="month", start=date(2025, 1, 1), end=date(2025, 2, 1), by="eve")
    with unit_of_work(goals, actor="goals") as uow:
        close(uow, "acme", Tick(at=datetime(2025, 4, 1, tzinfo=UTC), id="again", closes=closing), {})
    assert found(goals) == []
