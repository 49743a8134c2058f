"""Workers: they own partitions by lease and apply records in order, in batches, exactly once in effect."""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, cast
from uuid import uuid4

import structlog
from sqlalchemy import Connection

from shared.configuration import decode, store
from shared.contracts.base import Configuration, Contract, Tick
from shared.database.outage import is_outage
from shared.database.unit_of_work import UnitOfWork, unit_of_work
from shared.http.idempotency import forget_before
from shared.log import Feed, Place, Record
from shared.log.leases import READ, Leases
from shared.log.parking import park, parked_keys, refuse_when_too_many
from shared.log.position import LostOwnership, NotYet, Position, ReaderFault, claim, move
from shared.log.postgres import PostgresFeed, PostgresLog
from shared.log.trim import tidy
from shared.service import Received, Runtime, Service, barriers
from shared.telemetry import Telemetry

log = structlog.get_logger(__name__)


def types_of(service: Service) -> dict[str, type[Contract]]:
    """The event types a service handles, by their name on the wire."""
    return {kind.TYPE: kind for kind in service.handlers}


def tick_of(record: Record) -> Tick:
    """The tick in a record of its type."""
    return Tick.model_validate_json(record.data, extra="ignore")


def received(kind: type[Contract], record: Record) -> Received:
    """Decodes a record. Members that a newer version of a contract added are passed over.

    Raises what pydantic raises where it does not fit its contract.
    """
    if issubclass(kind, Configuration):
        event: Any = decode(kind, record.data)
    else:
        event = kind.model_validate_json(record.data, extra="ignore")
    return Received(
        record.company, record.key, record.topic, record.partition, record.pos, record.recorded_at, event,
        record.traceparent,
    )  # fmt: skip


def handle(uow: UnitOfWork, kinds: Mapping[str, type[Contract]], records: Sequence[Record]) -> None:
    """Calls the handlers, once for each run of records of one type and company; copies dated settings first.

    Company by company, so that every transaction takes their locks in one order; within one nothing changes place.
    """
    by_company = sorted(records, key=lambda record: record.company)
    for (company, name), run in groupby(by_company, key=lambda record: (record.company, record.type)):
        if name == Tick.TYPE:
            for record in run:
                tick = tick_of(record)
                if uow.service.on_tick and record.topic in barriers(uow.service, tick):
                    uow.service.on_tick(uow, company, tick)
        elif kind := kinds.get(name):
            events = [received(kind, record) for record in run]
            if issubclass(kind, Configuration):
                for event in events:
                    store(uow, event.company, event.event)
            uow.service.handlers[kind](uow, events)


def open_feed(runtime: Runtime) -> Feed:
    """What a worker of this service reads from."""
    if runtime.feed:
        return runtime.feed()
    owners = sorted({topic.split(".", 1)[0] for topic in runtime.service.inputs})
    return PostgresFeed({owner: cast(PostgresLog, runtime.logs[owner]) for owner in owners})


