"""M11: one order of steps from score to payout, each shown; what is closed is frozen and can be computed again."""

from typing import Any

import pytest

from tests.acceptance.conftest import Loop
from tests.acceptance.paying import close, entitled, explained, recalculate, recompute

pytestmark = pytest.mark.mechanism("M11")

CURVE = {"kind": "interpolated", "points": [["80", "0"], ["92", "1"], ["104", "1.5"]]}

OWN_SALES = {"kind": "reading", "code": "sales", "own": True}


def bonus(loop: Loop, **more: Any) -> None:
    """A team's goal that is reached by 90.8 %, and a plan that pays for it."""
    loop.measured("output", "CNY")
    loop.goal("output", 1000, metric="output")
    loop.observed("output", 908)
    component = {"code": "output", "name": "Output", "driver": {"kind": "goal", "code": "output"}, "weight": "1",
                 "curve": CURVE}  # fmt: skip
    plan = {"name": "Bonus", "period": "quarter", "currency": "CNY", "factor": "1.2", "components": [component]}
    loop.put("incentives/plans/bonus", **(plan | more))
    loop.person("wang", "company")
    loop.put("incentives/assignments/wang", person="wang", plan="bonus", amount="20000", starts="2025-02-15")


def test_90_8_points_pay_10_800_for_45_of_90_days(loop: Loop) -> None:
    bonus(loop)
    close(loop, "2025-Q1")
    [view] = entitled(loop, "wang")
    assert (view["amount"], view["currency"], view["version"]) == ("10800", "CNY", 1)
    why = explained(loop, view)
    values = {step["id"]: step["value"] for step in why["steps"]}
    assert [values[id] for id in ("output.driver", "output.curve", "factor", "part.1.target", "part.1.days")] == [
        "90.8", "0.9", "0.9", "20000", "45",
    ]  # fmt: skip
    cited = {(cite["what"], cite["code"]) for cite in why["inputs"]}
    assert cited == {("goal", "output"), ("plan", "bonus"), ("assignment", "wang")}


def test_an_accrual_and_the_entitlement_of_the_same_day_are_one_calculation(loop: Loop) -> None:
    bonus(loop)
    loop.settle()
    accrued = loop.get("incentives/people/wang/accruals/explanation", period="2025-Q1", plan="bonus")
    close(loop, "2025-Q1")
    why = explained(loop, entitled(loop, "wang")[0])
    steps = [step for part in accrued["components"] for step in part["steps"]] + accrued["plan"] + accrued["person"]
    assert sorted(steps, key=lambda step: step["id"]) == sorted(why["steps"], key=lambda step: step["id"])


def test_a_late_correction_is_a_new_version_beside_the_closed_one(loop: Loop) -> None:
    bonus(loop)
    close(loop, "2025-Q1")
    loop.observed("output", 12)
    recalculate(loop)
    first, second = entitled(loop, "wang")
    assert [(view["amount"], view["latest"]) for view in (first, second)] == [("10800", False), ("12000", True)]
    for view, score in ((first, "90.8"), (second, "92")):
        why = explained(loop, view)
        assert why["steps"][0]["value"] == score
        assert recompute(why["steps"]) == view["amount"]
    recalculate(loop)
    assert entitled(loop, "wang") == [first, second]
    for path, items in (("people/wang/entitlements", list), ("entitlements", lambda page: page["items"])):
        for query, one in (({"closed": True}, first), ({"known_at": first["recorded_at"]}, first),
                           ({"known_at": second["recorded_at"]}, second),
                           ({"known_at": second["recorded_at"], "closed": True}, first)):  # fmt: skip
            assert items(loop.get(f"incentives/{path}", period="2025-Q1", **query)) == [one]
        assert items(loop.get(f"incentives/{path}", period="2025-Q1", known_at="2025-03-31T00:00:00Z")) == []
    for day, found in (("2025-03-31", [first]), ("2025-04-01", [])):
        assert loop.get("incentives/people/wang/entitlements", as_of=day, closed=True) == found


