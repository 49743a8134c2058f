"""Simulated runs: a seed in, a verdict out; a failing one is shrunk to the shortest that still fails."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

from shared.log import worker
from shared.log.kafka import KafkaFeed, KafkaLog
from tests.simulation.actors import Actor
from tests.simulation.actual import actual
from tests.simulation.broker import Broker
from tests.simulation.oracle import differences, expected
from tests.simulation.processes import Copier, Process, Reader
from tests.simulation.scheduler import FAULTS, Run, Stuck
from tests.simulation.story import Act, Settle, story
from tests.simulation.verdict import verdict, witnessed
from tests.simulation.world import World

LENGTH = 60
LOGS = ("postgres", "kafka")
KINDS = ("worker", "forwarder")


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
        self._actors = {f"{n} {k} {i}": Actor(f"{n} {k} {i}") for n in world.workers for k in KINDS for i in (1, 2)}

    def play(self, case: Case, acts: Sequence[Act] | None = None) -> Outcome:
        """Plays a case; with other acts than those of its seed where they are given."""
        self.world.empty()
        told = list(acts if acts is not None else story(case.seed, LENGTH))[: case.steps]
        broker = Broker(self.world.counts()) if case.on == "kafka" else None
        processes = list(self._processes(broker))
        run = Run(self.world, case.seed, told, processes, broker, frozenset(FAULTS) - case.without)
        try:
            with _witnesses():
                run.play()
            wrong = [*verdict(self.world, broker), *self._numbers(run)]
        except Stuck as stuck:
            wrong = [*verdict(self.world, broker), f"stuck: {stuck}"]
        finally:
            _put_away(processes)
        return Outcome(case, [*run.broken, *run.teller.broken, *wrong], run.counts + run.teller.counts, run.trace)

    def _processes(self, broker: Broker | None) -> Iterator[Process]:
        """Two workers for each service, and two forwarders where there is Kafka, all newly born."""
        for name, runtime in self.world.workers.items():
            if broker:
                logs = dict.fromkeys(self.world.workers, KafkaLog(broker))  # type: ignore[arg-type]
                runtime = replace(runtime, logs=logs, feed=lambda: KafkaFeed(broker, broker.consumer(), 5_000))
            for actor in self._of(name, "worker"):
                yield _born(Reader(actor, runtime))
            for actor in self._of(name, "forwarder") if broker else ():
                yield _born(Copier(actor, self.world.workers[name], target=broker))

    def _of(self, service: str, kind: str) -> list[Actor]:
        return [actor for name, actor in self._actors.items() if name.startswith(f"{service} {kind}")]

    def _numbers(self, run: Run) -> list[str]:
        companies = sorted({act.company for act in run.teller.accepted if not isinstance(act, Settle)})
        try:
            wanted = expected(run.teller.accepted)
        except Exception as error:  # what was accepted makes no sense: a decision, say, on a case that cannot be open
            return [f"the oracle cannot follow what was accepted: {type(error).__name__}: {error}"]
        return differences(wanted, actual({name: self.world.client(name) for name in companies}))

    def close(self) -> None:
        """Ends its threads."""
        for actor in self._actors.values():
            actor.end()


def _born(process: Process) -> Process:
    process.born()
    return process


def _put_away(processes: Iterable[Process]) -> None:
    for process in processes:
        while not process.idle:
            process.resume(killed=True)
        process.leave()


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


@contextmanager
def simulator(admin_url: str, directory: Path) -> Iterator[Simulator]:
    """A simulator over databases of its own on a server; they stay until the server goes.

    Args:
        admin_url: a login that may make databases and roles.
        directory: where the issuer of tokens keeps its keys.
    """
    world = World(admin_url, directory)
    made = Simulator(world)
    try:
        yield made
    finally:
        made.close()
        world.close()
