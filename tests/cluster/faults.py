"""What is done to a cluster under load, and how long it took to go on afterwards."""

import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psycopg

from services.client import SERVICES
from tests.cluster.harness import LEASE, Cluster, Member, wait_for
from tests.cluster.history import History

Place = tuple[str, str, int]  # reader, topic, partition
EACH_SECOND = 1.0
_POSITIONS = "SELECT topic, partition, next_pos FROM log.position"
_ENDS = "SELECT topic, partition, next_pos FROM log.partition"


@dataclass(frozen=True, slots=True)
class Sample:
    """Where all readers stood at a moment, and where what they read ended."""

    at: float
    stands: dict[Place, int]
    ends: dict[tuple[str, int], int]

    def waiting(self, service: str | None = None) -> set[Place]:
        """The places with records that are not applied, of one service or of all."""
        return {p for p, pos in self.stands.items() if service in (None, p[0]) and pos < self.ends.get(p[1:], 0)}


class Monitor:
    """Looks several times a second where readers stand; what it cannot see, as in an outage, it leaves out."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.samples = cluster, list[Sample]()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitor")

    def __enter__(self) -> "Monitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(0.3):
            with suppress(psycopg.Error):
                self.samples.append(self.look())

    def look(self) -> Sample:
        at, rows = time.monotonic(), self.cluster.rows
        stands = {(name, topic, part): pos for name in SERVICES for topic, part, pos in rows(name, _POSITIONS)}
        ends = {(topic, part): pos for name in SERVICES for topic, part, pos in rows(name, _ENDS)}
        return Sample(at, stands, ends)

    def quiet(self) -> bool:
        """Whether every reader stands at the end of what it reads."""
        try:
            return not self.look().waiting()
        except psycopg.Error:
            return False

    def recovered(self, since: float, service: str | None) -> float | None:
        """Seconds from a moment until every place that had records waiting then had moved; None if it was not seen."""
        after = [sample for sample in self.samples if sample.at >= since]
        if not after:
            return None
        first = after[0]
        left = first.waiting(service)
        for sample in after:
            left = {place for place in left if sample.stands[place] <= first.stands[place]}
            if not left:
                return sample.at - since
        return None


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done to whom, and when it ended [monotonic s]. `service`: whose recovery is looked at; None for all."""

    kind: str
    service: str | None
    ended: float


