"""Bad records, stops and changes on a running cluster: others go on, and an operator can put it right."""

import json
import signal
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from kafka import KafkaProducer

from services.runtime import build_runtimes, database_urls
from shared.contracts.metrics import ReadingChanged
from shared.database.unit_of_work import unit_of_work
from shared.log.append import Outgoing
from shared.settings import Settings
from tests.cluster import checks, company
from tests.cluster.faults import Chaos, Monitor
from tests.cluster.harness import Client, Cluster, wait_for
from tests.cluster.history import History, Load

COMPANY = "faults"
SENT: list[company.Event] = []
"""Every event that the tests of this module have sent: the sums are over all of them."""


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Client:
    client = cluster.client(COMPANY)
    company.set_up(client)
    client.wait_until_settled(300)
    return client


@pytest.fixture(autouse=True)
def all_is_well_afterwards(client: Client, cluster: Cluster) -> Iterator[None]:
    """Nothing is parked, and every event of all tests so far counts once, in order."""
    yield
    wait_for("quiet", Monitor(cluster).quiet)
    client.wait_until_settled(120)
    assert client.parked() == 0
    assert company.readings(client) == company.totals(SENT)
    assert checks.out_of_order(cluster) == []


def some_events(prefix: str, count: int) -> list[company.Event]:
    SENT.extend(made := company.events(count, 7, prefix))
    return made


def push(client: Client, prefix: str, count: int = 200) -> None:
    client.push_encoded([event.body for event in some_events(prefix, count)])
    client.wait_until_settled(120)


def load(cluster: Cluster, prefix: str, count: int, seconds: float) -> Load:
    batches = list(company.batches(some_events(prefix, count), 100, 50, 7))
    return Load(lambda: cluster.client(COMPANY), History(), iter(batches), len(batches), seconds)


# --- poison ---


def test_bytes_that_no_forwarder_sent_are_passed_over(cluster: Cluster, client: Client) -> None:
    push(client, "before")
    producer = KafkaProducer(bootstrap_servers=cluster.broker.bootstrap)
    for topic in ("metrics.source-events", "metrics.readings", "goals.outcomes"):
        for partition in range(4):
            for value, headers in (
                (b"\xff\xfe", []), (None, []), (b"{}", [("ce_position", b"many")]), (b"{}", [("ce_type", b"\xff")]),
            ):  # fmt: skip
                producer.send(checks.PREFIX + topic, value, key=b"key", partition=partition, headers=headers)
    producer.flush()
    producer.close()
    push(client, "behind")
    assert {name.rsplit("-", 1)[0] for name in cluster.logged("is not from a forwarder")} >= {"metrics", "goals"}


def publish(cluster: Cluster, key: str, data: str) -> None:
    """As a faulty version of metrics would: into its own log, from where it takes the usual way."""
    settings = Settings(database_url=cluster.postgres.url)
    runtime = build_runtimes(settings, database_urls(settings, cluster.postgres.url), ["metrics"])["metrics"]
    with unit_of_work(runtime, actor="test") as uow:
        uow.outgoing.append(Outgoing(ReadingChanged.TOPIC, key, ReadingChanged.TYPE, COMPANY, data))
    runtime.engine.dispose()
    for log in runtime.logs.values():
        log.engine.dispose()  # type: ignore[attr-defined]


def last_published(cluster: Cluster, key: str) -> dict[str, Any]:
    sql = "SELECT data FROM log.record WHERE company = %s AND topic = %s AND key = %s ORDER BY pos DESC LIMIT 1"
    found: dict[str, Any] = json.loads(cluster.rows("metrics", sql, COMPANY, ReadingChanged.TOPIC, key)[0][0])
    return found


def parked(client: Client, service: str) -> list[dict[str, Any]]:
    return list(client.items(f"/{service}/v1/parked"))


def actual(client: Client, unit: str) -> str:
    found: str = client.get("/goals/v1/scores", goal=unit, period=company.PERIOD)["items"][0]["actual"]
    return found


