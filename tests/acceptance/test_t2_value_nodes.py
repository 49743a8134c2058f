"""T2: any step of the value chain can be a value node: output per input, its trend, and what it did downstream."""

import pytest

from tests.acceptance.conftest import Loop

pytestmark = pytest.mark.mechanism("T2")


def test_a_supplier_one_day_late_stops_the_line_two_hours_and_costs_500_000(loop: Loop) -> None:
    loop.put("metrics/policies/hours_per_day_late", value="2", unit="h/d", meaning="Line stop per day of delay")
    loop.put("metrics/policies/loss_per_hour", value="250000", unit="CNY/h", meaning="Loss per stopped hour")
    loop.measured("delay_days", "d")
    loop.metric("stop_hours", "h", formula="delay_days * parameter(hours_per_day_late)", better="lower")
    loop.metric("stop_loss", "CNY", formula="stop_hours * parameter(loss_per_hour)", better="lower")
    loop.put("metrics/nodes/procurement", name="Procurement", subject="unit:company", feeds=[{"node": "production"}])
    loop.put("metrics/nodes/production", name="Production", subject="unit:company")
    loop.put(
        "metrics/linkages/supplier-delay", name="Supplier delay", from_node="procurement", to_node="production",
        metrics=["delay_days", "stop_hours", "stop_loss"],
    )  # fmt: skip
    loop.observed("delay_days", 1, "2025-03-05")
    assert loop.value("stop_hours", "2025-03") == "2"
    assert loop.value("stop_loss", "2025-03") == "500000"
    node = loop.get("metrics/nodes/procurement/readings", period="2025-03")
    assert node["effect"] == "500000"


def test_the_reading_of_a_node_is_output_per_input_with_its_trend(loop: Loop) -> None:
    loop.measured("spend", "CNY")
    loop.measured("orders", "CNY")
    loop.put("metrics/nodes/sales", name="Sales", subject="unit:company", input="spend", output="orders")
    loop.observed("spend", 10, "2025-01-10")
    loop.observed("orders", 20, "2025-01-11")
    loop.observed("spend", 10, "2025-02-10")
    loop.observed("orders", 25, "2025-02-11")
    loop.settle()
    february = loop.get("metrics/nodes/sales/readings", period="2025-02")
    assert (february["ratio"], february["trend"]) == ("2.5", "0.5")


def test_a_node_without_input_has_no_ratio_and_says_why(loop: Loop) -> None:
    loop.measured("spend", "CNY")
    loop.measured("orders", "CNY")
    loop.put("metrics/nodes/sales", name="Sales", subject="unit:company", input="spend", output="orders")
    loop.observed("spend", 0, "2025-01-10")
    loop.observed("orders", 20, "2025-01-11")
    loop.settle()
    node = loop.get("metrics/nodes/sales/readings", period="2025-01")
    assert node["ratio"] is None
    assert "zero" in node["reason"]


def test_the_on_time_rate_can_be_read_by_supplier(loop: Loop) -> None:
    loop.metric("receipts", "receipt")
    rule = {"metric": "receipts", "subject": "'unit:company'", "dimensions": {"supplier": "data.supplier"}}
    loop.put("metrics/mappings/receipt", name="Receipt", event_type="receipt", observations=[rule])
    for supplier in ("north", "north", "south"):
        loop.happened("receipt", "2025-01-10", supplier=supplier)
    assert loop.reading("receipts", "2025-01", dimensions="supplier:north")["value"] == "2"
