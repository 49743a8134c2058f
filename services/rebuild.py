"""Makes empty databases equal to live ones, from what the live logs say was accepted."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import text

from services.archive import Archive, beginning
from services.replay import Replay
from shared.contracts.goals import Target
from shared.database.directory import BrokenEnvironment
from shared.database.unit_of_work import unit_of_work
from shared.log import Place
from shared.log.postgres import PostgresLog
from shared.log.worker import run_workers
from shared.service import Runtime

PATIENCE = 120.0  # [s] without any progress of any reader


class NotEmpty(BrokenEnvironment):
    """A rebuild begins with empty databases."""


class Stuck(BrokenEnvironment):
    """A reader does not go on."""


def rebuild(
    sources: Mapping[str, PostgresLog],
    targets: Mapping[str, Runtime],
    workers: int,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> int:
    """Replays live logs into empty databases until nothing new was accepted meanwhile; how many records there were.

    Args:
        progress: is told how many records are in, and of how many.

    Raises:
        NotEmpty: the databases hold something.
        Stuck: a reader does not go on.
    """
    for name, runtime in targets.items():
        _make_months(runtime, beginning(sources[name]))
    archive = Archive(sources, {name: runtime.service for name, runtime in targets.items()})
    done = total = 0
    with settling(targets, workers) as settle:
        replay = Replay(targets, settle, set())
        while more := archive.extend():
            total += more
            replay.answered |= answered(sources["goals"])
            for _ in replay.play(archive.records()):
                done += 1
                if done % 1_000 == 0:
                    progress(done, total)
        progress(total, total)
    return total


def refuse_unless_empty(targets: Mapping[str, Runtime]) -> None:
    """Raises `NotEmpty`."""
    for name, runtime in targets.items():
        with runtime.engine.connect() as connection:
            if connection.execute(text("SELECT 1 FROM log.record LIMIT 1")).first():
                raise NotEmpty(
                    f"The {name} database to rebuild into holds records already.",
                    remedy="Name an empty server, or another --prefix for the databases' names.",
                )


def answered(goals: PostgresLog) -> set[tuple[str, str]]:
    """The company and id of each decision that goals has carried out."""
    sql = (
        "SELECT company, data::jsonb #>> '{content,decision}' AS decision FROM log.record "
        "WHERE topic = :topic AND type = :type AND data::jsonb #>> '{content,decision}' IS NOT NULL"
    )
    with goals.engine.connect() as connection:
        found = connection.execute(text(sql), {"topic": Target.TOPIC, "type": Target.TYPE})
        return {(row.company, row.decision) for row in found}


def copy_secrets(live: Runtime, target: Runtime) -> int:
    """Copies what is in no event: the secrets that sources sign with. Returns how many there are."""
    columns = ("company", "source", "secret", "recorded_by", "recorded_at")
    with unit_of_work(live, actor="rebuild", read_only=True) as uow:
        rows: Sequence[Any] = uow.rows(f"SELECT {', '.join(columns)} FROM source_secret")
    with unit_of_work(target, actor="rebuild") as uow:
        uow.copy("source_secret", columns, rows)
    return len(rows)


def _make_months(runtime: Runtime, since: datetime | None) -> None:
    if since:
        with runtime.engine.begin() as connection:
            connection.execute(text("SELECT log.make_months(:since)"), {"since": since})


@contextmanager
def settling(runtimes: Mapping[str, Runtime], workers: int) -> Iterator[Callable[[], None]]:
    """Runs workers of all services; gives what waits until every reader stands at the end of what it reads."""
    stop = threading.Event()
    threads = [threading.Thread(target=run_workers, args=(runtimes, stop)) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: _settle(runtimes)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _settle(runtimes: Mapping[str, Runtime]) -> None:
    before: Any = None
    moved_at, pause = time.monotonic(), 0.002
    while True:
        # A record's effect and what it publishes are one transaction: twice the same, and nothing is on its way.
        now = _where(runtimes)
        lagging = [place for place, (at, end) in now.items() if at < end]
        if now != before:
            before, moved_at = now, time.monotonic()
        elif not lagging:
            return
        elif time.monotonic() - moved_at > PATIENCE:
            reader, topic, partition = lagging[0]
            at, end = now[lagging[0]]
            rule = f"The reader of {topic}/{partition} in {reader} stands at {at} of {end} and does not go on."
            raise Stuck(rule, remedy="What its worker wrote to the log says why.")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def behind(runtimes: Mapping[str, Runtime]) -> int:
    """How many records all readers together have left."""
    return sum(end - at for at, end in _where(runtimes).values())


def _where(runtimes: Mapping[str, Runtime]) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Where each reader stands, and where what it reads ends."""
    ends: dict[Place, int] = {}
    stands: dict[tuple[str, str, int], int] = {}
    for name, runtime in runtimes.items():
        with runtime.engine.connect() as connection:
            for row in connection.execute(text("SELECT topic, partition, next_pos FROM log.position")):
                stands[name, row.topic, row.partition] = row.next_pos
            for row in connection.execute(text("SELECT topic, partition, next_pos FROM log.partition")):
                ends[row.topic, row.partition] = row.next_pos
    return {
        (name, *place): (stands.get((name, *place), 0), end)
        for name, runtime in runtimes.items()
        for place, end in ends.items()
        if place[0] in runtime.service.inputs
    }
