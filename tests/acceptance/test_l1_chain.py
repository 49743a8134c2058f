"""L1: the value chain is a graph that may close into a loop through the next period; what is incomplete shows."""

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop

pytestmark = pytest.mark.mechanism("L1")


def node(loop: Loop, code: str, *feeds: str, next_period: bool = False, **more: object) -> None:
    edges = [{"node": fed, "next_period": next_period} for fed in feeds]
    complete = {"goal": f"{code}-goal", "hand_over": "Inspected and documented"}
    loop.put(f"metrics/nodes/{code}", name=code, subject="unit:company", feeds=edges, **(complete | more))


def test_production_without_a_hand_over_standard_to_marketing_is_listed_as_incomplete(loop: Loop) -> None:
    node(loop, "rd", "production")
    node(loop, "production", "marketing", hand_over=None)
    node(loop, "marketing", "service")
    node(loop, "service")
    node(loop, "hr", kind="support", goal=None, hand_over=None)
    incomplete = loop.settle().get("metrics/chain", period="2025-01")["incomplete"]
    assert [item["node"] for item in incomplete] == ["production"]
    assert "hand-over" in incomplete[0]["lacking"][0]


def test_feedback_to_the_start_is_legal_when_it_takes_effect_in_the_next_period(loop: Loop) -> None:
    node(loop, "rd", "production")
    node(loop, "production", "service")
    node(loop, "service", "rd", next_period=True)
    edges = loop.settle().get("metrics/chain", period="2025-01")["edges"]
    assert {(edge["source"], edge["target"], edge["next_period"]) for edge in edges} == {
        ("rd", "production", False),
        ("production", "service", False),
        ("service", "rd", True),
    }


def test_a_loop_within_one_period_is_refused_with_its_path(loop: Loop) -> None:
    node(loop, "rd", "production")
    node(loop, "production", "service")
    with pytest.raises(ApiProblem, match=r"service -> rd|rd -> production"):
        node(loop, "service", "rd")
