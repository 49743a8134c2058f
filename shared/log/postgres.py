"""The log as its owner's table."""

import select
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from psycopg import Connection as DriverConnection
from sqlalchemy import Engine, text

from shared.log import Place, Record
from shared.log.append import CHANNEL
from shared.log.position import LogReplaced, Position
from shared.service import Service

READ = text(
    "SELECT topic, partition, pos, key, type, company, data, traceparent, recorded_at, copies, "
    "(SELECT id FROM log.epoch) AS epoch FROM log.record "
    "WHERE topic = :topic AND partition = :partition AND pos >= :pos ORDER BY pos LIMIT :limit"
)


class PostgresLog:
    """Reads one service's log tables, through an engine that may read nothing else of that service."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def epoch(self) -> str:
        """See `Log`."""
        with self.engine.connect() as connection:
            return str(connection.execute(text("SELECT id FROM log.epoch")).scalar_one())

    def partitions(self, topic: str) -> int:
        """See `Log`."""
        with self.engine.connect() as connection:
            statement = text("SELECT count(*) FROM log.partition WHERE topic = :topic")
            return int(connection.execute(statement, {"topic": topic}).scalar_one())

    def lag(self, positions: Mapping[Place, Position | None]) -> dict[Place, int]:
        """See `Log`."""
        ends = self.ends({topic for topic, _ in positions})
        return {place: ends.get(place, 0) - (at.next_pos if at else 0) for place, at in positions.items()}

    def ends(self, topics: Sequence[str] | set[str]) -> dict[Place, int]:
        """The next position of each partition."""
        statement = text("SELECT topic, partition, next_pos FROM log.partition WHERE topic = ANY(:topics)")
        with self.engine.connect() as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(statement, {"topics": list(topics)})}

    def read(self, place: Place, pos: int, limit: int) -> Sequence[Record]:
        """Up to `limit` records from `pos` on, in order."""
        params = {"topic": place[0], "partition": place[1], "pos": pos, "limit": limit}
        with self.engine.connect() as connection:
            return [Record(*row) for row in connection.execute(READ, params)]


class PostgresFeed:
    """Reads the tables of several owners; LISTEN wakes it. See `Feed`."""

    def __init__(self, logs: Mapping[str, PostgresLog]) -> None:
        self._logs = logs
        self._subscriptions = [Subscription(log.engine) for log in logs.values()]

    def waiting(self, positions: Mapping[Place, Position]) -> set[Place]:
        """See `Feed`. One question to each owner tells which of many partitions have something new."""
        # Drained before reading: what arrives while reading wakes the next wait.
        for subscription in self._subscriptions:
            subscription.drain()
        waiting = set()
        for owner, log in self._logs.items():
            mine = {place: at for place, at in positions.items() if place[0].split(".", 1)[0] == owner}
            for place, lag in log.lag(mine).items() if mine else ():
                if lag < 0:
                    raise LogReplaced(
                        f"{place[0]}/{place[1]}: {-lag} records that were applied are not in the log any more. "
                        "Its database was restored to an earlier moment: rebuild this service too, `valueloop rebuild`."
                    )
                waiting |= {place} if lag else set()
        return waiting

    def read(self, place: Place, position: Position, limit: int) -> Sequence[Record]:
        """See `Feed`."""
        return self._logs[place[0].split(".", 1)[0]].read(place, position.next_pos, limit)

    def wait(self, seconds: float) -> None:
        """See `Feed`."""
        with suppress(InterruptedError):
            select.select(self._subscriptions, [], [], seconds)

    def close(self) -> None:
        """See `Feed`."""
        for subscription in self._subscriptions:
            subscription.close()


class Subscription:
    """LISTEN on a connection of its own: a wake-up, and a hint only. Polling stays the fallback."""

    def __init__(self, engine: Engine) -> None:
        self._held = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._held.execute(text(f"LISTEN {CHANNEL}"))
        driver: Any = self._held.connection.driver_connection
        self._driver: DriverConnection[Any] = driver

    def fileno(self) -> int:
        """For select(); readable when something was appended."""
        return self._driver.fileno()

    def wait(self, seconds: float) -> None:
        """Returns when something was appended, or after `seconds`."""
        with suppress(InterruptedError):
            select.select([self], [], [], seconds)

    def drain(self) -> None:
        """Forgets what has been signalled so far."""
        for _ in self._driver.notifies(timeout=0):
            pass

    def close(self) -> None:
        """Gives the connection back for good: a pooled one would go on listening."""
        self._held.invalidate()
        self._held.close()


def create_topics(engine: Engine, service: Service, partitions: int) -> None:
    """Makes the service's topics and its log's epoch where they are missing. Partition counts are never changed."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('valueloop topics'))"))
        if connection.execute(text("SELECT 1 FROM log.epoch")).first() is None:
            connection.execute(text("INSERT INTO log.epoch (id) VALUES (:id)"), {"id": uuid4().hex})
        for topic, wide in service.topics.items():
            # Widening a topic that holds records would move keys between partitions; `topics raise` drains it first.
            if connection.execute(text("SELECT 1 FROM log.partition WHERE topic = :t"), {"t": topic}).first() is None:
                add_partitions(connection, topic, range(partitions if wide else 1))


def add_partitions(connection: Any, topic: str, numbers: range) -> None:
    """Adds empty partitions to a topic, the last of which makes its new count."""
    rows = [{"topic": topic, "partition": number, "count": numbers.stop} for number in numbers]
    connection.execute(
        text(
            'INSERT INTO log.partition (topic, partition, next_pos, "of") VALUES (:topic, :partition, 0, :count)'
        ), rows,
    )  # fmt: skip
    connection.execute(text('UPDATE log.partition SET "of" = :count WHERE topic = :topic'), rows[0])
