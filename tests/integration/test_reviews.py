"""Reviews on a real PostgreSQL: over HTTP, with deviations, ticks and answers as they come from goals."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from services.reviews.cases.handlers import on_tick
from shared.contracts.base import Configuration, Contract, Defined, Tick
from shared.contracts.goals import (
    Company,
    DecisionApplied,
    DecisionRefused,
    DeviationCleared,
    DeviationFound,
    Person,
    Unit,
)
from shared.contracts.reviews import CaseClosed, CaseEscalated, CaseOpened, DecisionMade, RectificationPlanned
from shared.database.unit_of_work import unit_of_work
from shared.http.application import create_app
from shared.identity import Identity, JwksFile, LocalIssuer
from shared.log import Record
from shared.log.worker import handle, types_of
from shared.service import Runtime
from shared.settings import Settings

JUDGED = datetime(2025, 3, 31, 16, tzinfo=UTC)
CASE = "sales.2025-Q1.1"
CHANGE = {"kind": "change_target", "reason": "Price war", "value": "30", "effective_from": "2025-04-01"}
PEOPLE = {"ceo": ("hq", None), "boss": ("east", "ceo"), "wang": ("east", "boss"), "li": ("east", "boss")}


@dataclass
class House:
    """The service as its users and goals meet it."""

    runtime: Runtime
    http: TestClient
    issuer: LocalIssuer

    def call(self, method: str, path: str, who: str, *roles: str, **more: Any) -> Any:
        token = self.issuer.issue(who, "acme", roles or ("employee",))
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return self.http.request(method, f"/reviews/v1/{path}", headers=headers, **more)

    def get(self, path: str, who: str = "x", *roles: str, **query: Any) -> Any:
        response = self.call("GET", path, who, *(roles or ("analyst",)), params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, path: str, body: Any, who: str, *roles: str, expect: int = 201, **more: Any) -> Any:
        response = self.call("POST", path, who, *roles, json=body, **more)
        assert response.status_code == expect, response.text
        return response.json()

    def arrive(self, *events: Contract) -> None:
        with unit_of_work(self.runtime, actor="reviews") as uow:
            handle(uow, types_of(self.runtime.service), [_record(e, "k", e.model_dump_json()) for e in events])

    def define(self, code: str, content: Configuration) -> None:
        data = Defined(
            code=code, version=1, recorded_by="x", recorded_at=JUDGED, content=content.model_dump(mode="json")
        )
        with unit_of_work(self.runtime, actor="reviews") as uow:
            handle(uow, types_of(self.runtime.service), [_record(content, code, data.model_dump_json())])

    def tick(self, hours: float) -> None:
        """Time reaches some hours after the deviation was judged."""
        with unit_of_work(self.runtime, actor="reviews") as uow:
            on_tick(uow, "acme", Tick(at=JUDGED + timedelta(hours=hours), id=f"t{hours}"))

    def published(self, kind: type[Contract]) -> list[Any]:
        with unit_of_work(self.runtime, actor="test", read_only=True) as uow:
            rows = uow.rows("SELECT data FROM log.record WHERE type = :type ORDER BY recorded_at, pos", type=kind.TYPE)
        return [kind.model_validate_json(row.data) for row in rows]


def _record(event: Contract, key: str, data: str) -> Record:
    return Record(event.TOPIC, 0, 0, key, event.TYPE, "acme", data, None, JUDGED)


def deviation(owner: str | None = "wang", **more: Any) -> DeviationFound:
    fields = {
        "goal": "sales", "goal_name": "Sales", "period": "2025-Q1", "target": Decimal(10), "target_version": 1,
        "actual": Decimal(7), "gap": Decimal("0.3"), "limit": Decimal("0.1"), "owner": owner, "judged_at": JUDGED,
        "score_version": 4,
    }  # fmt: skip
    return DeviationFound.model_validate(fields | more)


def cleared(hours: int = 48) -> DeviationCleared:
    at = JUDGED + timedelta(hours=hours)
    return DeviationCleared(goal="sales", period="2025-Q1", gap=Decimal("0.1"), judged_at=at)


@pytest.fixture
def house(runtimes: Any, tmp_path: Path) -> Iterator[House]:
    runtime = runtimes("reviews")["reviews"]
    issuer = LocalIssuer(tmp_path)
    identity = Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop")
    with TestClient(create_app({"reviews": runtime}, Settings(), identity)) as http:
        made = House(runtime, http, issuer)
        made.define("company", Company(name="Acme", labels={}, time_zone="Asia/Shanghai", currency="CNY"))
        made.define("hq", Unit(name="HQ", labels={}, kind="company", head="ceo"))
        made.define("east", Unit(name="East", labels={}, kind="department", parent="hq", head="boss"))
        for code, (unit, manager) in PEOPLE.items():
            made.define(code, Person(name=code, unit=unit, manager=manager))
        yield made


@pytest.fixture
def opened(house: House) -> House:
    house.arrive(deviation())
    return house


def test_a_deviation_opens_one_case_due_24_hours_after_it_was_judged(opened: House) -> None:
    case = opened.get(f"cases/{CASE}")
    assert (case["owner"], case["status"], case["due"]) == ("wang", "open", "2025-04-01T16:00:00Z")
    assert case["links"]["score"] == "/goals/v1/scores/goal/sales/2025-Q1/explanation?version=4"
    assert [event.case for event in opened.published(CaseOpened)] == [CASE]


def test_a_second_cause_joins_and_the_same_one_again_does_not(opened: House) -> None:
    second = deviation(judged_at=JUDGED + timedelta(days=7), gap=Decimal("0.4"), target_version=2, score_version=9)
    opened.arrive(deviation(), second)
    opened.arrive(second)
    case = opened.get(f"cases/{CASE}")
    assert [cause["gap"] for cause in case["causes"]] == ["0.3", "0.4"]
    assert (case["target_version"], case["due"]) == (2, "2025-04-01T16:00:00Z")
    assert len(opened.published(CaseOpened)) == 1
    assert len(opened.get("cases")["items"]) == 1


def test_the_hours_are_a_dated_policy(house: House) -> None:
    response = house.call("PUT", "policies/plan_due_hours", "s", "strategist", json={"value": "48"})
    assert response.status_code == 201
    house.arrive(deviation())
    assert house.get(f"cases/{CASE}")["due"] == "2025-04-02T16:00:00Z"


def test_an_overdue_case_escalates_to_the_superior_once(opened: House) -> None:
    opened.tick(23.99)
    assert opened.get(f"cases/{CASE}")["status"] == "open"
    opened.tick(24)
    opened.tick(25)
    case = opened.get(f"cases/{CASE}")
    assert (case["status"], case["escalated_to"], case["escalated_at"]) == ("escalated", "boss", "2025-04-01T16:00:00Z")
    assert [(e.case, e.to) for e in opened.published(CaseEscalated)] == [(CASE, "boss")]
    late = opened.post(f"cases/{CASE}/plans", {"text": "Late"}, "wang")
    assert (late["status"], late["plans"][0]["at"]) == ("escalated", "2025-04-01T17:00:00Z")


def test_a_tick_goes_on_to_every_partition_and_among_the_settings(opened: House) -> None:
    opened.tick(1)
    with unit_of_work(opened.runtime, actor="t", read_only=True) as uow:
        partitions = uow.value("SELECT count(*) FROM log.partition WHERE topic = 'reviews.cases'")
    assert len(opened.published(Tick)) == partitions + 1 > 2


def test_a_plan_in_time_stops_the_escalation(opened: House) -> None:
    opened.tick(20)
    case = opened.post(f"cases/{CASE}/plans", {"text": "Two extra shifts"}, "wang")
    assert case["status"] == "planned"
    assert [(p["by"], p["text"], p["at"]) for p in case["plans"]] == [
        ("wang", "Two extra shifts", "2025-04-01T12:00:00Z")
    ]
    opened.tick(30)
    assert opened.published(CaseEscalated) == []
    assert [event.by for event in opened.published(RectificationPlanned)] == ["wang"]


def test_nobody_above_is_said_and_not_hidden(house: House) -> None:
    house.arrive(deviation("ceo"))
    house.tick(24)
    case = house.get(f"cases/{CASE}")
    assert (case["status"], case["escalated_to"]) == ("escalated", None)
    assert house.published(CaseEscalated)[0].to is None


def test_back_within_the_limit_closes_and_the_next_deviation_opens_another(opened: House) -> None:
    opened.arrive(cleared())
    opened.arrive(cleared())
    case = opened.get(f"cases/{CASE}")
    assert (case["status"], case["closed_why"], case["closed_at"]) == ("closed", "within_limit", "2025-04-02T16:00:00Z")
    assert len(opened.published(CaseClosed)) == 1
    opened.arrive(deviation(judged_at=JUDGED + timedelta(days=3)))
    assert [c["id"] for c in opened.get("cases", status="open")["items"]] == ["sales.2025-Q1.2"]
    assert opened.call("POST", f"cases/{CASE}/plans", "wang", json={"text": "x"}).status_code == 409


def test_a_changed_target_closes_the_case_when_goals_has_applied_it_once(opened: House) -> None:
    case = opened.post(f"cases/{CASE}/decisions", CHANGE, "s", "strategist")
    assert (case["status"], case["decisions"][0]["fate"]) == ("open", "pending")
    [made] = opened.published(DecisionMade)
    assert (made.decision, made.value, made.seen_target_version) == (f"{CASE}.d1", Decimal(30), 1)
    pending = opened.post(f"cases/{CASE}/decisions", {"kind": "accept", "reason": "r"}, "s", "strategist", expect=409)
    assert pending["type"] == "urn:valueloop:problem:decision-pending"
    applied = DecisionApplied(decision=made.decision, case=CASE, goal="sales", target_version=2)
    opened.arrive(applied, applied)
    opened.arrive(applied)
    case = opened.get(f"cases/{CASE}")
    assert (case["status"], case["closed_why"]) == ("closed", "decided")
    assert (case["decisions"][0]["fate"], case["decisions"][0]["target_version"]) == ("applied", 2)
    assert len(opened.published(CaseClosed)) == 1
    assert [h["what"] for h in case["history"]] == ["opened", "decided", "applied", "closed"]


def test_a_refused_decision_leaves_the_case_open_and_shows_why(opened: House) -> None:
    opened.post(f"cases/{CASE}/decisions", CHANGE, "s", "strategist")
    refused = DecisionRefused(
        decision=f"{CASE}.d1", case=CASE, goal="sales", rule="The target has version 2.", remedy="Look at it."
    )
    opened.arrive(refused)
    opened.arrive(DecisionApplied(decision=f"{CASE}.d1", case=CASE, goal="sales", target_version=3))
    case = opened.get(f"cases/{CASE}")
    assert (case["status"], case["decisions"][0]["fate"]) == ("open", "refused")
    assert (case["decisions"][0]["rule"], case["decisions"][0]["remedy"]) == (
        "The target has version 2.",
        "Look at it.",
    )
    again = CHANGE | {"seen_target_version": 2}
    opened.post(f"cases/{CASE}/decisions", again, "s", "strategist")
    assert [(m.decision, m.seen_target_version) for m in opened.published(DecisionMade)] == [
        (f"{CASE}.d1", 1), (f"{CASE}.d2", 2),
    ]  # fmt: skip


def test_accepting_closes_and_investigating_does_not(opened: House) -> None:
    case = opened.post(f"cases/{CASE}/decisions", {"kind": "investigate", "reason": "Why?"}, "boss", "manager")
    assert (case["status"], case["decisions"][0]["fate"]) == ("open", "done")
    opened.arrive(DecisionApplied(decision=f"{CASE}.d1", case=CASE, goal="sales", target_version=1))
    assert opened.get(f"cases/{CASE}")["status"] == "open"
    case = opened.post(f"cases/{CASE}/decisions", {"kind": "accept", "reason": "Known"}, "boss", "manager")
    assert (case["status"], case["closed_why"], case["closed_at"]) == ("closed", "decided", "2025-03-31T16:00:00Z")


def test_a_repeated_request_with_a_key_decides_once(opened: House) -> None:
    key = {"Idempotency-Key": "k1"}
    first = opened.post(f"cases/{CASE}/decisions", CHANGE, "s", "strategist", headers=key)
    assert opened.post(f"cases/{CASE}/decisions", CHANGE, "s", "strategist", headers=key) == first
    assert len(opened.published(DecisionMade)) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "change_target", "reason": "r", "value": "30"},
        {"kind": "accept", "reason": "r", "value": "30"},
        {"kind": "accept", "reason": ""},
        {"kind": "forget", "reason": "r"},
        {"kind": "change_target", "reason": "r", "value": 30, "effective_from": "2025-04-01"},
    ],
)
def test_broken_decisions_are_refused(opened: House, body: dict[str, Any]) -> None:
    opened.post(f"cases/{CASE}/decisions", body, "s", "strategist", expect=422)
    assert opened.published(DecisionMade) == []


@pytest.mark.parametrize(
    ("who", "roles", "read", "plan", "decide"),
    [
        ("wang", ("employee",), 200, 201, 403),
        ("boss", ("manager",), 200, 201, 201),
        ("ceo", ("manager",), 200, 201, 201),
        ("s", ("strategist",), 200, 403, 201),
        ("s", ("admin",), 200, 201, 201),
        ("a", ("analyst",), 200, 403, 403),
        ("a", ("auditor",), 200, 403, 403),
        ("li", ("employee",), 404, 404, 404),
        ("f", ("finance", "compensation"), 404, 404, 404),
        ("wang", ("source",), 403, 403, 403),
    ],
)
def test_who_may_read_plan_and_decide(
    opened: House, who: str, roles: tuple[str, ...], read: int, plan: int, decide: int
) -> None:
    assert opened.call("GET", f"cases/{CASE}", who, *roles).status_code == read
    assert opened.call("POST", f"cases/{CASE}/plans", who, *roles, json={"text": "x"}).status_code == plan
    body = {"kind": "investigate", "reason": "r"}
    assert opened.call("POST", f"cases/{CASE}/decisions", who, *roles, json=body).status_code == decide
    if read != 403:
        listed = opened.get("cases", who, *roles)["items"]
        assert len(listed) == (1 if read == 200 else 0)


def test_lists_filter_and_page(opened: House) -> None:
    opened.arrive(deviation("li", goal="cost", period="2025-02"), deviation(None, goal="yield"))
    opened.post(f"cases/{CASE}/plans", {"text": "x"}, "wang")
    for query, expected in (
        ({}, ["cost.2025-02.1", CASE, "yield.2025-Q1.1"]),
        ({"status": "planned"}, [CASE]),
        ({"owner": "li"}, ["cost.2025-02.1"]),
        ({"goal": "yield"}, ["yield.2025-Q1.1"]),
        ({"period": "2025-02"}, ["cost.2025-02.1"]),
    ):
        assert [case["id"] for case in opened.get("cases", **query)["items"]] == expected
    assert [case["id"] for case in opened.get("cases", "boss", "manager")["items"]] == ["cost.2025-02.1", CASE]
    first = opened.get("cases", limit=2)
    assert [c["id"] for c in opened.get("cases", limit=2, cursor=first["next_cursor"])["items"]] == ["yield.2025-Q1.1"]
