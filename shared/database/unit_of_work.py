"""One message or request = one transaction, opened and committed at the edge."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Row, text

from shared.contracts.base import Contract
from shared.log.append import Outgoing, append
from shared.service import Runtime, Service

__all__ = ["Jsonb", "UnitOfWork", "unit_of_work"]


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a published event came to stand."""

    topic: str
    partition: int
    pos: int


class UnitOfWork:
    """A transaction, the events it will publish, and what it has marked for recomputation.

    `state` is scratch space for the service's handlers; `actor` is who acts: a person, a source, or the service.
    `accepted_at` is set where an accepted command is applied again: what it publishes is recorded with that time.
    """

    def __init__(self, connection: Connection, service: Service, actor: str, traceparent: str | None) -> None:
        self.connection, self.service, self.actor, self.traceparent = connection, service, actor, traceparent
        self.state: dict[str, Any] = {}
        self.accepted_at: datetime | None = None
        self.outgoing: list[Outgoing] = []
        self.appended: list[Appended] = []
        self._changes: dict[str, int] = {}

    def rows(self, sql: str, /, **params: Any) -> Sequence[Row[Any]]:
        """All rows of a statement with `:name` parameters."""
        return self.connection.execute(text(sql), params).fetchall()

    def row(self, sql: str, /, **params: Any) -> Row[Any] | None:
        """The first row, or None."""
        return self.connection.execute(text(sql), params).first()

    def value(self, sql: str, /, **params: Any) -> Any:
        """The first column of the first row, or None."""
        return self.connection.execute(text(sql), params).scalar()

    def run(self, sql: str, /, **params: Any) -> int:
        """Executes a statement; the number of rows it touched."""
        return self.connection.execute(text(sql), params).rowcount

    def copy(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """COPY rows into a table. Names are the code's own, never a caller's."""
        driver: Any = self.connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def lock_company(self, company: str) -> int:
        """Takes the company's lock for the rest of the transaction; the transaction's change number.

        Change numbers are gapless and in commit order, because the row that counts them is the lock.
        """
        if company not in self._changes:
            self._changes[company] = self.value(
                "INSERT INTO company_change (company, change) VALUES (:company, 1) "
                "ON CONFLICT (company) DO UPDATE SET change = company_change.change + 1 RETURNING change",
                company=company,
            )
        return self._changes[company]

    def publish(self, event: Contract, *, company: str, key: str) -> None:
        """Keeps an event to be appended to the service's own log just before COMMIT."""
        self.publish_raw(type(event), event.model_dump_json(), company=company, key=key)

    def publish_raw(self, kind: type[Contract], data: str, *, company: str, key: str) -> None:
        """The same for a payload that is already JSON."""
        self._say(kind.TOPIC, key, kind.TYPE, company, data)

    def publish_to(self, event: Contract, *, company: str, topic: str, key: str) -> None:
        """The same in a topic of this service that is not the event's usual one."""
        self._say(topic, key, event.TYPE, company, event.model_dump_json())

    def publish_everywhere(self, event: Contract, *, company: str, topic: str) -> None:
        """The same on every partition of a topic."""
        self._say(topic, None, event.TYPE, company, event.model_dump_json())

    def _say(self, topic: str, key: str | None, kind: str, company: str, data: str) -> None:
        self.outgoing.append(Outgoing(topic, key, kind, company, data, self.traceparent, self.accepted_at))

    def finish(self) -> None:
        """Recomputes what was marked and appends the events; the last thing before COMMIT."""
        self.service.settle(self)
        self.appended = [Appended(*place) for place in append(self, self.outgoing)]


@contextmanager
def unit_of_work(
    runtime: Runtime,
    *,
    actor: str,
    traceparent: str | None = None,
    read_only: bool = False,
    connection: Connection | None = None,
) -> Iterator[UnitOfWork]:
    """Opens a transaction; commits it when the block ends well, rolls it back when it raises."""
    if connection is None:
        options: dict[str, Any] = {"actor": actor, "traceparent": traceparent, "read_only": read_only}
        with runtime.engine.connect() as own, unit_of_work(runtime, connection=own, **options) as uow:
            yield uow
        return
    with connection.begin():
        uow = UnitOfWork(connection, runtime.service, actor, traceparent)
        if read_only:
            uow.run("SET TRANSACTION READ ONLY")
        yield uow
        if not read_only:
            uow.finish()
