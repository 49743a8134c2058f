"""Incentives on a real PostgreSQL: over HTTP, with scores and readings as they come from the other services."""

import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from shared.configuration import Recorded, store
from shared.contracts.goals import Person
from shared.contracts.metrics import ReadingChanged
from shared.database.unit_of_work import unit_of_work
from shared.numbers import PATTERN
from tests.integration.house import NOW, PEOPLE, House, acme, component, house, reading, score

__all__ = ["acme", "house"]

# Drivers --------------------------------------------------------------------------------------------------------------


def test_a_driver_changes_once_for_all_people_and_only_when_its_value_does(acme: House) -> None:
    for person in PEOPLE:
        acme.assign(person)
    acme.arrive(score("100"), score("98", 2), score("97", 3))
    acme.arrive(score("97.0", 4))
    acme.arrive(score("50", 2))
    acme.arrive(score("99", 5))
    events = acme.published()
    assert [(e.code, e.version, e.value) for e in events] == [("yield", 1, Decimal(97)), ("yield", 2, Decimal(99))]
    assert [citation.version for event in events for citation in event.inputs] == [3, 5]
    [latest] = acme.get("drivers", kind="goal", code="yield", period="2025-Q1")["items"]
    assert (latest["version"], latest["value"]) == (2, "99")
    assert latest["links"]["explanation"] == "/goals/v1/scores/goal/yield/2025-Q1/explanation?version=5"
    effects = acme.get("effects", kind="goal", code="yield", period="2025-Q1", version=2)
    assert (effects["driver"]["version"], effects["after"]) == (1, "97")


def test_a_plan_defined_later_takes_up_what_has_come(acme: House) -> None:
    acme.arrive(score("80", code="sales"), score("70", code="sales", period="2025-01"), reading("5"))
    assert acme.published() == []
    acme.plan("late", component("sales"))
    [event] = acme.published()
    assert (event.code, event.period, event.value) == ("sales", "2025-Q1", Decimal(80))
    acme.plan("reading", component(driver={"kind": "reading", "code": "sales", "subject": "unit:shop"}))
    assert [(e.kind, e.subject, e.value) for e in acme.published()[1:]] == [("reading", "unit:shop", Decimal(5))]


def test_a_score_that_goes_missing_is_a_change_too(acme: House) -> None:
    acme.assign("wang")
    acme.arrive(score("100"))
    acme.arrive(score(None, 2, reason="No actual has come."))
    [accrual] = acme.get("people/wang/accruals", period="2025-Q1")["accruals"]
    assert (accrual["complete"], accrual["total"], accrual["missing"]) == (False, None, ["No actual has come."])
    assert acme.published()[-1].reason == "No actual has come."


# Accruals -------------------------------------------------------------------------------------------------------------


def test_the_worked_example_of_the_ripple(acme: House) -> None:
    acme.plan("pool", component("yield", "0.4"), component("rest", "0.6"))
    acme.assign("wang", "100000", "pool")
    acme.arrive(score("100"), score("100", code="rest"))
    assert acme.total("wang") == "100000"
    acme.arrive(score("97.8947368421", 2))
    assert acme.total("wang") == "99157.89"
    effects = acme.get("effects", kind="goal", code="yield", period="2025-Q1", version=2, person="wang")
    assert (effects["before"], effects["after"]) == ("100", "97.8947368421")
    assert [p["plan"] for p in effects["plans"]] == ["bonus", "pool"]
    assert (effects["plans"][1]["components"], effects["plans"][1]["people"]) == (["yield"], 1)
    assert [(p["plan"], p["difference"]) for p in effects["person"]] == [("pool", "-842.11")]


def test_effects_of_a_version_that_moved_nothing_are_empty(acme: House) -> None:
    acme.arrive(score("100"))
    acme.arrive(score("100", 2))
    acme.arrive(score("90", 3), score("95", 4))
    query = {"kind": "goal", "code": "yield", "period": "2025-Q1"}
    assert acme.get("effects", **query, version=2)["driver"] is None
    assert [acme.get("effects", **query, version=v)["driver"]["version"] for v in (1, 3, 4)] == [1, 2, 2]
    refused = acme.call(
        "GET", "effects", params={"kind": "reading", "code": "sales", "period": "2025-Q1", "version": 1}
    )
    assert (refused.status_code, refused.json()["field"]) == (422, "subject")


