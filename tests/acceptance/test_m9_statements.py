"""M9: everyone can see their own calculation, from the amount down to what happened, and from there up again."""

import copy
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.client import ApiProblem
from services.incentives.statements.rules import hash_of
from tests.acceptance.conftest import Loop
from tests.acceptance.paying import close
from tests.checked import check
from tools import check_statement

pytestmark = pytest.mark.mechanism("M9")
RUNS = "/incentives/v1/payout-runs"
CURVE = {"kind": "interpolated", "points": [["80", "0"], ["92", "1"], ["104", "1.5"]]}
TIERS = {"kind": "tiers", "mode": "marginal", "tiers": [
    {"from": "0", "to": "10000", "rate": "0.05"}, {"from": "10000", "to": None, "rate": "0.08"}]}  # fmt: skip


def post(client: Any, path: str, **body: Any) -> Any:
    return client.post(RUNS + path, body, **{"Idempotency-Key": uuid4().hex})


def release(loop: Loop, run: str, period: str = "2025-Q1") -> None:
    """Li prepares, Chen approves and releases."""
    li, chen = loop.speaking_as("li", "compensation"), loop.speaking_as("chen", "finance")
    post(li, "", code=run, period=period, currency="CNY", promised="2025-04-15")
    post(li, f"/{run}/calculations")
    loop.settle()
    post(li, f"/{run}/submissions")
    post(chen, f"/{run}/approvals", hash=chen.get(f"{RUNS}/{run}")["hash"])
    post(chen, f"/{run}/releases")
    loop.settle()


@pytest.fixture
def paid(loop: Loop) -> Loop:
    """Wang's bonus for a goal at 90.8 %, and a commission on 14,000; the closed quarter is paid."""
    loop.measured("output", "CNY")
    loop.measured("sales", "CNY")
    loop.goal("output", 1000, metric="output")
    loop.observed("output", 908)
    loop.observed("sales", 14000, subject="person:wang")
    goal = {"code": "output", "name": "Output", "driver": {"kind": "goal", "code": "output"}, "weight": "1",
            "curve": CURVE}  # fmt: skip
    own = {"code": "sales", "name": "Sales", "driver": {"kind": "reading", "code": "sales", "own": True},
           "weight": "0", "curve": TIERS}  # fmt: skip
    for code, component in (("bonus", goal), ("deals", own)):
        body = {"name": code.title(), "period": "quarter", "currency": "CNY", "components": [component]}
        loop.put(f"incentives/plans/{code}", **body)
    loop.put("incentives/policies/without_account", value="pay")
    loop.put("goals/people/wang", name="王伟", unit="company")
    loop.person("zhao", "company")
    loop.put("incentives/assignments/wang", person="wang", plan="bonus", amount="20000", starts="2025-02-15")
    loop.put("incentives/assignments/deals", person="wang", plan="deals", amount="0", starts="2025-01-01")
    close(loop, "2025-Q1", after="2025-04-01")
    release(loop, "q1")
    return loop


def statement(loop: Loop, number: int, **query: Any) -> Any:
    return loop.speaking_as("wang", "employee").get(f"/incentives/v1/people/wang/statements/{number}", **query)


def test_a_statement_explains_each_cent_to_the_person_and_to_nobody_else(paid: Loop) -> None:
    told = statement(paid, 1)
    content = told["statement"]
    assert (content["name"], content["period"], content["totals"]["payable"]) == ("王伟", "2025-Q1", "9820")
    bonus, deals = content["lines"]
    assert [(line["plan"], line["kind"], line["plan_versions"], line["amount"]) for line in (bonus, deals)] == [
        ("bonus", "plan", [1], "9000"), ("deals", "plan", [1], "820"),
    ]  # fmt: skip
    summary = bonus["parts"][0]["summary"]
    assert [(one["what"], one["code"], one["value"]) for one in summary["drivers"]] == [("goal", "output", "90.8")]
    [curve] = summary["curves"]
    assert (curve["at"], curve["gives"], curve["segment"]) == ("90.8", "0.9", "interpolated, 80 to 92")
    assert [(one["after"], one["digits"]) for one in summary["rounding"]] == [("9000", "2")]
    assert "rate 0.08" in deals["parts"][0]["summary"]["curves"][0]["segment"]
    assert check([told]).stdout == "1 statements, 0 differences.\n"
    with pytest.raises(ApiProblem) as caught:
        paid.speaking_as("zhao", "employee").get("/incentives/v1/people/wang/statements/1")
    assert caught.value.type == "personal-amount"


