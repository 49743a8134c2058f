"""ERP events over Kafka, on a real broker: taken in like those over HTTP, and what is refused is told once."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from test_intake import House, build, event

from deploy.kafka.broker import Broker, missing
from services.metrics.app import service as metrics
from services.metrics.events.kafka import KafkaIntake
from services.metrics.events.records import Raw, judge
from services.runtime import wanted_topics
from shared.contracts.goals import Company
from shared.contracts.intake import REJECTED, SOURCE_EVENTS
from shared.log.forward import Forwarder
from shared.log.kafka import Cluster
from shared.log.topics import apply, plan
from shared.service import Runtime
from shared.settings import Settings

STRUCTURED = [("content-type", b"application/cloudevents+json; charset=UTF-8")]
ROOT = Path(__file__).parents[2]
Headers = Sequence[tuple[str, bytes]]


pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if reason := missing():
        pytest.skip(reason)
    with Broker(tmp_path_factory.mktemp("kafka")) as made:
        yield made


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count(1)


def until(true: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@dataclass
class Erp:
    """An ERP system that writes its topic, and the service that reads it."""

    house: House
    cluster: Cluster
    producer: KafkaProducer

    @property
    def runtime(self) -> Runtime:
        return self.house.runtime

    def send(
        self, value: bytes | None, headers: Headers = STRUCTURED, key: bytes | None = None, partition: int = 0
    ) -> None:
        self.producer.send(self.cluster.name_of(SOURCE_EVENTS), value, key, list(headers), partition=partition)

    def say(self, id: str, amount: object = "10", partition: int = 0, **changes: Any) -> None:
        self.send(json.dumps(event(id, amount, company="acme") | changes).encode(), partition=partition)

    @contextmanager
    def reading(self) -> Iterator[KafkaIntake]:
        """Sends what was said, and lets the service read."""
        self.producer.flush()
        stop = threading.Event()
        intake = KafkaIntake(self.runtime, self.cluster, stop)
        thread = threading.Thread(target=intake.run)
        thread.start()
        try:
            yield intake
        finally:
            stop.set()
            thread.join()

    def read(self) -> None:
        """Lets the service read to the end."""
        with self.reading():
            places = [(SOURCE_EVENTS, n) for n in range(self.cluster.partitions(SOURCE_EVENTS))]
            ends = {place[1]: end for place, end in self.cluster.ends(places).items() if end}
            until(lambda: self.stands().items() >= ends.items())

    def stands(self) -> dict[int, int]:
        found = self.house.value(
            "SELECT json_object_agg(partition, kafka_offset) FROM log.position "
            "WHERE topic = :topic AND kafka_offset IS NOT NULL", topic=SOURCE_EVENTS,
        )  # fmt: skip
        return {int(partition): offset for partition, offset in (found or {}).items()}

    def accepted(self) -> int:
        return int(self.house.value("SELECT count(*) FROM event_seen"))

    def receipts(self) -> list[dict[str, Any]]:
        sql = "SELECT json_agg(data::json ORDER BY pos) FROM log.record WHERE topic = :topic"
        return self.house.value(sql, topic=REJECTED) or []

    def problems(self) -> dict[int, str]:
        """By offset."""
        return {each["offset"]: each["problem"]["type"].rsplit(":", 1)[1] for each in self.receipts()}

    def parked(self) -> dict[int, Any]:
        return {item["pos"]: item for item in self.house.get("parked")["items"]}

    def retry(self, pos: int, **changes: Any) -> Any:
        path = f"parked/{SOURCE_EVENTS}/0/{pos}"
        told = json.loads(self.house.get(path)["data"])
        return self.house.call("POST", f"{path}/retry", json={"data": json.dumps(told | changes)} if changes else {})


@pytest.fixture
def settings(broker: Broker, numbers: Iterator[int]) -> Settings:
    return Settings(
        kafka_bootstrap=broker.bootstrap, kafka_prefix=f"test{next(numbers)}.", partitions=2, settable_clock=True,
        poll_seconds=0.05, lease_seconds=2, kafka_timeout_seconds=10,
    )  # fmt: skip


@pytest.fixture
def erp(broker: Broker, runtimes: Any, tmp_path: Path, settings: Settings) -> Iterator[Erp]:
    runtime, issuer, app = build(runtimes, tmp_path, partitions=2, settable_clock=True)
    runtime.settings = settings
    cluster = Cluster(settings)
    apply(cluster, plan(cluster, dict.fromkeys(metrics().inputs, 1) | wanted_topics(settings, [runtime])))
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", max_request_size=20_000_000)
    with TestClient(app) as http:
        yield Erp(House(runtime, http, issuer).set_up(), cluster, producer)
    producer.close(timeout=1)


def binary(*without: str, **attributes: str) -> list[tuple[str, bytes]]:
    given = {"specversion": "1.0", "id": "1", "source": "/erp", "type": "order", "company": "acme",
             "time": "2025-03-14T10:00:00+08:00"} | attributes  # fmt: skip
    headers = [(f"ce_{name}", text.encode()) for name, text in given.items() if name not in without]
    return [*headers, ("content-type", b"application/json")]


DATA = json.dumps(event("")["data"]).encode()


def test_both_modes_are_taken_by_the_rules_of_http_and_known_again_there(erp: Erp) -> None:
    erp.send(DATA, binary(id="a", subject="订单 100%25"))
    erp.say("b", partition=1)
    erp.send(json.dumps(event("c")).encode(), [*STRUCTURED, ("ce_company", b"acme")])
    erp.send(None, binary(id="thin"), key=b"T")
    erp.send(DATA, binary(id="unknown", type="nobody-knows"))
    erp.read()
    assert (erp.accepted(), erp.receipts()) == (5, [])
    assert [erp.house.event(id)["status"] for id in ("a", "b", "c", "unknown")] == [*["processed"] * 3, "no_mapping"]
    assert erp.house.event("a")["event"]["subject"] == "订单 100%25"
    assert "data" not in erp.house.event("thin")["event"]
    assert erp.house.statuses(event("b"), event("c", "11")) == ["duplicate", "quarantined"]
    assert erp.stands() == {0: 4, 1: 1}
    erp.read()
    assert erp.accepted() == 5


BAD: dict[str, tuple[bytes | None, Headers, str]] = {
    "no headers": (b'{"a": 1}', [], "not-events"),
    "wrong content type": (DATA, [("content-type", b"text/csv")], "not-events"),
    "not UTF-8": (b'\xff\xfe{"', STRUCTURED, "malformed-body"),
    "not JSON": (b'{"id": ', STRUCTURED, "malformed-body"),
    "data not JSON": (b"{,}", binary(), "envelope-fault"),
    "tombstone": (None, [], "envelope-fault"),
    "empty": (b"", STRUCTURED, "malformed-body"),
    "no id": (DATA, binary("id"), "envelope-fault"),
    "header twice": (DATA, [*binary(), ("ce_id", b"2")], "envelope-fault"),
    "header not UTF-8": (DATA, [*binary("id"), ("ce_id", b"\xff")], "envelope-fault"),
    "a batch": (json.dumps([event("1", company="acme")] * 2).encode(), [("content-type", b"application/json")],
                "not-events"),
    "a batch of one": (json.dumps([event("1", company="acme")]).encode(),
                       [("content-type", b"application/cloudevents-batch+json")], "not-events"),
    "no company": (DATA, binary("company"), "company-missing"),
    "company not text": (json.dumps(event("1", company=7)).encode(), STRUCTURED, "company-missing"),
    "unknown company": (DATA, binary(company="globex"), "company-unknown"),
    "NUL": (json.dumps(event("1", "a\0b", company="acme")).encode(), STRUCTURED, "malformed-body"),
    "too large": (b'{"data": "' + b"x" * 9_000_000 + b'"}', STRUCTURED, "record-too-large"),
}  # fmt: skip


def test_each_bad_record_gets_its_receipt_and_the_good_ones_between_them_are_accepted(erp: Erp) -> None:
    for number, (value, headers, _) in enumerate(BAD.values()):
        erp.send(value, headers, key=f"K{number}".encode() if number or value is None else None)
        erp.say(f"good {number}")
    erp.read()
    problems = erp.problems()
    assert {name: problems[2 * n] for n, name in enumerate(BAD)} == {name: bad[2] for name, bad in BAD.items()}
    assert (len(erp.receipts()), erp.accepted()) == (len(BAD), len(BAD))
    told = {name: erp.receipts()[n] for n, name in enumerate(BAD)}
    assert told["no headers"]["key"] is None and told["not JSON"]["key"] == "K3"
    assert (told["not JSON"]["value"], told["not UTF-8"]["value_base64"]) == ('{"id": ', "//57Ig==")
    assert told["unknown company"]["id"] == "1" and ["ce_company", "globex"] in told["unknown company"]["headers"]
    assert told["too large"]["cut"] and len(told["too large"]["value"]) == 64 * 1024
    assert told["tombstone"]["value"] is told["tombstone"]["value_base64"] is None


def test_what_this_client_cannot_send_is_refused_as_well() -> None:
    for headers, field in (([("ce_id", None), *STRUCTURED], "specversion"), ([], "value")):
        judged = judge(Raw(0, 0, 0, None, None, headers), 1_000, datetime.now(UTC))
        assert judged.fault is not None and judged.event is None, field


def test_receipts_are_in_kafka_once_and_say_where_their_record_stands(erp: Erp) -> None:
    erp.send(b"[", STRUCTURED, key=b"SO-1", partition=1)
    erp.read()
    forwarder = Forwarder(erp.runtime, erp.cluster, threading.Event())
    with erp.runtime.engine.connect() as connection:
        forwarder.leases.begin(connection)
        with forwarder.leases.kept(connection):
            while forwarder.round(connection):
                pass
    forwarder.start_again()
    consumer = KafkaConsumer(bootstrap_servers=erp.cluster.settings.kafka_bootstrap)
    place = TopicPartition(erp.cluster.name_of(REJECTED), 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    (record,) = consumer.poll(10_000)[place]
    consumer.close()
    told = json.loads(record.value)
    assert (told["partition"], told["offset"], told["key"], told["value"]) == (1, 0, "SO-1", "[")
    assert dict(record.headers)["ce_type"] == b"valueloop.metrics.event-rejected.v1"


def test_of_five_hundred_records_a_bad_one_takes_none_with_it(erp: Erp) -> None:
    for number in range(500):
        erp.send(b"oops") if number == 250 else erp.say(str(number))
    erp.read()
    assert (erp.accepted(), list(erp.problems())) == (499, [250])


def test_two_mebibytes_are_taken_where_http_takes_them_and_refused_where_it_does_not(erp: Erp) -> None:
    erp.say("big", data={"text": "x" * 2 * 1024 * 1024})
    erp.read()
    assert erp.accepted() == 1
    erp.runtime.settings = erp.runtime.settings.model_copy(update={"intake_body_limit": 1_048_576})
    erp.say("bigger", data={"text": "x" * 2 * 1024 * 1024})
    erp.read()
    assert (erp.accepted(), erp.problems()) == (1, {1: "record-too-large"})


def test_another_content_under_a_known_id_is_quarantined_and_told_and_the_same_is_nothing(erp: Erp) -> None:
    for amount in ("10", "10", "11", "10"):
        erp.say("1", amount)
    erp.read()
    assert (erp.accepted(), erp.problems()) == (1, {2: "content-differs"})
    assert [(r["status"], r["id"], r["source"]) for r in erp.receipts()] == [("quarantined", "1", "/erp")]
    assert erp.parked() == {}
    assert [item["event"]["data"]["amount"] for item in erp.house.get("events/quarantined")["items"]] == ["11"]


def test_a_refused_record_is_repaired_and_taken_like_any_or_discarded(erp: Erp) -> None:
    good = json.dumps(event("1", company="acme"))
    erp.send(good[:-1].encode(), [*STRUCTURED, ("ce_company", b"acme")], key=b"same")
    erp.send(b"\xff", [*STRUCTURED, ("ce_company", b"acme")], key=b"same")
    erp.send(b"x" * 70_000, [*STRUCTURED, ("ce_company", b"acme")])
    erp.send(b"belongs to nobody")
    erp.read()
    assert list(erp.parked()) == [0, 1, 2] and len(erp.receipts()) == 4
    assert erp.retry(0).status_code == 409
    assert "RecordWasCut" in erp.retry(2).text
    answer = erp.retry(0, value=good)
    assert (answer.status_code, answer.json()) == (200, {"applied": 1})
    assert erp.house.event("1")["status"] == "processed"
    for pos in (1, 2):
        assert erp.house.call("DELETE", f"parked/{SOURCE_EVENTS}/0/{pos}").status_code == 204
    assert erp.parked() == {}


def test_nobody_repairs_a_record_into_another_company(erp: Erp) -> None:
    House(erp.runtime, erp.house.http, erp.house.issuer, "globex").from_goals(
        "company", Company(name="Globex", labels={}, time_zone="Asia/Shanghai", currency="CNY")
    )
    erp.send(b"{", [*STRUCTURED, ("ce_company", b"acme")])
    erp.read()
    answer = erp.retry(0, value=json.dumps(event("1", company="globex")))
    assert answer.status_code == 409 and "CompanyDiffers" in answer.text
    assert erp.accepted() == 0


def test_a_record_of_a_company_that_comes_later_is_retried_there(erp: Erp) -> None:
    erp.send(DATA, binary(company="globex"))
    erp.read()
    globex = House(erp.runtime, erp.house.http, erp.house.issuer, "globex")
    retry = f"parked/{SOURCE_EVENTS}/0/0/retry"
    assert "CompanyUnknown" in globex.call("POST", retry, json={}).text
    globex.from_goals("company", Company(name="Globex", labels={}, time_zone="Asia/Shanghai", currency="CNY"))
    assert globex.call("POST", retry, json={}).json() == {"applied": 1}
    assert globex.event("1")["status"] == "no_mapping"


def test_beyond_the_limit_of_parked_records_the_receipts_are_kept_and_good_ones_go_on(erp: Erp) -> None:
    erp.runtime.settings = erp.runtime.settings.model_copy(update={"parked_limit": 3})
    for number in range(5):
        erp.send(b"{", binary(id=str(number)))
    erp.say("good")
    erp.read()
    assert (len(erp.parked()), len(erp.receipts()), erp.accepted()) == (3, 5, 1)


class NotUtf8(str):
    """The name of a header as other clients may send it."""

    def encode(self, *_: Any) -> bytes:
        return b"\xff\xfe"


def test_what_the_client_cannot_read_of_a_batch_is_passed_and_told_and_all_else_is_taken(erp: Erp) -> None:
    erp.say("before")
    erp.send(DATA, [*binary(id="never"), (NotUtf8("x"), b"")])
    erp.producer.flush()
    erp.say("after")
    erp.say("elsewhere", partition=1)
    erp.read()
    assert erp.house.event("after")["status"] == erp.house.event("elsewhere")["status"] == "processed"
    assert erp.accepted() + len(erp.receipts()) == 4 and erp.problems()[1] == "unreadable"


def test_offsets_with_gaps_are_followed_and_what_a_transaction_took_back_was_never_sent(erp: Erp) -> None:
    topic = erp.cluster.name_of(SOURCE_EVENTS)
    sender = KafkaProducer(bootstrap_servers=erp.cluster.settings.kafka_bootstrap, transactional_id=topic)
    sender.init_transactions()
    for number in range(4):
        sender.begin_transaction()
        value = json.dumps(event(str(number), company="acme")).encode()
        sender.send(topic, value, headers=list(STRUCTURED), partition=0)
        sender.flush()
        sender.abort_transaction() if number % 2 else sender.commit_transaction()
    sender.close()
    erp.say("last")
    erp.read()
    assert (erp.accepted(), erp.stands()) == (3, {0: 9})
    assert {erp.house.event(id)["status"] for id in ("0", "2", "last")} == {"processed"}


def test_a_topic_that_was_made_anew_is_read_from_its_beginning_and_nothing_counts_twice(erp: Erp) -> None:
    for id in ("1", "2", "3"):
        erp.say(id)
    erp.send(b"{", binary(id="bad"))
    erp.read()
    admin, name = erp.cluster.admin(), erp.cluster.name_of(SOURCE_EVENTS)
    admin.delete_topics([name])
    until(lambda: erp.cluster.topic_id(SOURCE_EVENTS) == "")
    admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    for id in ("1", "4"):
        erp.say(id)
    erp.send(b"{", binary(id="worse"))
    erp.producer.flush()
    with erp.reading():
        until(lambda: erp.accepted() == 4 and len(erp.parked()) == 2)
    assert erp.accepted() == 4 and len(erp.receipts()) == 2


def test_where_retention_was_faster_the_oldest_records_that_are_left_are_taken(erp: Erp) -> None:
    erp.say("1")
    erp.read()
    for id in ("2", "3", "4"):
        erp.say(id)
    erp.producer.flush()
    admin = erp.cluster.admin()
    admin.delete_records({TopicPartition(erp.cluster.name_of(SOURCE_EVENTS), 0): 3})
    admin.close()
    erp.read()
    assert erp.accepted() == 2 and erp.house.event("4")["status"] == "processed"


def test_no_topic_is_waited_for(erp: Erp) -> None:
    admin = erp.cluster.admin()
    admin.delete_topics([erp.cluster.name_of(SOURCE_EVENTS)])
    until(lambda: erp.cluster.topic_id(SOURCE_EVENTS) == "")
    with erp.reading() as intake:
        time.sleep(0.5)
        apply(erp.cluster, plan(erp.cluster, {SOURCE_EVENTS: 1}))
        erp.producer.partitions_for(erp.cluster.name_of(SOURCE_EVENTS))
        erp.say("1")
        erp.producer.flush()
        until(lambda: erp.accepted() == 1)
        assert intake.leases.owned() == {(SOURCE_EVENTS, 0)}
    admin.close()


def test_an_outage_of_the_database_or_the_broker_parks_and_loses_nothing(
    erp: Erp, broker: Broker, postgres_url: str
) -> None:
    ended = (
        b"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        b"AND backend_type = 'client backend' AND datname LIKE 'test%'"
    )
    with erp.reading(), psycopg.connect(postgres_url, autocommit=True) as administrator:
        for number in range(3_000):
            erp.say(str(number), partition=number % 2)
            if number % 600 == 599:
                administrator.execute(ended)
        erp.producer.flush()
        broker.kill()
        broker.start()
        for number in range(3_000, 3_100):
            erp.say(str(number))
        erp.producer.flush()
        until(lambda: erp.accepted() == 3_100)
    assert erp.receipts() == [] and erp.house.value("SELECT count(*) FROM log.parked") == 0


def worker(erp: Erp, directory: Path) -> "subprocess.Popen[bytes]":
    url = erp.runtime.engine.url.render_as_string(hide_password=False)
    variables = {f"VALUELOOP_{name.upper()}": str(value) for name, value in erp.runtime.settings.model_dump().items()
                 if name.startswith(("kafka", "lease", "poll")) and value is not None}  # fmt: skip
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VALUELOOP_")}
    with (directory / "output").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "services.cli", "work", "metrics"], cwd=directory, stdout=output, stderr=output,
            env=kept | variables | {"PYTHONPATH": str(ROOT), "VALUELOOP_METRICS_DATABASE_URL": url},
        )  # fmt: skip


def test_workers_killed_in_the_middle_have_one_effect_together(erp: Erp, tmp_path: Path) -> None:
    total = 20_000
    workers = [worker(erp, tmp_path) for _ in range(2)]
    try:
        for number in range(total):
            partition = number % 2
            erp.send(b"{", binary(id=str(number)), partition=partition) if number % 200 == 0 else erp.say(
                str(number), partition=partition
            )
            if number % 5_000 == 4_999:
                erp.producer.flush()
                until(lambda before=erp.accepted(): erp.accepted() > before)
                killed = number // 5_000 % 2
                workers[killed].send_signal(signal.SIGKILL)
                workers[killed].wait()
                workers[killed] = worker(erp, tmp_path)
        erp.producer.flush()
        until(lambda: erp.accepted() == total * 199 // 200 and len(erp.receipts()) == total // 200)
    finally:
        for each in workers:
            each.terminate()
        for each in workers:
            each.wait(30)
    assert erp.stands() == {0: total // 2, 1: total // 2}
    told = Counter((each["partition"], each["offset"]) for each in erp.receipts())
    assert len(told) == total // 200 and set(told.values()) == {1}
    records = "SELECT count(*) FROM log.record WHERE topic = 'metrics.source-events'"
    assert erp.house.value(records) == erp.accepted()
