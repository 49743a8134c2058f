"""Ownership of partitions is a lease in the reader's database, on every kind of log."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog
from sqlalchemy import Connection, text

from shared.log import Place
from shared.service import Runtime

log = structlog.get_logger(__name__)

READ, FORWARD, INTAKE = "read", "forward", "intake"
"""The part a lease gives: to apply the records of a partition, to copy a partition of the own log to Kafka, or to
accept what others put into a topic there."""

_CREATE = text(
    "INSERT INTO log.lease (part, topic, partition) VALUES (:part, :topic, :partition) ON CONFLICT DO NOTHING"
)
_SEEN = text(
    "INSERT INTO log.worker (owner, part, until) VALUES (:owner, :part, now() + make_interval(secs => :lease)) "
    "ON CONFLICT (owner) DO UPDATE SET until = excluded.until"
)
_RENEW = text(
    "UPDATE log.lease SET until = now() + make_interval(secs => :lease) WHERE owner = :owner RETURNING topic, partition"
)
_ALIVE = text("SELECT count(*) FROM log.worker WHERE part = :part AND until > now()")
_FREE = text(
    "SELECT topic, partition, owner, backend_pid, backend_start FROM log.lease "
    "WHERE part = :part AND (owner IS NULL OR until < now()) "
    "ORDER BY topic, partition LIMIT :wanted FOR UPDATE SKIP LOCKED"
)
# The start time tells a backend from a later one with the same number.
_TERMINATE = text(
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = :pid AND backend_start = :start"
)
_TAKE = text(
    "UPDATE log.lease SET owner = :owner, backend_pid = :pid, backend_start = :start, "
    "until = now() + make_interval(secs => :lease) WHERE part = :part AND topic = :topic AND partition = :partition"
)
_RELEASE = text(
    "UPDATE log.lease SET owner = NULL "
    "WHERE part = :part AND topic = :topic AND partition = :partition AND owner = :owner"
)


class Leases:
    """The partitions one worker or forwarder owns. A thread of its own renews them while a long batch is under way.

    Args:
        part: `READ`, `FORWARD` or `INTAKE`.
        places: what there is to own, asked at every renewal.
    """

    def __init__(self, runtime: Runtime, owner: str, part: str, places: Callable[[], Sequence[Place]]) -> None:
        self.runtime, self.owner, self.part, self._places = runtime, owner, part, places
        self._owned: frozenset[Place] = frozenset()
        self._surplus = 0
        self._backend: tuple[int, object] = (0, None)

    def begin(self, connection: Connection) -> None:
        """Notes the backend that the batches will run on: a successor ends it before it takes over."""
        # The role taken for work is not the login, and may not see when the login's backend started.
        connection.execute(text("SET LOCAL ROLE NONE"))
        row = connection.execute(
            text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        ).one()
        connection.rollback()
        self._backend = (row.pid, row.backend_start)

    def owned(self) -> frozenset[Place]:
        """What may be worked on now; gives back a surplus, which only the working thread can do between batches."""
        if self._surplus > 0:
            self._give_back(sorted(self._owned)[-self._surplus :])
            self._surplus = 0
        return self._owned

    def forget(self) -> None:
        """Forgets what was owned, after the connection was lost."""
        self._owned = frozenset()

    @contextmanager
    def kept(self, _working: Connection) -> Iterator[None]:
        """Renews the leases in the background; gives all of them back at the end."""
        done = threading.Event()
        self._renew()
        thread = threading.Thread(target=self._keep, args=(done,), name="leases", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            self._leave()

    def _keep(self, done: threading.Event) -> None:
        while not done.wait(self.runtime.settings.lease_seconds / 4):
            try:
                self._renew()
            except Exception as error:
                self._say("could not renew leases", error)

    def _renew(self) -> None:
        places = self._places()
        with self.runtime.engine.connect() as connection:
            with connection.begin():
                params = {"owner": self.owner, "part": self.part, "lease": self.runtime.settings.lease_seconds}
                connection.execute(_SEEN, params)
                mine = {(row.topic, row.partition) for row in connection.execute(_RENEW, params)}
                alive = connection.execute(_ALIVE, params).scalar_one()
                fair = -(-len(places) // alive)
                if len(mine) < fair:
                    if places:
                        connection.execute(
                            _CREATE, [{"part": self.part, "topic": t, "partition": p} for t, p in places]
                        )
                    mine |= self._take(connection, fair - len(mine))
            self._surplus = len(mine) - fair
            self._owned = frozenset(mine)

    def _take(self, connection: Connection, wanted: int) -> set[Place]:
        taken = set()
        for row in connection.execute(_FREE, {"part": self.part, "wanted": wanted}).fetchall():
            if row.owner is not None:
                # A stopped process keeps its row locks, and no timeout frees one stopped in the middle of a COPY. The
                # backend belongs to the login, not to the role that was taken for work.
                connection.execute(text("SET LOCAL ROLE NONE"))
                connection.execute(_TERMINATE, {"pid": row.backend_pid, "start": row.backend_start})
                log.warning("took over from a worker that went silent", topic=row.topic, partition=row.partition)
            pid, start = self._backend
            params = {"owner": self.owner, "pid": pid, "start": start, "lease": self.runtime.settings.lease_seconds}
            connection.execute(_TAKE, params | {"part": self.part, "topic": row.topic, "partition": row.partition})
            taken.add((row.topic, row.partition))
        return taken

    def _give_back(self, places: list[Place]) -> None:
        with self.runtime.engine.begin() as connection:
            for topic, partition in places:
                place = {"part": self.part, "topic": topic, "partition": partition}
                connection.execute(_RELEASE, place | {"owner": self.owner})
        self._owned -= set(places)

    def _leave(self) -> None:
        try:
            self._give_back(sorted(self._owned))
            with self.runtime.engine.begin() as connection:
                connection.execute(text("DELETE FROM log.worker WHERE owner = :owner"), {"owner": self.owner})
        except Exception as error:
            # The leases run out by themselves; a successor waits that long.
            self._say("could not give leases back", error)

    def _say(self, what: str, error: Exception) -> None:
        log.warning(what, service=self.runtime.service.name, error=str(error).splitlines()[0])
