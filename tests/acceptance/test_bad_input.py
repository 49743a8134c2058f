"""Bad input gets an answer that names the field, the rule and the remedy, and never takes a good one with it."""

import base64
import hashlib
import json
from typing import Any

import pytest

from services.client import ApiProblem
from tests.acceptance.conftest import Loop


def post(loop: Loop, body: bytes, content_type: str = "application/cloudevents+json") -> Any:
    headers = {"authorization": f"Bearer {loop.client.token}", "content-type": content_type}
    return loop.client.http.post(f"{loop.client.base_url}/metrics/v1/events", content=body, headers=headers)


def an_event(**more: Any) -> dict[str, Any]:
    base = {"specversion": "1.0", "id": "1", "source": "erp", "type": "t", "time": "2025-01-01T00:00:00Z", "data": {}}
    return base | more


HOSTILE = {
    "NaN": b'{"specversion":"1.0","id":"1","source":"e","type":"t","data":{"v":NaN}}',
    "1e400": b'{"specversion":"1.0","id":"1","source":"e","type":"t","data":{"v":1e400}}',
    "1E+1000000": b'{"specversion":"1.0","id":"1","source":"e","type":"t","data":{"v":1E+1000000}}',
    "surrogate": b'{"specversion":"1.0","id":"1","source":"e","type":"t","data":{"v":"\\ud800"}}',
    "NUL": b'{"specversion":"1.0","id":"1","source":"e","type":"t","data":{"v":"\\u0000"}}',
    "duplicate": b'{"specversion":"1.0","id":"1","id":"2","source":"e","type":"t"}',
    "depth": b'{"specversion":"1.0","id":"1","source":"e","type":"t","data":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "digits": b'{"specversion":"1.0","id":"1","source":"e","type":"t","data":{"v":' + b"9" * 5_000 + b"}}",
    "half": b'{"specversion":',
    "latin": '{"specversion":"1.0","id":"é","source":"e","type":"t"}'.encode("latin-1"),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_json_is_never_an_error_of_ours(loop: Loop, body: bytes) -> None:
    for path in ("/metrics/v1/events", "/goals/v1/units/x", "/incentives/v1/plans/x", "/metrics/v1/mappings/dry-run"):
        method = "PUT" if path.endswith("/x") else "POST"
        answer = loop.client.http.request(
            method, loop.client.base_url + path, content=body,
            headers={"authorization": f"Bearer {loop.client.token}", "content-type": "application/json"},
        )  # fmt: skip
        assert answer.status_code < 500, (path, answer.text[:300])


def test_one_bad_event_of_500_fails_alone(loop: Loop) -> None:
    events = [an_event(id=str(n)) for n in range(500)]
    del events[250]["id"]
    answer = post(loop, json.dumps(events).encode(), "application/cloudevents-batch+json")
    assert answer.status_code == 202
    statuses = [receipt["status"] for receipt in answer.json()["receipts"]]
    assert statuses.count("accepted") == 499
    assert statuses[250] == "rejected"
    problem = answer.json()["receipts"][250]["problem"]
    assert (problem["field"], bool(problem["remedy"])) == ("id", True)


def test_the_same_id_with_other_content_is_quarantined_and_listed(loop: Loop) -> None:
    first = loop.push([an_event(data={"v": "1"})])[0]
    again = loop.push([an_event(data={"v": "1"})])[0]
    other = loop.push([an_event(data={"v": "2"})])[0]
    assert [first["status"], again["status"], other["status"]] == ["accepted", "duplicate", "quarantined"]
    assert other["position"] == first["position"]
    (listed,) = loop.get("metrics/events/quarantined")["items"]
    assert listed["id"] == "1"


def test_an_event_that_no_mapping_takes_waits_and_is_taken_up(loop: Loop) -> None:
    loop.metric("sales", "CNY")
    loop.happened("late-mapped", "2025-02-01", "e1", value="5", subject="unit:company")
    loop.settle()
    assert "mapping:late-mapped" in references(loop)
    rule = {"metric": "sales", "value": "number(data.value)", "subject": "data.subject"}
    loop.put("metrics/mappings/late", name="Late", event_type="late-mapped", observations=[rule])
    assert loop.value("sales") == "5"
    assert references(loop) == set()


def references(loop: Loop) -> set[str]:
    return {item["reference"] for item in loop.get("metrics/waiting/summary")["items"]}


def test_unknown_metric_and_subject_wait_until_they_are_defined(loop: Loop) -> None:
    rule = {"metric": "sales", "value": "number(data.value)", "subject": "data.subject"}
    loop.put("metrics/mappings/sales", name="Sales", event_type="sales", observations=[rule])
    loop.happened("sales", "2025-02-01", value="5", subject="unit:new")
    loop.settle()
    assert references(loop) == {"metric:sales"}
    loop.metric("sales", "CNY")
    loop.settle()
    assert references(loop) == {"unit:new"}
    loop.unit("new")
    assert loop.value("sales") == "5"
    assert loop.value("sales", subject="unit:new") == "5"


def test_an_amount_in_a_currency_without_a_rate_waits_for_the_rate(loop: Loop) -> None:
    loop.metric("sales", "CNY")
    rule = {"metric": "sales", "value": "number(data.value)", "unit": "data.currency", "subject": "'unit:company'"}
    loop.put("metrics/mappings/sales", name="Sales", event_type="sales", observations=[rule])
    loop.happened("sales", "2025-02-01", value="100", currency="USD")
    loop.happened("sales", "2025-02-01", value="1", currency="CNY")
    assert loop.value("sales") == "1"
    assert references(loop) == {"rate:USD-CNY"}
    loop.put("metrics/rates/USD-CNY", from_currency="USD", to_currency="CNY", rate="7.1", effective_from="2025-01-01")
    assert loop.value("sales") == "711"
    assert references(loop) == set()


def test_a_value_of_40_digits_is_a_fault_of_that_event_alone(loop: Loop) -> None:
    loop.measured("sales", "CNY")
    loop.happened("sales", "2025-02-01", "big", value="9" * 40, subject="unit:company")
    loop.observed("sales", 5)
    assert loop.value("sales") == "5"
    event = loop.get("metrics/events", source="erp", id="big")
    assert "18" in json.dumps(event["faults"])


def test_weights_of_99_99_percent_are_refused_with_what_is_missing(loop: Loop) -> None:
    loop.goal("a")
    loop.goal("b")
    lines = [
        {"goal": "a", "weight": "0.5", "perspective": "financial"},
        {"goal": "b", "weight": "0.4999", "perspective": "customer"},
    ]
    with pytest.raises(ApiProblem) as refused:
        loop.put("goals/scorecards/s", name="S", owner_unit="company", period="quarter", lines=lines)
    assert (refused.value.status, refused.value.type) == (422, "weights-do-not-add-up")
    assert "99.99" in refused.value.rule


def test_a_weight_as_a_json_number_is_refused(loop: Loop) -> None:
    loop.goal("a")
    for weight in (1, 1.0):
        with pytest.raises(ApiProblem) as refused:
            loop.put(
                "goals/scorecards/s", name="S", owner_unit="company", period="quarter",
                lines=[{"goal": "a", "weight": weight, "perspective": "financial"}],
            )  # fmt: skip
        assert refused.value.status == 422


FORMULAS = {
    "power": ("10**10**10", "CNY", ""),
    "units": ("sales + orders", "CNY", "CNY"),
    "cycle": ("derived + sales", "CNY", "derived -> derived"),
    "nonsense": ("sales +", "CNY", ""),
}


@pytest.mark.parametrize(("formula", "unit", "says"), FORMULAS.values(), ids=FORMULAS.keys())
def test_a_formula_that_cannot_be_is_refused(loop: Loop, formula: str, unit: str, says: str) -> None:
    loop.metric("sales", "CNY")
    loop.metric("orders", "order")
    with pytest.raises(ApiProblem) as refused:
        loop.metric("derived", unit, formula=formula)
    assert refused.value.status == 422
    assert says in refused.value.rule


def test_formulas_that_need_each_other_are_refused_with_the_path(loop: Loop) -> None:
    loop.metric("sales", "CNY")
    loop.metric("a", "CNY", formula="b + sales")
    with pytest.raises(ApiProblem, match=r"a -> b -> a|b -> a -> b"):
        loop.metric("b", "CNY", formula="a + sales")


def plan(**more: Any) -> dict[str, Any]:
    curve = {"kind": "linear", "slope": "0.01"}
    component = {"code": "c", "name": "C", "driver": {"kind": "goal", "code": "g"}, "weight": "1", "curve": curve}
    return {"name": "P", "period": "quarter", "currency": "CNY", "components": [component | more]}


def band(start: str, end: str | None, value: str) -> dict[str, str | None]:
    return {"from": start, "to": end, "value": value}


@pytest.mark.parametrize(
    "bands",
    [
        [band("0", "80", "0"), band("70", None, "1")],
        [band("0", "80", "0"), band("90", None, "1")],
    ],
    ids=["overlap", "gap"],
)
def test_bands_that_overlap_or_leave_a_gap_are_refused(loop: Loop, bands: list[Any]) -> None:
    with pytest.raises(ApiProblem) as refused:
        loop.put("incentives/plans/p", **plan(curve={"kind": "step", "bands": bands}))
    assert refused.value.status == 422
    assert "80" in refused.value.rule


def test_a_person_is_assigned_once_to_a_plan_at_any_time(loop: Loop) -> None:
    loop.person("li", "company")
    loop.put("incentives/plans/p", **plan())
    content = {"person": "li", "plan": "p", "amount": "1000.00"}
    loop.put("incentives/assignments/one", **content, starts="2025-01-01", ends="2025-02-15")
    loop.put("incentives/assignments/two", **content, starts="2025-02-16")
    with pytest.raises(ApiProblem) as refused:
        loop.put("incentives/assignments/three", **content, starts="2025-02-15", ends="2025-02-15")
    assert (refused.value.status, refused.value.type) == (409, "person-assigned-twice") or refused.value.status == 422
    assert "one" in refused.value.rule


def test_nine_mebibytes_in_chunks_are_too_large(loop: Loop) -> None:
    def chunks() -> Any:
        for _ in range(9 * 16):
            yield b" " * 65_536

    headers = {"authorization": f"Bearer {loop.client.token}", "content-type": "application/json"}
    url = f"{loop.client.base_url}/metrics/v1/events"
    answer = loop.client.http.post(url, content=chunks(), headers=headers)
    assert answer.status_code == 413


def test_5_001_events_are_too_many(loop: Loop) -> None:
    answer = post(
        loop, json.dumps([an_event(id=str(n)) for n in range(5_001)]).encode(), "application/cloudevents-batch+json"
    )
    assert answer.status_code == 413


def test_a_source_may_push_and_nothing_else(loop: Loop) -> None:
    source = loop.speaking_as("erp", "source")
    assert source.push([an_event()])[0]["status"] == "accepted"
    with pytest.raises(ApiProblem) as refused:
        source.get("/metrics/v1/metrics")
    assert refused.value.status == 403
    with pytest.raises(ApiProblem) as refused:
        loop.speaking_as("li", "employee").push([an_event(id="2")])
    assert refused.value.status == 403
    with pytest.raises(ApiProblem) as refused:
        loop.speaking_as("li", "employee").put("/goals/v1/units/mine", {"name": "Mine", "kind": "team"})
    assert refused.value.status == 403


def test_another_company_sees_nothing(loop: Loop, installation: Any) -> None:
    loop.measured("sales", "CNY")
    loop.observed("sales", 5)
    loop.settle()
    other = installation.company()
    assert other.get("metrics/metrics")["items"] == []
    with pytest.raises(ApiProblem) as refused:
        other.get("metrics/readings", metric="sales", subject="unit:company", period="2025-Q1")
    assert refused.value.status == 404


def test_5_001_assignments_at_once_are_refused(loop: Loop) -> None:
    item = {"code": "a", "content": {"person": "li", "plan": "p", "amount": "1.00", "starts": "2025-01-01"}}
    with pytest.raises(ApiProblem) as refused:
        loop.client.put("/incentives/v1/assignments", [item] * 5_001)
    assert refused.value.status == 422


def test_a_wide_event_is_a_fault_of_its_own_and_stops_nobody(loop: Loop, installation: Any) -> None:
    loop.metric("wide", "order")
    names = "abcdefghij"
    rule = {"metric": "wide", "subject": "'unit:company'", "dimensions": {name: f"data.{name}" for name in names}}
    loop.put("metrics/mappings/wide", name="Wide", event_type="wide", observations=[rule])
    loop.happened("wide", "2025-02-01", "w1", **{name: name * 300 for name in names})
    loop.happened("wide", "2025-02-01", "w2", **{name: name for name in names})
    assert loop.value("wide") == "1"
    assert loop.get("metrics/events", source="erp", id="w1")["faults"][0]["field"] == "dimensions"
    other = installation.company().set_up()
    other.measured("sales", "CNY")
    other.observed("sales", 5)
    assert other.value("sales") == "5"


def test_an_event_with_40_000_faulty_items_lists_the_first_hundred(loop: Loop) -> None:
    loop.metric("items", "order")
    for code, value in (("few", "item.v"), ("many", "1")):
        rule = {"metric": "items", "value": value, "subject": "'unit:company'"}
        loop.put(f"metrics/mappings/{code}", name=code, event_type=code, for_each="data.i", observations=[rule])
    loop.happened("few", "2025-02-01", "few", i=[1] * 9_999)
    loop.happened("many", "2025-02-01", "many", i=[1] * 40_000)
    loop.settle()
    faults = loop.get("metrics/events", source="erp", id="few")["faults"]
    assert len(faults) == 101
    assert "9899 more" in faults[-1]["reason"]
    assert "10000" in loop.get("metrics/events", source="erp", id="many")["faults"][0]["reason"]
    assert loop.client.parked() == 0


@pytest.mark.parametrize("value", ["1E-99999999999999", "0.12345678901", "٠.٥", "0_1", " 0.5 ", "NaN"])
def test_a_policy_is_plain_decimal_text(loop: Loop, value: str) -> None:
    with pytest.raises(ApiProblem) as refused:
        loop.put("goals/policies/deviation_limit", value=value)
    assert refused.value.status == 422


@pytest.mark.parametrize("slope", ["1E999999999", "1E99999999999999"])
def test_a_curve_with_a_huge_number_is_refused_at_once(loop: Loop, slope: str) -> None:
    with pytest.raises(ApiProblem) as refused:
        loop.put("goals/policies/attainment_curve", value=f'{{"kind":"linear","slope":{slope},"cap":"1"}}')
    assert refused.value.status == 422


def test_a_made_up_cursor_is_never_an_error_of_ours(loop: Loop) -> None:
    loop.metric("sales", "CNY")
    statuses = set()
    for text in (b'["a"]', b"{", b"1", b'{"a":1}'):
        digest = hashlib.sha256(b"/metrics/v1/metrics\0" + text).digest()[:8]
        cursor = base64.urlsafe_b64encode(digest + text).decode()
        url = f"{loop.client.base_url}/metrics/v1/metrics"
        headers = {"authorization": f"Bearer {loop.client.token}"}
        statuses.add(loop.client.http.get(url, params={"cursor": cursor}, headers=headers).status_code)
    assert statuses <= {200, 422}
    assert 422 in statuses


def test_a_unit_without_a_factor_waits_for_it_and_a_currency_that_is_none_is_a_fault(loop: Loop) -> None:
    for metric, unit in (("pieces", "pcs"), ("sales", "CNY")):
        loop.metric(metric, unit)
        rule = {"metric": metric, "value": "number(data.value)", "unit": "data.unit", "subject": "'unit:company'"}
        loop.put(f"metrics/mappings/{metric}", name=metric, event_type=metric, observations=[rule])
    loop.happened("pieces", "2025-02-01", value="2", unit="carton")
    loop.happened("pieces", "2025-02-01", value="1", unit="pcs")
    loop.happened("sales", "2025-02-01", "odd", value="2", unit="Taler")
    assert loop.value("pieces") == "1"
    assert references(loop) == {"conversion:carton-pcs"}
    assert "Taler" in loop.get("metrics/events", source="erp", id="odd")["faults"][0]["reason"]
    loop.put("metrics/conversions/carton-pcs", from_unit="carton", to_unit="pcs", factor="12")
    assert loop.value("pieces") == "25"
