"""The measurements with Kafka carrying the log. Each ends by checking that what it timed was really done."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

from bench import bare, company
from bench.installation import Installation, NotDone, running
from bench.measure import Figure, percentile
from bench.scenarios import WARM, Company, Say, Size, ripples, until
from deploy.kafka.broker import Broker, missing
from services.metrics.events.accept import TOPIC, accept, incoming
from services.metrics.events.cloudevents import from_json
from services.processes import Child
from shared.database.unit_of_work import unit_of_work
from shared.log import Place
from shared.log.forward import encode, run_forwarders
from shared.log.kafka import Cluster, KafkaFeed
from shared.log.position import Position
from shared.log.postgres import PostgresLog
from shared.log.topics import apply, plan
from shared.service import Runtime

TOGETHER = 5_000
LONGEST = 300  # [s] for any one measurement
_UNREAD = """
SELECT (SELECT sum(next_pos) FROM log.partition WHERE topic = %(topic)s)
     - (SELECT coalesce(sum(next_pos), 0) FROM log.position WHERE topic = %(topic)s)
"""
_UNSENT = "SELECT (SELECT sum(next_pos) FROM log.partition) - (SELECT coalesce(sum(next_pos), 0) FROM log.forward)"
_OWNED = "SELECT count(*) FROM log.lease WHERE part = %(part)s AND topic = %(topic)s AND owner IS NOT NULL"


def all_of(size: Size, quix: Path, say: Say) -> list[Figure]:
    """Every measurement over Kafka; where no broker can run, a line that says so."""
    if reason := missing():
        return [Figure("everything over Kafka", None, "1/s", None, f"not measured: {reason}")]
    say("Starting a Kafka broker, and ValueLoop anew with Kafka carrying the log.")
    with Broker(heap="1g") as broker, running(broker.bootstrap) as at, _metrics(at) as metrics:
        cluster = Cluster(metrics.settings)
        apply(cluster, plan(cluster, {bare.COPY: metrics.settings.partitions, bare.SUMS: 4, bare.HOP: 1}))
        bench = Company(at, "bench")
        company.set_up(bench.client, "bench")
        bench.client.wait_until_settled()
        soon = idle(bench, cluster, size, say)
        at.stop_workers()
        revenue = bench.revenue() + _fill(metrics, size.carried, say)
        much = copied(at, metrics, cluster, say)
        return [*much, *worked(bench, cluster, size.carried + size.ripples + WARM, revenue, quix, say), *soon]


@contextmanager
def _metrics(at: Installation) -> Iterator[Runtime]:
    runtime = at.runtime("metrics")
    yield runtime
    runtime.engine.dispose()


# --- how soon ---


def idle(bench: Company, cluster: Cluster, size: Size, say: Say) -> list[Figure]:
    """From before the POST of an event until the accrual that it moves can be read, nothing else going on."""
    hops = bare.three_hops(cluster, 5 * size.ripples)
    times = ripples(bench, size.ripples, say)
    note = f"n = {len(times)}; floor: 3 hops from send to poll of the bare client"
    return [
        Figure(f"Kafka: POST → accrual readable, p{share * 100:.0f}", percentile(times, share), "ms",
               percentile(hops, share), note)
        for share in (0.5, 0.99)
    ]  # fmt: skip


# --- how much: copied and read ---


def _fill(metrics: Runtime, count: int, say: Say) -> Decimal:
    """Accepts events into the log as the intake does; returns the revenue they amount to."""
    say(f"Accepting {count:,} events.")
    found, now = company.events("carried", count), datetime.now(UTC)
    for first in range(0, count, TOGETHER):
        bodies = found.bodies[first : first + TOGETHER]
        with unit_of_work(metrics, actor="bench") as uow:
            accept(uow, [incoming("bench", from_json(body, now)) for body in bodies])
    return found.revenue


def copied(at: Installation, metrics: Runtime, cluster: Cluster, say: Say) -> list[Figure]:
    """The log copied to Kafka, and read from there, each beside the bare client doing that with the same bytes."""
    say("Forwarder and feed, and the bare client with the same records.")
    count, seconds = _forward(at, metrics, cluster)
    records = _encoded(metrics)
    size = sum(len(key) + len(value) for _, key, value, _ in records) // len(records)
    produced = bare.produce(cluster, records)
    read = _read(metrics, cluster, len(records))
    polled = bare.consume(cluster, TOPIC, metrics.settings.partitions, len(records))
    same = f"{size} bytes each; floor: bare client"
    return [
        Figure("Kafka: table → topic, acknowledged", count / seconds, "1/s", produced, f"{count:,} of {same}"),
        Figure("Kafka: topic → records to apply", read, "1/s", polled, f"{len(records):,} of {same}, not decoded"),
    ]  # fmt: skip


def _forward(at: Installation, metrics: Runtime, cluster: Cluster) -> tuple[int, float]:
    """How many records one forwarder copied, and the seconds from its leases to its last cursor."""
    with psycopg.connect(at.database_of("metrics"), autocommit=True) as connection:
        unsent, stop = _ask(connection, _UNSENT), threading.Event()
        threads = run_forwarders([metrics], cluster, stop)
        until(lambda: _ask(connection, _OWNED, part="forward"), LONGEST, 0.02)
        started = time.perf_counter()
        until(lambda: not _ask(connection, _UNSENT), LONGEST, 0.02)
        seconds = time.perf_counter() - started
        stop.set()
        threads[0].join()
    return unsent, seconds


def _encoded(metrics: Runtime) -> list[bare.Encoded]:
    log, found = PostgresLog(metrics.engine), []
    for number in range(metrics.settings.partitions):
        for record in log.read((TOPIC, number), 0, 10**9):
            found.append((number, *encode(record, "metrics")))
    return found


def _read(metrics: Runtime, cluster: Cluster, count: int) -> float:
    """As a worker reads, with nothing done about the records [records/s]."""
    positions: dict[Place, Position] = {(TOPIC, n): Position("", 0) for n in range(metrics.settings.partitions)}
    batch = metrics.settings.batch_size
    started, came = time.perf_counter(), 0
    feed = KafkaFeed(cluster, cluster.consumer(None), 2 * batch)
    while came < count:
        for place in sorted(waiting := feed.waiting(positions)):
            records = feed.read(place, positions[place], batch)
            positions[place] = positions[place].after(records)
            came += len(records)
        if not waiting:
            feed.wait(1)
    seconds = time.perf_counter() - started
    feed.close()
    return came / seconds


# --- how much: worked off ---


def worked(bench: Company, cluster: Cluster, events: int, revenue: Decimal, quix: Path, say: Say) -> list[Figure]:
    """One process of the metrics worker on what waits in Kafka, beside one of Quix Streams on the same records."""
    say("The metrics worker on what waits in Kafka.")
    count, seconds = _work(bench.at)
    bench.at.start_workers(bench.client)
    bench.client.wait_until_settled(timeout=LONGEST, interval=0.1)
    bench.expect_revenue(revenue)
    bench.at.stop_workers()
    name, note = "Kafka: metrics worker, one process", "map, fold, derive, publish"
    if not quix.exists():
        return [Figure(name, count / seconds, "1/s", None, f"{note}; Quix Streams is not installed in {quix}")]
    figures = []
    for guarantee in ("exactly-once", "at-least-once"):
        say(f"Quix Streams, {guarantee}, on the same records.")
        summed = bare.quix(quix, cluster, TOPIC, events, guarantee)
        if summed.revenue != revenue:
            raise NotDone(f"Quix Streams sums {summed.revenue} and should {revenue}.")
        floor = f"{count:,} events; {note}; floor: Quix Streams, keyed sum, {guarantee}"
        figures.append(Figure(name, count / seconds, "1/s", events / summed.seconds, floor))
    return figures


def _work(at: Installation) -> tuple[int, float]:
    """How many events were waiting, and the seconds until all were applied and what they cause was acknowledged."""
    child = Child("metrics worker", ["work", "metrics", "--supervised"])
    with psycopg.connect(at.database_of("metrics"), autocommit=True) as connection:
        count = _ask(connection, _UNREAD)
        child.start(at.supervisor._environment)
        try:
            until(lambda: _ask(connection, _OWNED, part="read"), LONGEST, 0.02)
            started = time.perf_counter()
            until(lambda: not _ask(connection, _UNREAD) and not _ask(connection, _UNSENT), LONGEST, 0.02)
            seconds = time.perf_counter() - started
        finally:
            child.stop(30)
    return count, seconds


def _ask(connection: "psycopg.Connection[Any]", sql: str, **given: str) -> int:
    row = connection.execute(sql, {"topic": TOPIC, **given}).fetchone()
    return int(row[0]) if row else 0
