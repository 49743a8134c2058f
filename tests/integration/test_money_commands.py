"""Every command that moves money is done once: however often it is sent, raced, or answered into the void."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from shared.database.unit_of_work import unit_of_work
from tests.integration.paying import Payroll
from tests.integration.test_payouts import bare, pay, refused

__all__ = ["bare", "pay"]
Send = Callable[[], Any]


class Killed(BaseException):
    """The process dies: nobody handles that."""


def commands(pay: Payroll) -> Iterator[tuple[str, Any, str]]:
    """Path, body and caller of each command, in the order in which a run needs them."""
    pay.entitle({"li": "10", "wang": "100"})
    yield "payout-runs", {"code": "q1", "period": "2025-Q1", "currency": "CNY", "promised": "2025-04-15"}, "li"
    for act, who in (("calculations", "li"), ("submissions", "li"), ("rejections", "chen"), ("submissions", "li"),
                     ("approvals", "chen"), ("releases", "chen"), ("settlements", "chen")):  # fmt: skip
        bodies: dict[str, Any] = {
            "rejections": {"reason": "Because."}, "approvals": {"hash": pay.run()["hash"]},
            "settlements": {"day": "2025-04-14", "lines": [{"line": 1}]},
        }  # fmt: skip
        yield f"payout-runs/q1/{act}", bodies.get(act), who
        pay.work()
    yield "payout-runs/q1/lines/2/reversals", {"reason": "Because."}, "chen"


def effects(pay: Payroll) -> tuple[int, ...]:
    """How often anything was done: acts in histories, events told, postings."""
    counts = ("SELECT coalesce(sum(jsonb_array_length(history)), 0) AS n FROM payout_run",
              "SELECT count(*) AS n FROM log.record WHERE topic LIKE 'incentives.%'",
              "SELECT count(*) AS n FROM posting", "SELECT count(*) AS n FROM payout_run")  # fmt: skip
    return tuple(int(pay.rows(sql)[0].n) for sql in counts)


def killed_before_it_answers(pay: Payroll, send: Send) -> None:
    async def dies(scope: Any, receive: Any, _send: Any) -> None:
        async def answer(_message: Any) -> None:
            raise Killed

        await alive.app(scope, receive, answer)

    alive = pay.http
    pay.http = TestClient(dies)
    try:
        send()
    except BaseException as died:  # it may come wrapped in a group
        assert "Killed" in repr(died)
    pay.http = alive


def raced_by_fifty(_pay: Payroll, send: Send) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: send(), range(50)))
    done = {answer.content for answer in answers if answer.is_success}
    assert len(done) == 1
    assert {a.json()["type"].rsplit(":", 1)[-1] for a in answers if not a.is_success} <= {"idempotency-key-in-flight"}


@pytest.mark.parametrize("first", [killed_before_it_answers, raced_by_fifty])
def test_a_command_has_one_effect_and_its_answer_is_kept(pay: Payroll, first: Callable[[Payroll, Send], None]) -> None:
    for number, (path, body, who) in enumerate(commands(pay)):
        key = f"{number}-{path.rsplit('/', 1)[-1]}"
        sent = {} if body is None else {"json": body}
        refused(pay.call("POST", path, who, **sent), 400, "idempotency-key-missing")
        with unit_of_work(pay.runtime, actor="test") as uow:
            name = "\x1f".join(("idempotency", "acme", who, key))
            uow.run("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))", name=name)
            refused(pay.post(path, body, who, key=key), 409, "idempotency-key-in-flight")
        before = effects(pay)
        first(pay, lambda: pay.post(path, body, who, key=key))  # noqa: B023  called at once
        after = effects(pay)
        assert (after[1] > before[1], after[0] - before[0] <= 1, after != before) == (True, True, True), path
        again = [pay.post(path, body, who, key=key) for _ in range(2)]
        assert again[0].is_success and again[0].content == again[1].content, path
        assert {one.headers["idempotency-replayed"] for one in again} == {"true"}
        refused(pay.post(path, {"other": "body"}, who, key=key), 422, "idempotency-key-reused")
        refused(pay.post("payout-runs/other/calculations", body, who, key=key), 422, "idempotency-key-reused")
        assert effects(pay) == after, path
    assert pay.balance("wang") == {"pending": "100"} and pay.balance("li") == {"paid": "10"}
    pay.sound()
