"""From the HTTP intake to what waits, on a real PostgreSQL with a real worker."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from services.metrics.events.clock import tick_if_due
from shared.contracts.base import Configuration, Defined, Tick
from shared.contracts.goals import Company, Person, Unit
from shared.database.unit_of_work import unit_of_work
from shared.http.application import create_app
from shared.identity import Identity, JwksFile, LocalIssuer
from shared.log import Record
from shared.log.postgres import add_partitions
from shared.log.worker import Worker, handle, open_feed, types_of
from shared.service import Runtime

BATCH = "application/cloudevents-batch+json"
NOW = datetime(2025, 1, 1, tzinfo=UTC)
OWN = ("metrics.source-events", "metrics.configuration")
RULE = {"metric": "revenue", "value": "number(data.amount)", "unit": "data.currency",
        "subject": "concat('unit:', data.unit)"}  # fmt: skip


def event(id: str, amount: object = "10", **changes: Any) -> dict[str, Any]:
    data = {"amount": amount, "currency": "CNY", "unit": "east"} | changes.pop("data", {})
    return {"specversion": "1.0", "id": id, "source": "/erp", "type": "order", "time": "2025-03-14T10:00:00+08:00",
            "data": data} | changes  # fmt: skip


@dataclass
class House:
    """Metrics as senders, users and goals meet it."""

    runtime: Runtime
    http: TestClient
    issuer: LocalIssuer
    company: str = "acme"
    versions: Any = field(default_factory=lambda: count(1))

    def call(self, method: str, path: str, *roles: str, **more: Any) -> Any:
        token = self.issuer.issue("somebody", self.company, roles or ("admin",))
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return self.http.request(method, f"/metrics/v1/{path}", headers=headers, **more)

    def push(self, events: Sequence[Any], *roles: str) -> Any:
        return self.push_raw(json.dumps(list(events)).encode(), *roles)

    def push_raw(self, body: bytes, *roles: str, expect: int = 202, kind: str = BATCH) -> Any:
        answer = self.call("POST", "events", *(roles or ("source",)), content=body, headers={"Content-Type": kind})
        assert answer.status_code == expect, answer.text
        return answer.json()

    def statuses(self, *events: Any) -> list[str]:
        return [receipt["status"] for receipt in self.push(events)["receipts"]]

    def get(self, path: str, **query: Any) -> Any:
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put(self, path: str, **content: Any) -> Any:
        answer = self.call("PUT", path, json=content)
        assert answer.status_code in (200, 201, 204), answer.text
        self.work()
        return answer

    def refused(self, path: str, **content: Any) -> Any:
        answer = self.call("PUT", path, json=content)
        assert answer.status_code in (409, 422), answer.text
        return answer.json()

    def from_goals(self, code: str, content: Configuration) -> None:
        defined = Defined(
            code=code, version=next(self.versions), recorded_by="x", recorded_at=NOW,
            content=content.model_dump(mode="json"),
        )  # fmt: skip
        record = Record(content.TOPIC, 0, 0, code, content.TYPE, self.company, defined.model_dump_json(), None, NOW)
        with unit_of_work(self.runtime, actor="metrics") as uow:
            handle(uow, types_of(self.runtime.service), [record])

    def work(self) -> None:
        """Lets a worker do all there is to do in the service's own topics."""
        worker = Worker(self.runtime, threading.Event())
        with closing(open_feed(self.runtime)) as feed, self.runtime.engine.connect() as connection:
            worker.leases.begin(connection)
            with worker.leases.kept(connection):
                while worker.round(connection, feed):
                    pass

    def event(self, id: str) -> Any:
        self.work()
        return self.get("events", source="/erp", id=id)

    def value(self, sql: str, **params: Any) -> Any:
        with unit_of_work(self.runtime, actor="test", read_only=True) as uow:
            return uow.value(sql, **params)

    def set_up(self) -> "House":
        self.from_goals("company", Company(name="Acme", labels={}, time_zone="Asia/Shanghai", currency="CNY"))
        self.from_goals("hq", Unit(name="HQ", labels={}, kind="company"))
        self.from_goals("east", Unit(name="East", labels={}, kind="department", parent="hq"))
        self.put("metrics/revenue", name="Revenue", unit="CNY")
        self.put("mappings/order", name="Order", event_type="order", observations=[RULE])
        return self