def test_days_shares_and_factors_count_and_two_assignments_add_up(acme: House) -> None:
    acme.arrive(score("90"))
    acme.assign("wang", "20000", starts="2025-02-15", factor="1.2", share="0.5")
    assert acme.total("wang") == "5400"
    acme.assign("wang", "9000", code="wang-before", ends="2025-02-14")
    assert acme.total("wang") == "9450"


def test_the_explanation_has_every_step_version_and_link(acme: House) -> None:
    acme.arrive(score("90.8", qualified=["complaints rising"]))
    acme.assign("wang", "20000", starts="2025-02-15")
    found = acme.get("people/wang/accruals/explanation", period="2025-Q1", plan="bonus")
    assert [step["id"] for step in found["components"][0]["steps"]] == [
        "yield.driver", "yield.curve", "yield.floor", "yield.pays",
    ]  # fmt: skip
    assert [step["id"] for step in found["person"]][-2:] == ["unrounded", "rounded"]
    assert found["person"][-1]["of"] == ["@unrounded", "2"]
    assert found["person"][-1]["value"] == found["accrual"]["total"] == "9080"
    assert found["components"][0]["links"]["driver"].endswith("/goal/yield/2025-Q1/explanation?version=1")
    accrual = found["accrual"]
    assert (accrual["plan_version"], accrual["assignments"][0]["version"]) == (1, 1)
    assert (accrual["lines"][0]["driver"]["version"], accrual["lines"][0]["qualified"]) == (1, ["complaints rising"])
    for link in found["links"].values():
        assert acme.call("GET", link.removeprefix("/incentives/v1/")).status_code == 200
    missing = acme.call("GET", "people/wang/accruals/explanation", params={"period": "2025-Q1", "plan": "none"})
    assert missing.status_code == 404


def test_a_period_is_judged_by_the_plan_and_assignment_in_force_on_its_last_day(acme: House) -> None:
    acme.arrive(score("100"), score("100", period="2025-Q2"))
    acme.assign("wang", "10000")
    acme.plan("bonus", factor="2", effective_from="2025-04-01", expect=200)
    acme.assign("wang", "30000", effective_from="2025-06-30", expect=200)
    assert [acme.total("wang", period) for period in ("2025-Q1", "2025-Q2")] == ["10000", "60000"]


def test_a_driver_without_a_number_makes_the_total_incomplete_not_smaller_in_silence(acme: House) -> None:
    acme.plan("two", component("yield", "0.4"), component("other", "0.6"))
    acme.assign("li", plan="two")
    acme.arrive(score("100"))
    [accrual] = acme.get("people/li/accruals", period="2025-Q1")["accruals"]
    assert (accrual["complete"], accrual["total"]) == (False, "4000")
    assert accrual["missing"] == ["No score of the goal other for 2025-Q1 has come."]
    assert [line["amount"] for line in accrual["lines"]] == ["4000", None]
    acme.put("policies/incomplete_total", {"value": "null"})
    assert acme.total("li") is None


def test_a_unit_shows_its_people_in_pages_and_the_total_over_all(acme: House) -> None:
    acme.arrive(score("100"))
    for person, amount in (("wang", "0.05"), ("li", "0.05"), ("boss", "100"), ("chen", "7"), ("nobody", "9")):
        acme.assign(person, amount, share="0.1")
    first = acme.get("units/plant/accruals", period="2025-Q1", limit=2)
    second = acme.get("units/plant/accruals", period="2025-Q1", limit=2, cursor=first["next_cursor"])
    shown = [(item["person"], item["total"]) for item in first["items"] + second["items"]]
    assert shown == [("boss", "10"), ("li", "0.01"), ("wang", "0.01")]
    assert second["next_cursor"] is None
    for page in (first, second):
        assert [(t["plan"], t["people"], t["total"]) for t in page["totals"]] == [("bonus", 3, "10.02")]