class Worker:
    """Applies the records of the partitions it owns. One thread; `run` returns when `stop` is set."""

    def __init__(self, runtime: Runtime, stop: threading.Event, telemetry: Telemetry | None = None) -> None:
        self.runtime, self.stop, self.telemetry = runtime, stop, telemetry or Telemetry()
        self.kinds = types_of(runtime.service)
        self.leases = Leases(runtime, uuid4().hex, READ, self._places)
        self.positions: dict[Place, Position] = {}

    def run(self) -> None:
        """Works until stopped. Outages are waited out; nothing is parked and nothing lost by them."""
        pause = 0.1
        while not self.stop.is_set():
            try:
                with self.runtime.engine.connect() as connection:
                    self.leases.begin(connection)
                    pause = 0.1
                    self._work(connection)
            except Exception as error:
                if is_outage(error) or isinstance(error, ReaderFault):
                    log.warning("worker waits", service=self._name, reason=str(error).splitlines()[0])
                else:
                    log.exception("worker stopped by an unexpected error; it starts again", service=self._name)
                self.leases.forget()
                self.positions.clear()
                self.stop.wait(pause)
                pause = min(pause * 2, 5)

    @property
    def _name(self) -> str:
        return self.runtime.service.name

    def _places(self) -> list[Place]:
        topics = self.runtime.service.inputs
        return [(t, p) for t in topics for p in range(self.runtime.log_of(t).partitions(t))]

    def _work(self, connection: Connection) -> None:
        feed = open_feed(self.runtime)
        try:
            with self.leases.kept(connection):
                tidy_at = 0.0
                while not self.stop.is_set():
                    if time.monotonic() >= tidy_at:
                        tidy_at = time.monotonic() + 3600
                        self._forget_old_answers(connection)
                        tidy(self.runtime, connection)
                    if not self.round(connection, feed):
                        feed.wait(self.runtime.settings.poll_seconds)
        finally:
            feed.close()

    def _forget_old_answers(self, connection: Connection) -> None:
        oldest = datetime.now(UTC) - timedelta(days=self.runtime.settings.idempotency_days)
        with unit_of_work(self.runtime, actor=self._name, connection=connection) as uow:
            forget_before(uow, oldest)

    def round(self, connection: Connection, feed: Feed) -> bool:
        """One step on each owned partition; whether any of them got anywhere."""
        owned = self.leases.owned()
        for place in self.positions.keys() - owned:
            del self.positions[place]
        for place in owned - self.positions.keys():
            with connection.begin():
                self.positions[place] = claim(connection, *place, self.runtime.log_of(place[0]).epoch())
        progressed = False
        for place in sorted(feed.waiting(self.positions)):
            if self.stop.is_set():
                break
            progressed = self.step(connection, feed, place) or progressed
        return progressed

    def step(self, connection: Connection, feed: Feed, place: Place) -> bool:
        """Applies the next records of one partition in a transaction; whether it got anywhere."""
        try:
            records = feed.read(place, self.positions[place], self.runtime.settings.batch_size)
            return self._apply_up_to_tick(connection, place, records) if records else False
        except LostOwnership:
            # Neither done nor failed: somebody else moved on. What was read is stale, so it is read again.
            self.positions.pop(place, None)
            return True

    def _apply_up_to_tick(self, connection: Connection, place: Place, records: Sequence[Record]) -> bool:
        if place[0] not in (*self.runtime.service.tick_inputs, *self.runtime.service.close_inputs):
            self._apply(connection, place, records)
            return True
        before = next((i for i, record in enumerate(records) if self._stops(record)), len(records))
        if before:
            self._apply(connection, place, records[:before])
            return True
        return self._meet_tick(connection, place, records[0])

    def _stops(self, record: Record) -> bool:
        return record.type == Tick.TYPE and record.topic in barriers(self.runtime.service, tick_of(record))

    def _apply(self, connection: Connection, place: Place, records: Sequence[Record]) -> None:
        """Applies records in one transaction; halves a failing batch until the bad record is alone."""
        started = time.monotonic()
        try:
            self._transaction(connection, place, records)
            self._count("done", len(records))
        except Exception as error:
            if is_outage(error) or isinstance(error, ReaderFault):
                raise
            if len(records) > 1:
                self._count("failed", 0)
                middle = len(records) // 2
                self._apply(connection, place, records[:middle])
                self._apply(connection, place, records[middle:])
                return
            self._transaction(connection, place, records, error)
            self._count("parked", 1)
            log.error("record parked", service=self._name, topic=place[0], partition=place[1], pos=records[0].pos,
                      error=type(error).__name__)  # fmt: skip
        finally:
            self.telemetry.batch_seconds.labels(self._name).observe(time.monotonic() - started)

    def _count(self, outcome: str, records: int) -> None:
        self.telemetry.batches.labels(self._name, outcome).inc()
        self.telemetry.records.labels(self._name, outcome).inc(records)

    def _transaction(
        self, connection: Connection, place: Place, records: Sequence[Record], error: Exception | None = None
    ) -> None:
        old = self.positions[place]
        new = old.after(records)
        trace = records[-1].traceparent
        with unit_of_work(self.runtime, actor=self._name, traceparent=trace, connection=connection) as uow:
            move(uow, place, old, new, self.leases.owner)
            waiting = parked_keys(uow, place, records)
            blocked = [record for record in records if (record.company, record.key) in waiting]
            if error:
                blocked = list(records)
            if blocked:
                refuse_when_too_many(uow, self.runtime.settings.parked_limit)
                park(uow, blocked, error)
            handle(uow, self.kinds, [record for record in records if record not in blocked] if blocked else records)
        self.positions[place] = new

    def _handle_tick(self, uow: UnitOfWork, place: Place, record: Record) -> None:
        """A tick that cannot be handled is parked like any record, so that it holds up nobody else's."""
        marked, outgoing = dict(uow.state), len(uow.outgoing)
        try:
            with uow.connection.begin_nested():
                handle(uow, self.kinds, [record])
                uow.service.settle(uow)
        except Exception as error:
            if is_outage(error) or isinstance(error, ReaderFault):
                raise
            uow.state = marked
            del uow.outgoing[outgoing:]
            park(uow, [record], error)
            self._count("parked", 1)
            log.error("tick parked", service=self._name, topic=place[0], error=type(error).__name__)

    def _meet_tick(self, connection: Connection, place: Place, record: Record) -> bool:
        """A tick is passed only together: when every partition that carries it stands before it, it is handled once."""
        try:
            return self._meet(connection, place, record)
        except NotYet:
            return False

    def _meet(self, connection: Connection, place: Place, record: Record) -> bool:
        service, old = self.runtime.service, self.positions[place]
        tick = tick_of(record)
        with unit_of_work(self.runtime, actor=self._name, traceparent=record.traceparent, connection=connection) as uow:
            arrived = uow.run(
                "INSERT INTO log.arrival (tick, topic, partition, copies) VALUES (:tick, :topic, :partition, :copies) "
                "ON CONFLICT DO NOTHING",
                tick=tick.id, topic=place[0], partition=place[1], copies=record.copies,
            )  # fmt: skip
            # Where a topic got partitions since, a tick from before stands on fewer of them than there are now.
            complete = uow.rows(
                "SELECT topic FROM log.arrival WHERE tick = :tick GROUP BY topic HAVING count(*) = min(copies)",
                tick=tick.id,
            )
            together = {row.topic for row in complete} >= set(barriers(service, tick))
            if together:
                move(uow, place, old, old.after([record]), self.leases.owner)
                if uow.run("INSERT INTO log.tick_done (tick) VALUES (:tick) ON CONFLICT DO NOTHING", tick=tick.id):
                    self._handle_tick(uow, place, record)
        if together:
            self.positions[place] = old.after([record])
        return bool(together or arrived)


def run_workers(runtimes: Mapping[str, Runtime], stop: threading.Event, telemetry: Telemetry | None = None) -> None:
    """Runs one worker for each service that reads anything, each in its own thread, until `stop` is set."""
    telemetry = telemetry or Telemetry()
    workers = [Worker(runtime, stop, telemetry) for runtime in runtimes.values() if runtime.service.inputs]
    threads = [threading.Thread(target=worker.run, name=f"worker-{worker._name}") for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