def test_every_step_can_be_computed_by_a_program_that_shares_no_code(loop: Loop) -> None:
    bonus(loop, cap="0.85", floor="0.1", amount_cap="9000", families={"core": "2.5"})
    close(loop, "2025-Q1")
    [view] = entitled(loop, "wang")
    assert recompute(explained(loop, view)["steps"]) == view["amount"] == "9000"


def test_each_version_of_a_plan_counts_for_its_days_where_it_says_so(loop: Loop) -> None:
    bonus(loop, on_change="by_days")
    loop.put("incentives/assignments/li", person="li", plan="bonus", amount="9000", starts="2025-01-01")
    body = loop.get("incentives/plans/bonus")["content"]
    loop.put("incentives/plans/bonus", **(body | {"factor": "2.4", "effective_from": "2025-03-02"}))
    close(loop, "2025-Q1")
    # 9000 × 0.9 × (60 × 1.2 + 30 × 2.4) / 90
    assert entitled(loop, "li")[0]["amount"] == "12960"


def test_a_commission_by_tiers_on_a_persons_own_sales_in_another_currency(loop: Loop) -> None:
    loop.measured("sales", "USD")
    tiers = [{"from": "0", "to": "10000", "rate": "0.05"}, {"from": "10000", "to": None, "rate": "0.08"}]
    component = {"code": "sales", "name": "Sales", "weight": "0", "driver": OWN_SALES,
                 "curve": {"kind": "tiers", "mode": "marginal", "tiers": tiers}}  # fmt: skip
    loop.put("incentives/plans/deals", name="Deals", period="quarter", currency="CNY", components=[component])
    loop.put("metrics/rates/USD-CNY", from_currency="USD", to_currency="CNY", rate="7")
    loop.person("wang", "company")
    loop.put("incentives/assignments/wang", person="wang", plan="deals", amount="0", starts="2025-01-01")
    loop.observed("sales", 2000, subject="person:wang")
    close(loop, "2025-Q1")
    [view] = entitled(loop, "wang")
    # 14,000 CNY: 10,000 at 5 % and 4,000 at 8 %
    assert view["amount"] == "820" == recompute(explained(loop, view)["steps"])


def validated(loop: Loop, body: Any) -> Any:
    return loop.client.post("/incentives/v1/plans/bonus/validations?period=2025-Q1", body)


def test_a_plan_is_validated_before_it_is_defined_and_its_cost_is_what_it_then_pays(loop: Loop) -> None:
    bonus(loop)
    loop.settle()
    body = loop.get("incentives/plans/bonus")["content"] | {"factor": "2"}
    found = validated(loop, body)
    assert [(cost["attainment"], cost["people"], cost["total"]) for cost in found["costs"]] == [
        ("0.8", 1, "0"), ("1", 1, "26666.67"), ("1.2", 1, "30000"),
    ]  # fmt: skip
    assert (found["errors"], found["warnings"]) == ([], [])
    bands = [{"from": "50", "to": "100", "value": "1"}, {"from": "110", "to": None, "value": "2"}]
    gap = dict(body["components"][0], weight="0.9", gate="130", curve={"kind": "step", "bands": bands})
    errors = loop.client.post("/incentives/v1/plans/bonus/validations?period=2025-Q1", body | {"components": [gap]})[
        "errors"
    ]
    assert {error["field"] for error in errors} == {"components", "components.0.curve.bands.1"}
    assert loop.get("incentives/plans/bonus")["content"]["factor"] == "1.2"


def test_a_band_that_leaves_out_a_possible_score_is_refused_not_paid_as_zero(loop: Loop) -> None:
    bonus(loop)
    body = loop.get("incentives/plans/bonus")["content"]
    bands = [{"from": "50", "to": None, "value": "1"}]
    component = dict(body["components"][0], curve={"kind": "step", "bands": bands})
    errors = loop.client.post("/incentives/v1/plans/p/validations?period=2025-Q1", body | {"components": [component]})[
        "errors"
    ]
    assert [(error["field"], error["remedy"]) for error in errors] == [
        ("components.0.curve.bands.0.from", "Begin the first band at 0."),
    ]  # fmt: skip
