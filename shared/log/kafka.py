"""The log as it comes from Kafka, where forwarders copy it (`shared.log.forward`).

A worker assigns itself the partitions it leases and seeks to its own positions: Kafka's groups decide nothing.
Their offsets are committed only for the tools that watch lag. A record is recognised by the position its owner gave it:
lower ones were delivered before and are dropped; behind a gap, nothing is applied until the missing record has come.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Protocol

import structlog
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata, TopicPartition

from shared.database.directory import BrokenEnvironment
from shared.log import Place, Record
from shared.log.forward import Producer
from shared.log.position import GapInLog, Position
from shared.settings import Settings

log = structlog.get_logger(__name__)

LARGEST = 10 * 1024 * 1024
"""The largest record [bytes]: an event as large as the intake takes it, with what is put around it."""
COMMIT_EVERY = 5.0  # [s] offsets for the tools that watch lag
REMEMBER = 10.0  # [s] how long partition counts are believed


class NoChecksums(BrokenEnvironment):
    """The extension that computes Kafka's checksums is missing."""


class Consumer(Protocol):
    """What a feed needs of a Kafka consumer; `kafka.KafkaConsumer` has it."""

    def assign(self, partitions: list[Any], /) -> None: ...
    def seek(self, partition: Any, offset: int, /) -> None: ...
    def seek_to_beginning(self, *partitions: Any) -> None: ...
    def pause(self, *partitions: Any) -> None: ...
    def resume(self, *partitions: Any) -> None: ...
    def poll(self, timeout_ms: int, max_records: int) -> Mapping[Any, Sequence[Any]]: ...
    def highwater(self, partition: Any, /) -> int | None: ...
    def commit_async(self, offsets: Mapping[Any, Any], /) -> Any: ...
    def close(self, *, autocommit: bool, timeout_ms: int) -> None: ...


class Cluster:
    """One Kafka cluster, as the settings say how to reach it. May be used by all threads of a process."""

    def __init__(self, settings: Settings) -> None:
        require_checksums()
        self.settings = settings
        self._lock = threading.Lock()
        self._asked: KafkaConsumer | None = None
        self._counts: dict[str, tuple[float, int]] = {}
        self._refreshing = False

    @property
    def connection(self) -> dict[str, Any]:
        """How to reach it, in the words of the client library."""
        settings = self.settings
        password = settings.kafka_password
        said = {
            "bootstrap_servers": (settings.kafka_bootstrap or "").split(","),
            "security_protocol": settings.kafka_security,
            "ssl_cafile": settings.kafka_ca_file and str(settings.kafka_ca_file),
            "ssl_certfile": settings.kafka_certificate_file and str(settings.kafka_certificate_file),
            "ssl_keyfile": settings.kafka_key_file and str(settings.kafka_key_file),
            "sasl_mechanism": settings.kafka_sasl_mechanism if settings.kafka_username else None,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": password.get_secret_value() if password else None,
        }
        return {name: value for name, value in said.items() if value is not None} | {
            "allow_auto_create_topics": False,
            "bootstrap_timeout_ms": 5_000,  # whoever waits for Kafka asks again, and looks in between whether to stop
            "request_timeout_ms": int(settings.kafka_timeout_seconds * 1000),
            "reconnect_backoff_max_ms": 2_000,
            "metadata_max_age_ms": 30_000,
            "client_id": "valueloop",
        }

    def name_of(self, topic: str) -> str:
        """What a topic is called in the cluster."""
        return self.settings.kafka_prefix + topic

    def producer(self) -> Producer:
        """A producer whose sends are acknowledged by all in-sync replicas, in order, without doubles of its own."""
        # Lingering would delay every hop, and batches fill by themselves while earlier ones are under way.
        made: Producer = _Producer(
            **self.connection, acks="all", enable_idempotence=True, linger_ms=0, batch_size=512 * 1024,
            max_request_size=LARGEST, max_block_ms=int(self.settings.kafka_timeout_seconds * 1000),
            delivery_timeout_ms=int(self.settings.kafka_timeout_seconds * 1000) + 5_000,
        )  # fmt: skip
        return made

    def consumer(self, group: str | None, **more: Any) -> Any:
        """A consumer that takes what it is assigned, from where it is told. `more` are settings of the library."""
        return KafkaConsumer(
            **self.connection, group_id=group, enable_auto_commit=False, auto_offset_reset="none",
            fetch_max_wait_ms=500, max_partition_fetch_bytes=4 * 1024 * 1024, **more,
        )  # fmt: skip

    def admin(self) -> Any:
        """For topics and their configuration."""
        return KafkaAdminClient(**{k: v for k, v in self.connection.items() if k != "allow_auto_create_topics"})

    def partitions(self, topic: str) -> int:
        """How many a topic has; 0 where it does not exist.

        What is known is told at once, though some seconds old, and asked anew apart from the caller: leases are renewed
        by it, and must not wait for a cluster that is away.
        """
        at, count = self._counts.get(topic, (0.0, 0))
        if not count:
            with self._lock:
                return self._count(topic)
        if time.monotonic() - at > REMEMBER and not self._refreshing:
            self._refreshing = True
            threading.Thread(target=self._refresh, name="partition counts", daemon=True).start()
        return count

    def _refresh(self) -> None:
        try:
            with self._lock:
                self._ask().topics()  # the library asks for what it knows by itself only when it gets old
                for topic in list(self._counts):
                    self._count(topic)
        except KafkaError as error:
            log.warning("partition counts are not up to date", reason=str(error))
        finally:
            self._refreshing = False

    def _count(self, topic: str) -> int:
        count = len(self._ask().partitions_for_topic(self.name_of(topic)) or ())
        self._counts[topic] = (time.monotonic(), count)
        return count

    def topic_id(self, topic: str) -> str:
        """Another one where a topic was deleted and made anew; empty where it does not exist."""
        admin = self.admin()
        try:
            (found,) = admin.describe_topics([self.name_of(topic)])
        finally:
            admin.close()
        return "" if found["error_code"] else str(found["topic_id"])

    def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        """The offset that the next record of each partition will get."""
        with self._lock:
            ends = self._ask().end_offsets([self.partition(place) for place in places])
        return {place: ends[self.partition(place)] for place in places}

    def partition(self, place: Place) -> TopicPartition:
        """A place, in the words of the client library."""
        return TopicPartition(self.name_of(place[0]), place[1])

    def last(self, place: Place) -> Record | None:
        """See `forward.Target`. What no forwarder sent is passed over."""
        partition = self.partition(place)
        with self._lock:
            consumer = self._ask()
            start = consumer.beginning_offsets([partition])[partition]
            offset = consumer.end_offsets([partition])[partition]
            consumer.assign([partition])
            while offset > start:
                offset -= 1
                consumer.seek(partition, offset)
                raw = consumer.poll(timeout_ms=int(self.settings.kafka_timeout_seconds * 1000), max_records=1)
                if partition not in raw:
                    raise KafkaTimeoutError(f"{partition.topic}/{partition.partition} gave no record to read")
                for one in raw[partition]:
                    if (record := decode(place, one)) is not None:
                        return record
        return None

    def _ask(self) -> KafkaConsumer:
        self._asked = self._asked or KafkaConsumer(**self.connection, enable_auto_commit=False)
        return self._asked


