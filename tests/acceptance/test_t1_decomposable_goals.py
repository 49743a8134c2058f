"""T1: a strategic goal splits into sub-goals with one owner, a due date and a resource ceiling each."""

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop

pytestmark = pytest.mark.mechanism("T1")


@pytest.fixture
def revenue_goal(loop: Loop) -> Loop:
    for unit in ("pv-division", "international", "rd-centre"):
        loop.unit(unit, kind="business_unit")
    loop.measured("revenue", "CNY")
    loop.measured("pv_share", "ratio", over_time="average", across_subjects="average")
    loop.measured("rd_ratio", "ratio", over_time="average", across_subjects="average")
    loop.goal("revenue-2025", 5_000_000_000, metric="revenue", period="year", ceiling="300000000")
    return loop


def test_each_sub_goal_has_one_owner_a_due_date_or_none_and_a_ceiling(revenue_goal: Loop) -> None:
    loop = revenue_goal
    loop.goal(
        "pv-share", "0.60", parent="revenue-2025", owner_unit="pv-division", metric="pv_share",
        starts="2024-01-01", due="2024-12-31",
    )  # fmt: skip
    loop.goal("overseas", "0.30", parent="revenue-2025", owner_unit="international", ceiling="200000000")
    loop.goal("rd-spend", "0.08", parent="revenue-2025", owner_unit="rd-centre", metric="rd_ratio", due=None)
    tree = loop.get("goals/goals/revenue-2025/tree")
    assert [child["code"] for child in tree["children"]] == ["overseas", "pv-share", "rd-spend"]
    assert loop.get("goals/goals/rd-spend")["content"]["due"] is None


def test_ceilings_of_sub_goals_that_exceed_their_goal_are_refused_with_what_remains(revenue_goal: Loop) -> None:
    loop = revenue_goal
    loop.goal("overseas", parent="revenue-2025", owner_unit="international", ceiling="200000000")
    with pytest.raises(ApiProblem) as refused:
        loop.goal("pv-share", parent="revenue-2025", owner_unit="pv-division", ceiling="100000000.01")
    assert refused.value.status == 422
    assert "100000000" in refused.value.rule
    loop.goal("pv-share", parent="revenue-2025", owner_unit="pv-division", ceiling="100000000")


@pytest.mark.parametrize("owners", [{"owner_unit": "pv-division", "owner_person": "li"}, {"owner_unit": None}])
def test_two_owners_or_none_are_refused(revenue_goal: Loop, owners: dict[str, str]) -> None:
    revenue_goal.person("li", "pv-division")
    with pytest.raises(ApiProblem) as refused:
        revenue_goal.goal("pv-share", parent="revenue-2025", **owners)
    assert refused.value.status == 422
    assert "one owner" in refused.value.rule


def test_a_continuous_goal_is_judged_every_period(revenue_goal: Loop) -> None:
    loop = revenue_goal
    loop.goal("rd-spend", "0.08", owner_unit="rd-centre", metric="rd_ratio", due=None)
    loop.observed("rd_ratio", "0.08", "2025-02-01", "unit:rd-centre")
    loop.observed("rd_ratio", "0.06", "2026-05-01", "unit:rd-centre")
    assert loop.score("rd-spend", "2025-Q1")["score"] == "100"
    assert loop.score("rd-spend", "2026-Q2")["score"] == "75"
