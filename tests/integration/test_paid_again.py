"""Payout runs in a rebuild of all services: what was paid comes out to the cent, and so does what it was paid for."""

from typing import Any
from uuid import uuid4

from services.incentives.ledger.checks import findings
from tests.acceptance.conftest import Loop
from tests.integration.test_rebuild import Live, differences, idle, live, rebuilt

__all__ = ["idle", "live"]
RUNS = "/incentives/v1/payout-runs"


def order(loop: Loop, path: str, who: str = "li", **body: Any) -> None:
    client = loop.speaking_as(who, "compensation", "finance")
    client.post(path, body, **{"Idempotency-Key": uuid4().hex})
    loop.settle()


def release(loop: Loop, run: str, period: str, promised: str) -> None:
    order(loop, RUNS, code=run, period=period, currency="CNY", promised=promised)
    order(loop, f"{RUNS}/{run}/calculations")
    order(loop, f"{RUNS}/{run}/submissions")
    found = loop.get(f"incentives/payout-runs/{run}")
    order(loop, f"{RUNS}/{run}/approvals", "chen", hash=found["hash"])
    order(loop, f"{RUNS}/{run}/releases", "chen")


def test_paid_numbers_come_out_to_the_cent_when_everything_is_rebuilt(live: Live, runtimes: Any) -> None:
    loop = Loop(live.client("acme"), live.issuer, "acme").set_up()
    loop.measured("sales", "CNY")
    loop.goal("sales", 1_000, metric="sales")
    component = {"code": "c", "name": "c", "driver": {"kind": "goal", "code": "sales"}, "weight": "1",
                 "curve": {"kind": "linear", "slope": "0.01"}}  # fmt: skip
    loop.put("incentives/plans/p", name="p", period="quarter", currency="CNY", components=[component])
    loop.put("incentives/policies/without_account", value="pay")
    for name in ("wang", "zhao"):
        loop.person(name, "company")
        loop.put(f"incentives/assignments/{name}", person=name, plan="p", amount="999.99", starts="2025-01-01")
    loop.observed("sales", 700)
    loop.time_reaches("2025-04-01")
    order(loop, "/metrics/v1/periods/2025-Q1/close", "chen", override="Test")
    release(loop, "q1", "2025-Q1", "2025-04-15")
    answers = [{"line": 1}, {"line": 2, "outcome": "failed", "reason": "Closed."}]
    order(loop, f"{RUNS}/q1/settlements", "chen", day="2025-04-14", lines=answers)
    loop.observed("sales", -100, "2025-03-20")
    loop.settle()
    release(loop, "late", "2025-Q1", "2025-05-15")
    order(loop, f"{RUNS}/late/lines/2/reversals", "chen", reason="Wrong.")
    order(loop, "/incentives/v1/people/wang/objections", statement=1, line=1, text="Too little.")
    order(loop, "/incentives/v1/people/zhao/objections", statement=1, line=2, text="Much too little.")
    order(
        loop, "/incentives/v1/objections/2025-Q1.1/answers", "chen", outcome="adjusted", amount="5000", reason="A slip."
    )
    loop.time_reaches("2025-05-01")
    order(loop, RUNS, code="open", period="2025-Q1", currency="CNY", promised="2025-06-15")
    order(loop, f"{RUNS}/open/calculations")
    again = rebuilt(live, runtimes)
    assert differences(live.runtimes, again) == {}
    for each in (live.runtimes, again):
        with each["incentives"].engine.connect() as connection:
            assert list(findings(connection)) == []
