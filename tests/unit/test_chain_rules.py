"""The rules of the value chain: ratio, trend, effect, loops, gaps and ranking."""

from decimal import Decimal
from itertools import pairwise

import pytest

from services.metrics.chain.rules import (
    ChainLoop,
    LinkageBroken,
    NodeFinding,
    gaps,
    in_order,
    node_finding,
    ranked,
    refuse_broken,
    refuse_loop,
)
from services.metrics.readings.rules import Finding
from shared.contracts.metrics import Feed, Linkage, Metric, Node

NODE = Node(name="n", subject="unit:a", input="spend", output="orders", feeds=[])


def linkage(*metrics: str) -> Linkage:
    return Linkage(name="l", metrics=list(metrics), from_node="a", to_node="b")


def judged(before: str | None = None, linkages: tuple[Linkage, ...] = (), **readings: Finding) -> NodeFinding | None:
    return node_finding(NODE, linkages, readings.get, None if before is None else Decimal(before))


def cny(value: str) -> Finding:
    return Finding(Decimal(value), "CNY")


def test_ten_million_of_marketing_for_orders_of_twenty_is_two() -> None:
    found = judged("1.5", spend=cny("10000000"), orders=cny("20000000"))
    assert found == NodeFinding(Decimal(2), Decimal("0.5"), None, None, None)


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        ({"spend": cny("0"), "orders": cny("1")}, "the input is zero"),
        ({"orders": cny("1")}, "spend: no reading"),
        ({"spend": cny("1"), "orders": Finding(None, "CNY", "no observations")}, "orders: no observations"),
        ({"spend": cny("1"), "orders": Finding(Decimal(1), "EUR")}, "EUR is not divided by CNY"),
    ],
)
def test_without_an_input_to_divide_by_there_is_no_ratio_but_a_reason(
    readings: dict[str, Finding], reason: str
) -> None:
    assert judged("1", **readings) == NodeFinding(None, None, None, None, reason)


def test_a_node_none_of_whose_metrics_has_a_reading_has_none() -> None:
    assert judged("1", other=cny("1")) is None


def test_effects_of_all_linkages_add_up_in_one_currency_and_each_metric_counts_once() -> None:
    chains = (linkage("delay", "loss"), linkage("stops", "loss"), linkage("delay", "fees"))
    found = judged(None, chains, loss=cny("500000"), fees=cny("1.5"))
    assert found is not None and (found.effect, found.currency) == (Decimal("500001.5"), "CNY")
    mixed = judged(None, chains, loss=cny("1"), fees=Finding(Decimal(1), "EUR"), spend=cny("1"), orders=cny("1"))
    assert mixed is not None and (mixed.effect, mixed.reason) == (None, "effects in CNY and EUR are not added")


def nodes(**feeds: list[tuple[str, bool]]) -> dict[str, Node]:
    return {
        code: NODE.model_copy(update={"feeds": [Feed(node=to, next_period=later) for to, later in targets]})
        for code, targets in feeds.items()
    }


def test_a_loop_is_legal_only_where_an_edge_crosses_into_the_next_period() -> None:
    legal = nodes(a=[("b", False)], b=[("c", False)], c=[("a", True)])
    refuse_loop(legal)
    assert in_order(legal) == ["a", "b", "c"]
    with pytest.raises(ChainLoop, match="->") as refused:
        refuse_loop(nodes(a=[("b", False)], b=[("c", False)], c=[("a", False)]))
    path = refused.value.more["path"]
    assert path[0] == path[-1] and [path.index(x) for x in "abc"] == sorted(
        [path.index(x) for x in "abc"], key=lambda i: "abc".index(path[i])
    )
    assert all(f"{a}{b}" in ("ab", "bc", "ca") for a, b in pairwise(path))


def test_a_primary_node_without_goal_or_hand_over_standard_is_reported() -> None:
    full = NODE.model_copy(update={"goal": "g", "hand_over": "h"})
    support = NODE.model_copy(update={"kind": "support"})
    assert gaps({"full": full, "bare": NODE, "support": support}) == {"bare": ["goal", "hand-over standard"]}


def test_a_linkage_goes_by_formulas_and_ends_in_money() -> None:
    known = {
        "delay": Metric(name="d", unit="d"),
        "stops": Metric(name="s", unit="h", formula="delay * 2"),
        "loss": Metric(name="l", unit="CNY", formula="stops * parameter(rate)"),
        "looks_back": Metric(name="l", unit="CNY", formula="previous(delay) * 2"),
    }
    refuse_broken(linkage("delay", "stops", "loss"), known)
    refuse_broken(linkage("unknown", "delay_of_tomorrow"), known)
    for bad in (("delay", "loss"), ("stops", "delay"), ("delay", "stops"), ("delay", "looks_back")):
        with pytest.raises(LinkageBroken):
            refuse_broken(linkage(*bad), known)


def test_ranking_goes_by_ratio_then_trend_then_code() -> None:
    def found(ratio: str | None, trend: str | None = None) -> NodeFinding:
        return NodeFinding(ratio and Decimal(ratio), trend and Decimal(trend), None, None, None)  # type: ignore[arg-type]

    order, unranked = ranked({"d": found("1", "0.1"), "c": found("1", "-0.1"), "b": found("1", "0.1"), "a": found("1"),
                              "z": found(None), "e": found("0.5", "9")})  # fmt: skip
    assert (order, unranked) == (["e", "a", "c", "b", "d"], ["z"])