def build(runtimes: Any, directory: Path, **settings: Any) -> tuple[Runtime, LocalIssuer, Any]:
    runtime = runtimes("metrics", **settings)["metrics"]
    runtime.service = replace(runtime.service, inputs=OWN)
    issuer = LocalIssuer(directory)
    identity = Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop")
    return runtime, issuer, create_app({"metrics": runtime}, runtime.settings, identity)


@pytest.fixture
def empty(runtimes: Any, tmp_path: Path) -> Iterator[House]:
    runtime, issuer, app = build(runtimes, tmp_path, partitions=2, settable_clock=True)
    with TestClient(app) as http:
        yield House(runtime, http, issuer)


@pytest.fixture
def house(empty: House) -> House:
    return empty.set_up()


# --- receipts ---


def test_each_event_gets_a_receipt_with_its_position(house: House) -> None:
    answer = house.push([event("1"), event("2")])
    assert answer["counts"] == {"accepted": 2, "duplicate": 0, "quarantined": 0, "rejected": 0}
    for index, receipt in enumerate(answer["receipts"]):
        assert (receipt["index"], receipt["id"], receipt["source"]) == (index, str(index + 1), "/erp")
        place = receipt["position"]
        data = house.value(
            "SELECT data FROM log.record WHERE topic = :topic AND partition = :partition AND pos = :pos", **place
        )
        assert json.loads(data)["id"] == str(index + 1)


