"""Many cases at once: each process has a PostgreSQL of its own, so a case takes the same course in any of them."""

import logging
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from multiprocessing.util import Finalize
from pathlib import Path

import structlog

from shared.database.embedded import FOR_TESTS, EmbeddedPostgres
from tests.simulation.defects import BY_NAME
from tests.simulation.engine import Case, Outcome, Simulator, shrink, simulator

_mine: list[Simulator] = []


@contextmanager
def alone() -> Iterator[Simulator]:
    """A simulator over a PostgreSQL that is started for it and whose data may be lost."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="valueloop-") as directory:
        postgres = EmbeddedPostgres(Path(directory), FOR_TESTS)
        try:
            with simulator(postgres.start(), Path(directory)) as made:
                yield made
        finally:
            postgres.stop()


def outcomes(cases: Sequence[Case], defect: str | None, processes: int) -> Iterator[Outcome]:
    """Plays cases, in order, with a known defect built in if one is named; what is not asked for is not played."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin) as pool:
        try:
            yield from pool.map(_play, cases, [defect] * len(cases))
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    stack = ExitStack()
    _mine.append(stack.enter_context(alone()))
    Finalize(None, stack.close, exitpriority=1)


def _play(case: Case, defect: str | None) -> Outcome:
    with BY_NAME[defect].built_in() if defect else nullcontext():
        return _mine[0].play(case)


def shortest(case: Case, defect: str | None) -> Case:
    """The shortest that still fails of a case that fails."""
    with alone() as made, BY_NAME[defect].built_in() if defect else nullcontext():
        return shrink(lambda each: bool(made.play(each).wrong), case)