def numbers_in(answer: Any) -> list[str]:
    """Every number written as a string, at any depth."""
    if isinstance(answer, dict | list):
        return [
            number for each in (answer.values() if isinstance(answer, dict) else answer) for number in numbers_in(each)
        ]
    return [answer] if isinstance(answer, str) and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", answer) else []


def test_an_amount_beyond_18_digits_is_null_with_its_reason_and_so_is_a_total_over_it(acme: House) -> None:
    steep = {"kind": "linear", "slope": "999999999999999999"}
    acme.plan("steep", component(curve=steep))
    acme.assign("wang", "999999999999999999.99", "steep")
    acme.assign("li", "0", "steep")
    for person in ("wang", "li"):
        acme.assign(person, "999999999999999999.99")
    acme.arrive(score("90"), score("100", 2))
    query = {"period": "2025-Q1"}
    bonus, large = acme.get("people/wang/accruals", **query)["accruals"]
    assert (bonus["total"], bonus["complete"]) == ("999999999999999999.99", True)
    assert (large["total"], large["complete"], large["payout_factor"]) == (None, False, None)
    assert large["missing"] == [large["lines"][0]["reason"]] == ["out of range: more than 18 digits before the point"]
    unit = acme.get("units/plant/accruals", **query)
    assert [(t["plan"], t["total"], t["complete"]) for t in unit["totals"]] == [
        ("bonus", None, False), ("steep", None, False),
    ]  # fmt: skip
    assert [t["missing"] for t in unit["totals"]] == [large["missing"]] * 2
    explained = acme.get("people/wang/accruals/explanation", plan="steep", **query)
    effects = acme.get("effects", kind="goal", code="yield", version=2, person="wang", **query)
    numbers = numbers_in([bonus, large, unit, explained["accrual"], effects])
    assert len(numbers) > 20 and [number for number in numbers if not re.fullmatch(PATTERN, number)] == []


def test_people_count_where_they_were_on_the_last_day(acme: House) -> None:
    acme.arrive(score("100"), score("100", period="2025-Q2"))
    acme.assign("wang")
    with unit_of_work(acme.runtime, actor="t") as uow:
        moved = Person(name="wang", unit="shop", manager="chen", effective_from=date(2025, 6, 1))
        store(uow, "acme", Recorded("wang", 2, moved, "t", NOW))
    people = {
        (unit, period): [i["person"] for i in acme.get(f"units/{unit}/accruals", period=period)["items"]]
        for unit in ("plant", "shop") for period in ("2025-Q1", "2025-Q2")
    }  # fmt: skip
    assert people == {
        ("plant", "2025-Q1"): ["wang"], ("plant", "2025-Q2"): [],
        ("shop", "2025-Q1"): [], ("shop", "2025-Q2"): ["wang"],
    }  # fmt: skip


# Who may see ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "roles", "status"),
    [
        ("wang", ("employee",), 200),
        ("boss", ("manager",), 200),
        ("ceo", ("manager",), 200),
        ("x", ("compensation",), 200),
        ("x", ("finance",), 200),
        ("x", ("auditor",), 200),
        ("x", ("admin",), 200),
        ("li", ("employee",), 403),
        ("chen", ("manager",), 403),
        ("x", ("strategist", "analyst"), 403),
        ("wang", ("source",), 403),
    ],
)
def test_a_personal_amount_is_shown_to_the_person_those_above_and_the_paying_roles(
    acme: House, who: str, roles: tuple[str, ...], status: int
) -> None:
    acme.assign("wang")
    acme.arrive(score("100"))
    query = {"period": "2025-Q1"}
    paths: tuple[tuple[str, dict[str, str]], ...] = (
        ("people/wang/accruals", query),
        ("people/wang/accruals/explanation", query | {"plan": "bonus"}),
        ("assignments", {"person": "wang"}),
        ("assignments/wang-bonus", {}),
        ("assignments/wang-bonus/versions", {}),
    )
    for path, parameters in paths:
        assert acme.call("GET", path, who, *roles, params=parameters).status_code == status, path


