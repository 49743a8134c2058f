"""M8: from a goal that was reached to money on the account by the promised day; what comes later is an adjustment."""

from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from services import cli_payout
from services.client import ApiProblem
from tests.acceptance.conftest import Loop
from tests.acceptance.paying import close, entitled

pytestmark = pytest.mark.mechanism("M8")
RUNS = "/incentives/v1/payout-runs"


class Office:
    """Li of compensation prepares runs, Chen of finance approves and pays them."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.li = loop.speaking_as("li", "compensation")
        self.chen = loop.speaking_as("chen", "finance")

    def post(self, client: Any, path: str, **body: Any) -> Any:
        return client.post(RUNS + path, body, **{"Idempotency-Key": uuid4().hex})

    def calculate(self, run: str) -> Any:
        self.post(self.li, f"/{run}/calculations")
        self.loop.settle()
        return self.li.get(f"{RUNS}/{run}")

    def release(self, run: str, period: str, promised: str) -> Any:
        self.post(self.li, "", code=run, period=period, currency="CNY", promised=promised)
        found = self.calculate(run)
        assert found["status"] == "calculated", found
        self.post(self.li, f"/{run}/submissions")
        self.post(self.chen, f"/{run}/approvals", hash=found["hash"])
        self.post(self.chen, f"/{run}/releases")
        self.loop.settle()
        return self.chen.get(f"{RUNS}/{run}")

    def lines(self, run: str) -> dict[str, Any]:
        return {line["payee"].removeprefix("person:"): line for line in self.chen.items(f"{RUNS}/{run}/lines")}


@pytest.fixture
def office(loop: Loop) -> Office:
    """Ten people whose plan pays 1,000 each for a goal that is reached by 100 %."""
    loop.measured("output", "CNY")
    loop.goal("output", 1000, metric="output")
    loop.observed("output", 1000)
    component = {"code": "output", "name": "Output", "weight": "1", "driver": {"kind": "goal", "code": "output"},
                 "curve": {"kind": "linear", "slope": "0.01"}}  # fmt: skip
    loop.put("incentives/plans/bonus", name="Bonus", period="quarter", currency="CNY", components=[component])
    loop.put("incentives/policies/without_account", value="pay")
    for number in range(10):
        loop.person(f"p{number}", "company")
        body = {"person": f"p{number}", "plan": "bonus", "amount": "1000", "starts": "2025-01-01"}
        loop.put(f"incentives/assignments/p{number}", **body)
    close(loop, "2025-Q1", after="2025-04-01")
    return Office(loop)


def test_nine_of_ten_paid_on_time_are_ninety_percent_and_the_tenth_is_listed_with_its_days(office: Office) -> None:
    for code, manager in (("boss", None), ("chen", "boss"), ("tester", "chen")):
        office.loop.person(code, "company", manager=manager)
    run = office.release("q1", "2025-Q1", "2025-04-15")
    assert (run["status"], run["total"], run["released_on"]) == ("released", "10000", "2025-04-01")
    answers = [{"line": line["line"]} for who, line in office.lines("q1").items() if who != "p9"]
    office.post(office.chen, "/q1/settlements", day="2025-04-15", lines=answers)
    office.loop.time_reaches("2025-04-18")
    found = office.chen.get("/incentives/v1/timeliness", period="2025-Q1")
    assert (found["due"], found["on_time"], found["share"]) == (10, 9, "0.9")
    assert [(late["payee"], late["days"], late["escalated_to"]) for late in found["overdue"]] == [
        ("person:p9", 3, "boss")
    ]
    share = {"payee": "person:p0", "share": "1"}
    office.loop.put("incentives/awards/idea", name="Idea", period="2025-Q1", currency="CNY", amount="300",
                    participants=[share], promised="2025-04-17")  # fmt: skip
    for amount in (None, "300"):  # not computed yet; then computed, and still in no released run
        late = office.chen.get("/incentives/v1/timeliness", period="2025-Q1")["overdue"][1]
        assert (late["plan"], late["run"], late["amount"], late["days"]) == ("idea", None, amount, 1)
        assert (late["owner"], late["escalated_to"]) == ("tester", "chen")
        if amount is None:
            office.post(office.li, "", code="idea", period="2025-Q1", currency="CNY", promised="2025-05-15")
            office.calculate("idea")


def test_a_correction_after_payment_is_one_signed_adjustment_in_the_next_run(office: Office) -> None:
    office.release("q1", "2025-Q1", "2025-04-15")
    office.post(office.chen, "/q1/settlements", day="2025-04-15", others="settled")
    office.loop.observed("output", -100, "2025-03-30")  # late: goods came back
    office.loop.observed("output", 40, "2025-03-31")
    office.loop.settle()
    run = office.release("q2", "2025-Q1", "2025-07-15")
    assert (run["status"], run["total"], run["groups"]["carried"]["amount"]) == ("settled", "0", "-600")
    line = office.lines("q2")["p0"]
    assert (line["regular"], line["adjustment"], line["clawed_back"]) == ("0", "-60", "60")
    [part] = line["parts"]
    assert (part["period"], part["before"], part["after"]) == ("2025-Q1", "1000", "940")
    assert part["version"] == entitled(office.loop, "p0")[-1]["version"]
    [balance] = office.chen.get("/incentives/v1/balances", payee="person:p0")["items"]
    assert [balance[name] for name in ("entitled", "paid", "carried", "pending")] == ["940", "1000", "-60", "0"]


def test_a_run_of_which_nobody_else_approved_is_not_released(office: Office) -> None:
    office.post(office.li, "", code="q1", period="2025-Q1", currency="CNY", promised="2025-04-15")
    found = office.calculate("q1")
    both = office.loop.speaking_as("li", "admin", "compensation", "finance")
    office.post(both, "/q1/submissions")
    for path, body, kind in (
        ("approvals", {"hash": found["hash"]}, "approves-own"), ("releases", {}, "run-not-in-state"),
    ):  # fmt: skip
        with pytest.raises(ApiProblem) as caught:
            office.post(both, f"/q1/{path}", **body)
        assert caught.value.type == kind


def test_a_run_whose_step_failed_says_so_and_goes_on_when_an_operator_retries_it(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_of: Any) -> int:
        raise ArithmeticError("The disk is on fire.")

    with monkeypatch.context() as patched:
        patched.setattr("services.incentives.payouts.steps.calculate", broken)
        office.post(office.li, "", code="q1", period="2025-Q1", currency="CNY", promised="2025-04-15")
        found = office.calculate("q1")
    assert (found["status"], found["progress"]) == ("calculating", {"phase": "calculating", "percent": 50})
    assert found["problem"].endswith("ArithmeticError: The disk is on fire.")
    whose = ["--url", office.chen.base_url, "--token", office.chen.token]
    followed = CliRunner().invoke(cli_payout.app, ["payout", "progress", "q1", *whose])
    assert "waits for an operator" in " ".join(followed.output.split())
    [parked] = [one for one in office.loop.get("incentives/parked")["items"] if one["key"] == "q1"]
    place = "/".join(str(parked[name]) for name in ("topic", "partition", "pos"))
    office.loop.client.post(f"/incentives/v1/parked/{place}/retry", {})
    office.loop.settle()
    found = office.li.get(f"{RUNS}/q1")
    assert (found["status"], found["problem"], found["total"]) == ("calculated", None, "10000")


def test_a_run_is_prepared_approved_and_paid_from_the_command_line(office: Office) -> None:
    def valueloop(who: Any, *words: str) -> Any:
        return CliRunner().invoke(cli_payout.app, ["payout", *words, "--url", who.base_url, "--token", who.token])

    valueloop(office.li, "open", "q1", "--period", "2025-Q1", "--currency", "CNY", "--promised", "2025-04-15")
    calculated = valueloop(office.li, "calculate", "q1").output.splitlines()[-1]
    content = calculated.rsplit(" ", 1)[1].rstrip(".")
    assert calculated == f"q1: calculated, 100 %, 10 lines, pays 10000 CNY, content {content}."
    valueloop(office.li, "submit", "q1")
    both = office.loop.speaking_as("li", "compensation", "finance")
    assert valueloop(both, "approve", "q1", content).exception.type == "approves-own"
    for not_seen in ("00000000", content[:7]):
        assert isinstance(valueloop(office.chen, "approve", "q1", not_seen).exception, cli_payout.ContentDiffers)
    assert "approved" in valueloop(office.chen, "approve", "q1", content).output
    assert "released" in valueloop(office.chen, "release", "q1").output
    assert valueloop(office.chen, "file", "q1").output.count("1000.00,CNY") == 10
    assert valueloop(office.chen, "settle", "q1", "--day", "2025-04-14", "--failed", "no reason").exit_code == 2
    settled = valueloop(office.chen, "settle", "q1", "--day", "2025-04-14", "--failed", "3=Account closed.")
    assert settled.output.splitlines()[-1] == "q1: 9 paid, 1 failed, 0 returned, 0 unchanged."
    back = valueloop(office.chen, "settle", "q1", "--day", "2025-04-20", "--returned", "4=Account closed.")
    assert back.output.splitlines()[-1] == "q1: 0 paid, 0 failed, 1 returned, 0 unchanged."
    listed = valueloop(office.chen, "list").output
    assert "q1" in listed and "settled" in listed and "10000" in listed
    assert "q1: settled, 100 %, 10 lines" in valueloop(office.chen, "progress", "q1").output
