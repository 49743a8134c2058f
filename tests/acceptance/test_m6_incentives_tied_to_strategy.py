"""M6: core strategic metrics carry half of a plan; a strategic award is paid only when its goal is completed."""

from typing import Any

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop
from tests.acceptance.paying import close, entitled, explained, recompute

pytestmark = pytest.mark.mechanism("M6")

LINEAR = {"kind": "linear", "slope": "0.01"}


def component(code: str, weight: str, **more: Any) -> dict[str, Any]:
    driver = {"kind": "goal", "code": code}
    return {"code": code, "name": code, "driver": driver, "weight": weight, "curve": LINEAR} | more


def plan(*components: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "Bonus", "period": "quarter", "currency": "CNY", "components": list(components)} | more


def award(amount: str, **more: Any) -> dict[str, Any]:
    share = [{"payee": "person:ann", "share": "0.5"}, {"payee": "person:bob", "share": "0.5"}]
    goal = {"driver": {"kind": "goal", "code": "launch"}, "at_least": "100"}
    return {"name": "Launch", "period": "2025-Q1", "currency": "CNY", "amount": amount, "strategic": True,
            "condition": goal, "participants": share} | more  # fmt: skip


def refused(loop: Loop, path: str, content: dict[str, Any]) -> ApiProblem:
    with pytest.raises(ApiProblem) as caught:
        loop.put(path, **content)
    return caught.value


def launched(loop: Loop, cars: int) -> None:
    loop.measured("cars", "pcs")
    loop.goal("launch", 100, metric="cars", core=True)
    loop.observed("cars", cars)


def test_core_metrics_carry_at_least_half_of_the_weight_where_the_policy_says_so(loop: Loop) -> None:
    loop.put("incentives/policies/core_required", value="yes")
    small = plan(component("core", "0.4", core=True), component("rest", "0.6"))
    problem = refused(loop, "incentives/plans/bonus", small)
    assert (problem.type, problem.status) == ("core-share-too-small", 422)
    assert "Give core components 10 % more" in str(problem)
    loop.put("incentives/plans/bonus", **plan(component("core", "0.5", core=True), component("rest", "0.5")))
    loop.put("incentives/policies/core_share", value="0.6")
    assert refused(loop, "incentives/plans/other", small).type == "core-share-too-small"


def test_an_award_of_600_000_is_refused_and_one_within_the_range_is_not(loop: Loop) -> None:
    problem = refused(loop, "incentives/awards/launch", award("600000"))
    assert (problem.type, problem.status) == ("award-out-of-range", 422)
    for bound in ("200000", "500000"):
        loop.put("incentives/awards/launch", **award(bound))
    assert refused(loop, "incentives/awards/launch", award("300000", condition=None)).type == "award-without-condition"


@pytest.mark.parametrize(("cars", "each"), [(100, "150000"), (99, "0")])
def test_a_strategic_award_is_paid_only_when_its_core_goal_is_completed(loop: Loop, cars: int, each: str) -> None:
    launched(loop, cars)
    loop.put("incentives/awards/launch", **award("300000"))
    close(loop, "2025-Q1")
    for person in ("ann", "bob"):
        [view] = entitled(loop, person)
        assert (view["plan"], view["amount"]) == ("launch", each)
        assert recompute(explained(loop, view)["steps"]) == each


def test_a_core_business_team_has_a_factor_of_2_5(loop: Loop) -> None:
    launched(loop, 100)
    loop.put("incentives/plans/bonus", **plan(component("launch", "1", core=True), families={"core": "2.5"}))
    for person, family in (("ann", "core"), ("bob", None)):
        loop.put(f"incentives/assignments/{person}", person=person, plan="bonus", amount="10000", starts="2025-01-01",
                 job_family=family)  # fmt: skip
    close(loop, "2025-Q1")
    assert [entitled(loop, person)[0]["amount"] for person in ("ann", "bob")] == ["25000", "10000"]


def test_individual_factors_stay_within_their_range_and_their_mean(loop: Loop) -> None:
    loop.put("incentives/plans/bonus", **plan(component("launch", "1")))
    loop.put("incentives/policies/highest_individual_factor", value="1.5")
    loop.put("incentives/policies/highest_mean_factor", value="1.1")
    part = {"plan": "bonus", "amount": "10000", "starts": "2025-01-01"}
    too_high = refused(loop, "incentives/assignments/ann", part | {"person": "ann", "factor": "1.6"})
    assert too_high.type == "individual-factor-out-of-range"
    loop.put("incentives/assignments/ann", **part, person="ann", factor="0.9")
    mean = refused(loop, "incentives/assignments/bob", part | {"person": "bob", "factor": "1.4"})
    assert (mean.type, mean.status) == ("mean-factor-too-high", 409)
    loop.put("incentives/assignments/bob", **part, person="bob", factor="1.3")
