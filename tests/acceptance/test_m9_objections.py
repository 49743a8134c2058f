"""M9: who is paid objects to a line, sees what it would be if they were right, and gets an answer by a deadline."""

from typing import Any
from uuid import uuid4

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop
from tests.acceptance.test_m9_statements import paid, release, statement
from tests.checked import check

__all__ = ["paid"]
pytestmark = pytest.mark.mechanism("M9")
OBJECTIONS = "/incentives/v1/objections"
SCORE_92 = {"values": [{"driver": {"kind": "goal", "code": "output"}, "value": "92"}]}
SALES = {"driver": {"kind": "reading", "code": "sales", "own": True}, "value": "20000"}


def objects(loop: Loop, **body: Any) -> Any:
    path = "/incentives/v1/people/wang/objections"
    return loop.speaking_as("wang", "employee").post(path, body, **{"Idempotency-Key": uuid4().hex})


def answer(loop: Loop, id: str, who: str = "chen", **body: Any) -> Any:
    given = {"reason": "The meter was read twice."} | body
    speaker = loop.speaking_as(who, "compensation")
    return speaker.post(f"{OBJECTIONS}/{id}/answers", given, **{"Idempotency-Key": uuid4().hex})


def refused(call: Any, *args: Any, **body: Any) -> str:
    with pytest.raises(ApiProblem) as caught:
        call(*args, **body)
    return f"{caught.value.status} {caught.value.type} {caught.value.document.get('field')}"


def test_an_objection_that_holds_becomes_one_adjustment_that_names_it(paid: Loop) -> None:
    raised = objects(paid, statement=1, line=1, text="Two trucks are missing.", claim=SCORE_92)
    assert (raised["id"], raised["plan"], raised["period"], raised["status"]) == (
        "2025-Q1.1",
        "bonus",
        "2025-Q1",
        "open",
    )
    shown = paid.client.get(raised["links"]["counterfactual"])
    assert shown == {"before": "9000", "after": "10000", "difference": "1000", "currency": "CNY"}
    assert refused(paid.speaking_as("zhao", "employee").get, raised["links"]["self"]) == "404 objection-not-found id"
    assert refused(answer, paid, raised["id"], "wang", outcome="adjusted") == "403 not-yours-to-answer None"
    told = answer(paid, raised["id"], outcome="adjusted")["answer"]
    assert (told["before"], told["after"], told["amount"], told["by"]) == ("9000", "10000", "10000", "chen")
    assert refused(answer, paid, raised["id"], outcome="refused") == "409 already-answered id"
    release(paid, "q1-again")
    second = statement(paid, 2)
    [line] = second["statement"]["lines"]
    assert (line["plan"], line["regular"], line["adjustment"]) == ("bonus", "0", "1000")
    assert any("Objection 2025-Q1.1: The meter was read twice." in step["how"] for step in line["parts"][0]["steps"])
    assert check([second]).stdout == "1 statements, 0 differences.\n"


def test_a_refusal_gives_its_reason_and_moves_nothing(paid: Loop) -> None:
    raised = objects(paid, plan="deals", period="2025-Q1", text="I sold for 20,000.", claim={"values": [SALES]})
    assert paid.client.get(raised["links"]["counterfactual"])["difference"] == "480"
    told = answer(paid, raised["id"], outcome="refused", reason="The orders were cancelled in March.")
    assert (told["status"], told["answer"]["reason"]) == ("refused", "The orders were cancelled in March.")
    assert (told["answer"]["after"], told["answer"]["amount"]) == ("1300", None)
    assert [one["status"] for one in paid.get("incentives/people/wang/objections")["items"]] == ["refused"]
    assert paid.get("incentives/objections", status="open")["items"] == []
    assert [one["latest"] for one in paid.get("incentives/people/wang/entitlements")] == [True, True]


def test_a_claimed_event_is_previewed_and_the_correction_comes_to_what_was_told(paid: Loop) -> None:
    missing = paid.event("output", "2025-03-30", subject="unit:company", value=12)
    raised = objects(paid, statement=1, line=1, text="One truck is missing.", claim={"change": {"events": [missing]}})
    assert raised["claim"]["change"]["events"][0]["data"]["value"] == 12
    address = raised["links"]["counterfactual"]
    assert refused(paid.speaking_as("wang", "employee").get, address) == "403 role-missing None"
    shown = paid.speaking_as("chen", "compensation").get(address)
    assert (shown["before"], shown["after"]) == ("9000", "10000")
    paid.push([missing])
    paid.settle()
    told = answer(paid, raised["id"], outcome="corrected", reason="The event was pushed again.")["answer"]
    assert (told["before"], told["after"], told["amount"]) == ("9000", "10000", None)
    release(paid, "q1-again")
    assert statement(paid, 2)["statement"]["lines"][0]["adjustment"] == "1000"


