"""The value chain on a real PostgreSQL: nodes, what feeds what, linkages, and the ripple through them."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from metrics_plant import Plant, Web, fact, metric, web

from shared.contracts.metrics import MetricsPolicy, NodeReadingChanged

JANUARY = {"period": "2025-01"}


@pytest.fixture
def works(runtimes: Any, tmp_path: Path) -> Iterator[Web]:
    """Procurement (west) feeds production (shop) feeds service (east), whose complaints come back a month later."""
    plant = Plant(runtimes("metrics")["metrics"]).settings(
        spend=metric(), delay=metric("d", better="lower"),
        stop_hours=metric("h", formula="delay * parameter(hours_per_day)"),
        loss=metric(formula="stop_hours * parameter(loss_per_hour)"), started=metric("pcs"), good=metric("pcs"),
        yield_rate=metric("ratio", formula="good / started"), tickets=metric("pcs"),
    )  # fmt: skip
    plant.define("hours_per_day", MetricsPolicy(value="2", meaning="m", unit="h/d"))
    plant.define("loss_per_hour", MetricsPolicy(value="250000", meaning="m", unit="CNY/h"))
    for site in web(plant, tmp_path):
        for code, body in NODES.items():
            assert site.put(f"nodes/{code}", body).status_code == 201
        assert site.put("linkages/delay-to-loss", LINKAGE).status_code == 201
        yield site


NODES = {
    "procurement": {"name": "Procurement", "subject": "unit:west", "input": "spend", "output": "loss",
                    "quality": ["delay"], "feeds": [{"node": "production"}],
                    "goal": "on-time", "hand_over": "parts by 8:00"},
    "production": {"name": "Production", "subject": "unit:shop", "input": "started", "output": "good",
                   "feeds": [{"node": "service"}], "goal": "yield"},
    "service": {"name": "Service", "kind": "support", "subject": "unit:east", "input": "good", "output": "tickets",
                "feeds": [{"node": "procurement", "next_period": True}]},
}  # fmt: skip
LINKAGE = {"name": "Late parts stop the line", "metrics": ["delay", "stop_hours", "loss"], "from_node": "procurement",
           "to_node": "production"}  # fmt: skip


def test_a_day_late_costs_half_a_million_and_three_days_three_times_that(works: Web) -> None:
    works.plant.observe(fact("delay", 1, subject="unit:west"))
    reading = works.get("nodes/procurement/readings", **JANUARY)
    assert (reading["effect"], reading["currency"], reading["ratio"]) == ("500000", "CNY", None)
    assert reading["reason"] == "spend: no reading"
    works.plant.observe(fact("delay", 2, subject="unit:west"))
    [linkage] = works.get("chain", **JANUARY)["linkages"]
    assert [(step["code"], step["value"], step["version"]) for step in linkage["steps"]] == [
        ("delay", "3", 2), ("stop_hours", "6", 2), ("loss", "1500000", 2)
    ]  # fmt: skip
    explained = works.get(linkage["steps"][2]["link"])
    assert [each["code"] for each in explained["inputs"]] == ["stop_hours", "loss_per_hour"]


def test_a_nodes_reading_is_output_per_input_with_its_trend_and_quality(works: Web) -> None:
    for month, started, good in (("01", 100, 92), ("02", 200, 190)):
        works.plant.observe(
            fact("started", started, day=f"2025-{month}-05"), fact("good", good, item=1, day=f"2025-{month}-06")
        )
    january, february = works.get("nodes/production/readings/series", from_="2025-01-01", to="2025-12-01")
    assert (january["ratio"], january["trend"]) == ("0.92", None)
    assert (february["ratio"], february["trend"]) == ("0.95", "0.03")
    [[before]] = works.plant.rows("SELECT clock_timestamp()")
    works.plant.observe(fact("good", 3, day="2025-01-07"))
    known = {"known_at": before.isoformat()}
    for more, expected in ({}, ("0", 2)), (known, ("0.03", 1)):
        february = works.get("nodes/production/readings", as_of="2025-02-14", **more)
        assert (february["trend"], february["version"]) == expected
        assert works.get("nodes/production/readings", period="2025-02", **more) == february
        [_, listed] = works.get("nodes/production/readings/series", from_="2025-01-01", to="2025-12-01", **more)
        assert listed == february
    open_ = [works.call("GET", f"{path}&period=2025-02&closed=true") for path in (
        "nodes/production/readings?kind=month", "readings?metric=good&subject=unit:plant")]  # fmt: skip
    assert len({(answer.status_code, answer.json()["type"]) for answer in open_}) == 1
    assert open_[0].status_code >= 400
    assert works.get("nodes/production/readings", period="2025-02", version=1)["trend"] == "0.03"
    works.plant.observe(fact("started", 0, day="2025-03-01"), fact("good", 1, item=1, day="2025-03-01"))
    assert works.get("nodes/production/readings", period="2025-03")["reason"] == "the input is zero"
    works.plant.observe(fact("delay", 2, subject="unit:west"))
    assert [each["value"] for each in works.get("nodes/procurement/readings", **JANUARY)["quality"]] == ["2"]
    rows = works.plant.rows("SELECT data FROM log.record WHERE type = :type AND key = 'production' ORDER BY pos",
                            type=NodeReadingChanged.TYPE)  # fmt: skip
    events = [NodeReadingChanged.model_validate_json(row.data) for row in rows]
    assert [(each.period, each.version, each.ratio) for each in events][:2] == [
        ("2025-01", 1, Decimal("0.92")), ("2025-02", 1, Decimal("0.95"))
    ]  # fmt: skip


def test_a_change_ripples_from_cells_to_readings_to_nodes_in_the_order_of_the_chain(works: Web) -> None:
    works.plant.observe(fact("good", 95), fact("started", 100, item=1))
    change = works.get("nodes/production/readings", **JANUARY)["change"]
    steps = works.get(f"changes/{change}", limit=200)["items"]
    assert [each["what"] for each in steps] == sorted(
        (each["what"] for each in steps), key=["cell", "reading", "node"].index
    )
    nodes = [each for each in steps if each["what"] == "node"]
    assert [each["code"] for each in nodes] == ["production", "service"]
    assert nodes[0]["feeds"] == ["service"] and "node production/2025-01 v1" in nodes[1]["because"]
    touched = {each["code"] for each in steps}
    assert not touched & {"procurement", "delay", "loss"}


def test_what_a_primary_node_lacks_is_reported(works: Web) -> None:
    chain = works.get("chain")
    assert chain["incomplete"] == [{"node": "production", "lacking": ["hand-over standard"]}]
    assert [node["code"] for node in chain["nodes"]] == ["procurement", "production", "service"]
    assert {"source": "service", "target": "procurement", "next_period": True} in chain["edges"]
    works.put("nodes/production", NODES["production"] | {"hand_over": "tested", "feeds": [{"node": "marketing"}]})
    assert works.get("chain")["incomplete"] == [{"node": "production", "lacking": ["node marketing"]}]


def test_a_loop_within_a_period_is_refused_with_its_path(works: Web) -> None:
    refused = works.put("nodes/service", NODES["service"] | {"feeds": [{"node": "procurement"}]})
    assert refused.status_code == 422
    assert refused.json()["path"] in (
        ["procurement", "production", "service", "procurement"], ["production", "service", "procurement", "production"],
        ["service", "procurement", "production", "service"],
    )  # fmt: skip
    assert " -> ".join(refused.json()["path"]) in refused.json()["detail"]
    assert works.put("nodes/self", NODES["service"] | {"feeds": [{"node": "self"}]}).json()["path"] == ["self", "self"]


def test_a_linkage_whose_metrics_do_not_follow_from_one_another_is_refused(works: Web) -> None:
    for metrics, field in (
        (["delay", "loss"], "metrics.1"),
        (["delay", "stop_hours"], "metrics.1"),
        (["loss", "spend"], "metrics.1"),
    ):
        refused = works.put("linkages/bad", LINKAGE | {"metrics": metrics})
        assert (refused.status_code, refused.json()["field"]) == (422, field), metrics
    assert works.put("linkages/early", LINKAGE | {"metrics": ["delay", "not_yet"]}).status_code == 201


def test_nodes_are_ranked_from_the_weakest_and_those_without_a_ratio_are_not(works: Web) -> None:
    works.plant.observe(
        fact("good", 90),
        fact("started", 100, item=1),
        fact("tickets", 9, item=2),
        fact("delay", 1, item=3, subject="unit:west"),
    )
    ranked = works.get("nodes/compare", **JANUARY)
    assert [(each["rank"], each["node"]) for each in ranked] == [
        (1, "service"),
        (2, "production"),
        (None, "procurement"),
    ]


def test_a_node_defined_late_reads_what_is_there(works: Web) -> None:
    works.plant.observe(fact("good", 90), fact("started", 100, item=1))
    works.put("nodes/late", NODES["production"] | {"feeds": []})
    assert works.get("nodes/late/readings", **JANUARY)["ratio"] == "0.9"
    works.put("nodes/late", NODES["production"] | {"feeds": [], "input": "good", "output": "started"})
    assert works.get("nodes/late/readings", **JANUARY)["ratio"] == "1.1111111111"
    assert works.call("GET", "nodes/late/readings", params={"period": "2024-01"}).status_code == 404
