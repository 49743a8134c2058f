"""The archive: accepted events and commands of all services, read from their logs in the order they were accepted in.

Topics that a service does not name as derived are its archive. Their accept times order them, and within a partition
the log does, whatever the clocks said. Ticks are exact: one is passed on behind everything that each service had
accepted when it came by, which the copies of it tell that stand among its settings, commands and payments. So a period
is closed again on what it was closed on.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import text

from shared.contracts.base import Tick
from shared.log import Place, Record
from shared.log.postgres import PostgresLog
from shared.service import Service

CHUNK = 2_000
DOWNSTREAM_FIRST = ("reviews", "incentives", "goals", "metrics")
_FIRST = text(
    "SELECT pos, data FROM log.record WHERE topic = :topic AND partition = :partition AND pos < :end AND type = :type "
    "ORDER BY pos LIMIT 1"
)


class Stream:
    """One partition, from its beginning up to where it ended when it was last asked. `head` is the next record."""

    def __init__(self, log: PostgresLog, place: Place) -> None:
        self.place, self.end = place, 0
        self.head: Record | None = None
        self.time: datetime | None = None
        self._log, self._pos = log, 0
        self._records: Iterator[Record] = iter(())
        self._first_tick: Any = None

    def extend(self, end: int) -> None:
        """Lets it go on up to `end`."""
        self.end = end
        if self._first_tick is None:
            with self._log.engine.connect() as connection:
                params = {"topic": self.place[0], "partition": self.place[1], "type": Tick.TYPE, "end": end}
                self._first_tick = connection.execute(_FIRST, params).first()
        if self.head is None:
            self.advance()

    def advance(self) -> None:
        """Takes the head off. A record never counts as earlier than the one before it."""
        self.head = next(self._records, None)
        if self.head is None and self._pos < self.end:
            self._records = iter(self._log.read(self.place, self._pos, min(CHUNK, self.end - self._pos)))
            self.head = next(self._records)
        if self.head:
            self._pos = self.head.pos + 1
            self.time = max(self.time or self.head.recorded_at, self.head.recorded_at)

    @property
    def at_tick(self) -> bool:
        return self.head is not None and self.head.type == Tick.TYPE

    def will_meet(self, tick: Record) -> bool:
        """Whether what stands at the head was accepted before this tick: its copy lies ahead, or is not there yet.

        A partition that a topic got later begins with a later tick.
        """
        if self.head is None or self.at_tick or self._first_tick is None:
            return False
        return self.head.pos > self._first_tick.pos or _id(self._first_tick.data) == _id(tick.data)


class Archive:
    """All streams, merged."""

    def __init__(self, logs: Mapping[str, PostgresLog], services: Mapping[str, Service]) -> None:
        self._logs, self._services = logs, services
        self._streams: dict[Place, Stream] = {}

    def extend(self) -> int:
        """Takes in what was accepted up to now; how many records that is."""
        before = sum(stream.end for stream in self._streams.values())
        for name in DOWNSTREAM_FIRST:  # so that of everything that came of something, its cause is there
            service = self._services[name]
            for place, end in sorted(self._logs[name].ends(set(service.topics) - set(service.derived)).items()):
                self._streams.setdefault(place, Stream(self._logs[name], place)).extend(end)
        return sum(stream.end for stream in self._streams.values()) - before

    def records(self) -> Iterator[Record]:
        """Everything up to where the logs ended; of each tick one."""
        clock = self._streams[Tick.TOPIC, 0]
        while heads := [stream for stream in self._streams.values() if stream.head]:
            if tick := clock.head if clock.at_tick else None:
                free = [stream for stream in heads if stream.will_meet(tick)] or [
                    stream for stream in heads if not stream.at_tick and _before(stream, clock)
                ]
            else:
                free = [stream for stream in heads if not stream.at_tick]
            if free:
                stream = min(free, key=_time)
                assert stream.head
                yield stream.head
                stream.advance()
                continue
            if tick:
                yield tick
            for stream in heads:
                if stream.head and stream.at_tick and (tick is None or _id(stream.head.data) == _id(tick.data)):
                    stream.advance()


@lru_cache(maxsize=64)
def _id(data: str) -> str:
    """Of a tick. One that was to close a period and did not goes on without saying so, and is the same tick."""
    return Tick.model_validate_json(data, extra="ignore").id


def _time(stream: Stream) -> datetime:
    assert stream.time
    return stream.time


def _before(stream: Stream, clock: Stream) -> bool:
    return _time(stream) <= _time(clock)


def beginning(log: PostgresLog) -> datetime | None:
    """When the first record of a log was accepted; None where there is none."""
    with log.engine.connect() as connection:
        first: datetime | None = connection.execute(text("SELECT min(recorded_at) FROM log.record")).scalar()
        return first