@pytest.mark.parametrize("claimed", [
    {"commands": [{"setting": "wishes", "code": "a", "content": {}}]},
    {"commands": [{"setting": "targets", "code": "output", "content": {"value": "none"}}]},
    {"events": [{"no": "event"}]},
])  # fmt: skip
def test_a_claim_that_cannot_be_computed_gets_its_answer_all_the_same(paid: Loop, claimed: Any) -> None:
    raised = objects(paid, statement=1, line=1, text="Make it more.", claim={"change": claimed})
    with pytest.raises(ApiProblem) as caught:
        paid.client.get(raised["links"]["counterfactual"])
    assert caught.value.status in (400, 422)
    assert refused(answer, paid, raised["id"], outcome="adjusted") == "422 amount-not-decided amount"
    told = answer(paid, raised["id"], outcome="refused", reason="Nobody can tell what that would be.")["answer"]
    assert (told["before"], told["after"]) == (None, None)


def test_an_objection_without_an_answer_goes_to_the_superior_when_it_is_due_and_stays_open(paid: Loop) -> None:
    paid.put("incentives/policies/objection_due_hours", value="48")
    paid.person("boss", "company")
    paid.put("goals/people/wang", name="王伟", unit="company", manager="boss", effective_from="2025-04-01")
    raised = objects(paid, statement=1, line=2, text="I do not understand it.")
    assert (raised["raised_at"], raised["due"]) == ("2025-03-31T16:00:00Z", "2025-04-02T16:00:00Z")
    paid.time_reaches("2025-04-02")
    assert paid.get("incentives/objections", overdue="true")["items"] == []
    paid.time_reaches("2025-04-04")
    [late] = paid.speaking_as("auditor", "auditor").get(OBJECTIONS, overdue="true")["items"]
    assert (late["id"], late["status"], late["escalated_to"]) == (raised["id"], "open", "boss")
    assert paid.speaking_as("boss", "employee").get(raised["links"]["self"])["overdue"] is True
    assert answer(paid, raised["id"], outcome="corrected")["status"] == "corrected"


def test_what_cannot_be_objected_or_answered_is_refused_with_the_rule(paid: Loop) -> None:
    beside = {"values": [{"driver": {"kind": "goal", "code": "other"}, "value": "1"}]}
    faults: dict[str, dict[str, Any]] = {
        "422 objection-unclear plan": {},
        "404 no-such-statement statement": {"statement": 9, "line": 1},
        "404 nothing-to-object line": {"statement": 1, "line": 9},
        "404 nothing-to-object plan": {"plan": "bonus", "period": "2025-Q2"},
        "422 claim-beside claim.values.0.driver": {"plan": "bonus", "period": "2025-Q1", "claim": beside},
        "422 request-not-valid claim.values.0.value": {
            "plan": "bonus", "period": "2025-Q1", "claim": {"values": [SALES | {"value": 20000.5}]},
        },
    }  # fmt: skip
    assert {fault: refused(objects, paid, text="Wrong.", **body) for fault, body in faults.items()} == {
        fault: fault for fault in faults
    }
    raised = objects(paid, statement=1, line=1, text="Wrong, I think.")
    assert refused(answer, paid, "2025-Q1.7", outcome="refused") == "404 objection-not-found id"
    assert refused(answer, paid, raised["id"], outcome="refused", amount="1") == "422 amount-not-decided amount"
    assert refused(answer, paid, raised["id"], outcome="adjusted", amount="1.001") == "422 amount-too-fine amount"
    assert refused(answer, paid, raised["id"], outcome="adjusted", amount="-1") == "422 amount-negative amount"
    path = "/incentives/v1/people/wang/objections"
    assert refused(paid.speaking_as("zhao", "employee").post, path, {"text": "Hers."}, **{
        "Idempotency-Key": "z"}).startswith("403 role-missing")  # fmt: skip
    with pytest.raises(ApiProblem) as caught:
        paid.speaking_as("wang", "employee").post(path, {"text": "Wrong."})
    assert caught.value.status == 400
