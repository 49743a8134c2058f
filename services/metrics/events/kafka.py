"""ERP events over Kafka: a topic that others write, read into the same intake as HTTP.

The offset moves in the transaction that accepts, under a lease, so a record counts once whoever dies when. Offsets may
have gaps, and a topic that was made anew is read from its beginning: (source, id) tells what was accepted before.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import structlog
from kafka.errors import CorruptRecordError, KafkaError, OffsetOutOfRangeError
from kafka.structs import OffsetAndMetadata
from sqlalchemy import Connection

from services.metrics.events.records import Judged, NotStorable, Raw, Unreadable, judge, refused, take
from shared.contracts.intake import SOURCE_EVENTS
from shared.database.outage import is_outage
from shared.database.unit_of_work import unit_of_work
from shared.log import Place
from shared.log.kafka import COMMIT_EVERY, Cluster
from shared.log.leases import INTAKE, Leases
from shared.log.position import LostOwnership, Position, ReaderFault, claim, move
from shared.service import Runtime
from shared.settings import Settings
from shared.telemetry import Telemetry

log = structlog.get_logger(__name__)

LOOKS_EVERY = 30.0  # [s] whether the topic is still the same


class TopicMissing(ReaderFault):
    """The topic that ERP systems write does not exist."""


class ClientFailed(ReaderFault):
    """The Kafka client is of no use any more."""


class KafkaIntake:
    """Takes the records of the partitions it owns. One thread; `run` returns when `stop` is set."""

    def __init__(
        self, runtime: Runtime, cluster: Cluster, stop: threading.Event, telemetry: Telemetry | None = None
    ) -> None:
        self.runtime, self.cluster, self.stop, self.telemetry = runtime, cluster, stop, telemetry or Telemetry()
        self.leases = Leases(runtime, uuid4().hex, INTAKE, self._places)
        self.positions: dict[Place, Position] = {}
        self._read: frozenset[Place] = frozenset()
        self._topic, self._look_at, self._commit_at = "", 0.0, 0.0

    def run(self) -> None:
        """Works until stopped. While the broker or the database is away, it waits; nothing is lost by that."""
        pause = 0.1
        while not self.stop.is_set():
            try:
                with self.runtime.engine.connect() as connection:
                    self.leases.begin(connection)
                    self._work(connection)
            except Exception as error:
                if is_outage(error) or isinstance(error, ReaderFault):
                    log.warning("the intake from Kafka waits", reason=str(error).splitlines()[0])
                else:
                    log.exception("the intake from Kafka was stopped by an unexpected error; it starts again")
                self.leases.forget()
                self.stop.wait(pause)
                pause = min(pause * 2, 5)
            else:
                pause = 0.1

    def _places(self) -> list[Place]:
        return [(SOURCE_EVENTS, partition) for partition in range(self.cluster.partitions(SOURCE_EVENTS))]

    def _work(self, connection: Connection) -> None:
        consumer = self._consumer()
        self._start_again()
        try:
            with self.leases.kept(connection):
                while not self.stop.is_set():
                    self.round(connection, consumer)
        finally:
            consumer.close(autocommit=False, timeout_ms=1_000)

    def _consumer(self) -> Any:
        group = f"{self.runtime.settings.kafka_prefix}{self.runtime.service.name}"
        # What a transaction took back was never sent.
        return self.cluster.consumer(group, isolation_level="read_committed")

    def round(self, connection: Connection, consumer: Any) -> None:
        """Takes what has come of the owned partitions, each in transactions of its own; waits where nothing has."""
        self._look()
        self._follow(connection, consumer)
        settings = self.runtime.settings
        if not self._read:
            self.stop.wait(settings.poll_seconds)
            return
        try:
            came = consumer.poll(int(settings.poll_seconds * 1000), settings.batch_size)
        except OffsetOutOfRangeError as error:
            self._begin_anew(error)
            return
        except CorruptRecordError as error:
            if not _in_a_name(error):
                raise
            for place in sorted(self._read):
                while not self.stop.is_set() and self._pass_unreadable(connection, place):
                    pass
            raise ClientFailed("the client met a record that it cannot read, and is made anew") from error
        for place in sorted(self._read):
            if raw := came.get(self.cluster.partition(place)):
                self._step(connection, place, raw)
        self._tell(consumer)

    def _look(self) -> None:
        if time.monotonic() < self._look_at:
            return
        topic = self.cluster.topic_id(SOURCE_EVENTS)
        if not topic:
            raise TopicMissing(
                f"The topic {self.cluster.name_of(SOURCE_EVENTS)} does not exist. Run `valueloop topics apply`."
            )
        if topic != self._topic:
            self._start_again()
        self._topic, self._look_at = topic, time.monotonic() + LOOKS_EVERY

    def _start_again(self) -> None:
        self.positions.clear()
        self._read = frozenset()
        self._look_at = 0.0

    def _follow(self, connection: Connection, consumer: Any) -> None:
        owned = self.leases.owned()
        for place in self.positions.keys() - owned:
            del self.positions[place]
        if owned == self._read == self.positions.keys():
            return
        for place in owned - self.positions.keys():
            with connection.begin():
                self.positions[place] = self._claim(connection, place)
        consumer.assign([self.cluster.partition(place) for place in owned])
        for place in owned:
            self._seek(consumer, place)
        self._read = owned

    def _seek(self, consumer: Any, place: Place) -> None:
        partition, at = self.cluster.partition(place), self.positions[place]
        if at.offset is None:
            consumer.seek_to_beginning(partition)
        else:
            consumer.seek(partition, at.offset)

    def _claim(self, connection: Connection, place: Place) -> Position:
        at = claim(connection, *place, "")
        if at.epoch in ("", self._topic):
            return at
        log.warning("the topic of source events was made anew; it is read from its beginning", partition=place[1])
        return Position(at.epoch, at.next_pos, None)

    def _begin_anew(self, error: OffsetOutOfRangeError) -> None:
        """Goes on with the oldest records there are: the next ones are gone, by retention or with their topic."""
        log.error("the next records of the source events are gone from Kafka before they were read; "
                  "send again what is missing", offsets=str(error))  # fmt: skip
        for place, at in self.positions.items():
            if self.cluster.partition(place) in error.args[0]:
                self.positions[place] = Position(at.epoch, at.next_pos, None)
        self._read = frozenset()
        self._look_at = 0.0

    def _pass_unreadable(self, connection: Connection, place: Place) -> bool:
        """Refuses the next record of a partition if the client fails on it; whether it did.

        A header's name that is not UTF-8 keeps the client from all that follows in the batch of its sender.
        """
        partition, old = self.cluster.partition(place), self.positions[place]
        consumer = self._consumer()  # one that failed once would look for the end of that batch for ever
        try:
            consumer.assign([partition])
            self._seek(consumer, place)
            at = consumer.position(partition)
            consumer.poll(1_000, 1)
        except CorruptRecordError as error:
            if not _in_a_name(error):
                raise
            raw = Raw(place[1], at, old.next_pos + at - (old.offset or 0), None, None, [])
            fault = Unreadable("A header has a name that is not UTF-8.", remedy="Name headers in plain letters.")
            self._transaction(connection, place, [refused(raw, fault)])
            return True
        finally:
            consumer.close(autocommit=False, timeout_ms=1_000)
        return False

    def _step(self, connection: Connection, place: Place, raw: Sequence[Any]) -> None:
        old = self.positions[place]
        # Counted on where the topic was made anew, so that no place is ever taken twice.
        shift = old.next_pos - (old.offset or 0)
        records = [
            Raw(place[1], each.offset, shift + each.offset, each.key, each.value, each.headers)
            for each in raw
            if each.offset >= (old.offset or 0)
        ]
        try:
            if records:
                self._apply(connection, place, records)
        except LostOwnership:
            # Neither taken nor refused: somebody else did it, or will. The place is looked up and read again.
            del self.positions[place]

    def _apply(self, connection: Connection, place: Place, records: Sequence[Raw]) -> None:
        """Takes records in one transaction; halves a failing batch until the bad record is alone."""
        now = datetime.now(UTC)
        largest = self.runtime.settings.intake_body_limit
        try:
            self._transaction(connection, place, [judge(record, largest, now) for record in records])
        except Exception as error:
            if is_outage(error) or isinstance(error, ReaderFault):
                raise
            if len(records) > 1:
                middle = len(records) // 2
                self._apply(connection, place, records[:middle])
                self._apply(connection, place, records[middle:])
                return
            log.exception("a source event could not be stored", partition=place[1], offset=records[0].offset)
            fault = NotStorable(f"It could not be stored: {type(error).__name__}.", remedy="Ask the operator.")
            self._transaction(connection, place, [refused(records[0], fault)])

    def _transaction(self, connection: Connection, place: Place, records: Sequence[Judged]) -> None:
        old, last = self.positions[place], records[-1].raw
        new = Position(self._topic, last.pos + 1, last.offset + 1)
        with unit_of_work(self.runtime, actor="intake", connection=connection) as uow:
            move(uow, place, old, new, self.leases.owner, INTAKE)
            take(uow, records, self.runtime.settings.parked_limit)
        self.positions[place] = new
        bad = sum(each.fault is not None for each in records)
        for outcome, count in (("done", len(records) - bad), ("parked", bad)):
            self.telemetry.records.labels(INTAKE, outcome).inc(count)

    def _tell(self, consumer: Any) -> None:
        """Lag for Prometheus, and offsets for the tools that watch it in Kafka."""
        offsets = {}
        for place, at in self.positions.items():
            if at.offset is not None:
                partition = self.cluster.partition(place)
                offsets[partition] = OffsetAndMetadata(at.offset, "", -1)
                lag = max((consumer.highwater(partition) or at.offset) - at.offset, 0)
                self.telemetry.reader_lag.labels(self.runtime.service.name, *map(str, place)).set(lag)
        if offsets and time.monotonic() >= self._commit_at:
            self._commit_at = time.monotonic() + COMMIT_EVERY
            try:
                consumer.commit_async(offsets)
            except KafkaError as error:
                log.warning("could not commit offsets for the tools that watch lag", error=str(error))


def _in_a_name(error: CorruptRecordError) -> bool:
    """Whether the record came as it was sent, and only the name of a header is not UTF-8."""
    return "UnicodeDecodeError" in str(error)


def start_intake(
    settings: Settings, runtimes: Mapping[str, Runtime], stop: threading.Event, telemetry: Telemetry
) -> list[threading.Thread]:
    """Starts the intake in a thread of its own where Kafka carries the log and metrics works here."""
    if not settings.kafka_bootstrap or "metrics" not in runtimes:
        return []
    intake = KafkaIntake(runtimes["metrics"], Cluster(settings), stop, telemetry)
    thread = threading.Thread(target=intake.run, name="intake")
    thread.start()
    return [thread]
