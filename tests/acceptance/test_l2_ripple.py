"""L2: a changed reading reaches nodes, goals, scorecards and accruals, in order, and nothing else."""

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop

pytestmark = pytest.mark.mechanism("L2")
RATIO = {"over_time": "average", "across_subjects": "average"}


@pytest.fixture
def production(loop: Loop) -> Loop:
    """Yield at 95 % against 95 %, and a bonus of 100,000 that hangs on it by 40 %."""
    loop.person("boss", "company")
    loop.person("worker", "company", manager="boss")
    loop.person("peer", "company", manager="boss")
    loop.measured("good", "pcs")
    loop.measured("produced", "pcs")
    loop.metric("yield_rate", "ratio", formula="good / produced")
    loop.put("metrics/policies/rework_cost", value="100000", unit="CNY", meaning="Rework loss per point of yield lost")
    loop.metric("rework_loss", "CNY", formula="(0.95 - yield_rate) * 100 * parameter(rework_cost)", better="lower")
    loop.put(
        "metrics/nodes/production", name="Production", subject="unit:company", input="produced", output="good",
        quality=["yield_rate"], period="quarter",
    )  # fmt: skip
    loop.goal("yield", "0.95", metric="yield_rate")
    loop.measured("other", "CNY")
    loop.goal("other", 100, metric="other")
    loop.put(
        "goals/scorecards/plant", name="Plant", owner_unit="company", period="quarter",
        lines=[
            {"goal": "yield", "weight": "0.4", "perspective": "internal_process"},
            {"goal": "other", "weight": "0.6", "perspective": "financial"},
        ],
    )  # fmt: skip
    linear = {"kind": "linear", "slope": "0.01", "floor": "0", "cap": "1.2"}
    loop.put(
        "incentives/plans/plant", name="Plant bonus", period="quarter", currency="CNY",
        components=[
            {"code": code, "name": code, "driver": {"kind": "goal", "code": code}, "weight": weight, "curve": linear}
            for code, weight in (("yield", "0.4"), ("other", "0.6"))
        ],
    )  # fmt: skip
    loop.put("incentives/assignments/worker-plant", person="worker", plan="plant", amount="100000", starts="2025-01-01")
    loop.observed("other", 100)
    loop.observed("produced", 10_000)
    loop.happened("good", "2025-02-15", "count-1", value="9500", subject="unit:company")
    return loop


def accrued(loop: Loop) -> str:
    (accrual,) = loop.settle().get("incentives/people/worker/accruals", period="2025-Q1")["accruals"]
    assert accrual["complete"]
    total: str = accrual["total"]
    return total


def yield_falls(loop: Loop) -> None:
    loop.happened("good", "2025-03-15", "scrap-1", value="-200", subject="unit:company")
    loop.settle()


def test_yield_95_to_93_percent_costs_842_11_of_the_bonus(production: Loop) -> None:
    loop = production
    assert accrued(loop) == "100000"
    yield_falls(loop)
    assert loop.value("yield_rate") == "0.93"
    assert loop.value("rework_loss") == "200000"
    assert loop.score("yield")["score"] == "97.8947368421"
    assert accrued(loop) == "99157.89"


def test_the_scorecard_follows_and_what_does_not_depend_on_it_stays(production: Loop) -> None:
    loop = production
    before = loop.score("other")
    yield_falls(loop)
    card = loop.get("goals/scores", scorecard="plant", period="2025-Q1")["items"][0]
    assert card["score"] == "99.1578947368"
    assert loop.score("other") == before


def test_the_event_leads_up_to_the_bonus(production: Loop) -> None:
    loop = production
    accrued(loop)
    yield_falls(loop)
    effects = loop.get("metrics/events/effects", source="erp", id="scrap-1")["effects"]
    reading = next(e for e in effects if e["code"] == "yield_rate" and e["period"] == "2025-Q1")
    assert (reading["before"], reading["after"]) == ("0.95", "0.93")
    node = next(e for e in effects if e["what"] == "node")
    assert node["code"] == "production"
    assert reading["step"] < node["step"]
    scores = loop.client.get(reading["links"]["goals"])["scores"]
    score = next(item for item in scores if item["code"] == "yield")
    assert (score["before"], score["after"]) == ("100", "97.8947368421")
    moved = loop.client.get(score["link"])
    assert (moved["before"], moved["after"]) == ("100", "97.8947368421")
    assert [(plan["plan"], plan["people"]) for plan in moved["plans"]] == [("plant", 1)]


def test_the_bonus_leads_down_to_the_event(production: Loop) -> None:
    loop = production
    yield_falls(loop)
    why = loop.get("incentives/people/worker/accruals/explanation", period="2025-Q1", plan="plant")
    component = next(each for each in why["components"] if each["component"] == "yield")
    score = loop.client.get(component["links"]["driver"])
    reading = loop.client.get(next(part["link"] for part in score["inputs"] if part["code"] == "yield_rate"))
    good = loop.client.get(next(part["link"] for part in reading["inputs"] if part["code"] == "good"))
    assert {item["id"] for item in good["observations"]["items"]} == {"count-1", "scrap-1"}


def test_only_the_person_and_those_above_see_the_bonus(production: Loop) -> None:
    loop = production
    accrued(loop)
    path = "/incentives/v1/people/worker/accruals"
    for person in ("worker", "boss"):
        assert loop.speaking_as(person, "employee", "manager").get(path, period="2025-Q1")["accruals"]
    for who in (("peer", "employee"), ("peer", "manager"), ("erp", "source"), ("planner", "strategist")):
        with pytest.raises(ApiProblem) as refused:
            loop.speaking_as(*who).get(path, period="2025-Q1")
        assert refused.value.status == 403


def test_a_formula_that_feeds_on_itself_for_a_while_still_comes_to_rest(loop: Loop) -> None:
    loop.measured("base", "CNY", grains=["day", "month"])
    common = {"name": "cum", "unit": "CNY", "grains": ["day", "month"]}
    loop.put("metrics/metrics/cum", **common, formula="base + 0 * base")
    loop.put("metrics/metrics/cum", **common, formula="base + 0 * base", effective_from="2199-06-01")
    loop.put("metrics/metrics/cum", **common, formula="previous(cum)", effective_from="2025-03-01")
    loop.observed("base", 5, "2025-02-28")
    assert loop.value("cum", "2025-02-28") == "5"
    assert loop.client.parked() == 0


def test_a_manager_to_be_sees_nothing_yet(loop: Loop) -> None:
    loop.person("alice", "company")
    loop.person("boss", "company")
    loop.person("alice", "company", manager="boss", effective_from="2190-01-01")
    loop.measured("sold", "CNY")
    loop.observed("sold", 5, subject="person:alice")
    loop.settle()
    where = {"metric": "sold", "subject": "person:alice", "period": "2025-Q1"}
    with pytest.raises(ApiProblem) as refused:
        loop.speaking_as("boss", "manager").get("/metrics/v1/readings", **where)
    assert refused.value.status == 403
    assert loop.speaking_as("alice", "employee").get("/metrics/v1/readings", **where)["value"] == "5"
