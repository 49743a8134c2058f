"""A run: a seed decides what happens next, until the story is told and everything has come to rest."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from shared.log import Place
from tests.simulation.actors import (
    AFTER_COMMIT,
    BEFORE_COMMIT,
    BEGUN,
    COUNTED,
    CRASH,
    LOCKED,
    LOST,
    MOVED,
    SENT,
    SUSPEND,
    Plan,
)
from tests.simulation.broker import TROUBLES, Broker
from tests.simulation.processes import BROKE, DIED, Copier, Process
from tests.simulation.story import Act
from tests.simulation.teller import Teller
from tests.simulation.world import World

FAULTS = ("crash", "suspend", "lost", "takeover", "repeat", "unanswered", "split", "trouble")
"""Died, stopped and lost-connection steps; leases that run out; events sent again; answers lost; small portions; and
what Kafka does to what is sent."""
POINTS = (BEGUN, MOVED, LOCKED, COUNTED, BEFORE_COMMIT, AFTER_COMMIT)
COPYING = (BEGUN, SENT, SENT, BEFORE_COMMIT, AFTER_COMMIT)
PORTIONS = (1, 2, 3, 10, 5_000)
STRUCK = 0.3  # of the steps, by some fault
IN_VAIN = 6  # rounds of rest without any progress, after which there will be none


class Stuck(Exception):
    """Nothing moves any more, and not everything is done."""


@dataclass
class Run:
    """Plays acts on a world.

    Args:
        faults: which of `FAULTS` may happen; the others are drawn all the same, so that leaving one out moves little.
    """

    world: World
    seed: int
    acts: Sequence[Act]
    processes: list[Process]
    broker: Broker | None = None
    faults: frozenset[str] = frozenset(FAULTS)
    trace: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    _orphans: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = Random(f"schedule {self.seed}")
        self.teller = Teller(self.world, self.acts, str(self.seed), self.faults)
        places = self.world.ends().keys()
        self._kinds = {(p.service, p.part): {place for place in places if place[0] in p.topics} for p in self.processes}

    def play(self) -> None:
        """Plays everything. Raises Stuck."""
        while not self.teller.done:
            self._something()
        self.rest()

    def note(self, line: str) -> None:
        """Remembers a step."""
        self.trace.append(line)
        self.counts["steps"] += 1

    # --- what may happen next ---

    def _something(self) -> None:
        choices: list[tuple[float, Callable[[], None]]] = [(4, self._tell), (5, self._work), (0.3, self._renew_any)]
        if any(not process.idle for process in self.processes):
            choices.append((2, self._resume))
        if "takeover" in self.faults:
            choices.append((1 if self._orphans else 0.2, self._take_over))
        if "repeat" in self.faults and self.teller.pushed:
            choices.append((0.2, lambda: self.note(self.teller.repeat())))
        if self.broker and self.broker.delayed:
            choices.append((0.7, self._arrive))
        [chosen] = self.dice.choices([choice for _, choice in choices], [weight for weight, _ in choices])
        chosen()

    def _tell(self) -> None:
        self.note(self.teller.next(self.rest))

    def _arrive(self) -> None:
        assert self.broker
        self.broker.late_arrival(self.dice)
        self.note("a batch that was given up reaches the broker")

    def _work(self) -> None:
        ends, idle = self.world.ends(), [process for process in self.processes if process.idle]
        behind = [
            (process, place)
            for process in idle
            for place in sorted(process.owned)
            if process.stands(place) < ends[place]
        ]
        strangers = [process for process in idle if not process.owned]
        if strangers and self.dice.random() < (0.1 if behind else 0.4):
            self._renew(self.dice.choice(strangers))
        elif behind:
            self._struck(*self.dice.choice(behind))

    def _struck(self, process: Process, place: Place) -> None:
        """A step of some size, with a fault perhaps."""
        most = self._portion()
        struck, action = self.dice.random() < STRUCK, self.dice.choice((SUSPEND, SUSPEND, CRASH, LOST))
        copies = isinstance(process, Copier)
        point = self.dice.choice(COPYING if copies else POINTS)
        if self.broker:
            self.broker.portion, self.broker.eager = self._portion(), self._portion()
            trouble = self.dice.choice(TROUBLES)
            self.broker.trouble = trouble if copies and "trouble" in self.faults and self.dice.random() < 0.3 else None
        self._step(process, place, most, Plan(point, action) if struck and action in self.faults else None)

    def _portion(self) -> int:
        drawn = self.dice.choice(PORTIONS)
        return drawn if "split" in self.faults else PORTIONS[-1]

    def _step(self, process: Process, place: Place | None, most: int, plan: Plan | None = None) -> None:
        owner, trouble = process.owner, self.broker.trouble if self.broker else None
        told = process.step(place, most, plan)
        if trouble and self.broker and not self.broker.trouble:
            self.counts["troubles"] += 1
            told += f" ({trouble})"
        self.note(f"{process.name} takes {most} of {place or 'all'}: {told}")
        self._consequences(process, owner, told)

    def _consequences(self, process: Process, owner: str, told: str) -> None:
        kind = told.split(maxsplit=1)[0]
        self.counts[kind] += 1
        if kind == DIED:
            self._orphans.append((process.service, process.part, owner))
        if kind == BROKE:
            self.broken.append(f"{process.name}: {told}")

    def _resume(self) -> None:
        process = self.dice.choice([process for process in self.processes if not process.idle])
        self._go_on(process, killed=self.dice.random() < 0.2 and "crash" in self.faults)

    def _go_on(self, process: Process, *, killed: bool = False) -> None:
        point, owner = process.actor.state, process.owner
        told = process.resume(killed=killed)
        self.note(f"{process.name} {'dies' if killed else 'goes on'} from {point}: {told}")
        self._consequences(process, owner, told)

    # --- leases ---

    def _renew_any(self) -> None:
        if idle := [process for process in self.processes if process.idle]:
            self._renew(self.dice.choice(idle))

    def _renew(self, process: Process) -> None:
        owner = process.owner
        told = process.renew()
        self.note(f"{process.name} renews: {told}, owns {len(process.owned)}")
        self._consequences(process, owner, told)

    def _take_over(self) -> None:
        """Time runs out for one who is dead, stopped or slow, and another of its kind takes what it had."""
        living = [(p.service, p.part, p.owner) for p in self.processes if p.owned]
        stopped = [(p.service, p.part, p.owner) for p in self.processes if p.owned and not p.idle]
        fenced_only = self.dice.random() < 0.5
        if candidates := self._orphans or stopped or living:
            service, part, owner = self.dice.choice(candidates)
            self._expire(service, owner, fenced_only=fenced_only)
            for heir in self.processes:
                if (heir.service, heir.part) == (service, part) and heir.owner != owner and heir.idle:
                    self.counts["takeovers"] += 1
                    self._renew(heir)

    def _expire(self, service: str, owner: str, *, fenced_only: bool = False) -> None:
        """`fenced_only`: the predecessor's backend cannot be ended, so that only the fence is left."""
        self.world.expire(service, owner, forget_backend=fenced_only)
        self._orphans = [orphan for orphan in self._orphans if orphan[2] != owner]
        self.note(f"a lease of {service} runs out{', and its holder cannot be ended' if fenced_only else ''}")

    # --- rest ---

    def rest(self) -> None:
        """No fault happens any more, until every reader stands at the end of what it reads. Raises Stuck."""
        seen: list[int] = []
        while len(seen) < IN_VAIN or len(set(seen[-IN_VAIN:])) > 1:
            self._calm_down()
            for told in self.teller.finish():
                self.note(told)
            ends = self.world.ends()
            for process in self.processes:
                if any(process.stands(place) < ends[place] for place in process.owned):
                    self._step(process, None, PORTIONS[-1])
            seen.append(sum(self._lags().values()))
            if not seen[-1] and not self.teller.unanswered:
                return
        lagging = [f"{name} by {lag}" for name, lag in self._lags().items() if lag]
        raise Stuck(f"{', '.join(lagging)} behind; last of all: {self.trace[-1]}")

    def _calm_down(self) -> None:
        if self.broker:
            self.broker.portion = self.broker.eager = PORTIONS[-1]
            self.broker.trouble = None
            while self.broker.delayed:
                self._arrive()
        for process in self.processes:
            if not process.idle:
                self._go_on(process)
        for service, _, owner in list(self._orphans):
            self._expire(service, owner)
        for (service, part), places in self._kinds.items():
            self._share(service, part, places)

    def _share(self, service: str, part: str, places: set[Place]) -> None:
        """Renews until everybody knows what is whose, and every partition is somebody's."""
        mine = [process for process in self.processes if (process.service, process.part) == (service, part)]
        held = {place: process.owner for process in mine for place in process.owned}
        if held.keys() < places or held != self.world.owners(service, part):
            for process in mine:
                self._renew(process)

    def _lags(self) -> dict[str, int]:
        """How far each service is behind what it reads, or copies."""
        ends, lags = self.world.ends(), {}
        for (service, part), places in self._kinds.items():
            at = self.world.stands(service, part)
            lags[f"{service} ({part})"] = sum(ends[place] - at.get(place, 0) for place in places)
        return lags