@pytest.mark.parametrize(
    ("who", "roles", "status", "with_person"),
    [
        ("x", ("strategist",), 200, 403),
        ("x", ("analyst",), 200, 403),
        ("x", ("compensation",), 200, 200),
        ("x", ("finance",), 200, 200),
        ("x", ("auditor",), 200, 200),
        ("x", ("admin",), 200, 200),
        ("boss", ("manager", "analyst"), 200, 200),
        ("boss", ("manager",), 403, 403),
        ("wang", ("employee",), 403, 403),
        ("li", ("employee", "source"), 403, 403),
    ],
)
def test_scores_and_readings_behind_plans_are_not_shown_to_peers(
    acme: House, who: str, roles: tuple[str, ...], status: int, with_person: int
) -> None:
    own = {"kind": "reading", "code": "visits", "subject": "person:wang"}
    acme.plan("own", component(driver=own))
    acme.assign("wang", plan="own")
    visits = {"metric": "visits", "subject": "person:wang", "period": "2025-Q1", "version": 1, "change": 1}
    acme.arrive(ReadingChanged(value=Decimal(7), unit="1", recorded_at=NOW, **visits))
    query = own | {"period": "2025-Q1", "version": 1}
    statuses = [acme.call("GET", path, who, *roles, params=parameters).status_code for path, parameters in (
        ("drivers", {}), ("effects", query), ("effects", query | {"person": "wang"}),
    )]  # fmt: skip
    assert statuses == [status, status, with_person]


def test_people_learn_of_their_own_numbers_where_their_accrual_is_explained(acme: House) -> None:
    acme.assign("wang")
    acme.arrive(score("98"))
    query = {"period": "2025-Q1", "plan": "bonus"}
    found = acme.get("people/wang/accruals/explanation", "wang", "employee", **query)
    assert found["accrual"]["lines"][0]["driver"]["value"] == "98"


def test_former_and_later_managers_do_not_see_the_amounts_of_now(acme: House) -> None:
    acme.assign("wang")
    acme.arrive(score("100"), score("100", period="2090-Q1"))
    line = [(date(2025, 1, 1), "shop", "chen"), (date(2090, 1, 1), "line", "li")]
    with unit_of_work(acme.runtime, actor="t") as uow:
        for number, (day, unit, manager) in enumerate(line, 2):
            moved = Person(name="wang", unit=unit, manager=manager, effective_from=day)
            store(uow, "acme", Recorded("wang", number, moved, "t", NOW))
    paths: tuple[tuple[str, dict[str, str]], ...] = (
        *(("assignments", {"person": "wang"} | on) for on in ({}, {"on": "2024-06-01"}, {"on": "2090-06-01"})),
        ("assignments/wang-bonus", {}), ("assignments/wang-bonus", {"on": "2024-06-01"}),
        ("assignments/wang-bonus/versions", {}), ("people/wang/accruals", {"period": "2090-Q1"}),
    )  # fmt: skip
    for who, status in (("chen", 200), ("boss", 403), ("li", 403)):
        for path, query in paths:
            assert acme.call("GET", path, who, "manager", params=query).status_code == status, (who, path, query)
    was = {who: acme.call("GET", "people/wang/accruals", who, "manager", params={"period": "2024-Q4"}).status_code
           for who in ("boss", "chen", "li")}  # fmt: skip
    assert was == {"boss": 200, "chen": 403, "li": 403}


def test_a_refusal_is_the_same_for_people_and_assignments_that_do_not_exist(acme: House) -> None:
    acme.assign("wang")
    answers = []
    for path in ("people/wang/accruals", "people/none/accruals", "assignments/wang-bonus", "assignments/none",
                 "units/plant/accruals", "units/none/accruals"):  # fmt: skip
        response = acme.call("GET", path, "li", "employee", params={"period": "2025-Q1"})
        answers.append((response.status_code, response.json()["type"], response.json()["detail"]))
    assert len(set(answers)) == 1 and answers[0][0] == 403
    assert acme.call("GET", "people/none/accruals", params={"period": "2025-Q1"}).status_code == 404
    assert acme.call("GET", "units/none/accruals", params={"period": "2025-Q1"}).status_code == 404
    assert acme.call("GET", "assignments", "wang", "employee").status_code == 403


