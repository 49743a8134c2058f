"""Goals on a real PostgreSQL: over HTTP, with readings, ticks and decisions as they come from the other services."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.goals.organisation.store import visible_people
from shared.contracts.base import Contract, Defined, Tick
from shared.contracts.goals import (
    DecisionApplied,
    DecisionRefused,
    DeviationCleared,
    DeviationFound,
    ScoreChanged,
)
from shared.contracts.metrics import Metric, ReadingChanged
from shared.contracts.reviews import DecisionMade
from shared.database.unit_of_work import unit_of_work
from shared.http.application import create_app
from shared.identity import Identity, JwksFile, LocalIssuer, Principal
from shared.log import Record
from shared.log.worker import handle, types_of
from shared.organisation import manages
from shared.service import Runtime
from shared.settings import Settings

NOW = datetime(2025, 4, 1, tzinfo=UTC)
NUMBERS = count(1)
APRIL = "2025-04-01T00:00:00+08:00"


@dataclass
class House:
    """The service as its users and its upstream services meet it."""

    runtime: Runtime
    http: TestClient
    issuer: LocalIssuer

    def call(self, method: str, path: str, who: str = "planner", *roles: str, **more: Any) -> Any:
        token = self.issuer.issue(who, more.pop("company", "acme"), roles or ("strategist",))
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return self.http.request(method, f"/goals/v1/{path}", headers=headers, **more)

    def get(self, path: str, who: str = "planner", *roles: str, **query: Any) -> Any:
        response = self.call("GET", path, who, *roles, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def put(self, path: str, **body: Any) -> Any:
        response = self.call("PUT", path, json=body)
        assert response.status_code in (200, 201), response.text
        return response.json()

    def refused(self, path: str, **body: Any) -> tuple[int, str, str]:
        """Status, name of the rule, and what it says."""
        response = self.call("PUT", path, json=body)
        assert response.status_code >= 400, response.text
        problem = response.json()
        return response.status_code, problem["type"].rsplit(":", 1)[1], problem["detail"]

    def arrive(self, *events: Contract) -> None:
        """One batch of events from the other services, as a worker would apply it."""
        records = [
            Record(e.TOPIC, 0, i, "k", e.TYPE, "acme", e.model_dump_json(), None, NOW) for i, e in enumerate(events)
        ]
        with unit_of_work(self.runtime, actor="goals") as uow:
            handle(uow, types_of(self.runtime.service), records)

    def metric(self, code: str, **more: Any) -> None:
        content = Metric(name=code, labels={}, unit="CNY", **more)
        data = Defined(code=code, version=next(NUMBERS), recorded_by="x", recorded_at=NOW,
                       content=content.model_dump(mode="json"))  # fmt: skip
        record = Record(Metric.TOPIC, 0, 0, code, Metric.TYPE, "acme", data.model_dump_json(), None, NOW)
        with unit_of_work(self.runtime, actor="goals") as uow:
            handle(uow, types_of(self.runtime.service), [record])

    def tick(self, at: str) -> None:
        tick = Tick(at=datetime.fromisoformat(at), id=f"tick-{next(NUMBERS)}")
        with unit_of_work(self.runtime, actor="goals") as uow:
            assert self.runtime.service.on_tick
            self.runtime.service.on_tick(uow, "acme", tick)

    def published(self, kind: type[Contract]) -> list[Any]:
        with unit_of_work(self.runtime, actor="test", read_only=True) as uow:
            rows = uow.rows("SELECT data FROM log.record WHERE type = :type ORDER BY recorded_at, pos", type=kind.TYPE)
        return [kind.model_validate_json(row.data) for row in rows]

    def goal(self, code: str, target: str | None = None, **more: Any) -> None:
        owner = {} if "owner_person" in more else {"owner_unit": "hq"}
        body = {"name": code, "period": "quarter", "starts": "2025-01-01", "status": "active"} | owner
        self.put(f"goals/{code}", **(body | more))
        if target:
            self.put(f"goals/{code}/targets", value=target)

    def score(self, code: str, period: str = "2025-Q1", kind: str = "goal") -> dict[str, Any] | None:
        found = self.get("scores", **{kind: code}, period=period)["items"]
        return found[0] if found else None

    def value(self, code: str, period: str = "2025-Q1", kind: str = "goal") -> str | None:
        found = self.score(code, period, kind)
        assert found, f"no score of {code} in {period}"
        return found["score"]  # type: ignore[no-any-return]


def reading(
    metric: str, value: str | None, version: int = 1, subject: str = "unit:hq", period: str = "2025-Q1", **more: Any
) -> ReadingChanged:
    number = None if value is None else Decimal(value)
    return ReadingChanged(
        metric=metric, subject=subject, period=period, version=version, change=version, value=number, unit="CNY",
        recorded_at=NOW, **more,
    )  # fmt: skip


@pytest.fixture
def house(runtimes: Any, tmp_path: Path) -> Iterator[House]:
    runtime = runtimes("goals")["goals"]
    issuer = LocalIssuer(tmp_path)
    identity = Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop")
    with TestClient(create_app({"goals": runtime}, Settings(), identity)) as http:
        yield House(runtime, http, issuer)


@pytest.fixture
def acme(house: House) -> House:
    """Headquarters with a plant and a shop, people in them, and the metric `sales`."""
    house.put("companies/company", name="Acme", time_zone="Asia/Shanghai", currency="CNY")
    house.put("units/hq", name="Headquarters", kind="company", head="ceo")
    for code in ("plant", "shop"):
        house.put(f"units/{code}", name=code, kind="department", parent="hq", head=f"{code}-head")
    house.put("people/ceo", name="Chief", unit="hq")
    for unit in ("plant", "shop"):
        house.put(f"people/{unit}-head", name=unit, unit=unit, manager="ceo")
        house.put(f"people/{unit}-worker", name=unit, unit=unit, manager=f"{unit}-head")
    house.metric("sales")
    return house


# The organisation -----------------------------------------------------------------------------------------------------


def test_a_company_keeps_its_calendar_and_currency(acme: House) -> None:
    same = {"name": "Acme", "time_zone": "Asia/Shanghai", "currency": "CNY"}
    acme.put("companies/company", **same | {"name": "Acme Group"})
    for change in ({"time_zone": "Europe/Berlin"}, {"currency": "EUR"}, {"fiscal_year_start_month": 4}):
        assert acme.refused("companies/company", **same | change)[:2] == (409, "calendar-fixed")
    assert acme.refused("companies/other", **same)[1] == "one-company"


def test_a_company_has_a_real_zone_and_currency(house: House) -> None:
    body = {"name": "Acme", "time_zone": "Asia/Shanghai", "currency": "CNY"}
    assert house.refused("companies/company", **body | {"time_zone": "Mars/Base"})[1] == "calendar-invalid"
    assert house.refused("companies/company", **body | {"currency": "XYZ"})[1] == "unknown-currency"


def test_units_cannot_stand_above_themselves(acme: House) -> None:
    acme.put("units/line", name="Line", kind="team", parent="plant")
    status, rule, says = acme.refused("units/plant", name="plant", kind="department", parent="line")
    assert (status, rule) == (422, "cycle-found")
    assert "plant -> line -> plant" in says
    assert "hq -> hq" in acme.refused("units/hq", name="hq", kind="company", parent="hq")[2]


def test_a_circle_that_would_close_on_a_later_day_is_found_too(acme: House) -> None:
    acme.put("units/line", name="Line", kind="team", parent="hq")
    acme.put("units/line", name="Line", kind="team", parent="plant", effective_from="2026-01-01")
    says = acme.refused("units/plant", name="p", kind="department", parent="line", effective_from="2025-06-01")[2]
    assert "plant -> line -> plant" in says


def test_units_stand_no_deeper_than_figures_roll_up(acme: House) -> None:
    """The company is level 1, so that a chain of 59 below it is the deepest."""
    for level in range(2, 61):
        acme.put(f"units/l{level}", name="Level", kind="team", parent=f"l{level - 1}" if level > 2 else "hq")
    body = {"name": "Level", "kind": "team"}
    status, rule, says = acme.refused("units/l61", **body, parent="l60")
    assert (status, rule, "a chain of 61" in says) == (422, "units-too-deep", True)
    assert acme.refused("units/l2", **body, parent="plant")[1] == "units-too-deep"
    assert acme.refused("units/l2", **body, parent="plant", effective_from="2026-01-01")[1] == "units-too-deep"
    acme.put("units/l2", name="Renamed", kind="team", parent="hq")
    acme.put("units/l60", **body, parent="l58", effective_from="2026-01-01")
    acme.put("units/l2", **body, parent="plant", effective_from="2026-06-01")
    acme.goal("deep", "100", metric="sales", owner_unit="l60")
    assert acme.get("dashboard", on="2025-03-31")["items"][0]["responsible"] == "ceo"


def test_what_a_unit_or_person_names_exists_except_a_head(acme: House) -> None:
    assert acme.refused("units/x", name="x", kind="team", parent="nowhere")[1] == "unknown-reference"
    assert acme.refused("people/x", name="x", unit="nowhere")[1] == "unknown-reference"
    assert acme.refused("people/x", name="x", unit="shop", manager="nobody")[1] == "unknown-reference"
    acme.put("units/x", name="x", kind="team", parent="hq", head="coming-soon")
    assert ("unit", "x", "person") in [(w["kind"], w["code"], w["waits_for"]) for w in acme.get("waiting")["items"]]
    assert "ceo -> shop-head -> ceo" in acme.refused("people/ceo", name="c", unit="hq", manager="shop-head")[2]


def test_only_strategists_define_and_sources_read_nothing(acme: House) -> None:
    assert acme.call("PUT", "units/x", "li", "employee", json={"name": "x", "kind": "team"}).status_code == 403
    for path in ("units", "goals", "scores", "waiting", "orphans", "dashboard", "policies"):
        assert acme.call("GET", path, "erp", "source").status_code == 403, path


# Goals and targets ----------------------------------------------------------------------------------------------------


def test_a_goal_has_one_owner_that_exists(acme: House) -> None:
    body = {"name": "g", "period": "year", "starts": "2025-01-01"}
    assert acme.refused("goals/g", **body)[1] == "one-owner"
    assert acme.refused("goals/g", **body, owner_unit="hq", owner_person="ceo")[1] == "one-owner"
    assert acme.refused("goals/g", **body, owner_unit="nowhere")[1] == "unknown-reference"
    assert acme.refused("goals/g", **body, owner_unit="hq", parent="nothing")[1] == "unknown-reference"
    assert acme.refused("goals/g", **body, owner_unit="hq", due="2024-12-31")[1] == "goal-dates-invalid"


def test_goals_cannot_support_themselves(acme: House) -> None:
    acme.goal("a")
    acme.goal("b", parent="a")
    acme.goal("c", parent="b")
    body = {"name": "a", "period": "quarter", "starts": "2025-01-01", "status": "active", "owner_unit": "hq"}
    assert "a -> c -> b -> a" in acme.refused("goals/a", **body, parent="c")[2]
    assert "a -> a" in acme.refused("goals/a", **body, parent="a")[2]


def test_a_closed_goal_stays_closed_and_keeps_its_scores_and_targets(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(reading("sales", "90"))
    acme.goal("sales", metric="sales", status="closed")
    assert acme.value("sales") == "90"
    acme.arrive(reading("sales", "95", 2))
    assert acme.value("sales") == "90"
    body = {"name": "sales", "period": "quarter", "starts": "2025-01-01", "owner_unit": "hq", "metric": "sales"}
    assert acme.refused("goals/sales", **body, status="active")[:2] == (409, "status-not-possible")
    assert acme.refused("goals/sales/targets", value="80", reason="x")[:2] == (409, "goal-closed")


def test_a_goal_cannot_be_closed_before_a_version_in_which_it_is_open(acme: House) -> None:
    acme.goal("g")
    acme.goal("g", effective_from="2025-07-01", reason="renamed")
    body = {"name": "g", "period": "quarter", "starts": "2025-01-01", "owner_unit": "hq", "status": "closed"}
    assert acme.refused("goals/g", **body, effective_from="2025-03-01")[1] == "status-not-possible"


def test_ceilings_of_children_stay_within_the_parents(acme: House) -> None:
    acme.goal("top", ceiling="300")
    acme.goal("a", parent="top", ceiling="200")
    body = {"name": "x", "period": "quarter", "starts": "2025-01-01", "owner_unit": "hq"}
    response = acme.call("PUT", "goals/b", json=body | {"parent": "top", "ceiling": "100.01"})
    assert response.status_code == 422
    assert response.json()["remaining"] == "100"
    acme.goal("b", parent="top", ceiling="100")
    assert acme.get("goals/top/tree")["ceiling_remaining"] == "0"
    assert acme.refused("goals/top", **body, status="active", ceiling="299")[1] == "ceiling-exceeded"
    acme.goal("a", parent="top", ceiling="200", status="closed")
    acme.goal("c", parent="top", ceiling="200")


def test_a_changed_target_says_why_and_never_reaches_back_into_what_was_judged(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(reading("sales", "95"), reading("sales", "95", period="2025-Q2"))
    assert acme.refused("goals/sales/targets", value="90")[1] == "target-change-unexplained"
    back = {"value": "90", "reason": "Price war"}
    assert acme.refused("goals/sales/targets", **back, effective_from="2024-12-31")[1] == "target-reaches-back"
    acme.tick(APRIL)
    assert acme.refused("goals/sales/targets", **back, effective_from="2025-03-31")[1] == "target-reaches-back"
    assert acme.refused("goals/sales/targets", **back)[1] == "target-reaches-back"
    acme.put("goals/sales/targets", **back, effective_from="2025-04-01", approver="ceo", tactics="Members first")
    assert (acme.value("sales"), acme.value("sales", "2025-Q2")) == ("95", "105.5555555556")
    assert [v["content"]["value"] for v in acme.get("goals/sales/targets")] == ["100", "90"]


def test_a_target_needs_its_goal_and_the_etag_last_read(acme: House) -> None:
    assert acme.refused("goals/none/targets", value="1")[0] == 404
    acme.goal("sales", "100", metric="sales")
    stale = acme.call("PUT", "goals/sales/targets", json={"value": "1", "reason": "x"}, headers={"If-Match": '"9"'})
    assert stale.status_code == 412
    again = acme.call("PUT", "goals/sales/targets", json={"value": "100"})
    assert (again.status_code, again.json()["version"]) == (200, 1)


def test_a_goal_that_supports_nothing_is_reported_unless_the_top_unit_owns_it(acme: House) -> None:
    acme.goal("top")
    acme.goal("tied", parent="top", owner_unit="shop")
    acme.goal("loose", owner_unit="shop")
    acme.goal("own", owner_person="ceo")
    assert [goal["code"] for goal in acme.get("orphans")["items"]] == ["loose", "own"]


def test_tree_path_coverage_and_padding(acme: House) -> None:
    acme.goal("top", "10", metric="sales", contribution="sum")
    acme.goal("middle", "12", metric="sales", contribution="sum", parent="top", owner_unit="shop")
    acme.goal("low-1", "8", metric="sales", parent="middle", owner_person="shop-head")
    acme.goal("low-2", "7", metric="sales", parent="middle", owner_person="shop-worker")
    tree = acme.get("goals/top/tree")
    assert [child["code"] for child in tree["children"][0]["children"]] == ["low-1", "low-2"]
    assert [level["padding"] for level in tree["levels"]] == [None, "0.2", "0.25"]
    assert tree["padding"] == "0.5"
    assert tree["coverage"] == {"children": "12", "gap": "0", "padding": "0.2", "over_reserve": True}
    path = acme.get("goals/low-2/path", "shop-worker", "employee")
    assert [goal["code"] for goal in path["goals"]] == ["low-2", "middle", "top"]
    assert acme.call("GET", "goals/none/tree").status_code == 404


# Scores ---------------------------------------------------------------------------------------------------------------


def test_a_reading_is_scored_and_explained_with_links_to_its_inputs(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(reading("sales", "93", 4))
    why = acme.get("scores/goal/sales/2025-Q1/explanation")
    assert (why["score"]["score"], why["score"]["attainment"], why["rule"]) == ("93", "0.93", "higher")
    assert why["inputs"][0]["version"] == 4
    assert why["inputs"][0]["link"] == (
        "/metrics/v1/readings/explanation?metric=sales&subject=unit:hq&period=2025-Q1&version=4"
    )
    assert [part["name"] for part in why["parts"]] == ["actual", "target", "attainment", "score"]
    assert why["parts"][3]["note"] == "curve, slope 100"
    assert {cited["what"] for cited in why["inputs"]} == {"reading", "target", "policy"}
    assert acme.call("GET", "scores/goal/sales/2025-Q2/explanation").status_code == 404


def test_whatever_comes_first_the_score_appears_when_the_last_piece_does(house: House) -> None:
    house.arrive(reading("sales", "90"))
    house.put("units/hq", name="Headquarters", kind="company")
    house.goal("sales", metric="sales")
    house.put("companies/company", name="Acme", time_zone="Asia/Shanghai", currency="CNY")
    assert house.score("sales") is None
    assert [w["waits_for"] for w in house.get("waiting")["items"]] == ["metric", "target"]
    house.metric("sales")
    found = house.score("sales")
    assert found and (found["score"], found["reason"]) == (None, "No target is in force.")
    house.put("goals/sales/targets", value="100")
    assert house.value("sales") == "90"
    assert house.get("waiting")["items"] == []


def test_a_score_is_told_once_for_a_batch_and_only_when_it_changes(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(reading("sales", "1"), reading("sales", "2", 2), reading("sales", "90", 3))
    acme.arrive(reading("sales", "90", 4), reading("sales", "1"))
    acme.put("goals/sales/targets", value="100")
    assert [(e.version, e.score) for e in acme.published(ScoreChanged)] == [(1, Decimal(90))]


def test_null_readings_and_guards_reach_score_and_scorecard(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.goal("other", "100", metric="other")
    acme.metric("other")
    line = {"weight": "0.5", "perspective": "financial"}
    acme.put("scorecards/hq", name="HQ", owner_unit="hq", period="quarter",
             lines=[{"goal": "sales"} | line, {"goal": "other"} | line])  # fmt: skip
    acme.arrive(reading("sales", "90", qualified=["complaints rising"]), reading("other", None, reason="no output"))
    card = acme.score("hq", kind="scorecard")
    assert card and (card["score"], card["qualified"]) == ("90", ["complaints rising"])
    other = acme.score("other")
    assert other and (other["score"], other["reason"]) == (None, "no output")
    why = acme.get("scores/scorecard/hq/2025-Q1/explanation")
    assert [(part["code"], part["effective_weight"], part["note"]) for part in why["parts"]] == [
        ("sales", "1", "qualified: complaints rising"),
        ("other", None, "no output"),
    ]


def test_scores_roll_up_level_by_level_into_the_scorecard(acme: House) -> None:
    acme.goal("top")
    acme.goal("shop", parent="top", contribution="sum", owner_unit="shop")
    acme.put("goals/shop/targets", value="100")
    for region, weight in (("east", "1"), ("west", "3")):
        acme.put(f"units/{region}", name=region, kind="team", parent="shop")
        acme.goal(region, "50", parent="shop", owner_unit=region, metric="sales", weight=weight)
    acme.goal("plant", "10", parent="top", owner_unit="plant", metric="sales", weight="3")
    acme.put("scorecards/hq", name="HQ", owner_unit="hq", period="quarter",
             lines=[{"goal": "top", "weight": "1", "perspective": "financial"}])  # fmt: skip
    acme.arrive(reading("sales", "30", subject="unit:east"), reading("sales", "10", subject="unit:plant"))
    assert (acme.value("shop"), acme.value("top"), acme.value("hq", kind="scorecard")) == ("30", "82.5", "82.5")
    acme.arrive(reading("sales", "50", subject="unit:west"))
    assert (acme.value("shop"), acme.value("top"), acme.value("hq", kind="scorecard")) == ("80", "95", "95")


def test_a_child_that_moves_to_another_parent_changes_both(acme: House) -> None:
    for parent in ("a", "b"):
        acme.goal(parent)
    for child, value in (("x", "50"), ("y", "90")):
        acme.metric(child)
        acme.goal(child, "100", metric=child, parent="a")
        acme.arrive(reading(child, value))
    assert acme.value("a") == "70"
    acme.goal("x", metric="x", parent="b")
    assert (acme.value("a"), acme.value("b")) == ("90", "50")


def test_a_years_goal_takes_its_childrens_months(acme: House) -> None:
    acme.goal("year", period="year", contribution="sum")
    acme.put("goals/year/targets", value="200")
    acme.goal("months", "50", period="month", parent="year", metric="sales")
    acme.arrive(reading("sales", "40", period="2025-01"), reading("sales", "60", period="2025-02"))
    acme.arrive(reading("sales", "70", period="2024-12"), reading("sales", "70", period="2025-Q1"))
    assert acme.value("year", "2025") == "50"
    assert acme.score("months", "2024-12") is None
    assert acme.score("months", "2025-Q1") is None


def test_a_metric_that_turns_lower_is_better_scores_anew(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(reading("sales", "80"))
    acme.metric("sales", better="lower")
    assert acme.value("sales") == "120"


def test_a_new_curve_counts_from_its_date(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(reading("sales", "80"), reading("sales", "80", period="2025-Q2"))
    double = '{"kind": "linear", "slope": "50", "floor": "0", "cap": "120"}'
    acme.put("policies/attainment_curve", value=double, effective_from="2025-06-30")
    assert (acme.value("sales"), acme.value("sales", "2025-Q2")) == ("80", "40")
    assert acme.refused("policies/attainment_curve", value="{}")[0] == 422


def test_weights_of_99_99_percent_are_refused(acme: House) -> None:
    acme.goal("a")
    acme.goal("b")
    lines = [{"goal": g, "weight": w, "perspective": "customer"} for g, w in (("a", "0.5"), ("b", "0.4999"))]
    body = {"name": "S", "owner_unit": "hq", "period": "quarter"}
    status, rule, says = acme.refused("scorecards/s", **body, lines=lines)
    assert (status, rule) == (422, "weights-do-not-add-up")
    assert "99.99 %" in says
    unknown = [{"goal": "none", "weight": "1", "perspective": "customer"}]
    assert acme.refused("scorecards/s", **body, lines=unknown)[1] == "unknown-reference"


def test_effects_lead_from_a_reading_up_to_the_scorecard_and_no_further(acme: House) -> None:
    acme.goal("top")
    acme.goal("sales", "100", metric="sales", parent="top")
    acme.metric("other")
    acme.goal("other", "100", metric="other", parent="top")
    acme.put("scorecards/hq", name="HQ", owner_unit="hq", period="quarter",
             lines=[{"goal": "top", "weight": "1", "perspective": "financial"}])  # fmt: skip
    acme.arrive(reading("sales", "100"), reading("other", "100"))
    acme.arrive(reading("sales", "80", 2))
    acme.arrive(reading("other", "60", 2))
    where = {"metric": "sales", "subject": "unit:hq", "period": "2025-Q1"}
    found = acme.get("effects", **where, version=2)["scores"]
    assert [(e["kind"], e["code"], e["version"], e["before"], e["after"]) for e in found] == [
        ("goal", "sales", 2, "100", "80"),
        ("goal", "top", 2, "100", "90"),
        ("scorecard", "hq", 2, "100", "90"),
    ]
    assert found[0]["link"] == "/incentives/v1/effects?kind=goal&code=sales&period=2025-Q1&version=2"
    assert acme.call("GET", found[1]["explanation"].removeprefix("/goals/v1/")).json()["score"]["version"] == 2
    assert acme.get("effects", **where, version=3)["scores"] == []


def test_a_target_policy_by_days_is_explained_with_both_versions(acme: House) -> None:
    acme.goal("growth", "50", metric="sales", period="year")
    acme.arrive(reading("sales", "30", period="2025"))
    acme.put("policies/target_change", value="prorated")
    acme.put("goals/growth/targets", value="30", effective_from="2025-07-01", reason="Price war")
    assert acme.score("growth", "2025")["target"] == "39.9178082192"  # type: ignore[index]
    cited = acme.get("scores/goal/growth/2025/explanation")["inputs"]
    assert [(c["version"], c["value"]) for c in cited if c["what"] == "target"] == [(1, "50"), (2, "30")]


def test_a_target_that_counts_from_its_date_changes_the_score_as_time_passes_it(acme: House) -> None:
    acme.put("policies/target_change", value="from_its_date")
    acme.goal("growth", "50", metric="sales", period="year")
    acme.put("goals/growth/targets", value="30", effective_from="2025-07-01", reason="Price war")
    acme.tick("2025-06-30T12:00:00+08:00")
    acme.arrive(reading("sales", "30", period="2025"))
    assert acme.value("growth", "2025") == "60"
    acme.tick("2025-07-01T12:00:00+08:00")
    assert acme.value("growth", "2025") == "100"


def test_what_others_cannot_read_is_null_with_the_reason(acme: House) -> None:
    most = "9" * 18
    acme.goal("tiny", "0.0000000001", metric="sales")
    acme.goal("above", "100", contribution="sum", period="year")
    acme.goal("all", "100", contribution="sum", parent="above")
    for unit in ("plant", "shop"):
        acme.goal(unit, "-5", metric="sales", owner_unit=unit, parent="all", period="month")
    acme.arrive(reading("sales", most))
    acme.arrive(*(reading("sales", most, subject=f"unit:{u}", period=p)
                  for u, p in (("plant", "2025-01"), ("plant", "2025-02"), ("shop", "2025-01"))))  # fmt: skip
    acme.arrive(reading("sales", "7", subject="unit:shop", period="2025-04"))
    told = {(e.code, e.period): (e.score, e.attainment, e.actual, e.reason) for e in acme.published(ScoreChanged)}
    assert told["tiny", "2025-Q1"] == (120, None, Decimal(most), "out of range")
    assert told["all", "2025-Q1"] == (120, Decimal("29999999999999999.97"), None, "out of range")
    assert told["all", "2025-Q2"] == (7, Decimal("0.07"), 7, None)
    assert told["above", "2025"] == (None, None, None, "out of range")
    for place in ("tiny/2025-Q1", "all/2025-Q1", "above/2025"):
        why = acme.get(f"scores/goal/{place}/explanation")
        assert why["score"]["reason"] == "out of range"
    line = next(item for item in acme.get("dashboard", on="2025-03-31")["items"] if item["goal"] == "tiny")
    assert (line["gap"], line["reason"], line["over_fulfilled"]) == (None, "out of range", True)


def test_the_gap_of_a_deviation_stops_at_what_others_can_read(acme: House) -> None:
    acme.goal("sales", "0.0000000001", metric="sales")
    acme.arrive(reading("sales", "-" + "9" * 18))
    acme.tick(APRIL)
    assert [found.gap for found in acme.published(DeviationFound)] == [10**18 - 1]
    acme.arrive(reading("sales", "9" * 18, 2))
    acme.tick("2025-04-02T00:00:00+08:00")
    assert [cleared.gap for cleared in acme.published(DeviationCleared)] == [1 - 10**18]


# Who sees what --------------------------------------------------------------------------------------------------------


def test_personal_scores_are_for_the_person_and_those_above(acme: House) -> None:
    acme.goal("team", owner_unit="shop")
    acme.goal("mine", "100", metric="sales", owner_person="shop-worker", parent="team")
    acme.arrive(reading("sales", "90", subject="person:shop-worker"))
    where = {"metric": "sales", "subject": "person:shop-worker", "period": "2025-Q1", "version": 1}
    seeing = [("shop-worker", "employee"), ("shop-head", "manager"), ("ceo", "manager"), ("a", "auditor")]
    blind = [("plant-head", "manager"), ("plant-worker", "employee"), ("f", "finance")]
    for who, sees in [(w, True) for w in seeing] + [(w, False) for w in blind]:
        codes = [item["code"] for item in acme.get("scores", *who)["items"]]
        assert codes == (["mine", "team"] if sees else ["team"]), who
        assert acme.call("GET", "scores/goal/mine/2025-Q1/explanation", *who).status_code == (200 if sees else 404)
        assert [e["code"] for e in acme.get("effects", *who, **where)["scores"]] == codes
        board = acme.get("dashboard", *who, unit="shop", on="2025-03-31")["items"]
        assert [item["goal"] for item in board] == codes
        why = acme.get("scores/goal/team/2025-Q1/explanation", *who)
        assert why["parts"][0]["value"] == ("90" if sees else None)
        assert why["inputs"][0]["value"] == ("90" if sees else None)


PEER, SELF = ("plant-worker", "employee"), ("shop-worker", "employee")


def seen_scores(house: House, who: tuple[str, str]) -> tuple[int, int, int]:
    """How many scores of the goal `mine` somebody reads in lists, in explanations, and as effects of the reading."""
    explained = house.call("GET", "scores/goal/mine/2025-Q1/explanation", *who).status_code == 200
    where: dict[str, Any] = {"metric": "sales", "subject": "person:shop-worker", "period": "2025-Q1", "version": 1}
    effects = [effect for effect in house.get("effects", *who, **where)["scores"] if effect["code"] == "mine"]
    return len(house.get("scores", *who, goal="mine", period="2025-Q1")["items"]), int(explained), len(effects)


def test_a_goal_that_is_handed_over_does_not_open_what_was_personal(acme: House) -> None:
    acme.goal("team", owner_unit="shop")
    acme.goal("mine", "100", metric="sales", owner_person="shop-worker", parent="team")
    acme.goal("mine", metric="sales", owner_unit="shop", parent="team", effective_from="2025-07-01")
    acme.arrive(
        reading("sales", "90", subject="person:shop-worker"),
        reading("sales", "80", subject="unit:shop", period="2025-Q3"),
    )
    assert (seen_scores(acme, PEER), seen_scores(acme, SELF)) == ((0, 0, 0), (1, 1, 1))
    assert acme.get("scores", *PEER, goal="mine", period="2025-Q3")["items"][0]["score"] == "80"
    for period, value in (("2025-Q1", None), ("2025-Q3", "80")):
        why = acme.get(f"scores/goal/team/{period}/explanation", *PEER)
        assert (why["parts"][0]["value"], why["inputs"][0]["value"]) == (value, value)


def test_what_was_made_from_somebodys_reading_stays_theirs_when_the_goal_is_corrected(acme: House) -> None:
    acme.goal("mine", "100", metric="sales", owner_person="shop-worker")
    acme.arrive(reading("sales", "90", subject="person:shop-worker"))
    acme.goal("mine", metric="sales", owner_unit="shop")
    assert [item["version"] for item in acme.get("scores", *PEER, goal="mine")["items"]] == [2]
    assert acme.get("scores", *PEER, goal="mine", version=1)["items"] == []
    assert acme.get("scores", *SELF, goal="mine", version=1)["items"][0]["actual"] == "90"


def test_a_units_goal_on_a_persons_reading_is_personal(acme: House) -> None:
    acme.goal("mine", "100", metric="sales", owner_unit="shop", subject="person:shop-worker")
    acme.arrive(reading("sales", "90", subject="person:shop-worker"))
    assert (seen_scores(acme, PEER), seen_scores(acme, SELF)) == ((0, 0, 0), (1, 1, 1))
    assert acme.get("dashboard", *PEER, on="2025-03-31")["items"] == []
    assert len(acme.get("dashboard", *SELF, on="2025-03-31")["items"]) == 1


def test_the_dashboard_hides_by_whose_goal_it_is_at_the_periods_end(acme: House) -> None:
    acme.goal("mine", "100", metric="sales", owner_unit="shop")
    acme.goal("mine", metric="sales", owner_person="shop-worker", effective_from="2025-02-15")
    acme.arrive(reading("sales", "90", subject="person:shop-worker"))
    assert acme.get("dashboard", *PEER, on="2025-02-01")["items"] == []
    [line] = acme.get("dashboard", *SELF, on="2025-02-01")["items"]
    assert (line["owner"], line["current"]) == ("person:shop-worker", "90")


def test_the_dashboard_takes_the_kind_of_period_of_its_day(acme: House) -> None:
    acme.goal("mine", "100", metric="sales")
    acme.goal("mine", metric="sales", period="month", effective_from="2025-07-01")
    acme.arrive(reading("sales", "90"))
    [line] = acme.get("dashboard", on="2025-02-01")["items"]
    assert (line["period"], line["current"]) == ("2025-Q1", "90")


def test_who_is_visible_is_who_is_managed(acme: House) -> None:
    people = ["ceo", "plant-head", "plant-worker", "shop-head", "shop-worker"]
    with unit_of_work(acme.runtime, actor="test", read_only=True) as uow:
        for who in people:
            seen = visible_people(uow, "acme", Principal(who, "acme", frozenset({"employee"})))
            assert seen is not None
            below = {p for p in people if manages(uow, "acme", who, p, date.max)}
            assert seen & set(people) == below | {who}, who


def test_companies_do_not_meet(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(reading("sales", "90"))
    other = acme.call("GET", "scores", company="other").json()
    assert other["items"] == []
    assert acme.call("GET", "goals/sales/tree", company="other").status_code == 404


def test_lists_are_read_page_by_page(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(*(reading("sales", "90", period=f"2025-Q{n}") for n in (1, 2, 3, 4)))
    first = acme.get("scores", goal="sales", limit=3)
    rest = acme.get("scores", goal="sales", limit=3, cursor=first["next_cursor"])
    assert [i["period"] for i in first["items"] + rest["items"]] == [f"2025-Q{n}" for n in (1, 2, 3, 4)]
    acme.arrive(reading("sales", "95", 2))
    assert acme.get("scores", goal="sales", period="2025-Q1", version=1)["items"][0]["score"] == "90"


# Ticks, deviations, decisions -----------------------------------------------------------------------------------------


def test_a_deviation_is_found_once_at_the_end_of_the_period_and_cleared_when_it_is_made_good(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.goal("exactly", "100", metric="exactly")
    acme.goal("nothing", "100", metric="nothing")
    for metric in ("exactly", "nothing"):
        acme.metric(metric)
    acme.arrive(reading("sales", "70"), reading("exactly", "90"), reading("nothing", None, reason="no data"))
    acme.tick("2025-03-31T23:59:59+08:00")
    assert acme.published(DeviationFound) == []
    acme.tick(APRIL)
    acme.tick("2025-04-02T00:00:00+08:00")
    [found] = acme.published(DeviationFound)
    assert (found.goal, found.gap, found.owner, found.target_version) == ("sales", Decimal("0.3"), "ceo", 1)
    assert found.inputs[0].what == "reading"
    assert acme.published(DeviationCleared) == []
    acme.arrive(reading("sales", "90", 2))
    acme.tick("2025-04-03T00:00:00+08:00")
    acme.tick("2025-04-04T00:00:00+08:00")
    [cleared] = acme.published(DeviationCleared)
    assert (cleared.goal, cleared.gap) == ("sales", Decimal("0.1"))


def test_a_tick_is_passed_on_to_every_partition_of_both_topics(acme: House) -> None:
    acme.tick(APRIL)
    with unit_of_work(acme.runtime, actor="test", read_only=True) as uow:
        topics = {(row.topic, row.partition) for row in uow.rows("SELECT topic, partition FROM log.partition")}
        ticked = uow.rows("SELECT topic, partition FROM log.record WHERE type = :t", t=Tick.TYPE)
    assert {(row.topic, row.partition) for row in ticked} == topics


def test_figures_that_come_after_the_tick_are_judged_at_the_next_one(acme: House) -> None:
    acme.goal("sales", "100", metric="sales", owner_person="shop-worker", subject="unit:hq")
    acme.tick(APRIL)
    acme.arrive(reading("sales", "50"))
    acme.tick("2025-04-02T00:00:00+08:00")
    [found] = acme.published(DeviationFound)
    assert found.owner == "shop-worker"


def test_a_limit_by_policy_decides(acme: House) -> None:
    acme.put("policies/deviation_limit", value="0.3")
    acme.goal("sales", "100", metric="sales")
    acme.arrive(reading("sales", "70"))
    acme.tick(APRIL)
    assert acme.published(DeviationFound) == []


@pytest.mark.parametrize(
    ("judgement", "first", "second"),
    [("day", "2025-02-15T06:00:00+08:00", None), ("week", "2025-02-16T06:00:00+08:00", "2025-02-17T06:00:00+08:00")],
)
def test_by_policy_the_target_to_date_is_judged(acme: House, judgement: str, first: str, second: str | None) -> None:
    acme.put("policies/deviation_judgement", value=judgement)
    acme.goal("sales", "90", metric="sales")
    acme.tick("2025-02-14T06:00:00+08:00")
    acme.arrive(reading("sales", "40"))
    acme.tick(first)
    assert len(acme.published(DeviationFound)) == (second is None)
    if second:
        acme.tick(second)
    [found] = acme.published(DeviationFound)
    assert found.target == (45 if judgement == "day" else 47)
    assert found.period == "2025-Q1"


def test_the_dashboard_compares_with_the_target_to_date_and_takes_the_last_ticks_day(acme: House) -> None:
    acme.goal("sales", "90", metric="sales")
    acme.goal("empty", "90", metric="sales", owner_unit="shop")
    acme.arrive(reading("sales", "40.5"))
    assert acme.call("GET", "dashboard").status_code == 422
    acme.tick("2025-02-15T00:00:00+08:00")
    board = acme.get("dashboard", unit="hq")
    assert board["on"] == "2025-02-14"
    line = next(item for item in board["items"] if item["goal"] == "sales")
    assert (line["target"], line["period_target"], line["current"], line["gap"]) == ("45", "90", "40.5", "0.1")
    assert (line["alert"], line["responsible"], line["shortfall"]) == (False, "ceo", "4.5")
    assert next(item for item in board["items"] if item["goal"] == "empty")["current"] is None
    assert [item["goal"] for item in acme.get("dashboard", unit="shop")["items"]] == ["empty"]


def decision(number: str = "d1", **more: Any) -> DecisionMade:
    body = {
        "decision": number, "case": "c1", "goal": "sales", "kind": "change_target", "by": "ceo", "reason": "Price war",
        "value": Decimal(80), "effective_from": date(2025, 4, 1), "seen_target_version": 1,
    }  # fmt: skip
    return DecisionMade(**(body | more))


def test_a_decision_becomes_a_target_version_once(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(reading("sales", "70"), reading("sales", "70", period="2025-Q2"))
    acme.tick(APRIL)
    acme.arrive(decision(), decision())
    acme.arrive(decision(), decision("d2", kind="accept"))
    assert [a.target_version for a in acme.published(DecisionApplied)] == [2]
    assert acme.published(DecisionRefused) == []
    version = acme.get("goals/sales/targets")[1]
    assert (version["recorded_by"], version["content"]["decision"], version["content"]["approver"]) == (
        "ceo", "d1", "ceo",
    )  # fmt: skip
    assert (acme.value("sales"), acme.value("sales", "2025-Q2")) == ("70", "87.5")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seen_target_version": 2}, "on 2025-04-01 version 1 is in force"),
        ({"goal": "none"}, "There is no goal"),
        ({"goal": "closed"}, "is closed"),
        ({"value": None}, "names the new value"),
        ({"effective_from": date(2025, 3, 1)}, "never reaches back"),
        ({"reason": ""}, "with a reason"),
    ],
)
def test_a_decision_that_breaks_a_rule_is_answered_and_the_batch_goes_on(
    acme: House, change: dict[str, Any], says: str
) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.goal("closed")
    acme.goal("closed", status="closed")
    acme.arrive(reading("sales", "70"))
    acme.tick(APRIL)
    acme.arrive(decision("bad", **change), decision("good"))
    [refused] = acme.published(DecisionRefused)
    assert (refused.decision, says in refused.rule) == ("bad", True)
    assert [applied.decision for applied in acme.published(DecisionApplied)] == ["good"]


def test_a_target_planned_for_later_does_not_block_a_decision_and_one_in_force_by_its_day_does(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.put("goals/sales/targets", value="200", effective_from="2025-10-01", reason="New plant")
    acme.arrive(*(reading("sales", "70", period=f"2025-Q{n}") for n in (1, 2, 4)))
    acme.tick(APRIL)
    assert [found.target_version for found in acme.published(DeviationFound)] == [1]
    mid_april: dict[str, Any] = {"effective_from": date(2025, 4, 15)}
    acme.arrive(decision("planned", effective_from=date(2025, 10, 1)), decision(**mid_april))
    acme.arrive(decision("again", **mid_april))
    assert [(a.decision, a.target_version) for a in acme.published(DecisionApplied)] == [("d1", 3)]
    assert [r.rule.partition("; ")[2] for r in acme.published(DecisionRefused)] == [
        "on 2025-10-01 version 2 is in force.", "on 2025-04-15 version 3 is in force.",
    ]  # fmt: skip
    assert [acme.value("sales", f"2025-Q{n}") for n in (1, 2, 4)] == ["70", "87.5", "35"]


def test_a_decision_without_a_day_counts_from_the_last_tick(acme: House) -> None:
    acme.goal("sales", "100", metric="sales")
    acme.arrive(decision("early", effective_from=None))
    assert acme.published(DecisionRefused)[0].remedy == "Give effective_from."
    acme.tick(APRIL)
    acme.arrive(decision(effective_from=None))
    assert acme.get("goals/sales/targets")[1]["content"]["effective_from"] == "2025-04-01"