class _Producer(KafkaProducer):  # type: ignore[misc]  # the library has no types
    """One that can be thrown away: the library's `close(0)` raises while records wait, and goes on sending them."""

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        if timeout == 0:
            self._sender.force_close()
        with suppress(KafkaTimeoutError):
            super().close(timeout, null_logger)


def require_checksums() -> None:
    """Raises `NoChecksums` where records would be checked in pure Python, which is some hundred times slower."""
    try:
        import crc32c  # noqa: F401
    except ImportError as error:
        raise NoChecksums(
            "The Python extension crc32c is missing, without which Kafka's records are checked far too slowly.",
            remedy="Install it: pip install crc32c. It comes with ValueLoop's requirements.",
        ) from error


class KafkaLog:
    """What any thread may ask about a log in Kafka. See `Log`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def epoch(self) -> str:
        """See `Log`. Its records tell."""
        return ""

    def partitions(self, topic: str) -> int:
        """See `Log`."""
        return self._cluster.partitions(topic)

    def lag(self, positions: Mapping[Place, Position | None]) -> dict[Place, int]:
        """See `Log`. In offsets, so that a record delivered twice counts twice."""
        ends = self._cluster.ends(list(positions))
        return {place: ends[place] - ((at.offset if at else 0) or 0) for place, at in positions.items()}


@dataclass
class Stream:
    """What has come of one partition and is not applied yet. `low`: nothing below this position will come again."""

    low: int
    records: deque[Record] = field(default_factory=deque)
    seen: int = 0
    """The offset after the last record that came."""
    paused: bool = False

    def forget_below(self, pos: int) -> None:
        """Drops from the front what is applied."""
        self.low = pos
        while self.records and self.records[0].pos < pos:
            self.records.popleft()

    def following(self, pos: int, limit: int) -> list[Record]:
        """The records from `pos` on that follow without a gap, each once."""
        found: list[Record] = []
        for record in self.records:
            if record.pos == pos + len(found):
                found.append(record)
                if len(found) == limit:
                    break
        return found


class KafkaFeed:
    """Reads a consumer on behalf of one worker. See `Feed`.

    Args:
        ahead: how many records of a partition are kept in memory before it is paused.
    """

    def __init__(self, cluster: Any, consumer: Consumer, ahead: int) -> None:
        self._cluster, self._consumer, self._ahead = cluster, consumer, ahead
        self._streams: dict[Place, Stream] = {}
        self._places: dict[Any, Place] = {}
        self._commit_at = 0.0

    def waiting(self, positions: Mapping[Place, Position]) -> set[Place]:
        """See `Feed`. Also what holds only records behind a gap, so that reading says so."""
        self._follow(positions)
        self._take(0)
        self._commit(positions)
        return {place for place, stream in self._streams.items() if stream.records}

    def read(self, place: Place, position: Position, limit: int) -> Sequence[Record]:
        """See `Feed`.

        Raises:
            GapInLog: the partition ends, and the record that should follow is missing from what came. Where a send
                failed, the forwarder repeats the missing record and all that follow; until then this is raised again.
        """
        stream = self._streams[place]
        stream.forget_below(position.next_pos)
        if found := stream.following(position.next_pos, limit):
            return found
        if stream.records and stream.seen >= (self._consumer.highwater(self._cluster.partition(place)) or 0):
            position.after(list(islice(stream.records, 1)))
        if len(stream.records) > self._ahead:
            stream.records.clear()  # all of it lies behind the gap and will come again
        return found

    def wait(self, seconds: float) -> None:
        """See `Feed`."""
        self._take(int(seconds * 1000))

    def close(self) -> None:
        """See `Feed`."""
        self._consumer.close(autocommit=False, timeout_ms=1_000)

    def _follow(self, positions: Mapping[Place, Position]) -> None:
        if positions.keys() != self._streams.keys():
            self._places = {self._cluster.partition(place): place for place in positions}
            self._consumer.assign(list(self._places))
            self._streams = {place: self._streams[place] for place in positions if place in self._streams}
        for partition, place in self._places.items():
            stream, at = self._streams.get(place), positions[place]
            if stream is None or at.next_pos < stream.low:
                self._streams[place] = Stream(at.next_pos, seen=at.offset or 0)
                if at.offset is None:
                    self._consumer.seek_to_beginning(partition)
                else:
                    self._consumer.seek(partition, at.offset)
                if stream and stream.paused:
                    self._consumer.resume(partition)
            else:
                stream.forget_below(at.next_pos)
                self._hold_back(partition, stream)

    def _hold_back(self, partition: Any, stream: Stream) -> None:
        full = len(stream.records) > self._ahead
        if full != stream.paused:
            stream.paused = full
            (self._consumer.pause if full else self._consumer.resume)(partition)

    def _take(self, timeout_ms: int) -> None:
        try:
            came = self._consumer.poll(timeout_ms, self._ahead)
        except OffsetOutOfRangeError as error:
            raise GapInLog(
                f"Kafka does not have the next record of a partition any more ({error}): its retention ended before it "
                "was read, or the topic was made anew. Rebuild this service from its sources."
            ) from error
        for partition, raw in came.items():
            place = self._places.get(partition)
            if place is None or not raw:
                continue
            stream = self._streams[place]
            stream.seen = raw[-1].offset + 1
            for one in raw:
                record = decode(place, one)
                if record and record.pos >= stream.low:
                    stream.records.append(record)

    def _commit(self, positions: Mapping[Place, Position]) -> None:
        if time.monotonic() < self._commit_at:
            return
        self._commit_at = time.monotonic() + COMMIT_EVERY
        offsets = {
            self._cluster.partition(place): OffsetAndMetadata(at.offset, "", -1)
            for place, at in positions.items()
            if at.offset is not None
        }
        if offsets:
            try:
                self._consumer.commit_async(offsets)
            except KafkaError as error:  # only tools look at them
                log.warning("could not commit offsets for the tools that watch lag", error=str(error))


def decode(place: Place, raw: Any) -> Record | None:
    """The record that a forwarder sent; None, with a line in the log, for one that no forwarder sent."""
    try:
        headers = {name: value.decode() for name, value in raw.headers}
        return Record(
            place[0], place[1], int(headers["ce_position"]), headers.get("ce_subject", ""), headers["ce_type"],
            headers["ce_company"], raw.value.decode(), headers.get("traceparent"),
            datetime.fromisoformat(headers["ce_time"]), int(headers["ce_copies"]), headers["ce_epoch"], raw.offset,
        )  # fmt: skip
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        # Without a position it cannot be one of ours, and nothing waits for it.
        log.error("a record in Kafka is not from a forwarder, and is passed over", topic=place[0], partition=place[1],
                  offset=raw.offset, missing=str(error))  # fmt: skip
        return None