@pytest.mark.parametrize("fault", ["schema", "handler"])
def test_a_bad_record_is_parked_with_its_key_behind_it_and_repaired_with_one_effect(
    cluster: Cluster, client: Client, tmp_path: Path, fault: str
) -> None:
    push(client, f"{fault}-before")
    key = "revenue/unit:u1"
    good = last_published(cluster, key)
    # The second is what its contract allows, but what the handler then cannot store.
    bad = {"metric": "revenue"} if fault == "schema" else good | {"version": 1_000_000, "reason": "\0"}
    publish(cluster, key, json.dumps(bad))
    wait_for("it is parked", lambda: parked(client, "goals"))
    before = {unit: actual(client, unit) for unit in ("u1", "u2")}
    client.push_encoded([event.body for event in some_events(f"{fault}-behind", 200)])
    wait_for("its successor parks", lambda: len(parked(client, "goals")) > 1)
    wait_for("others go on", lambda: actual(client, "u2") != before["u2"])
    client.wait_until_settled(120)
    assert actual(client, "u1") == before["u1"]
    assert actual(client, "u2") == company.reading(client, "revenue", "unit:u2")["value"]
    assert {record["key"] for record in parked(client, "goals")} == {key}
    for service in [s for s in ("goals", "incentives") if parked(client, s)]:
        _repair(cluster, client, service, tmp_path, json.dumps(good))
    client.wait_until_settled(120)
    assert actual(client, "u1") == company.reading(client, "revenue", "unit:u1")["value"]


def _repair(cluster: Cluster, client: Client, service: str, directory: Path, good: str) -> None:
    """As an operator does, and a second time, which finds nothing left to do."""
    which = ["--company", COMPANY, "--url", cluster.url(service)]
    said = cluster.command("parked", "list", service, *which)
    assert "waits behind an earlier one" in said
    first = parked(client, service)[0]
    place = f"{first['topic']}/{first['partition']}/{first['pos']}"
    assert first["error"].split(":")[0] in cluster.command("parked", "show", service, place, *which)
    count = len(parked(client, service))
    (directory / "repaired.json").write_text(good)
    retry = ["parked", "retry", service, place, "--repaired", str(directory / "repaired.json"), *which]
    assert f"Applied {count} record(s)." in cluster.command(*retry)
    assert "No record is parked" in cluster.command(*retry, expect=1)
    assert "Nothing is parked." in cluster.command("parked", "list", service, *which)


def test_a_reader_refuses_positions_of_another_log_and_parks_nothing(cluster: Cluster, client: Client) -> None:
    push(client, "epoch-before", 50)
    sql = "UPDATE log.position SET epoch = {} WHERE topic = 'goals.outcomes' RETURNING partition, next_pos"
    for member in cluster.workers("reviews"):
        member.held = True
        assert member.stop() == 0
    stood = sorted(cluster.rows("reviews", sql.format("'restored ' || epoch")))
    for member in cluster.workers("reviews"):
        member.held = False
    client.push_encoded([event.body for event in some_events("epoch-behind", 50)])
    told = "the position was counted in log restored"
    wait_for("the reader says so", lambda: cluster.logged(told))
    assert "rebuild this service as well" in cluster.members[cluster.logged(told)[0]].log.read_text()
    now = "SELECT partition, next_pos FROM log.position WHERE topic = 'goals.outcomes'"
    assert sorted(cluster.rows("reviews", now)) == stood
    assert client.parked() == 0
    cluster.rows("reviews", sql.format("replace(epoch, 'restored ', '')"))


# --- stops and outages ---


def test_sigterm_in_the_middle_of_a_batch_leaves_neither_done_nor_parked(cluster: Cluster, client: Client) -> None:
    sending = load(cluster, "drain", 4_000, 10).start()
    chaos = Chaos(cluster, History(), 1)
    for service in ("metrics", "goals"):
        members = cluster.workers(service)
        owners = chaos.steady_owners(service, len(members))
        wait_for("a transaction", lambda s=service, o=owners: chaos.works(s, o), every=0.002)  # type: ignore[misc]
        for member in members:
            member.held = True
            member.send(signal.SIGTERM)
        assert [member.wait() for member in members] == [0, 0]
        left = f"SELECT count(*) FROM log.lease WHERE part = 'read' AND owner = ANY(ARRAY{sorted(owners)})"
        assert cluster.rows(service, left) == [(0,)], "a worker that drains gives its partitions back"
        assert cluster.rows(service, "SELECT count(*) FROM log.parked") == [(0,)]
        for member in members:
            member.held = False
    sending.wait()