@dataclass
class Chaos:
    """Faults at random, from a seed."""

    cluster: Cluster
    history: History
    seed: int
    faults: list[Fault] = field(default_factory=list)
    beyond_lease: list[float] = field(default_factory=list)
    """How long after a stopped worker's lease its successor went on [s]."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def count(self, *kinds: str) -> int:
        return sum(fault.kind in kinds for fault in self.faults)

    @property
    def comings_and_goings(self) -> int:
        """Times that a worker left, by its own will or not, and came back."""
        return self.count("kill -9 of a worker", "SIGTERM of a worker", "SIGSTOP of workers")

    def note(self, kind: str, service: str | None = None) -> None:
        self.faults.append(Fault(kind, service, time.monotonic()))

    # --- processes ---

    def kill_one(self) -> None:
        """kill -9 of a random worker, which is also a forwarder, or API."""
        member = self.random.choice([m for m in self.cluster.members.values() if not m.held])
        if member.send(signal.SIGKILL):
            self.note(f"kill -9 of {'a worker' if member.is_worker else 'an API'}", member.service)

    def let_one_leave(self) -> None:
        """SIGTERM: it finishes what it does, gives its partitions back, and a new one joins in its place."""
        member = self.random.choice([m for m in self.cluster.workers() if not m.held])
        if member.send(signal.SIGTERM):
            self.note("SIGTERM of a worker", member.service)

    def kill_for(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Each second one is killed, and every third second one leaves."""
        began = time.monotonic()
        number = 0
        while time.monotonic() - began < seconds and not until():
            self.kill_one()
            if number % 3 == 2:
                self.let_one_leave()
            number += 1
            time.sleep(max(0.0, began + number * EACH_SECOND - time.monotonic()))

    def stop_workers(self, service: str) -> None:
        """SIGSTOP of all workers of a service in the middle of a transaction, for longer than their lease.

        One that joined before takes over. Then SIGCONT: those that were stopped find that they own nothing any more.
        """
        stopped = self.cluster.workers(service)
        old = self.steady_owners(service, len(stopped))  # who was killed just now starts again first
        for member in stopped:
            member.held = True
        try:
            successor = self.cluster.join(f"{service}-3", service)
            (new,) = wait_for("one that joins", lambda: self._owners(service, len(stopped) + 1)) - old
            with suppress(AssertionError):  # where the load pauses just now, they are stopped while they wait for it
                wait_for(f"a transaction of {service}", lambda: self.works(service, old), seconds=15, every=0.002)
            for member in stopped:
                member.send(signal.SIGSTOP)
            began = time.monotonic()
            wait_for(f"a successor for {service}", lambda: self._owns_all(service, new))
            self.beyond_lease.append(time.monotonic() - began - LEASE)
        finally:
            for member in stopped:
                member.send(signal.SIGCONT)
                member.held = False
        self.note("SIGSTOP of workers", service)
        self._leave_for_good(successor)

    def works(self, service: str, owners: set[str]) -> bool:
        sql = (
            "SELECT 1 FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid IN "
            "(SELECT backend_pid FROM log.lease WHERE part = 'read' AND owner = ANY(%s))"
        )
        return bool(self.cluster.rows(service, sql, list(owners)))

    def steady_owners(self, service: str, count: int) -> set[str]:
        """The owners, once those that a killed worker left behind are gone."""
        since, before = 0.0, set[str]()

        def steady() -> bool:
            nonlocal since, before
            if (now := self._owners(service, count)) != before or not now:
                since, before = time.monotonic(), now
            return time.monotonic() - since > LEASE + 1 and bool(before)

        wait_for(f"{count} workers of {service}", steady)
        return before

    def _owners(self, service: str, count: int) -> set[str]:
        """Who owns partitions now, where these are so many; else nobody."""
        sql = "SELECT DISTINCT owner FROM log.lease WHERE part = 'read' AND owner IS NOT NULL AND until > now()"
        found = {row[0] for row in self.cluster.rows(service, sql)}
        return found if len(found) == count else set()

    def _owns_all(self, service: str, owner: str) -> bool:
        sql = "SELECT bool_and(owner IS NOT DISTINCT FROM %s) FROM log.lease WHERE part = 'read'"
        return bool(self.cluster.rows(service, sql, owner)[0][0])

    def _leave_for_good(self, member: Member) -> None:
        member.held = True
        assert member.stop() == 0, f"{member.name} did not drain"
        del self.cluster.members[member.name]

    # --- what they stand on ---

    @contextmanager
    def broker_away(self, how: str) -> Iterator[None]:
        """The broker ends by `stop` or `kill`, and comes back after the block."""
        getattr(self.cluster.broker, how)()
        try:
            yield
        finally:
            self.cluster.broker.start()
            self.note(f"broker {how}ped" if how == "stop" else "broker killed")

    @contextmanager
    def postgres_away(self, how: str) -> Iterator[None]:
        """The same for PostgreSQL: `stop` or `crash`."""
        (self.cluster.postgres.stop if how == "stop" else self.cluster.crash_postgres)()
        try:
            yield
        finally:
            self.cluster.postgres.start()
            self.note("PostgreSQL stopped" if how == "stop" else "PostgreSQL crashed")

    # --- what came of it ---

    def recovery(self, monitor: Monitor) -> dict[str, list[float]]:
        """Per kind of fault: seconds until what waited went on, or, for an API, until it answered again."""
        found: dict[str, list[float]] = {}
        for fault in self.faults:
            if fault.kind == "kill -9 of an API":
                answers = [at for at in self.history.answers[fault.service or ""] if at > fault.ended]
                seconds = answers[0] - fault.ended if answers else None
            else:
                seconds = monitor.recovered(fault.ended, fault.service)
            if seconds is not None:
                found.setdefault(fault.kind, []).append(seconds)
        return found


def table(chaos: Chaos, monitor: Monitor) -> list[tuple[str, str]]:
    """A line for each kind of fault, for the summary."""
    lines = []
    recovery = chaos.recovery(monitor)
    for kind in dict.fromkeys(fault.kind for fault in chaos.faults):
        seconds = recovery.get(kind, [])
        said = f"{chaos.count(kind)}"
        if seconds:
            said += f"; went on after {statistics.median(seconds):.1f} s, at most {max(seconds):.1f} s"
        lines.append((kind, said))
    return lines