@pytest.mark.parametrize(
    ("who", "unit", "status"),
    [("boss", "plant", 200), ("boss", "line", 200), ("ceo", "line", 200), ("boss", "hq", 403), ("boss", "shop", 403),
     ("wang", "line", 403), ("chen", "plant", 403)],
)  # fmt: skip
def test_a_unit_is_shown_to_its_head_and_those_above(acme: House, who: str, unit: str, status: int) -> None:
    response = acme.call("GET", f"units/{unit}/accruals", who, "manager", params={"period": "2025-Q1"})
    assert response.status_code == status


def test_another_company_sees_nothing(acme: House) -> None:
    acme.assign("wang")
    token = acme.issuer.issue("x", "other", ("compensation",))
    response = acme.http.get("/incentives/v1/assignments", headers={"Authorization": f"Bearer {token}"})
    assert response.json()["items"] == []


# Plans and assignments ------------------------------------------------------------------------------------------------


def test_weights_of_99_99_percent_are_refused_over_http(acme: House) -> None:
    problem = acme.plan("bad", component("a", "0.5"), component("b", "0.4999"), expect=422)
    assert problem["type"] == "urn:valueloop:problem:weights-do-not-add-up"
    assert problem["remedy"] == "Raise one weight by 0.01 %."


def test_three_decimals_of_a_currency_with_two_are_refused(acme: House) -> None:
    problem = acme.assign("wang", "100.123", expect=422)
    assert (problem["field"], problem["type"]) == ("amount", "urn:valueloop:problem:amount-too-fine")


def test_a_person_assigned_twice_is_refused_and_the_other_is_named(acme: House) -> None:
    acme.assign("wang", ends="2025-06-30")
    problem = acme.assign("wang", code="again", starts="2025-06-30", expect=409)
    assert (problem["type"], problem["other"]) == ("urn:valueloop:problem:person-assigned-twice", "wang-bonus")
    acme.assign("wang", code="again", starts="2025-07-01")


def test_a_plan_with_people_keeps_its_currency(acme: House) -> None:
    acme.plan("bonus", currency="EUR", effective_from="2025-01-01", expect=200)
    acme.assign("wang")
    assert acme.plan("bonus", currency="USD", effective_from="2026-01-01", expect=422)["field"] == "currency"


def test_somebody_not_known_yet_waits_and_is_taken_up(acme: House) -> None:
    acme.arrive(score("100"))
    acme.assign("newcomer")
    listed = acme.get("assignments", person="newcomer")["items"]
    accrual = acme.get("people/newcomer/accruals", period="2025-Q1")["accruals"][0]
    assert listed[0]["waiting_for"] == accrual["waiting_for"] == ["person"]
    acme.define("newcomer", Person(name="New", unit="line", manager="boss"))
    assert acme.get("assignments", person="newcomer")["items"][0]["waiting_for"] == []
    assert [item["person"] for item in acme.get("units/line/accruals", period="2025-Q1")["items"]] == ["newcomer"]


