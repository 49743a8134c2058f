"""Simulated runs: a seed in, a verdict out; a failing one is shrunk to the shortest that still fails."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from typing import Any

from shared.log import worker
from tests.simulation.actors import Actor
from tests.simulation.actual import actual
from tests.simulation.oracle import differences, expected
from tests.simulation.processes import Process
from tests.simulation.scheduler import FAULTS, Run, Stuck
from tests.simulation.story import Act, Settle, story
from tests.simulation.verdict import verdict, witnessed
from tests.simulation.world import World

LENGTH = 40
LOGS = ("postgres", "kafka")


@dataclass(frozen=True, slots=True)
class Case:
    """What to simulate. The same case takes the same course, always.

    Args:
        seed: decides about the story, the schedule and the faults.
        steps: how many acts of the story are told; the story itself has some `LENGTH`.
        log: `postgres`, or `kafka` for a simulated broker; the seed decides where it is not named.
        without: faults that do not happen.
    """

    seed: int
    steps: int = 1_000
    log: str = ""
    without: frozenset[str] = frozenset()

    @property
    def on(self) -> str:
        """Which log it runs on."""
        return self.log or Random(f"log {self.seed}").choice(LOGS)

    @property
    def command(self) -> str:
        """What reproduces it."""
        parts = [f"valueloop simulate --seed {self.seed} --steps {self.steps} --log {self.on}"]
        return " ".join(parts + [f"--without {fault}" for fault in sorted(self.without)])


@dataclass(slots=True)
class Outcome:
    """What a run came to; `wrong` is empty where everything was right."""

    case: Case
    wrong: list[str]
    counts: Counter[str]
    trace: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """Tells one course from another."""
        return sha256("\n".join(self.trace).encode()).hexdigest()[:16]


class Simulator:
    """Plays cases on a world, one after the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._processes = [
            Process(Actor(f"{name} worker {number}"), runtime, world.logs)
            for name, runtime in world.workers.items() for number in (1, 2)
        ]  # fmt: skip

    def play(self, case: Case, acts: Sequence[Act] | None = None) -> Outcome:
        """Plays a case; with other acts than those of its seed where they are given."""
        self.world.empty()
        told = list(acts if acts is not None else story(case.seed, LENGTH))[: case.steps]
        run = Run(self.world, case.seed, told, self._processes, frozenset(FAULTS) - case.without)
        try:
            with _witnesses():
                run.play()
            wrong = [*run.broken, *verdict(self.world), *self._numbers(run)]
        except Stuck as stuck:
            wrong = [*run.broken, *verdict(self.world), f"stuck: {stuck}"]
        finally:
            self._put_away()
        return Outcome(case, wrong, run.counts, run.trace)

    def _numbers(self, run: Run) -> list[str]:
        companies = sorted({act.company for act in run.accepted if not isinstance(act, Settle)})
        return differences(expected(run.accepted), actual({name: self.world.client(name) for name in companies}))

    def _put_away(self) -> None:
        for process in self._processes:
            while process.actor.state != "idle":
                process.resume(killed=True)
            process.leave()

    def close(self) -> None:
        for process in self._processes:
            process.actor.end()


@contextmanager
def _witnesses() -> Iterator[None]:
    handle = worker.handle

    def seen(uow: Any, kinds: Any, records: Any) -> None:
        witnessed(uow, records)
        handle(uow, kinds, records)

    worker.handle = seen
    try:
        yield
    finally:
        worker.handle = handle


def shrink(fails: Callable[[Case], bool], case: Case) -> Case:
    """The shortest prefix of the story that still fails, by halving; then without the faults it does not need."""
    low, high = 0, case.steps  # the whole of it fails
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(replace(case, steps=middle)) else (middle, high)
    case = replace(case, steps=high)
    for fault in FAULTS:
        leaner = replace(case, without=case.without | {fault})
        case = leaner if fails(leaner) else case
    return case


def outcomes(simulator: Simulator, cases: Iterable[Case]) -> Iterator[Outcome]:
    """Plays cases in order."""
    return (simulator.play(case) for case in cases)