def test_the_same_event_again_is_a_duplicate_with_the_first_position(house: House) -> None:
    first = house.push([event("1"), event("1")])["receipts"]
    again = house.push([event("0"), event("1", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")])["receipts"]
    assert [receipt["status"] for receipt in first + again] == ["accepted", "duplicate", "accepted", "duplicate"]
    assert first[0]["position"] == first[1]["position"] == again[1]["position"]
    assert house.value("SELECT count(*) FROM log.record WHERE topic = 'metrics.source-events'") == 2


def test_another_content_under_a_known_id_is_quarantined_listed_and_does_not_count(house: House) -> None:
    assert house.statuses(event("1", 10), event("1", 11)) == ["accepted", "quarantined"]
    assert house.statuses(event("1", 11), event("1", 10), event("2")) == ["quarantined", "duplicate", "accepted"]
    listed = house.get("events/quarantined")["items"]
    assert [(item["event"]["data"]["amount"], item["first"]["data"]["amount"]) for item in listed] == [(11, 10)]
    assert [each["value"] for each in house.event("1")["observations"]] == ["10"]


def test_one_bad_event_of_500_is_rejected_and_499_count(house: House) -> None:
    events = [event(str(n)) for n in range(500)]
    del events[250]["id"]
    answer = house.push(events)
    assert answer["counts"] == {"accepted": 499, "duplicate": 0, "quarantined": 0, "rejected": 1}
    bad = answer["receipts"][250]
    assert (bad["status"], bad["problem"]["field"], bad["position"]) == ("rejected", "id", None)
    assert bad["problem"]["type"] == "urn:valueloop:problem:envelope-fault"


def test_a_body_that_is_no_events_is_refused_as_a_whole(house: House) -> None:
    assert house.push_raw(b"[{", expect=400)["type"].endswith("malformed-body")
    assert house.push_raw(b"[]", expect=415, kind="text/plain")["type"].endswith("not-events")
    assert house.push_raw(b"[" + b"{}," * 5000 + b"{}]", expect=413)["type"].endswith("too-many-events")
    assert house.push_raw(b'"' + b"x" * 9 * 2**20 + b'"', expect=413)["type"].endswith("body-too-large")

    def chunks() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * 2**20

    answer = house.call("POST", "events", "source", content=chunks(), headers={"Content-Type": BATCH})
    assert answer.status_code == 413


def test_only_a_source_or_an_administrator_pushes_and_a_source_reads_nothing(house: House) -> None:
    house.push_raw(b"[]", "analyst", expect=403)
    house.push_raw(b"[]", "admin")
    assert house.call("GET", "events", "source", params={"source": "/erp", "id": "1"}).status_code == 403
    assert house.http.post("/metrics/v1/events", content=b"[]").status_code == 401


def test_companies_do_not_see_one_anothers_events(house: House) -> None:
    house.push([event("1")])
    other = replace(house, company="globex")
    assert other.push([event("1", 99)])["counts"]["accepted"] == 1
    assert house.event("1")["event"]["data"]["amount"] == "10"
    assert other.get("events/quarantined")["items"] == []


def test_concurrent_requests_with_the_same_events_accept_each_once(house: House) -> None:
    def push(number: int) -> Any:
        return house.push([event(str(n), data={"subject": number % 2}) for n in range(number % 5, 40)])

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(push, range(24)))
    accepted = sum(answer["counts"]["accepted"] for answer in answers)
    others = sum(answer["counts"]["duplicate"] + answer["counts"]["quarantined"] for answer in answers)
    assert accepted == 40 == house.value("SELECT count(*) FROM event_seen")
    assert accepted + others == sum(len(answer["receipts"]) for answer in answers)


def test_two_processes_accept_each_event_once(house: House) -> None:
    from services.metrics.events.accept import accept, incoming
    from services.metrics.events.cloudevents import CloudEvent, from_json

    def parsed(n: int, worker: int) -> CloudEvent:
        return from_json(json.dumps(event(str(n), subject=f"s{(n * 7 + worker) % 11}")).encode(), NOW)

    def push(worker: int) -> int:
        new = 0
        for start in range(0, 100, 20):
            with unit_of_work(house.runtime, actor="test") as uow:
                fates = accept(uow, [incoming("acme", parsed(n, worker)) for n in range(start, start + 20)])
            new += sum(fate.status == "accepted" for fate in fates)
        return new

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(push, range(4))) == 100
    assert house.value("SELECT count(*) FROM log.record WHERE topic = 'metrics.source-events'") == 100
    ends = house.value("SELECT sum(next_pos) FROM log.partition WHERE topic = 'metrics.source-events'")
    assert ends == 100


def test_while_the_database_refuses_nothing_is_half_done_and_the_sender_is_told_to_repeat(
    house: House, postgres_url: str
) -> None:
    name = house.value("SELECT current_database()")
    with closing(psycopg.connect(postgres_url, autocommit=True)) as admin:
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        answer = house.call(
            "POST", "events", "source", content=json.dumps([event("1")]), headers={"Content-Type": BATCH}
        )
        admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0
    assert house.statuses(event("1")) == ["accepted"]


def test_events_that_wait_while_their_topic_is_widened_are_refused_for_the_moment_and_go_in_when_repeated(
    house: House,
) -> None:
    topic = "metrics.source-events"
    count = house.value("SELECT count(*) FROM log.partition WHERE topic = :topic", topic=topic)
    content, headers = json.dumps([event("1")]), {"Content-Type": BATCH}
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    with ThreadPoolExecutor(1) as pool, house.runtime.engine.begin() as connection:
        connection.execute(text("SELECT 1 FROM log.partition WHERE topic = :topic FOR UPDATE"), {"topic": topic})
        answer = pool.submit(house.call, "POST", "events", "source", content=content, headers=headers)
        while not house.value(waiting):
            assert not answer.done()
        add_partitions(connection, topic, range(count, count + 2))
        connection.commit()
        refused = answer.result()
    assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
    assert house.statuses(event("1")) == ["accepted"]


# --- what became of an event ---


def test_an_event_shows_its_status_observations_and_canonical_content(house: House) -> None:
    house.push([event("1", 10.50)])
    assert house.get("events", source="/erp", id="1")["status"] == "accepted"
    shown = house.event("1")
    assert (shown["status"], shown["event"]["data"]["amount"]) == ("processed", 10.5)
    made = shown["observations"][0]
    assert (made["metric"], made["value"], made["subject"], made["day"]) == (
        "revenue",
        "10.5",
        "unit:east",
        "2025-03-14",
    )
    assert house.call("GET", "events", params={"source": "/erp", "id": "2"}).status_code == 404


def test_a_value_of_40_digits_is_accepted_and_its_fault_shows_in_its_status(house: House) -> None:
    assert house.statuses(event("1", int("9" * 40)), event("2", "9" * 40)) == ["accepted", "accepted"]
    for id in ("1", "2"):
        shown = house.event(id)
        assert (shown["status"], shown["observations"], shown["faults"][0]["field"]) == ("processed", [], "value")
    assert [fault["id"] for fault in house.get("events/faults")["items"]] in (["1", "2"], ["2", "1"])


def test_events_no_mapping_takes_are_counted_listed_and_taken_up_when_one_is_defined(house: House) -> None:
    house.push([event(str(n), type="credit") for n in range(3)])
    assert house.event("0")["status"] == "no_mapping"
    assert house.get("waiting/summary")["items"] == [{"reference": "mapping:credit", "events": 3}]
    listed = house.get("waiting", reference="mapping:credit", limit=2)
    assert len(listed["items"]) == 2 and listed["next_cursor"]
    house.put("mappings/credit", name="Credit", event_type="credit", observations=[RULE])
    assert house.get("waiting/summary")["items"] == []
    assert house.event("0")["observations"][0]["value"] == "10"


def test_unknown_metric_unit_person_company_rate_and_blank_currency_wait_and_are_taken_up(empty: House) -> None:
    empty.put("mappings/order", name="Order", event_type="order", observations=[RULE])
    empty.push([event("1")])
    assert empty.event("1")["waits_for"] == ["company"]
    empty.from_goals("company", Company(name="Acme", labels={}, time_zone="Asia/Shanghai", currency="CNY"))
    assert empty.event("1")["waits_for"] == ["metric:revenue"]
    empty.put("metrics/revenue", name="Revenue", unit="CNY")
    assert empty.event("1")["waits_for"] == ["unit:east"]
    empty.from_goals("east", Unit(name="East", labels={}, kind="company"))
    assert (empty.event("1")["status"], empty.event("1")["observations"][0]["value"]) == ("processed", "10")
    empty.push([event("2", data={"currency": "EUR"}), event("3", data={"currency": ""})])
    assert empty.event("2")["waits_for"] == ["rate:EUR-CNY"]
    assert empty.event("3")["waits_for"] == ["currency:blank"]
    empty.put("rates/EUR-CNY", from_currency="EUR", to_currency="CNY", rate="7.8")
    assert empty.event("2")["observations"][0]["value"] == "78"
    person = RULE | {"subject": "concat('person:', data.seller)"}
    empty.put("mappings/order", name="Order", event_type="order", observations=[person])
    empty.push([event("4", data={"seller": "wang"})])
    assert empty.event("4")["waits_for"] == ["person:wang"]
    empty.from_goals("wang", Person(name="Wang", unit="east"))
    assert empty.event("4")["status"] == "processed"


def test_a_new_version_of_a_mapping_changes_events_from_its_first_day_on_and_no_earlier(house: House) -> None:
    house.push([event("1"), event("2", time="2025-04-02T10:00:00+08:00")])
    house.work()
    double = RULE | {"value": "number(data.amount) * 2"}
    house.put(
        "mappings/order", name="Order", event_type="order", observations=[double], effective_from="2025-04-01"
    )  # fmt: skip
    assert house.event("1")["observations"][0]["value"] == "10"
    assert house.event("2")["observations"][0]["value"] == "20"
    house.put("mappings/order", name="Order", event_type="order", observations=[double], reason="A correction")
    assert house.event("1")["observations"][0]["value"] == "20"


def test_a_second_mapping_of_a_type_adds_to_the_first_for_events_already_there(house: House) -> None:
    house.push([event("1")])
    house.work()
    house.put("metrics/orders", name="Orders", unit="order")
    count_rule = {"metric": "orders", "subject": "concat('unit:', data.unit)"}
    house.put("mappings/orders", name="Orders", event_type="order", observations=[count_rule])
    assert {each["metric"]: each["value"] for each in house.event("1")["observations"]} == {
        "revenue": "10", "orders": "1",
    }  # fmt: skip


def test_a_mapping_that_turns_to_another_type_lets_its_events_go(house: House) -> None:
    house.push([event("1")])
    house.work()
    house.put("mappings/order", name="Order", event_type="invoice", observations=[RULE])
    shown = house.event("1")
    assert (shown["status"], shown["observations"]) == ("no_mapping", [])


# --- webhooks, ticks ---


def frappe(house: House, body: bytes, secret: str = "s" * 16, **headers: str) -> Any:
    signature = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    return house.http.post(
        "/metrics/v1/sources/erpnext/frappe", params={"company": "acme"}, content=body,
        headers={"X-Frappe-Webhook-Signature": signature, **headers},
    )  # fmt: skip


def test_a_signed_frappe_webhook_becomes_an_event_whatever_its_content_type(house: House) -> None:
    house.put("sources/erpnext", name="ERPNext", uri="https://erp.example")
    document = {"doctype": "Sales Invoice", "name": "SI-1", "modified": "2025-03-14 10:15:00.123456", "docstatus": 1,
                "amount": 12.5}  # fmt: skip
    body = json.dumps(document).encode()
    assert frappe(house, body).status_code == 401
    assert house.call("PUT", "sources/erpnext/secret", "analyst", json={"secret": "s" * 16}).status_code == 403
    house.put("sources/erpnext/secret", secret="s" * 16)
    assert frappe(house, body, "t" * 16).status_code == 401
    first = frappe(house, body)
    again = frappe(house, body, **{"Content-Type": "application/x-www-form-urlencoded"})
    assert first.status_code == 202, first.text
    assert [answer.json()["receipts"][0]["status"] for answer in (first, again)] == ["accepted", "duplicate"]
    shown = house.get("events", source="https://erp.example", id=first.json()["receipts"][0]["id"])["event"]
    assert (shown["type"], shown["subject"]) == ("frappe.sales-invoice.submitted", "Sales Invoice/SI-1")
    assert shown["time"] == "2025-03-14T10:15:00.123456+08:00"
    cancelled = json.dumps(document | {"docstatus": 2, "modified": "2025-03-15 09:00:00"}).encode()
    assert frappe(house, cancelled).json()["receipts"][0]["status"] == "accepted"
    del document["modified"]
    assert frappe(house, json.dumps(document).encode()).json()["receipts"][0]["problem"]["field"] == "modified"
    assert "s" * 16 not in house.call("GET", "sources/erpnext/versions").text


def test_time_moves_on_by_recorded_ticks_and_never_back(house: House) -> None:
    def tick(at: str) -> int:
        return int(house.call("POST", "ticks", json={"at": at}).status_code)

    assert [tick("2025-04-01T00:00:00+08:00"), tick("2025-03-31T16:00:00Z"), tick("2025-03-01T00:00:00Z")] == [
        200,
        200,
        409,
    ]
    assert [tick("2025-04-01T00:00:00"), tick("0001-01-01T00:00:00Z")] == [422, 422]
    house.work()
    count_ticks = "SELECT count(*) FROM log.record WHERE type = :type AND topic = :topic"
    for topic in ("metrics.source-events", "metrics.readings"):
        assert house.value(count_ticks, type=Tick.TYPE, topic=topic) == 2
    assert house.get("ticks") == {"at": "2025-03-31T16:00:00Z"}
    assert house.call("POST", "ticks", "analyst", json={"at": "2026-01-01T00:00:00Z"}).status_code == 403


def test_the_wall_clock_ticks_once_an_hour_however_often_it_is_asked(house: House) -> None:
    ticked = []
    for minute in (0, 1, 59):
        with unit_of_work(house.runtime, actor="clock") as uow:
            ticked.append(tick_if_due(uow, "acme", datetime(2025, 4, 1, 9, minute, tzinfo=UTC)))
    assert ticked == [True, False, False]


def test_where_the_clock_is_not_settable_nobody_sets_it(runtimes: Any, tmp_path: Path) -> None:
    runtime, issuer, app = build(runtimes, tmp_path)
    http = TestClient(app)
    answer = House(runtime, http, issuer).call("POST", "ticks", json={"at": "2025-04-01T00:00:00Z"})
    assert answer.status_code == 403 and answer.json()["type"].endswith("clock-is-not-settable")


# --- the catalogue ---


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("metrics/m", {"unit": "CNY", "formula": "10**10**10"}, "formula-refused"),
    ("metrics/m", {"unit": "CNY", "formula": "revenue + hours"}, "formula-refused"),
    ("metrics/m", {"unit": "CNY", "formula": "revenue / cost"}, "unit-does-not-fit"),
    ("metrics/m", {"unit": "euro$"}, "unit-unknown"),
    ("metrics/m", {"unit": "CNY", "across_subjects": "distinct"}, "folds-do-not-fit"),
    ("metrics/m", {"unit": "CNY", "formula": "m + revenue"}, "formula-cycle"),
    ("rates/EUR-CNY", {"from_currency": "EUR", "to_currency": "CNY", "rate": "0"}, "rate-refused"),
    ("rates/EUR-USD", {"from_currency": "EUR", "to_currency": "CNY", "rate": "7"}, "code-does-not-fit"),
    ("rates/EUR-XQZ", {"from_currency": "EUR", "to_currency": "XQZ", "rate": "7"}, "rate-refused"),
    ("conversions/KAR-ST", {"from_unit": "KAR", "to_unit": "ST", "factor": "-1"}, "rate-refused"),
    ("sources/two", {"uri": "a b"}, "uri-refused"),
    ("mappings/m", {"event_type": "x", "observations": [RULE | {"value": "1 +"}]}, "mapping-invalid"),
]