def test_many_assignments_are_reported_one_by_one(acme: House) -> None:
    def item(code: str, person: str, **more: Any) -> dict[str, Any]:
        return {
            "code": code,
            "content": {"person": person, "plan": "bonus", "amount": "100", "starts": "2025-01-01"} | more,
        }

    acme.assign("li", "100")
    items = [
        item("li-bonus", "li"),
        item("wang-1", "wang", ends="2025-01-31"),
        item("wang-2", "wang", starts="2025-01-31"),
        item("wang-3", "wang", starts="2025-02-01"),
        item("boss-bonus", "boss", amount="1.001"),
        item("ceo-bonus", "ceo", plan="none"),
    ]
    results = acme.put("assignments", items, expect=200)
    outcomes = [result["outcome"] for result in results]
    assert outcomes == ["unchanged", "created", "refused", "created", "refused", "refused"]
    assert [r["problem"]["type"].split(":")[-1] for r in results if r["problem"]] == [
        "person-assigned-twice", "amount-too-fine", "unknown-plan",
    ]  # fmt: skip
    again = acme.put("assignments", items, expect=200)
    assert [r["outcome"] for r in again] == ["unchanged", "unchanged", "refused", "unchanged", "refused", "refused"]
    changed = acme.put("assignments", [item("li-bonus", "li", amount="200")], expect=200)
    assert (changed[0]["outcome"], changed[0]["version"]) == ("versioned", 2)
    assert acme.get("assignments/li-bonus")["content"]["amount"] == "200"
    assert len(acme.get("assignments/li-bonus/versions")) == 2
    assert acme.call("PUT", "assignments", json=[item("a", "li")] * 2).status_code == 422


def test_many_at_once_may_move_the_border_between_two_assignments(acme: House) -> None:
    acme.assign("wang", code="a")
    content = {"person": "wang", "plan": "bonus", "amount": "1", "starts": "2025-01-01"}
    items = [{"code": "a", "content": content | {"ends": "2025-03-31"}},
             {"code": "b", "content": content | {"starts": "2025-04-01"}}]  # fmt: skip
    assert [r["outcome"] for r in acme.put("assignments", items, expect=200)] == ["versioned", "created"]


def test_bulk_and_single_leave_the_same_behind(acme: House) -> None:
    days = (("1", "2025-01-01"), ("3", "2025-03-01"), ("2", "2025-02-01"), ("4", "2025-02-01"))
    content = {"person": "wang", "plan": "bonus", "starts": "2025-01-01"}
    bodies = [content | {"amount": amount, "effective_from": day} for amount, day in days]
    for body in bodies:
        acme.call("PUT", "assignments/one", json=body)
        acme.call("PUT", "assignments", json=[{"code": "two", "content": body | {"person": "li"}}])
    with unit_of_work(acme.runtime, actor="t", read_only=True) as uow:
        rows = {code: [tuple(r) for r in uow.rows(
            "SELECT version, effective_from, until, amount FROM assignment WHERE code = :c ORDER BY 2", c=code)]
            for code in ("one", "two")}  # fmt: skip
    assert rows["one"] == rows["two"] and len(rows["one"]) == 3
    assert [int(row[3]) for row in rows["one"]] == [1, 4, 3]


def test_assignments_need_the_right_role_and_the_version_read(acme: House) -> None:
    body = {"person": "wang", "plan": "bonus", "amount": "1", "starts": "2025-01-01"}
    assert acme.call("PUT", "assignments/a", "x", "strategist", json=body).status_code == 403
    assert acme.call("PUT", "assignments", "x", "finance", json=[{"code": "a", "content": body}]).status_code == 403
    assert acme.call("PUT", "assignments/a", json=body).headers["etag"] == '"1"'
    stale = acme.call("PUT", "assignments/a", json=body | {"amount": "2"}, headers={"If-Match": '"9"'})
    assert stale.status_code == 412


def test_before_the_calendar_has_come_there_is_nothing_to_show(house: House) -> None:
    response = house.call("GET", "people/wang/accruals", params={"period": "2025-Q1"})
    assert (response.status_code, response.json()["type"]) == (404, "urn:valueloop:problem:calendar-unknown")


def test_one_change_for_thousands_of_people_is_one_row_and_one_event(acme: House) -> None:
    items = [
        {"code": f"p{i}", "content": {"person": f"p{i}", "plan": "bonus", "amount": "100", "starts": "2025-01-01"}}
        for i in range(5000)
    ]
    results = acme.put("assignments", items, expect=200)
    assert {result["outcome"] for result in results} == {"created"}
    acme.arrive(score("90"))
    assert len(acme.published()) == 1
    assert acme.total("p4999") == "90"
    effects = acme.get("effects", kind="goal", code="yield", period="2025-Q1", version=1)
    assert effects["plans"][0]["people"] == 5000
