"""A simulated Kafka: partitions are lists, and what a broker and its clients may do to records happens to them here.

Within Kafka's rules: an idempotent producer's retry is no double; a new producer's repetition is. A send that failed
may have arrived, may arrive later, or may be missing before others that arrived. A consumer gets what is there in any
portions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from kafka.errors import KafkaTimeoutError
from kafka.structs import TopicPartition

from shared.log import Place, Record
from shared.log.forward import Headers
from shared.log.kafka import decode
from tests.simulation.actors import SENT, reached

UNACKNOWLEDGED, REFUSED, GAP, LATE, RETRIED = "unacknowledged", "refused", "gap", "late", "retried"
TROUBLES = (UNACKNOWLEDGED, REFUSED, GAP, LATE, RETRIED)


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as a consumer gets it."""

    offset: int
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Sent:
    """A record on its way."""

    place: Place
    value: bytes
    headers: Headers
    producer: int
    sequence: int


@dataclass
class Broker:
    """The whole cluster; also what the product's `Cluster` is to feeds and forwarders.

    Args:
        counts: how many partitions each topic has.
        trouble: what happens to the next batch that a producer sends; one of `TROUBLES`.
        portion: the most records of a partition that one poll gives.
        eager: how many records a producer gathers before it sends them.
    """

    counts: Mapping[str, int]
    trouble: str | None = None
    portion: int = 5_000
    eager: int = 5_000
    partitions_: dict[Place, list[Raw]] = field(default_factory=dict)
    delayed: list[list[Sent]] = field(default_factory=list)
    _last: dict[tuple[int, Place], int] = field(default_factory=dict)
    _producers: Any = field(default_factory=count)

    def partitions(self, topic: str) -> int:
        return self.counts[topic]

    def name_of(self, topic: str) -> str:
        return topic

    def partition(self, place: Place) -> TopicPartition:
        return TopicPartition(*place)

    def ends(self, places: Sequence[Place]) -> dict[Place, int]:
        return {place: len(self.records(place)) for place in places}

    def last(self, place: Place) -> Record | None:
        there = self.records(place)
        return decode(place, there[-1]) if there else None

    def producer(self) -> "Producer":
        return Producer(self, next(self._producers))

    def consumer(self) -> "Consumer":
        return Consumer(self)

    def records(self, place: Place) -> list[Raw]:
        return self.partitions_.setdefault(place, [])

    def append(self, batch: Sequence[Sent]) -> None:
        """What arrives is kept, but for what an idempotent producer sends again."""
        for one in batch:
            log, slot = self.records(one.place), (one.producer, one.place)
            if one.sequence > self._last.get(slot, -1):
                self._last[slot] = one.sequence
                log.append(Raw(len(log), one.value, one.headers))

    def deliver(self, batch: list[Sent], dice: Random) -> bool:
        """Takes a batch in, in whatever trouble there is; whether its producer gets acknowledgements."""
        trouble, self.trouble = self.trouble, None
        if trouble == LATE:
            self.delayed.append(batch)
        elif trouble == GAP:
            # The client gives up one batch, takes a new epoch, and lets the following ones pass.
            missing = dice.randrange(len(batch))
            self.append([one for number, one in enumerate(batch) if number != missing])
        elif trouble != REFUSED:
            self.append(batch)
        if trouble == RETRIED:
            self.append(batch)
        return trouble in (None, RETRIED)

    def late_arrival(self, dice: Random) -> None:
        """A batch whose producer has long given it up reaches the broker."""
        self.append(self.delayed.pop(dice.randrange(len(self.delayed))))


class Producer:
    """Idempotent and acknowledged by all, as the product asks for it. See `forward.Producer`."""

    def __init__(self, broker: Broker, number: int) -> None:
        self._broker, self._number = broker, number
        self._dice, self._sequences, self._waiting = Random(f"producer {number}"), count(), list[Sent]()
        self.failed = False

    def send(self, topic: str, *, partition: int, key: bytes, value: bytes, headers: Headers) -> "Acknowledgement":
        self._waiting.append(Sent((topic, partition), value, headers, self._number, next(self._sequences)))
        if len(self._waiting) >= self._broker.eager:
            self.flush()
        reached(SENT)
        return Acknowledgement(self)

    def flush(self) -> None:
        batch, self._waiting = self._waiting, []
        if batch and not self._broker.deliver(batch, self._dice):
            self.failed = True

    def close(self, timeout: float) -> None:
        self._waiting = []


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Of a record; where one of its producer failed, none can be relied on."""

    producer: Producer

    def get(self, timeout: float) -> None:
        self.producer.flush()
        if self.producer.failed:
            raise KafkaTimeoutError("simulated: not acknowledged in time")


class Consumer:
    """See `kafka.Consumer` of the log."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._at: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._at = {partition: self._at.get(partition, 0) for partition in partitions}

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self._at[partition] = offset

    def seek_to_beginning(self, *partitions: TopicPartition) -> None:
        self._at |= dict.fromkeys(partitions, 0)

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused -= set(partitions)

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Raw]]:
        came = {}
        for partition in sorted(self._at.keys() - self._paused):
            at, most = self._at[partition], min(self._broker.portion, max_records)
            if found := self._broker.records((partition.topic, partition.partition))[at : at + most]:
                came[partition], self._at[partition] = found, at + len(found)
        return came

    def highwater(self, partition: TopicPartition) -> int:
        return len(self._broker.records((partition.topic, partition.partition)))

    def commit_async(self, offsets: Mapping[Any, Any]) -> None:
        """Only tools look at them."""

    def close(self, *, autocommit: bool, timeout_ms: int) -> None:
        self._at = {}
