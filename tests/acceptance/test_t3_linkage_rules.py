"""T3: a non-financial metric is tied to money, and a good figure is qualified by another that got worse."""

from typing import Any

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop

pytestmark = pytest.mark.mechanism("T3")


@pytest.fixture
def delays(loop: Loop) -> Loop:
    loop.put("metrics/policies/hours_per_day_late", value="2", unit="h/d", meaning="Line stop per day of delay")
    loop.put("metrics/policies/loss_per_hour", value="250000", unit="CNY/h", meaning="Loss per stopped hour")
    loop.measured("delay_days", "d")
    loop.metric("stop_hours", "h", formula="delay_days * parameter(hours_per_day_late)")
    loop.metric("stop_loss", "CNY", formula="stop_hours * parameter(loss_per_hour)")
    for node in ("procurement", "production"):
        loop.put(f"metrics/nodes/{node}", name=node, subject="unit:company")
    return loop


def test_three_days_of_delay_are_six_stop_hours_and_one_and_a_half_million(delays: Loop) -> None:
    loop = delays
    loop.put(
        "metrics/linkages/delay", name="Delay", from_node="procurement", to_node="production",
        metrics=["delay_days", "stop_hours", "stop_loss"],
    )  # fmt: skip
    loop.observed("delay_days", 3, "2025-03-05")
    loop.settle()
    chain = loop.get("metrics/chain", period="2025-03")
    assert [step["value"] for step in chain["linkages"][0]["steps"]] == ["3", "6", "1500000"]


def test_the_loss_is_traced_to_the_event_that_caused_it(delays: Loop) -> None:
    loop = delays
    loop.happened("delay_days", "2025-03-05", "receipt-17", value="3", subject="unit:company")
    where = {"subject": "unit:company", "period": "2025-03"}
    loop.settle()
    loss = loop.get("metrics/readings/explanation", metric="stop_loss", **where)
    hours = loop.client.get(link_to(loss, "stop_hours"))
    days = loop.client.get(link_to(hours, "delay_days"))
    assert [event["id"] for event in days["observations"]["items"]] == ["receipt-17"]


def link_to(explanation: dict[str, Any], metric: str) -> str:
    return next(part["link"] for part in explanation["inputs"] if part["code"] == metric)


def test_a_linkage_that_does_not_end_in_money_is_refused(delays: Loop) -> None:
    with pytest.raises(ApiProblem) as refused:
        delays.put(
            "metrics/linkages/delay", name="Delay", from_node="procurement", to_node="production",
            metrics=["delay_days", "stop_hours"],
        )  # fmt: skip
    assert "money" in refused.value.rule


def test_sales_up_12_percent_while_complaints_rise_are_qualified_and_the_scorecard_shows_it(loop: Loop) -> None:
    loop.measured("sales", "CNY")
    loop.measured("complaints", "complaint", better="lower")
    loop.measured("orders", "order")
    loop.metric("complaint_rate", "complaint/order", formula="complaints / orders", better="lower")
    loop.put("metrics/guards/complaints", metric="sales", guard="complaint_rate", message="complaints rising")
    loop.goal("sales", 110, metric="sales")
    loop.put(
        "goals/scorecards/company", name="Company", owner_unit="company", period="quarter",
        lines=[{"goal": "sales", "weight": "1", "perspective": "financial"}],
    )  # fmt: skip
    for day, sales, complaints in (("2024-11-01", 100, 20), ("2025-02-01", 112, 26)):
        loop.observed("sales", sales, day)
        loop.observed("complaints", complaints, day)
        loop.observed("orders", 1000, day)
    assert loop.value("complaint_rate", "2025-Q1") == "0.026"
    assert loop.reading("sales", "2025-Q1")["qualified"] == ["complaints rising"]
    assert loop.reading("sales", "2024-Q4")["qualified"] == []
    assert loop.score("sales", "2025-Q1")["qualified"] == ["complaints rising"]
    scorecard = loop.get("goals/scores", scorecard="company", period="2025-Q1")["items"][0]
    assert scorecard["qualified"] == ["complaints rising"]
