"""What money commands and settings refuse: each answer names the field, the rule and the remedy."""

from collections.abc import Iterator
from typing import Any

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop
from tests.acceptance.paying import close, entitled, explained, recalculate, recompute

READING = {"kind": "reading", "code": "m", "subject": "unit:company"}
ALL = [{"payee": "person:ann", "share": "1"}]
COMPONENT = {"code": "c", "name": "C", "weight": "1", "driver": {"kind": "goal", "code": "g"},
             "curve": {"kind": "linear", "slope": "0.01"}}  # fmt: skip
PLAN = {"name": "P", "period": "quarter", "currency": "CNY", "components": [COMPONENT]}
ASSIGNED = {"person": "wang", "starts": "2025-01-01"}
AWARD = {"name": "A", "period": "2025-Q1", "currency": "CNY", "participants": ALL}
POOL = {"name": "P", "period": "quarter", "currency": "CNY", "driver": READING, "participants": ALL}
DECIDED = {"payee": "person:wang", "plan": "pcny", "period": "2025-Q1"}


def amounts(currency: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every setting with an amount: its path, its body for an amount, and the field."""
    plan, assigned = PLAN | {"currency": currency}, ASSIGNED | {"plan": f"p{currency.lower()}"}
    yield "assignments/a", assigned | {"amount": ...}, "amount"
    for more in ("guarantee", "draw"):
        body = {"amount": ..., "until": "2025-12-31"}
        yield "assignments/a", assigned | {"amount": "1", more: body}, f"{more}.amount"
    for field in ("amount_cap", "minimum_payout"):
        yield "plans/x", plan | {field: ...}, field
    yield "plans/x", plan | {"budget": {"amount": ...}}, "budget.amount"
    yield "pools/y", POOL | {"currency": currency, "share": "0.1", "cap": ...}, "cap"
    yield "awards/z", AWARD | {"currency": currency, "amount": ...}, "amount"
    yield "overrides/x", DECIDED | {"plan": f"p{currency.lower()}", "amount": ..., "reason": "Why."}, "amount"


def filled(body: Any, amount: Any) -> Any:
    if isinstance(body, dict):
        return {key: filled(value, amount) for key, value in body.items()}
    return amount if body is ... else body


def refused(loop: Loop, path: str, body: Any, method: str = "PUT") -> Any:
    with pytest.raises(ApiProblem) as caught:
        loop.client.request(method, f"/{path}", json=body)
    problem = caught.value.document
    assert problem["detail"] and problem["remedy"], problem
    return problem


@pytest.mark.parametrize("currency, right, wrong", [("CNY", "10.01", "10.001"), ("JPY", "10", "10.5"),
                                                    ("KWD", "10.001", "10.0001")])  # fmt: skip
def test_amounts_are_text_with_the_decimals_of_their_currency(
    loop: Loop, currency: str, right: str, wrong: str
) -> None:
    loop.put(f"incentives/plans/p{currency.lower()}", **PLAN | {"currency": currency})
    for path, body, field in amounts(currency):
        for amount in (wrong, 10, 10.01, "1e1", "-1", "ten", ""):
            problem = refused(loop, f"incentives/v1/{path}", filled(body, amount))
            assert problem["status"] == 422 and problem["field"] == field, (path, amount, problem)
        loop.client.put(f"/incentives/v1/{path}", filled(body, right))


REFUSED = [
    ("plans/x", PLAN | {"currency": "XYZ"}, "currency"),
    ("pools/x", POOL | {"share": "0.1", "currency": "XYZ"}, "currency"),
    ("pools/x", POOL | {"share": "-0.1"}, "share"),
    ("pools/x", POOL | {"share": "1.1"}, "share"),
    ("awards/x", AWARD | {"amount": "1", "participants": [ALL[0] | {"share": "0.9999"}]}, "participants"),
    ("awards/x", AWARD | {"amount": "1", "participants": ALL + ALL}, "participants.1.payee"),
    ("awards/x", AWARD | {"amount": "1", "participants": [ALL[0] | {"share": "-1"}]}, "participants.0.share"),
    ("awards/x", AWARD | {"base": "1", "rate": "2"}, "rate"),
    ("overrides/x", DECIDED | {"amount": "1"}, "reason"),
    ("overrides/x", DECIDED | {"amount": "1", "reason": "  "}, "reason"),
    ("overrides/x", DECIDED | {"amount": "1", "reason": "Why.", "plan": "none"}, "plan"),
    ("holds/x", {"payee": "person:wang", "starts": "2025-01-01"}, "reason"),
    ("holds/x", {"payee": "person:wang", "starts": "2025-01-02", "ends": "2025-01-01", "reason": "Why."}, "ends"),
    ("payment-accounts/x", {"payee": "person:wang", "name": "W", "iban": "DE00370400440532013000"}, "iban"),
    ("assignments/a", ASSIGNED | {"plan": "pcny", "amount": "1", "share": "1.5"}, "share"),
    ("assignments/a", ASSIGNED | {"plan": "none", "amount": "1"}, "plan"),
]


def test_what_makes_no_sense_is_refused_with_field_rule_and_remedy(loop: Loop) -> None:
    loop.put("incentives/plans/pcny", **PLAN)
    for path, body, field in REFUSED:
        assert refused(loop, f"incentives/v1/{path}", body)["field"] == field, (path, body)
    for driver, bands in (
        (READING, [{"from": "0", "to": "100", "value": "1"}]),  # nothing is said for 101
        (READING, [{"from": "10", "to": None, "value": "1"}]),
        (COMPONENT["driver"], [{"from": "0", "to": "119", "value": "1"}]),
        (READING, []),
    ):
        component = COMPONENT | {"driver": driver, "curve": {"kind": "step", "bands": bands}}
        problem = refused(loop, "incentives/v1/plans/x", PLAN | {"components": [component]})
        assert problem["field"].startswith("components.0.curve.bands")
        [error] = loop.client.post("/incentives/v1/plans/x/validations?period=2025-Q1",
                                   PLAN | {"components": [component]})["errors"]  # fmt: skip
        assert error["field"] == problem["field"] and error["remedy"]


def test_what_closed_periods_entitle_to_stays_in_its_currency(loop: Loop) -> None:
    loop.put("incentives/awards/x", **AWARD | {"amount": "100"})
    loop.put("incentives/awards/x", **AWARD | {"amount": "10", "currency": "EUR"})
    close(loop, "2025-Q1")
    again = AWARD | {"amount": "100", "correction": True, "reason": "Wrong."}
    assert refused(loop, "incentives/v1/awards/x", again)["field"] == "currency"
    loop.put("incentives/awards/x", **again | {"currency": "EUR"})


def test_somebody_without_assignment_is_paid_nothing_and_a_transfer_counts_each_day_once(loop: Loop) -> None:
    for unit in ("north", "south"):
        loop.unit(unit)
    loop.person("wang", "north")
    loop.person("idle", "north")
    loop.measured("output", "CNY")
    loop.goal("output", 100, metric="output")
    loop.observed("output", 100)
    component = COMPONENT | {"driver": {"kind": "goal", "code": "output"}}
    loop.put("incentives/plans/p", **PLAN | {"components": [component]})
    # Ten days in the north, then half time in the south at another target; two units on one day cannot be.
    loop.put("incentives/assignments/wang", person="wang", plan="p", amount="9000", starts="2025-01-01",
             ends="2025-01-10")  # fmt: skip
    body = {"person": "wang", "plan": "p", "amount": "18000", "starts": "2025-01-10", "share": "0.5"}
    problem = refused(loop, "incentives/v1/assignments/wang-south", body)
    assert (problem["status"], problem["other"]) == (409, "wang")
    loop.put("incentives/assignments/wang-south", **body | {"starts": "2025-01-11"})
    loop.person("wang", "south", effective_from="2025-01-11")
    loop.settle()
    members = {unit: [one["person"] for one in loop.get(f"incentives/units/{unit}/accruals", period="2025-Q1")["items"]]
               for unit in ("north", "south")}  # fmt: skip
    assert members == {"north": [], "south": ["wang"]}
    assert loop.get("incentives/people/idle/accruals", period="2025-Q1")["accruals"] == []
    close(loop, "2025-Q1")
    [one] = entitled(loop, "wang")
    assert one["amount"] == "9000"  # 9,000 × 10/90 + 18,000 × 0.5 × 80/90
    assert entitled(loop, "idle") == [] and recompute(explained(loop, one)["steps"]) == "9000"


def test_who_is_renamed_or_merged_between_accrual_and_payment_is_paid_once_by_the_name_of_the_day(loop: Loop) -> None:
    for code in ("wang.w", "wang"):
        loop.person(code, "company")
        loop.put(f"incentives/awards/{code}", name="=1+1", period="2025-Q1", currency="CNY", amount="100",
                 participants=[{"payee": f"person:{code}", "share": "1"}])  # fmt: skip
    loop.put("incentives/policies/without_account", value="pay")
    close(loop, "2025-Q1", after="2025-04-01")
    loop.put("goals/people/wang", name="=HYPERLINK(1)", unit="company", manager=None, effective_from="2025-04-01")
    loop.put("incentives/payee-merges/m", from_payee="person:wang.w", to_payee="person:wang")
    loop.put("incentives/payment-accounts/w", payee="person:wang", name="=HYPERLINK(1)", account="12")
    recalculate(loop)
    run = loop.get("incentives/payout-runs")["items"][0]["code"]
    chen = loop.speaking_as("chen", "finance")

    def order(act: str, **body: Any) -> None:
        who = loop.client if act == "submissions" else chen
        who.post(f"/incentives/v1/payout-runs/{run}/{act}", body, **{"Idempotency-Key": act})
        loop.settle()

    order("submissions")
    order("approvals", hash=loop.get(f"incentives/payout-runs/{run}")["hash"])
    order("releases")
    lines = loop.get(f"incentives/payout-runs/{run}/lines")["items"]
    assert {(line["payee"], line["amount"]) for line in lines} == {("person:wang", "100")} and len(lines) == 2
    file = chen.request("GET", f"/incentives/v1/payout-runs/{run}/payment-file").text
    assert file.count(",'=HYPERLINK(1),") == 2 and ",=" not in file
    assert loop.get("incentives/people/wang/statements/1")["statement"]["name"] == "=HYPERLINK(1)"
    assert loop.get("incentives/people/wang.w/statements")["items"] == []
