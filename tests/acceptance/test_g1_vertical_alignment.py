"""G1: goals go from the company down to the person; everyone can see the path up; gaps in coverage show."""

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop

pytestmark = pytest.mark.mechanism("G1")


@pytest.fixture
def ev_maker(loop: Loop) -> Loop:
    loop.unit("sales", kind="business_unit")
    loop.unit("rd", kind="department")
    loop.measured("stores", "store")
    loop.measured("range_gain", "ratio", over_time="last")
    loop.goal("stores", 100, metric="stores", period="year", contribution="sum")
    loop.goal("range", "0.20", metric="range_gain", period="year")
    for number in range(1, 6):
        region = f"region-{number}"
        loop.unit(region, "sales", kind="team")
        loop.person(f"manager-{number}", region)
    return loop


def regions(loop: Loop, count: int) -> None:
    for number in range(1, count + 1):
        loop.goal(
            f"stores-{number}", 20, parent="stores", metric="stores", period="year",
            owner_unit=None, owner_person=f"manager-{number}", subject=f"unit:region-{number}",
        )  # fmt: skip


def test_five_regions_of_20_stores_cover_100(ev_maker: Loop) -> None:
    regions(ev_maker, 5)
    tree = ev_maker.get("goals/goals/stores/tree")
    assert (tree["coverage"]["children"], tree["coverage"]["gap"]) == ("100", "0")


def test_four_regions_leave_a_gap_of_20(ev_maker: Loop) -> None:
    regions(ev_maker, 4)
    assert ev_maker.get("goals/goals/stores/tree")["coverage"]["gap"] == "20"


def test_a_person_sees_the_path_from_their_goal_to_the_top(ev_maker: Loop) -> None:
    loop = ev_maker
    loop.person("engineer", "rd")
    loop.goal("range-rd", "0.20", parent="range", owner_unit="rd", metric="range_gain", period="year")
    loop.goal("density", "0.05", parent="range-rd", owner_person="engineer", metric="range_gain", period="year")
    path = loop.speaking_as("engineer", "employee").get("/goals/v1/goals/density/path")
    assert [goal["code"] for goal in path["goals"]] == ["density", "range-rd", "range"]


def test_a_goal_without_a_parent_is_reported(ev_maker: Loop) -> None:
    ev_maker.goal("forgotten", owner_unit="rd")
    assert "forgotten" in [goal["code"] for goal in ev_maker.get("goals/orphans")["items"]]


def test_regions_add_up_into_the_company_reading(ev_maker: Loop) -> None:
    loop = ev_maker
    regions(loop, 5)
    for number in range(1, 6):
        loop.observed("stores", 20 if number < 5 else 10, "2025-03-01", f"unit:region-{number}")
    assert loop.value("stores", "2025") == "90"
    assert loop.score("stores", "2025")["score"] == "90"
    assert loop.score("stores-5", "2025")["score"] == "50"


def test_a_cycle_is_refused_with_its_path(ev_maker: Loop) -> None:
    loop = ev_maker
    loop.goal("a", parent="range")
    loop.goal("b", parent="a")
    with pytest.raises(ApiProblem, match="a -> b -> a"):
        loop.goal("a", parent="b")
