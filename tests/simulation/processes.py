"""The processes of a simulated installation: the product's workers, each step of which an actor plays."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from shared.database.outage import is_outage
from shared.log import Feed, Place, Record
from shared.log.forward import Forwarder, Target
from shared.log.leases import READ
from shared.log.position import Position, ReaderFault
from shared.log.postgres import PostgresFeed, PostgresLog
from shared.log.worker import Worker
from shared.service import Runtime
from tests.simulation.actors import Actor, Crash, Plan

DONE, IDLE, SUSPENDED, WAITS, DIED, BROKE = "done", "idle", "suspended", "waits", "died", "broke"


@dataclass
class Portion:
    """A feed of which a step sees one partition and takes no more than the scheduler says."""

    inner: Feed
    place: Place | None = None
    most: int = 5_000

    def waiting(self, positions: Mapping[Place, Position]) -> set[Place]:
        found = self.inner.waiting(positions)
        return found if self.place is None else found & {self.place}

    def read(self, place: Place, position: Position, limit: int) -> Sequence[Record]:
        return self.inner.read(place, position, min(limit, self.most))

    def wait(self, seconds: float) -> None:
        raise AssertionError("the scheduler waits, nobody else")

    def close(self) -> None:
        self.inner.close()


class Tables(PostgresFeed):
    """The owners' tables without the wake-up, which the scheduler replaces."""

    def __init__(self, logs: Mapping[str, PostgresLog]) -> None:
        self._logs, self._subscriptions = logs, []

    def waiting(self, positions: Mapping[Place, Position]) -> set[Place]:
        """What holds nothing new is read in vain: the scheduler knows better than to ask for it."""
        return set(positions)


@dataclass
class Process:
    """One process of a service: what it runs, its connection, and what is left of it when it dies."""

    actor: Actor
    runtime: Runtime
    connection: Any = None
    worker: Any = None

    def born(self) -> None:
        """A new process: nothing is known but what the database holds."""
        self.connection = None

    @property
    def name(self) -> str:
        return self.actor.name

    @property
    def service(self) -> str:
        return self.runtime.service.name

    @property
    def idle(self) -> bool:
        return self.actor.state == "idle"

    @property
    def owner(self) -> str:
        """The name its leases carry."""
        return str(self.worker.leases.owner)

    @property
    def part(self) -> str:
        """Reads, or forwards."""
        return str(self.worker.leases.part)

    @property
    def owned(self) -> frozenset[Place]:
        found: frozenset[Place] = self.worker.leases._owned
        return found

    @property
    def topics(self) -> Iterable[str]:
        """What all of its kind share the partitions of."""
        return self.runtime.service.inputs if self.part == READ else self.runtime.service.topics

    def step(self, place: Place | None, most: int, plan: Plan | None) -> str:
        """One round of the product over one partition, or all."""
        self.narrow(place, most)
        return self._told(self.actor.play(self._round, plan))

    def renew(self) -> str:
        """What its background thread does now and then: renews its leases and takes what is free."""
        return self._told(self.actor.play(self._renew))

    def resume(self, *, killed: bool = False) -> str:
        return self._told(self.actor.resume(killed=killed))

    def stands(self, place: Place) -> int:
        """The next position it would work on, as far as it knows."""
        raise NotImplementedError

    def narrow(self, place: Place | None, most: int) -> None:
        """What the next step may see."""

    def turn(self) -> Any:
        """The product's step."""
        raise NotImplementedError

    def _take_down(self) -> None:
        """A process that dies takes its connection with it; another must not go on with the same backend."""
        with suppress(Exception):
            self.actor.ended.append(self.connection.connection.driver_connection.info.backend_pid)
            self.connection.invalidate()
        self.leave()

    def start_again(self) -> None:
        """What the product's `run` does after an error that it does not end by."""
        raise NotImplementedError

    def leave(self) -> None:
        """Gives the connection back at the end of a run."""
        if self.connection is not None:
            with suppress(Exception):
                self.connection.close()
        self.connection = None

    def _round(self) -> Any:
        self._connect()
        return self.turn()

    def _renew(self) -> bool:
        if self.connection is None:
            self._connect()
        else:
            self.worker.leases._renew()
        return True

    def _connect(self) -> None:
        if self.connection is None:
            self.connection = self.runtime.engine.connect()
            self.worker.leases.begin(self.connection)
            self.worker.leases._renew()

    def _told(self, outcome: Any) -> str:
        if not self.idle:
            return f"{SUSPENDED} {self.actor.state}"
        if not isinstance(outcome, BaseException):
            return DONE if outcome else IDLE
        if isinstance(outcome, Crash):
            self._take_down()
            self.born()
            return f"{DIED} {outcome}"
        self.leave()
        self.worker.leases.forget()
        self.start_again()
        if isinstance(outcome, Exception) and (is_outage(outcome) or isinstance(outcome, ReaderFault)):
            return f"{WAITS} {type(outcome).__name__}"
        return f"{BROKE} {type(outcome).__name__}: {outcome}"


@dataclass
class Reader(Process):
    """Runs the product's worker."""

    feed: Portion = field(init=False)

    def born(self) -> None:
        super().born()
        self.worker, self.feed = Worker(self.runtime, threading.Event()), Portion(self._feed())

    def _feed(self) -> Feed:
        if self.runtime.feed:
            return self.runtime.feed()
        owners = sorted({topic.split(".", 1)[0] for topic in self.runtime.service.inputs})
        return Tables({owner: cast(PostgresLog, self.runtime.logs[owner]) for owner in owners})

    def stands(self, place: Place) -> int:
        at = self.worker.positions.get(place)
        return at.next_pos if at else 0

    def narrow(self, place: Place | None, most: int) -> None:
        self.feed.place, self.feed.most = place, most

    def turn(self) -> Any:
        return self.worker.round(self.connection, self.feed)

    def start_again(self) -> None:
        """It opens its feed anew, too."""
        self.worker.positions.clear()
        self.feed = Portion(self._feed())


@dataclass
class Copier(Process):
    """Runs the product's forwarder."""

    target: Target = field(kw_only=True)

    def born(self) -> None:
        super().born()
        self.worker = Forwarder(self.runtime, self.target, threading.Event())

    def stands(self, place: Place) -> int:
        return int(self.worker._cursors.get(place, 0))

    def turn(self) -> Any:
        return self.worker.round(self.connection)

    def start_again(self) -> None:
        self.worker.start_again()
