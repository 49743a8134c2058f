"""G5: a target changes only by a new version, with date, reason and tactics; what is closed stays."""

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop

pytestmark = pytest.mark.mechanism("G5")


@pytest.fixture
def online_sales(loop: Loop) -> Loop:
    loop.measured("growth", "ratio", over_time="last")
    loop.goal("growth", metric="growth", period="year")
    loop.put("goals/goals/growth/targets", value="0.50", effective_from="2025-01-01", reason="Plan of the year")
    loop.observed("growth", "0.30", "2025-11-30")
    return loop


def lower(loop: Loop) -> None:
    loop.put(
        "goals/goals/growth/targets", value="0.30", effective_from="2025-07-01", reason="Price war",
        tactics="Members before new customers", approver="ceo",
    )  # fmt: skip


def test_by_days_the_target_is_39_92_percent(online_sales: Loop) -> None:
    loop = online_sales
    loop.put("goals/policies/target_change", value="prorated")
    lower(loop)
    score = loop.score("growth", "2025")
    # (50 × 181 + 30 × 184) / 365 = 39.917808… %
    assert score["target"] == "0.3991780822"


def test_for_the_whole_period_the_version_of_its_last_day_counts(online_sales: Loop) -> None:
    loop = online_sales
    assert loop.score("growth", "2025")["score"] == "60"
    lower(loop)
    assert loop.score("growth", "2025")["score"] == "100"


def test_the_history_keeps_both_versions_with_reason_and_tactics(online_sales: Loop) -> None:
    loop = online_sales
    lower(loop)
    versions = loop.get("goals/goals/growth/targets")
    assert [(v["content"]["value"], v["content"]["reason"]) for v in versions] == [
        ("0.5", "Plan of the year"),
        ("0.3", "Price war"),
    ]
    assert versions[1]["content"]["tactics"] == "Members before new customers"


def test_a_period_before_the_change_keeps_its_target(loop: Loop) -> None:
    loop.measured("sales", "CNY")
    loop.goal("sales", 100, metric="sales")
    loop.observed("sales", 90, "2025-02-01")
    loop.observed("sales", 90, "2025-05-01")
    before = loop.score("sales", "2025-Q1")
    loop.put("goals/goals/sales/targets", value="90", effective_from="2025-04-01", reason="Price war")
    assert loop.score("sales", "2025-Q1") == before
    assert loop.score("sales", "2025-Q2")["score"] == "100"


def test_a_closed_period_keeps_its_target_and_score_and_only_a_correction_restates_it(loop: Loop) -> None:
    loop.measured("sales", "CNY")
    loop.goal("sales", 100, metric="sales")
    loop.observed("sales", 90, "2025-02-01")
    loop.time_reaches("2025-04-01")
    loop.client.post("/metrics/v1/periods/2025-Q1/close", {}, **{"Idempotency-Key": "close-Q1"})
    closed = loop.score("sales", "2025-Q1")
    lowered = {"value": "90", "effective_from": "2025-01-01", "reason": "Price war"}
    with pytest.raises(ApiProblem) as caught:
        loop.put("goals/goals/sales/targets", **lowered)
    assert caught.value.type == "date-closed"
    assert loop.score("sales", "2025-Q1") == closed and closed["score"] == "90"
    loop.put("goals/goals/sales/targets", **lowered | {"reason": "Typing error"}, correction=True)
    assert loop.score("sales", "2025-Q1")["score"] == "100"
    assert loop.score("sales", "2025-Q1", closed=True) == closed
