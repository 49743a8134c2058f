"""Closing a period: one call, all services; what was closed stays readable, and what comes later restates."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from services import cli_close
from services.client import ApiProblem
from tests.acceptance.conftest import Loop

SERVICES = ("metrics", "goals", "reviews", "incentives")
WHERE = {"metric": "sales", "subject": "unit:company"}


def ask(loop: Loop, period: str, *, key: str | None = None, **body: Any) -> Any:
    path = f"/metrics/v1/periods/{period}/close"
    return loop.client.post(path, body, **{"Idempotency-Key": key or uuid4().hex})


def close(loop: Loop, period: str, **body: Any) -> Any:
    """Closes a period and waits until all services have."""
    ask(loop, period, **body)
    return loop.settle().get(f"metrics/periods/{period}")


def refused(loop: Loop, period: str, **body: Any) -> ApiProblem:
    with pytest.raises(ApiProblem) as caught:
        ask(loop, period, **body)
    return caught.value


def certificates(loop: Loop, period: str) -> dict[str, Any]:
    return {name: loop.get(f"{name}/periods/{period}/certificate") for name in SERVICES}


@pytest.fixture
def january(loop: Loop) -> Loop:
    """A company with sales of 700 in January, and a clock that says February."""
    loop.person("boss", "company")
    loop.measured("sales", "CNY")
    loop.goal("sales", 1_000, metric="sales", period="month", owner_person="boss", subject="unit:company")
    loop.observed("sales", 700, "2025-01-15")
    return loop.time_reaches("2025-02-01")


def test_one_call_closes_the_period_in_every_service_each_with_a_certificate(january: Loop) -> None:
    found = close(january, "2025-01")
    assert (found["state"], found["missing"], found["by"]) == ("closed", [], "tester")
    assert {each["service"] for each in found["services"]} == set(SERVICES)
    written = certificates(january, "2025-01")
    assert {each["service"]: each["certificate"] for each in found["services"]} == {
        name: certificate["hash"] for name, certificate in written.items()
    }
    assert written["metrics"]["content"]["sources"]["erp"]["events"] == 1
    assert written["metrics"]["content"]["settings"]["metrics"]["versions"] == {"sales": 1}
    assert len(written["reviews"]["content"]["cases"]["open"]) == 1
    assert all(each["content"]["by"] == "tester" and each["previous"] is None for each in written.values())


def test_a_late_event_restates_and_the_closed_figures_stay_readable(january: Loop) -> None:
    close(january, "2025-01")
    written = certificates(january, "2025-01")
    january.observed("sales", 250, "2025-01-20")
    assert january.value("sales", "2025-01") == "950"
    assert january.reading("sales", "2025-01", closed=True)["value"] == "700"
    assert january.reading("sales", "2025-01", known_at=written["metrics"]["recorded_at"])["value"] == "700"
    assert january.settle().get("metrics/readings", **WHERE, as_of="2025-01-31")["value"] == "950"
    assert january.score("sales", "2025-01")["score"] == "95"
    assert january.score("sales", "2025-01", closed=True)["score"] == "70"
    assert january.score("sales", "2025-01", known_at=written["goals"]["recorded_at"])["score"] == "70"
    [by_day] = january.get("goals/scores", goal="sales", as_of="2025-01-31")["items"]
    assert by_day["period"] == "2025-01"
    known_at = written["metrics"]["recorded_at"]
    between = {"kind": "month", "from": "2025-01-01", "to": "2025-01-31", "known_at": known_at}
    assert [each["value"] for each in january.get("metrics/readings/series", **WHERE, **between)] == ["700"]
    assert certificates(january, "2025-01") == written


def test_closing_again_answers_the_same_and_changes_nothing(january: Loop) -> None:
    first = close(january, "2025-01")
    assert close(january, "2025-01", override="Once more") == first
    assert len(january.get("metrics/periods")["items"]) == 1


def test_fifty_closes_at_a_time_are_one(january: Loop) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: ask(january, "2025-01")["state"], range(50)))
    assert set(answers) <= {"closing", "closed"}
    assert january.settle().get("metrics/periods/2025-01")["state"] == "closed"
    for name in SERVICES:
        assert len(january.get(f"{name}/periods")["items"]) == 1


def test_the_same_key_has_the_same_answer_and_none_is_refused(january: Loop) -> None:
    key = uuid4().hex
    assert ask(january, "2025-01", key=key) == ask(january, "2025-01", key=key)
    with pytest.raises(ApiProblem) as caught:
        january.post("metrics/periods/2025-01/close")
    assert (caught.value.status, caught.value.type) == (400, "idempotency-key-missing")
    with pytest.raises(ApiProblem) as caught:
        ask(january, "2025-01", key=key, override="Another body")
    assert caught.value.status == 422


def test_periods_close_in_order_after_their_end(january: Loop) -> None:
    january.observed("sales", 100, "2025-02-10")
    assert refused(january.settle(), "2025-02").type == "period-not-over"
    january.time_reaches("2025-03-01")
    problem = refused(january, "2025-02")
    assert (problem.status, problem.type, problem.document["predecessor"]) == (409, "predecessor-open", "2025-01")
    close(january, "2025-01")
    assert close(january, "2025-02")["state"] == "closed"
    first, second = january.get("goals/periods")["items"]
    assert (first["previous"], second["previous"]) == (None, first["hash"])


def test_what_is_missing_is_named_with_who_owes_it(january: Loop) -> None:
    january.put("metrics/sources/till", name="Till", uri="urn:till", delivers="month", owner="boss")
    january.happened("inventory", "2025-01-31", count="5")
    january.happened("inventory", "2025-02-01", count="6")
    problem = refused(january.settle(), "2025-01")
    assert (problem.status, problem.type) == (409, "period-incomplete")
    missing = [
        {"kind": "source", "what": "till", "count": 1, "owner": "boss"},
        {"kind": "waiting", "what": "mapping:inventory", "count": 1, "owner": None},
    ]
    assert problem.document["missing"] == missing
    assert january.get("metrics/periods/2025-01")["missing"] == missing
    event = january.event("sales", "2025-01-31", value="1", subject="unit:company") | {"source": "urn:till"}
    january.push([event])
    january.put("metrics/mappings/inventory", name="Inventory", event_type="inventory", observations=[
        {"metric": "sales", "value": "0", "subject": "'unit:company'"}
    ])  # fmt: skip
    assert close(january.settle(), "2025-01")["missing"] == []


def test_somebody_with_the_role_may_close_without_it_and_says_why(january: Loop) -> None:
    january.put("metrics/sources/till", name="Till", uri="urn:till", delivers="month", owner="boss")
    with pytest.raises(ApiProblem) as caught:
        january.speaking_as("clerk", "analyst").post(
            "/metrics/v1/periods/2025-01/close", {"override": "x"}, **{"Idempotency-Key": "k"}
        )
    assert caught.value.status == 403
    found = close(january.settle(), "2025-01", override="The till burnt down")
    assert (found["state"], found["override"]) == ("closed", "The till burnt down")
    for certificate in certificates(january, "2025-01").values():
        assert certificate["content"]["override"] == "The till burnt down"
    assert certificates(january, "2025-01")["metrics"]["content"]["missing"][0]["what"] == "till"


def test_certificates_are_for_finance_and_auditors(january: Loop) -> None:
    close(january, "2025-01")
    path = "/goals/v1/periods/2025-01/certificate"
    assert january.speaking_as("eve", "auditor").get(path)["period"] == "2025-01"
    with pytest.raises(ApiProblem) as caught:
        january.speaking_as("joe", "employee").get(path)
    assert caught.value.status == 403
    with pytest.raises(ApiProblem) as caught:
        january.get("goals/periods/2024-12/certificate")
    assert (caught.value.status, caught.value.type) == (404, "not-closed")


def test_the_command_names_what_is_missing_and_follows_a_close_through_all_services(january: Loop) -> None:
    january.put("metrics/sources/till", name="Till", uri="urn:till", delivers="month", owner="boss")
    named = ["2025-01", "--url", january.client.base_url, "--token", january.client.token]
    runner = CliRunner(env={"VALUELOOP_LOG_LEVEL": "warning"})  # the installation runs in this process, and logs
    refusal = runner.invoke(cli_close.app, named)
    assert "source: till (1), owed by boss" in refusal.output and isinstance(refusal.exception, ApiProblem)
    done = runner.invoke(cli_close.app, [*named, "--override", "No till"])
    *services, last = done.output.splitlines()
    assert [line.split()[0] for line in services][:2] == ["metrics", "goals"] and last == "2025-01 is closed."
    assert {line.split()[0] for line in services} == set(SERVICES)


# --- a date in a closed period ---


def put_refused(loop: Loop, path: str, **content: Any) -> str:
    with pytest.raises(ApiProblem) as caught:
        loop.put(path, **content)
    return caught.value.type


def test_a_rate_for_a_closed_day_is_a_correction_and_restates(loop: Loop) -> None:
    loop.metric("sales", "CNY")
    rule = {"metric": "sales", "value": "number(data.value)", "unit": "data.unit", "subject": "'unit:company'"}
    loop.put("metrics/mappings/sales", name="sales", event_type="sales", observations=[rule])
    rate = {"from_currency": "EUR", "to_currency": "CNY"}
    loop.put("metrics/rates/EUR-CNY", **rate, rate="7", effective_from="2025-01-01")
    loop.happened("sales", "2025-01-15", value="100", unit="EUR")
    loop.time_reaches("2025-02-01")
    close(loop, "2025-01")
    path, day = "metrics/rates/EUR-CNY", {"effective_from": "2025-01-10"}
    assert put_refused(loop, path, **rate, **day, rate="8") == "date-closed"
    assert put_refused(loop, path, **rate, **day, rate="8", correction=True) == "correction-unexplained"
    loop.put(path, **rate, **day, rate="8", correction=True, reason="The bank's slip")
    assert loop.value("sales", "2025-01") == "800"
    assert loop.reading("sales", "2025-01", closed=True)["value"] == "700"


def test_what_changes_nothing_on_a_closed_day_is_taken_as_ever(january: Loop) -> None:
    close(january, "2025-01")
    january.metric("sales", "CNY")  # again, as it stands
    january.metric("returns", "CNY")  # the first version is late, like a late event
    january.put("goals/policies/deviation_limit", value="0.2", effective_from="2025-02-01")
    january.unit("shop", effective_from="2025-02-01")
    january.put("metrics/sources/till", name="Till", uri="urn:till")
    january.put("metrics/sources/till", name="Till", uri="urn:till", owner="boss")  # no figure hangs on it
    assert put_refused(january, "metrics/metrics/sales", name="Turnover", unit="CNY") == "date-closed"
    assert put_refused(january, "goals/units/company", name="HQ", kind="company") == "date-closed"


def test_policies_and_assignments_in_bulk_keep_closed_days_too(january: Loop) -> None:
    january.put("goals/policies/deviation_limit", value="0.2", effective_from="2025-01-01")
    component = {"code": "c", "name": "c", "driver": {"kind": "goal", "code": "sales"}, "weight": "1",
                 "curve": {"kind": "linear", "slope": "0.01", "floor": "0", "cap": "1.2"}}  # fmt: skip
    january.put("incentives/plans/p", name="p", period="month", currency="CNY", components=[component])
    content = {"person": "boss", "plan": "p", "amount": "100", "starts": "2025-01-01"}
    january.client.put("/incentives/v1/assignments", [{"code": "a", "content": content}])
    close(january.settle(), "2025-01")
    assert put_refused(january, "goals/policies/deviation_limit", value="0.3") == "date-closed"
    later = {"amount": "200", "effective_from": "2025-02-01"}
    found = [
        january.client.put("/incentives/v1/assignments", [{"code": "a", "content": content | more}])[0]
        for more in (
            {"amount": "200"}, later, {"amount": "300", "correction": True},
            {"amount": "300", "correction": True, "reason": "Typing error"},
        )
    ]  # fmt: skip
    assert [each["outcome"] for each in found] == ["refused", "versioned", "refused", "versioned"]
    assert found[0]["problem"]["type"] == "urn:valueloop:problem:date-closed"


def test_a_decision_about_a_closed_day_is_refused_on_its_case(january: Loop) -> None:
    [case] = january.cases()
    close(january, "2025-01")
    decision = {"kind": "change_target", "reason": "Price war", "value": "600", "effective_from": "2025-01-01"}
    january.client.post(f"/reviews/v1/cases/{case['id']}/decisions", decision)
    found = january.settle().get(f"reviews/cases/{case['id']}")
    assert (found["status"], found["decisions"][0]["fate"]) == ("open", "refused")
    assert "closed" in found["decisions"][0]["rule"]
