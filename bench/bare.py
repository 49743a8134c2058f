"""Floors over Kafka: what the bare client, and what Quix Streams, do with the same records on the same broker."""

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from kafka import TopicPartition

from shared.log.forward import Headers
from shared.log.kafka import Cluster

COPY, HOP, SUMS = "bench.copy", "bench.hop", "bench.sums"
Encoded = tuple[int, bytes, bytes, Headers]
"""Partition, key, value and headers."""


def produce(cluster: Cluster, records: Sequence[Encoded]) -> float:
    """The bare producer, with the forwarder's options and the same bytes, until all are acknowledged [records/s]."""
    topic = cluster.name_of(COPY)
    started = time.perf_counter()
    producer = cluster.producer()
    sent = [
        producer.send(topic, partition=partition, key=key, value=value, headers=headers)
        for partition, key, value, headers in records
    ]
    for one in sent:
        one.get(60)
    seconds = time.perf_counter() - started
    producer.close(0)
    return len(records) / seconds


def consume(cluster: Cluster, topic: str, partitions: int, count: int) -> float:
    """The bare consumer, with the readers' options: polls so many records and looks at none of them [records/s]."""
    started = time.perf_counter()
    consumer = cluster.consumer(None)
    assigned = [TopicPartition(cluster.name_of(topic), number) for number in range(partitions)]
    consumer.assign(assigned)
    consumer.seek_to_beginning(*assigned)
    came = 0
    while came < count:
        came += sum(map(len, consumer.poll(1000, max_records=10_000).values()))
    seconds = time.perf_counter() - started
    consumer.close(autocommit=False)
    return came / seconds


def three_hops(cluster: Cluster, times: int) -> list[float]:
    """From before a send to the record polled by a waiting consumer of the same process, three in a row [ms]."""
    topic, value = cluster.name_of(HOP), b"x" * 600
    producer, consumer = cluster.producer(), cluster.consumer(None)
    consumer.assign([TopicPartition(topic, 0)])
    consumer.seek_to_beginning()
    found = []
    for _ in range(times + 5):
        started = time.perf_counter()
        for _ in range(3):
            producer.send(topic, partition=0, key=b"", value=value, headers=[])
            while not consumer.poll(1000, max_records=10_000):
                pass
        found.append((time.perf_counter() - started) * 1000)
    producer.close(5)
    consumer.close(autocommit=False)
    return found[5:]


@dataclass(frozen=True, slots=True)
class Summed:
    """What Quix Streams made of the events."""

    seconds: float
    revenue: Decimal


def quix(python: Path, cluster: Cluster, topic: str, count: int, guarantee: str) -> Summed:
    """The keyed sum over so many events by Quix Streams, as `bench/quix.py` says."""
    brokers = str(cluster.settings.kafka_bootstrap)
    script = str(Path(__file__).parent / "quix.py")
    command = [str(python), script, brokers, cluster.name_of(topic), cluster.name_of(SUMS), str(count), guarantee]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    said = json.loads(done.stdout)
    return Summed(said["seconds"], Decimal(said["revenue"]))