def test_an_api_says_that_it_stops_before_it_closes_and_finishes_what_runs(cluster: Cluster, client: Client) -> None:
    sending = load(cluster, "api", 4_000, 8).start()
    member, url = cluster.members["metrics-api"], cluster.url("metrics")
    answers: list[int] = []
    done = threading.Event()

    def probe() -> None:
        with httpx.Client(trust_env=False, timeout=5) as http:
            while not done.is_set():
                try:
                    answers.append(http.get(f"{url}/readyz").status_code)
                except httpx.TransportError:
                    answers.append(0)

    prober = threading.Thread(target=probe)
    prober.start()
    wait_for("ready", lambda: 200 in answers)
    member.held = True
    code = member.stop()
    done.set()
    prober.join()
    member.held = False
    sending.wait()
    closed = answers.index(0) if 0 in answers else len(answers)
    assert (code, 503 in answers[:closed]) == (0, True), "not ready before the listener closes"


@pytest.mark.parametrize("away", ["broker", "database"])
def test_an_outage_under_load_parks_nothing_and_loses_nothing(cluster: Cluster, client: Client, away: str) -> None:
    sending = load(cluster, f"{away}-away", 3_000, 12).start()
    chaos = Chaos(cluster, History(), 1)
    with chaos.broker_away("stop") if away == "broker" else chaos.postgres_away("stop"):
        ready = 200 if away == "broker" else 503
        url = cluster.url("goals")
        wait_for(f"readyz {ready}", lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == ready)
        assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
        members = cluster.workers()
        assert [member.stop() for member in members] == [0] * len(members), "SIGTERM drains during an outage as well"
    sending.wait()


# --- more partitions ---


def test_raising_partitions_under_load_keeps_the_order_of_keys_and_loses_nothing(
    cluster: Cluster, client: Client
) -> None:
    topic = "metrics.source-events"
    before = dict(cluster.rows("metrics", "SELECT partition, next_pos FROM log.partition WHERE topic = %s", topic))
    sending = load(cluster, "wide", 5_000, 12)
    sending.allowed = Fraction(9, 10)  # so that there is load on both sides of the change, and corrections across it
    sending.start()
    assert f"{topic} has 6 partitions." in cluster.command("topics", "raise", topic, "6")
    sending.allowed = Fraction(1)
    sending.wait()
    push(client, "wide-behind", 1_000)
    wait_for("quiet", Monitor(cluster).quiet)
    ends = dict(cluster.rows("metrics", "SELECT partition, next_pos FROM log.partition WHERE topic = %s", topic))
    assert len(before) == 4
    assert len(ends) == 6
    assert any(ends[partition] for partition in (4, 5))
    assert "All topics are as they should be." in cluster.command("topics", "plan")
    # An event's first observation names the change that counted it; what corrects it later makes another.
    moved = (
        "SELECT r.key, o.partition, min(o.added), max(o.added) FROM "
        "(SELECT partition, pos, min(added) AS added FROM observation GROUP BY partition, pos) o JOIN log.record r "
        "ON r.topic = %s AND (r.partition, r.pos) = (o.partition, o.pos) "
        "GROUP BY r.key, o.partition ORDER BY r.key, min(o.added)"
    )
    spans: dict[str, list[tuple[int, int, int]]] = {}
    for key, partition, first, last in cluster.rows("metrics", moved, topic):
        spans.setdefault(key, []).append((partition, first, last))
    assert any(len(each) == 2 for each in spans.values()), "no key moved to another partition"
    late = [key for key, each in spans.items() if len(each) == 2 and each[0][2] >= each[1][1]]
    assert late == [], "an event of the new partition counted before one of the old"
    assert checks.gaps(cluster) == []