def test_settings_that_break_a_rule_are_refused_by_name(house: House) -> None:
    house.put("metrics/cost", name="Cost", unit="CNY")
    house.put("metrics/hours", name="Hours", unit="h")
    for path, content, problem in REFUSED:
        named = content if path.startswith(("rates", "conversions")) else {"name": "n"} | content
        assert house.refused(path, **named)["type"] == f"urn:valueloop:problem:{problem}", (path, content)


def test_formulas_may_name_metrics_before_they_exist_and_units_are_judged_when_they_do(house: House) -> None:
    house.put("metrics/margin", name="Margin", unit="ratio", formula="profit / revenue")
    refused = house.refused("metrics/profit", name="Profit", unit="h")
    assert refused["type"].endswith("unit-does-not-fit") and "margin" in refused["detail"]
    house.put("metrics/profit", name="Profit", unit="CNY", formula="revenue - previous(margin) * revenue")
    cycle = house.refused("metrics/profit", name="Profit", unit="CNY", formula="margin * revenue")
    assert cycle["path"] == ["margin", "profit", "margin"]


def test_a_metric_that_observations_feed_keeps_its_unit_and_folds(house: House) -> None:
    house.push([event("1")])
    house.work()
    assert house.refused("metrics/revenue", name="Revenue", unit="EUR")["type"].endswith("metric-is-in-use")
    house.put("metrics/revenue", name="Turnover", unit="CNY")


def test_a_dry_run_shows_what_an_event_would_yield_and_stores_nothing(house: House) -> None:
    mapping = {"name": "n", "event_type": "order", "observations": [RULE, RULE | {"value": "data.nothing"}]}
    answer = house.call("POST", "mappings/dry-run", "analyst", json={"mapping": mapping, "event": event("1", 10.50)})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["taken"] is True
    made = found["observations"][0]
    assert (made["value"], made["unit"], made["subject"], made["day"]) == ("10.5", "CNY", "unit:east", "2025-03-14")
    assert [(fault["rule"], fault["field"]) for fault in found["faults"]] == [(1, "value")]
    assert house.value("SELECT count(*) FROM event_seen") == 0
    bad = house.call("POST", "mappings/dry-run", "analyst", json={"mapping": mapping, "event": {"id": "1"}})
    assert bad.status_code == 422
