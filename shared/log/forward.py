"""Forwarders: they copy a service's own log to Kafka, partition by partition, in order, and lose nothing on the way.

The cursor moves after the broker's acknowledgement, under the lease. What was sent but not noted is sent again, and
readers drop it by its position. After any failed send the producer is thrown away: its later batches may have passed
where an earlier one did not, and starting again at the cursor repeats them all.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from uuid import uuid4

import structlog
from sqlalchemy import Connection, text

from shared.database.outage import is_outage
from shared.log import Place, Record
from shared.log.leases import FORWARD, Leases
from shared.log.position import LostOwnership, ReaderFault
from shared.log.postgres import PostgresLog, Subscription
from shared.service import Runtime

log = structlog.get_logger(__name__)

Headers = list[tuple[str, bytes]]

_CURSOR = text(
    "INSERT INTO log.forward (topic, partition, next_pos) VALUES (:topic, :partition, 0) ON CONFLICT DO NOTHING"
)
_AT = text("SELECT next_pos FROM log.forward WHERE topic = :topic AND partition = :partition")
_MOVE = text(
    "UPDATE log.forward SET next_pos = :new WHERE topic = :topic AND partition = :partition AND next_pos = :old "
    "AND EXISTS (SELECT 1 FROM log.lease l WHERE l.part = 'forward' AND l.topic = :topic "
    "AND l.partition = :partition AND l.owner = :owner)"
)


class Producer(Protocol):
    """What a forwarder needs of a Kafka producer; `kafka.KafkaProducer` has it."""

    def send(self, topic: str, *, partition: int, key: bytes, value: bytes, headers: Headers) -> "Acknowledgement":
        """Sends after all that was sent before, and returns at once."""

    def close(self, timeout: float) -> None:
        """Gives up what is not acknowledged."""


class Acknowledgement(Protocol):
    """Of one record."""

    def get(self, timeout: float) -> Any:
        """Returns once every in-sync replica has the record; raises where that failed."""


class Target(Protocol):
    """The cluster that a forwarder copies to."""

    def producer(self) -> Producer:
        """A new producer, with the guarantees that forwarding needs: acknowledged by all, idempotent."""

    def name_of(self, topic: str) -> str:
        """What the topic is called there."""

    def last(self, place: Place) -> Record | None:
        """The last record that any forwarder sent to a partition; None where there is none."""


class ForeignTopic(ReaderFault):
    """The topic in Kafka holds records that this log does not have."""


class Forwarder:
    """Copies the partitions it owns. One thread; `run` returns when `stop` is set."""

    def __init__(self, runtime: Runtime, target: Target, stop: threading.Event) -> None:
        self.runtime, self.target, self.stop = runtime, target, stop
        self.leases = Leases(runtime, uuid4().hex, FORWARD, self._places)
        self.log = PostgresLog(runtime.engine)
        self._cursors: dict[Place, int] = {}
        self._producer: Producer | None = None
        self._pause = 0.1  # [s] until the next try after a failed one; grows while they fail

    def run(self) -> None:
        """Copies until stopped. While the broker or the database is away, it waits; nothing is lost by that."""
        while not self.stop.is_set():
            try:
                with self.runtime.engine.connect() as connection:
                    self.leases.begin(connection)
                    self._work(connection)
            except Exception as error:
                if is_outage(error) or isinstance(error, ReaderFault):
                    log.warning("forwarder waits", service=self._name, reason=str(error).splitlines()[0])
                else:
                    log.exception("forwarder stopped by an unexpected error; it starts again", service=self._name)
                self.leases.forget()
                self.stop.wait(self._pause)
                self._pause = min(self._pause * 2, 5)
            finally:
                self.start_again()

    @property
    def _name(self) -> str:
        return self.runtime.service.name

    def _places(self) -> list[Place]:
        return [(t, p) for t in self.runtime.service.topics for p in range(self.log.partitions(t))]

    def _work(self, connection: Connection) -> None:
        subscription = Subscription(self.runtime.engine)
        try:
            with self.leases.kept(connection):
                while not self.stop.is_set():
                    subscription.drain()
                    if not self.round(connection):
                        subscription.wait(self.runtime.settings.poll_seconds)
        finally:
            subscription.close()

    def start_again(self) -> None:
        """Throws the producer away, and reads the cursors again."""
        self._cursors.clear()
        if self._producer:
            self._producer.close(0)
            self._producer = None

    def round(self, connection: Connection) -> bool:
        """Copies one chunk of each owned partition that has one; whether there was any."""
        owned = self.leases.owned()
        for place in self._cursors.keys() - owned:
            del self._cursors[place]
        for place in owned - self._cursors.keys():
            self._cursors[place] = self._cursor(connection, place)
        ends = self.log.ends({topic for topic, _ in owned})
        behind = [place for place in sorted(owned) if ends[place] > self._cursors[place]]
        if behind:
            self.step(connection, behind)
        return bool(behind)

    def step(self, connection: Connection, places: Sequence[Place]) -> None:
        """Sends a chunk of each of these partitions, waits for the acknowledgements, then moves the cursors.

        Raises:
            LostOwnership: somebody else copies one of them now.
        """
        limit = self.runtime.settings.batch_size
        chunks = {place: self.log.read(place, self._cursors[place], limit) for place in places}
        sent = [self._send(record) for chunk in chunks.values() for record in chunk]
        for acknowledgement in sent:
            acknowledgement.get(self.runtime.settings.kafka_timeout_seconds)
        # Where the log was trimmed before it was ever copied, the first position copied is not the cursor.
        self._move(connection, {place: chunk[-1].pos + 1 for place, chunk in chunks.items() if chunk})

    def _send(self, record: Record) -> Acknowledgement:
        self._producer = self._producer or self.target.producer()
        key, value, headers = encode(record, self._name)
        topic = self.target.name_of(record.topic)
        return self._producer.send(topic, partition=record.partition, key=key, value=value, headers=headers)

    def _move(self, connection: Connection, to: dict[Place, int]) -> None:
        with connection.begin():
            for place, new in sorted(to.items()):
                params = {"topic": place[0], "partition": place[1], "old": self._cursors[place], "new": new}
                if not connection.execute(_MOVE, params | {"owner": self.leases.owner}).rowcount:
                    raise LostOwnership(f"{place[0]}/{place[1]} is copied by another forwarder now")
        self._cursors |= to
        self._pause = 0.1

    def _cursor(self, connection: Connection, place: Place) -> int:
        refuse_foreign(self.target, self.log, place)
        params = {"topic": place[0], "partition": place[1]}
        with connection.begin():
            connection.execute(_CURSOR, params)
            return int(connection.execute(_AT, params).scalar_one())


def refuse_foreign(target: Target, log: PostgresLog, place: Place) -> None:
    """Positions mean nothing between logs: readers would drop new records as old ones.

    Raises:
        ForeignTopic: the partition in Kafka holds records that this log does not have.
    """
    last = target.last(place)
    if last is None:
        return
    if last.epoch != log.epoch():
        raise ForeignTopic(
            f"{target.name_of(place[0])}/{place[1]} in Kafka holds records of log {last.epoch[:8]}, this one "
            f"is {log.epoch()[:8]}: another installation's, or one from before a rebuild. Set another "
            "VALUELOOP_KAFKA_PREFIX."
        )
    if last.pos >= log.ends([place[0]])[place]:
        raise ForeignTopic(
            f"{target.name_of(place[0])}/{place[1]} in Kafka holds record {last.pos}, which this log has not "
            "reached: its database was restored to an earlier moment. Rebuild from it (`valueloop rebuild`), with "
            "another VALUELOOP_KAFKA_PREFIX."
        )


def encode(record: Record, service: str) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of a record in Kafka: the binary mode of the CloudEvents binding, with extensions."""
    headers = {
        "content-type": "application/json",
        "ce_specversion": "1.0",
        "ce_id": f"{record.epoch}-{record.topic}-{record.partition}-{record.pos}",
        "ce_source": f"/valueloop/{service}",
        "ce_type": record.type,
        "ce_time": record.recorded_at.isoformat(),
        "ce_company": record.company,
        "ce_epoch": record.epoch,
        "ce_position": str(record.pos),
        "ce_copies": str(record.copies),
    }
    if record.key:
        headers["ce_subject"] = record.key
    if record.traceparent:
        headers["traceparent"] = record.traceparent
    key = f"{record.company}\x1f{record.key}"
    return key.encode(), record.data.encode(), [(name, value.encode()) for name, value in headers.items()]


def run_forwarders(runtimes: Iterable[Runtime], target: Target, stop: threading.Event) -> list[threading.Thread]:
    """Starts a forwarder for each service, each in its own thread, until `stop` is set."""
    forwarders = {runtime.service.name: Forwarder(runtime, target, stop) for runtime in runtimes}
    threads = [threading.Thread(target=one.run, name=f"forwarder-{name}") for name, one in forwarders.items()]
    for thread in threads:
        thread.start()
    return threads