def test_from_a_line_links_lead_to_what_happened_and_from_there_back_to_the_line(paid: Loop) -> None:
    bonus, deals = statement(paid, 1)["links"]
    assert paid.client.get(bonus["entitlements"][0])["entitlement"]["amount"] == "9000"
    [score] = bonus["sources"]
    assert paid.client.get(score)["score"]["actual"] == "908"
    [reading] = deals["sources"]
    assert paid.client.get(reading)["reading"]["value"] == "14000"
    moved = paid.get("incentives/statement-lines", kind="reading", code="sales", subject="person:wang",
                     period="2025-Q1", version=1)["items"]  # fmt: skip
    assert [(one["payee"], one["plan"], one["amount"]) for one in moved] == [("person:wang", "deals", "820")]
    assert paid.client.get(moved[0]["links"]["statement"])["hash"] == statement(paid, 1)["hash"]


def test_a_correction_is_one_adjustment_with_its_cause_and_both_ways_lead_to_it(paid: Loop) -> None:
    paid.observed("output", 12, "2025-03-30")
    paid.settle()
    release(paid, "q2")
    first, second = statement(paid, 1), statement(paid, 2)
    [line] = second["statement"]["lines"]
    assert (line["plan"], line["regular"], line["adjustment"]) == ("bonus", "0", "1000")
    [part] = line["parts"]
    [cause] = part["moved"]
    assert (part["before"], part["after"], cause["what"], cause["code"]) == ("9000", "10000", "goal", "output")
    assert (cause["before"]["value"], cause["after"]["value"]) == ("90.8", "92")
    where = {"kind": "goal", "code": "output", "period": "2025-Q1"}
    for side, number in (("before", 1), ("after", 2)):
        found = paid.get("incentives/statement-lines", **where, version=cause[side]["source_version"])["items"]
        assert [one["number"] for one in found] == [number]
    assert check([first, second]).stdout == "2 statements, 0 differences.\n"
    cause["after"]["value"] = "93"
    assert "moved goal output, after" in check([first, second]).stdout


def test_it_is_printed_in_chinese_too(paid: Loop) -> None:
    with_token = {"Authorization": f"Bearer {paid.token('wang', 'employee')}"}
    address = f"{paid.client.base_url}/incentives/v1/people/wang/statements/1?lang=zh-CN&format="
    shown = paid.client.http.get(address + "html", headers=with_token).text
    assert "王伟" in shown and "奖金对账单" in shown and "应付" in shown and "9820" in shown
    document = paid.client.http.get(address + "pdf", headers=with_token).content
    assert document.startswith(b"%PDF") and b"9820" in document


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values of steps, and of all amounts."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))
    elif path[-1] in AMOUNTS and isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
        yield path


AMOUNTS = {"value", "amount", "after", "before", "regular", "adjustment", "at", "gives", "payable", "held", "carried",
           "entitled", "expense", "draw", "advance", "granted", "recovered", "clawed_back"}  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_number_is_changed_without_a_trace_even_with_a_new_hash(paid: Loop, data: st.DataObject) -> None:
    if not hasattr(paid, "told"):
        paid.told = statement(paid, 1)  # type: ignore[attr-defined]
    told = paid.told  # type: ignore[attr-defined]
    path = data.draw(st.sampled_from(sorted(places(told["statement"]), key=str)))
    forged = copy.deepcopy(told)
    place = forged["statement"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = data.draw(st.sampled_from(["1", "-3", "90.9", "0.1"]).filter(lambda new: new != place[path[-1]]))
    forged["hash"] = hash_of(forged["statement"])
    assert check_statement.check([forged]) != [], path
