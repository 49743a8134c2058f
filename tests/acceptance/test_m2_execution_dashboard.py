"""M2: target, current, gap and risk; a gap over 10 % opens a case with a plan due within 24 hours."""

from typing import Any

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop

pytestmark = pytest.mark.mechanism("M2")


@pytest.fixture
def sales(loop: Loop) -> Loop:
    loop.person("director", "company")
    loop.person("seller", "company", manager="director")
    loop.measured("sales", "CNY")
    loop.measured("satisfaction", "point", over_time="average", across_subjects="average")
    loop.measured("cycle", "d", over_time="average", across_subjects="average", better="lower")
    loop.goal("sales", 10_000_000, metric="sales", owner_person="seller", subject="unit:company")
    loop.goal("satisfaction", 90, metric="satisfaction")
    loop.goal("cycle", 15, metric="cycle")
    return loop


def row(loop: Loop, goal: str, on: str = "2025-03-31") -> Any:
    board = loop.settle().get("goals/dashboard", unit="company", on=on)
    return next(item for item in board["items"] if item["goal"] == goal)


def test_the_dashboard_shows_target_current_gap_and_risk(sales: Loop) -> None:
    loop = sales
    loop.observed("sales", 7_000_000)
    loop.observed("satisfaction", 85)
    loop.observed("cycle", 12)
    board = row(loop, "sales")
    assert (board["target"], board["current"], board["gap"], board["alert"]) == ("10000000", "7000000", "0.3", True)
    assert row(loop, "satisfaction")["gap"] == "0.0555555556"
    assert row(loop, "satisfaction")["alert"] is False
    assert row(loop, "cycle")["gap"] == "-0.2"


def test_during_the_period_the_target_to_date_counts(sales: Loop) -> None:
    sales.observed("sales", 4_500_000)
    board = row(sales, "sales", on="2025-02-14")  # 45 of 90 days are over
    assert (board["target"], board["gap"]) == ("5000000", "0.1")
    assert board["alert"] is False


def test_a_gap_over_ten_percent_opens_one_case_at_the_end_of_the_period(sales: Loop) -> None:
    loop = sales
    loop.observed("sales", 7_000_000)
    loop.observed("satisfaction", 85)
    assert loop.cases() == []
    loop.time_reaches("2025-04-01")
    loop.time_reaches("2025-04-01T00:30:00+08:00")
    (case,) = loop.cases()
    assert (case["goal"], case["period"], case["owner"], case["status"]) == ("sales", "2025-Q1", "seller", "open")
    assert case["due"] == "2025-04-01T16:00:00Z"  # 24 hours after midnight in Shanghai


def test_exactly_ten_percent_opens_none(sales: Loop) -> None:
    sales.observed("sales", 9_000_000)
    assert sales.time_reaches("2025-04-01").cases() == []


def test_a_plan_within_24_hours_keeps_the_case_with_its_owner(sales: Loop) -> None:
    loop = sales
    loop.observed("sales", 7_000_000)
    (case,) = loop.time_reaches("2025-04-01").cases()
    seller = loop.speaking_as("seller", "employee")
    seller.post(f"/reviews/v1/cases/{case['id']}/plans", {"text": "Two more campaigns in April."})
    (case,) = loop.time_reaches("2025-04-03").cases()
    assert case["status"] == "planned"


def test_without_a_plan_the_case_escalates_to_the_owners_superior_once(sales: Loop) -> None:
    loop = sales
    loop.observed("sales", 7_000_000)
    loop.time_reaches("2025-04-01")
    (case,) = loop.time_reaches("2025-04-01T23:59:59+08:00").cases()
    assert case["status"] == "open"
    (case,) = loop.time_reaches("2025-04-02").cases()
    assert (case["status"], case["escalated_to"]) == ("escalated", "director")
    (case,) = loop.time_reaches("2025-04-05").cases()
    assert case["status"] == "escalated"


def test_the_case_closes_when_late_events_bring_the_gap_within_the_limit(sales: Loop) -> None:
    loop = sales
    loop.observed("sales", 7_000_000)
    loop.time_reaches("2025-04-01")
    loop.observed("sales", 2_500_000, "2025-03-30")
    (case,) = loop.time_reaches("2025-04-01T08:00:00+08:00").cases()
    assert case["status"] == "closed"


def test_a_decision_changes_the_target_and_closes_the_case(sales: Loop) -> None:
    loop = sales
    loop.observed("sales", 7_000_000)
    loop.observed("sales", 7_000_000, "2025-05-01")
    (case,) = loop.time_reaches("2025-04-01").cases()
    decision = {
        "kind": "change_target", "value": "8000000", "effective_from": "2025-04-01", "reason": "The price war lasts."
    }  # fmt: skip
    loop.client.post(f"/reviews/v1/cases/{case['id']}/decisions", decision)
    loop.settle()
    versions = loop.get("goals/goals/sales/targets")
    assert [v["content"]["value"] for v in versions] == ["10000000", "8000000"]
    assert versions[1]["content"]["decision"]
    assert loop.score("sales", "2025-Q1")["score"] == "70"
    assert loop.score("sales", "2025-Q2")["score"] == "87.5"
    assert loop.get(f"reviews/cases/{case['id']}")["status"] == "closed"


def test_a_decision_on_a_target_that_has_changed_since_is_refused_and_the_case_says_why(sales: Loop) -> None:
    loop = sales
    loop.observed("sales", 7_000_000)
    (case,) = loop.time_reaches("2025-04-01").cases()
    loop.put("goals/goals/sales/targets", value="9500000", effective_from="2025-04-01", reason="Board")
    decision = {"kind": "change_target", "value": "8000000", "effective_from": "2025-04-01", "reason": "Price war."}
    loop.client.post(f"/reviews/v1/cases/{case['id']}/decisions", decision)
    case = loop.settle().get(f"reviews/cases/{case['id']}")
    assert case["status"] != "closed"
    assert case["decisions"][0]["fate"] == "refused"
    assert case["decisions"][0]["rule"]


def test_a_peer_may_not_decide(sales: Loop) -> None:
    loop = sales
    loop.person("peer", "company")
    loop.observed("sales", 7_000_000)
    (case,) = loop.time_reaches("2025-04-01").cases()
    peer = loop.speaking_as("peer", "employee")
    with pytest.raises(ApiProblem) as refused:
        peer.post(f"/reviews/v1/cases/{case['id']}/decisions", {"kind": "accept", "reason": "Fine."})
    assert refused.value.status in (403, 404)
