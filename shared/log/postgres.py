"""The log as its owner's table."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from psycopg import Connection as DriverConnection
from sqlalchemy import Engine, text

from shared.log import Record
from shared.log.append import CHANNEL
from shared.service import Service

_READ = text(
    "SELECT topic, partition, pos, key, type, company, data, traceparent, recorded_at FROM log.record "
    "WHERE topic = :topic AND partition = :partition AND pos >= :pos ORDER BY pos LIMIT :limit"
)


class PostgresLog:
    """Reads one service's log tables, through an engine that may read nothing else of that service."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def epoch(self) -> str:
        """See `Log`."""
        with self._engine.connect() as connection:
            return str(connection.execute(text("SELECT id FROM log.epoch")).scalar_one())

    def partitions(self, topic: str) -> int:
        """See `Log`."""
        with self._engine.connect() as connection:
            statement = text("SELECT count(*) FROM log.partition WHERE topic = :topic")
            return int(connection.execute(statement, {"topic": topic}).scalar_one())

    def read(self, topic: str, partition: int, pos: int, limit: int) -> Sequence[Record]:
        """See `Log`."""
        params = {"topic": topic, "partition": partition, "pos": pos, "limit": limit}
        with self._engine.connect() as connection:
            return [Record(*row) for row in connection.execute(_READ, params)]

    def ends(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        """See `Log`."""
        statement = text("SELECT topic, partition, next_pos FROM log.partition WHERE topic = ANY(:topics)")
        with self._engine.connect() as connection:
            return {(row[0], row[1]): row[2] for row in connection.execute(statement, {"topics": list(topics)})}

    def listen(self) -> "PostgresSubscription":
        """See `Log`."""
        return PostgresSubscription(self._engine)


class PostgresSubscription:
    """LISTEN on a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        self._held = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._held.execute(text(f"LISTEN {CHANNEL}"))
        driver: Any = self._held.connection.driver_connection
        self._driver: DriverConnection[Any] = driver

    def fileno(self) -> int:
        """See `Subscription`."""
        return self._driver.fileno()

    def drain(self) -> None:
        """See `Subscription`."""
        for _ in self._driver.notifies(timeout=0):
            pass

    def close(self) -> None:
        """Gives the connection back for good: a pooled one would go on listening."""
        self._held.invalidate()
        self._held.close()


def create_topics(engine: Engine, service: Service, partitions: int) -> None:
    """Makes the service's topics and its log's epoch where they are missing. Partition counts are never lowered."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('valueloop topics'))"))
        if connection.execute(text("SELECT 1 FROM log.epoch")).first() is None:
            connection.execute(text("INSERT INTO log.epoch (id) VALUES (:id)"), {"id": uuid4().hex})
        for topic, wide in service.topics.items():
            # Widening a topic that holds records would move keys between partitions; a new installation decides.
            if connection.execute(text("SELECT 1 FROM log.partition WHERE topic = :t"), {"t": topic}).first() is None:
                rows = [{"topic": topic, "partition": p} for p in range(partitions if wide else 1)]
                connection.execute(
                    text("INSERT INTO log.partition (topic, partition, next_pos) VALUES (:topic, :partition, 0)"), rows
                )
