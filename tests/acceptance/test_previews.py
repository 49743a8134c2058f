"""What would change if: the answer is what happens when the same is committed, and asking changes nothing."""

import json
import re
from typing import Any

import pytest

from tests.acceptance.conftest import Loop
from tests.acceptance.paying import close, entitled

PRICE_WAR = {"value": "90", "effective_from": "2025-01-01", "reason": "Price war"}


def plan(loop: Loop, goal: str, code: str = "bonus", **more: Any) -> None:
    loop.put(f"incentives/plans/{code}", **paying(goal, **more))


def paying(goal: str, **more: Any) -> dict[str, Any]:
    """A plan that pays the score of a goal in percent."""
    component = {"code": "c", "name": "C", "weight": "1", "driver": {"kind": "goal", "code": goal},
                 "curve": {"kind": "linear", "slope": "0.01"}}  # fmt: skip
    return {"name": "Bonus", "period": "quarter", "currency": "CNY", "components": [component]} | more


def command(setting: str, code: str, /, **content: Any) -> dict[str, Any]:
    return {"setting": setting, "code": code, "content": content}


def commit(loop: Loop, *commands: Any, events: Any = ()) -> None:
    owner = {"targets": "goals", "goals": "goals", "units": "goals", "people": "goals"}
    for each in commands:
        service = owner.get(each["setting"], "incentives")
        path = f"goals/{each['code']}/targets" if each["setting"] == "targets" else f"{each['setting']}/{each['code']}"
        loop.put(f"{service}/{path}", **each["content"])
    if events:
        loop.push(list(events))
    loop.settle()


def pay(loop: Loop, *commands: Any, events: Any = (), period: str = "2025-Q1", **query: Any) -> Any:
    """The preview of pay, which must leave every log and every reader where it stood."""
    body = {"commands": list(commands), "events": list(events)}
    named = "".join(f"&{name}={value}" for name, value in query.items())
    before = stands(loop.settle())
    told = loop.client.post(f"/incentives/v1/previews?period={period}{named}", body)
    assert stands(loop) == before
    return told


def stands(loop: Loop) -> str:
    """Where every log and reader stands, whoever owns it: a worker may still be taking partitions over."""
    return re.sub(r'"owner": (null|"\w+")', "", json.dumps(loop.client.positions()))


def differences(told: Any) -> dict[tuple[str, str], str]:
    return {(one["payee"].split(":")[1], one["plan"]): one["difference"] for one in told["people"]}


@pytest.fixture
def maker(loop: Loop) -> Loop:
    """Cars sold for 72 against 100, which pay ann and bob 72 % of their target amounts."""
    loop.measured("sales", "CNY")
    loop.goal("sales", 100, metric="sales")
    loop.observed("sales", 72)
    plan(loop, "sales")
    for person, amount in (("ann", "10000"), ("bob", "5000.01")):
        loop.put(f"incentives/assignments/{person}", person=person, plan="bonus", amount=amount, starts="2025-01-01")
    return loop.settle()


def test_a_lower_target_pays_what_its_preview_told(maker: Loop) -> None:
    told = pay(maker, command("targets", "sales", **PRICE_WAR))
    assert differences(told) == {("ann", "bonus"): "800", ("bob", "bonus"): "400"}
    [total] = told["totals"]
    assert [total[name] for name in ("before", "after", "difference", "up", "same")] == [
        "10800.01",
        "12000.01",
        "1200",
        2,
        0,
    ]
    [score] = told["goals"]
    assert (score["before"], score["after"], score["target_before"], score["target_after"]) == ("72", "80", "100", "90")
    assert maker.score("sales")["score"] == "72"
    commit(maker, command("targets", "sales", **PRICE_WAR))
    assert maker.score("sales")["score"] == "80"
    close(maker, "2025-Q1")
    assert [entitled(maker, person)[0]["amount"] for person in ("ann", "bob")] == ["8000", "4000.01"]
