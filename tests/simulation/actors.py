"""Actors: product code in threads of which exactly one runs, and that can be stopped at the named points of a step."""

import select
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DisconnectionError

SUSPEND, CRASH, LOST = "suspend", "crash", "lost"
"""At a point: hand the baton back inside the transaction; die; lose the connection to the database."""

BEGUN, MOVED, LOCKED, COUNTED, SENT = "begun", "moved", "locked", "counted", "sent"
BEFORE_COMMIT, AFTER_COMMIT = "before commit", "after commit"
_STATEMENTS = {
    "UPDATE log.position": MOVED,
    "INSERT INTO company_change": LOCKED,
    "UPDATE log.partition": COUNTED,
}
_PATIENCE = 120.0  # [s] a step may take before the simulation itself is taken to hang


class Crash(BaseException):
    """The process dies here: no handler of the product sees it, as none would see a SIGKILL."""


class Hangs(Exception):
    """A step did not come back: something waits for what only another, suspended actor could give."""


@dataclass(slots=True)
class Plan:
    """What happens to a step at one of its points; a step that does not come by there goes on unharmed."""

    point: str
    action: str


class Bystander:
    """Whoever runs in no actor's thread: the API, which can be struck but never suspended.

    `ended` are the backends whose connections were broken: PostgreSQL takes a moment to give their locks back, and
    whoever goes on before that takes another course each time.
    """

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.ended: list[int] = []

    def reach(self, point: str, driver: Any) -> None:
        if self.plan and self.plan.point == point:
            self.plan = None
            self.lose(point, driver)

    def lose(self, point: str, driver: Any) -> None:
        """Whoever uses the connection next finds it gone; after a COMMIT nobody would, and its answer is lost."""
        if driver:
            self.ended.append(driver.info.backend_pid)
            driver.close()
        if point == AFTER_COMMIT:
            raise psycopg.OperationalError("simulated: the connection was lost while committing")


class Actor(Bystander):
    """A thread that plays one job at a time. `state` is `idle`, or the point at which the job is suspended."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.state, self.outcome = name, "idle", None
        self._job: Callable[[], Any] | None = None
        self._killed = False
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def play(self, job: Callable[[], Any], plan: Plan | None = None) -> Any:
        """Plays a job until it ends or is suspended; its result, the exception that ended it, or None meanwhile."""
        self._job, self.plan, self._killed = job, plan, False
        return self._hand_over()

    def resume(self, *, killed: bool = False) -> Any:
        """Lets a suspended job go on, or die where it stands."""
        self._killed = killed
        return self._hand_over()

    def end(self) -> None:
        """Ends the thread. It must be idle."""
        self._job = None
        self._go.release()

    def _hand_over(self) -> Any:
        self.state, self.outcome = "running", None
        self._go.release()
        if not self._back.acquire(timeout=_PATIENCE):
            raise Hangs(f"{self.name} did not come back within {_PATIENCE:g} s")
        return self.outcome

    def _run(self) -> None:
        _current.actor = self
        while True:
            self._go.acquire()
            if self._job is None:
                return
            try:
                self.outcome = self._job()
            except BaseException as error:
                self.outcome = error
            self.plan, self.state = None, "idle"
            self._back.release()

    def reach(self, point: str, driver: Any) -> None:
        """Called by the job's thread at each point it passes."""
        if not self.plan or self.plan.point != point:
            return
        action, self.plan = self.plan.action, None
        if action == SUSPEND:
            self.state = point
            self._back.release()
            self._go.acquire()
            if not self._killed:
                return
            action = CRASH
        if action == LOST:
            return self.lose(point, driver)
        if driver:
            self.ended.append(driver.info.backend_pid)
        raise Crash(point)


_current = threading.local()


def reached(point: str, driver: Any = None, otherwise: Bystander | None = None) -> None:
    """Tells the actor of this thread, else `otherwise`, that it is at a point, on a connection of the driver."""
    who = getattr(_current, "actor", otherwise)
    if who:
        who.reach(point, driver)


def instrument(engine: Engine, otherwise: Bystander | None = None) -> None:
    """Makes the transactions of an engine come by the named points."""
    commit, dialect = engine.dialect.do_commit, engine.dialect

    def do_commit(connection: Any) -> None:
        driver = connection.driver_connection
        reached(BEFORE_COMMIT, driver, otherwise)
        commit(connection)
        reached(AFTER_COMMIT, driver, otherwise)

    dialect.do_commit = do_commit  # type: ignore[method-assign]

    @event.listens_for(engine, "do_connect")
    def without_limits(_dialect: Any, _record: Any, _args: Any, given: dict[str, Any]) -> None:
        # On a busy machine an actor may be stopped for longer than the product allows a transaction to be idle.
        given["options"] += " -c idle_in_transaction_session_timeout=0"

    @event.listens_for(engine, "checkout")
    def alive(driver: Any, _record: Any, _fairy: Any) -> None:
        # Which dead connections lie in a pool depends on earlier runs; one that the server has closed can be read from.
        if driver.closed or select.select([driver], [], [], 0)[0]:
            raise DisconnectionError

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        reached(BEGUN, connection.connection.driver_connection, otherwise)

    @event.listens_for(engine, "after_cursor_execute")
    def executed(connection: Connection, _cursor: Any, statement: str, *_rest: Any) -> None:
        for start, point in _STATEMENTS.items():
            if statement.startswith(start):
                reached(point, connection.connection.driver_connection, otherwise)
