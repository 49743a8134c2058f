"""A run: a seed decides what happens next, until the story is told and everything has come to rest."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from services.client import ApiProblem
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
    SUSPEND,
    Plan,
)
from tests.simulation.processes import BROKE, DIED, DONE, SUSPENDED, Process
from tests.simulation.story import Act, Configure, Decide, Push, Settle, Tick
from tests.simulation.world import World

FAULTS = ("crash", "suspend", "lost", "takeover", "repeat", "unanswered", "split")
POINTS = (BEGUN, MOVED, LOCKED, COUNTED, BEFORE_COMMIT, AFTER_COMMIT)
ROUNDS_TO_REST = 60
STRUCK = 0.3  # of the steps of workers, by some fault


class Stuck(Exception):
    """Nothing moves any more, and not everything is done."""


@dataclass
class Pending:
    """An act on its way: sent perhaps more than once, answered not yet."""

    act: Act
    number: int
    case: str | None = None

    @property
    def entity(self) -> tuple[str, ...]:
        """Acts of one entity follow each other; those of others may overtake."""
        match self.act:
            case Configure(company, service, _, path):
                return company, service, path
            case Push(company):
                return company, "events"
        return ()


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
    faults: frozenset[str] = frozenset(FAULTS)
    trace: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    accepted: list[Act] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    _orphans: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = Random(f"schedule {self.seed}")
        self._left = deque(Pending(act, number) for number, act in enumerate(self.acts))
        self._unanswered: list[Pending] = []
        self._pushed: list[Push] = []
        self._clients = {
            act.company: self.world.client(act.company) for act in self.acts if not isinstance(act, Settle)
        }

    def play(self) -> None:
        """Plays everything. Raises Stuck."""
        for process in self.processes:
            process.born()
        while self._left or self._unanswered:
            self._something()
        self.rest()

    def note(self, line: str) -> None:
        self.trace.append(line)
        self.counts["steps"] += 1

    # --- what may happen next ---

    def _something(self) -> None:
        choices: list[tuple[float, Callable[[], None]]] = [(4, self._act), (5, self._work), (0.3, self._renew_any)]
        if any(process.actor.state != "idle" for process in self.processes):
            choices.append((2, self._resume))
        if "takeover" in self.faults:
            choices.append((1 if self._orphans else 0.2, self._take_over))
        if "repeat" in self.faults and self._pushed:
            choices.append((0.2, self._repeat))
        [chosen] = self.dice.choices([choice for _, choice in choices], [weight for weight, _ in choices])
        chosen()

    def _work(self) -> None:
        ends = self.world.ends()
        behind = [
            (process, place)
            for process in self.processes if process.actor.state == "idle"
            for place in sorted(process.owned) if process.stands(place) < ends[place]
        ]  # fmt: skip
        strangers = [process for process in self.processes if process.actor.state == "idle" and not process.owned]
        if strangers and (not behind or self.dice.random() < 0.2):
            return self._renew(self.dice.choice(strangers))
        if behind:
            process, place = self.dice.choice(behind)
            most = self.dice.choice((1, 2, 3, 10, 5_000)) if "split" in self.faults else 5_000
            self._step(process, place, most, self._plan())

    def _plan(self) -> Plan | None:
        struck, action, point = self.dice.random() < STRUCK, self.dice.choice((SUSPEND, SUSPEND, CRASH, LOST)), None
        point = self.dice.choice(POINTS)
        return Plan(point, action) if struck and action in self.faults else None

    def _step(self, process: Process, place: Place | None, most: int, plan: Plan | None) -> str:
        owner = process.owner
        told = process.step(place, most, plan)
        self.note(f"{process.name} takes {most} of {place}: {told}")
        self._consequences(process, owner, told)
        return told

    def _consequences(self, process: Process, owner: str, told: str) -> None:
        kind = told.split(maxsplit=1)[0]
        self.counts[kind] += 1
        if kind == DIED:
            self._orphans.append((process.runtime.service.name, owner))
        if kind == BROKE:
            self.broken.append(f"{process.name}: {told}")

    def _resume(self) -> None:
        process = self.dice.choice([process for process in self.processes if process.actor.state != "idle"])
        self._go_on(process, killed="crash" in self.faults and self.dice.random() < 0.2)

    def _go_on(self, process: Process, *, killed: bool = False) -> None:
        point, owner = process.actor.state, process.owner
        told = process.resume(killed=killed)
        self.note(f"{process.name} {'dies' if killed else 'goes on'} from {point}: {told}")
        self._consequences(process, owner, told)

    # --- leases ---

    def _renew_any(self) -> None:
        if idle := [process for process in self.processes if process.actor.state == "idle"]:
            self._renew(self.dice.choice(idle))

    def _renew(self, process: Process) -> None:
        owner = process.owner
        told = process.renew()
        self.note(f"{process.name} renews: {told}, owns {sorted(process.owned)}")
        self._consequences(process, owner, told)

    def _take_over(self) -> None:
        """Time runs out for one who is dead, stopped or slow, and another of its service takes what it had."""
        living = [(process.runtime.service.name, process.owner) for process in self.processes if process.owned]
        stopped = [(p.runtime.service.name, p.owner) for p in self.processes if p.actor.state != "idle" and p.owned]
        if not (candidates := self._orphans or stopped or living):
            return
        service, owner = self.dice.choice(candidates)
        self._expire(service, owner, fenced_only=self.dice.random() < 0.5)
        heirs = [p for p in self.processes if p.runtime.service.name == service and p.owner != owner]
        for heir in heirs:
            if heir.actor.state == "idle":
                self.counts["takeovers"] += 1
                self._renew(heir)

    def _expire(self, service: str, owner: str, *, fenced_only: bool = False) -> None:
        """`fenced_only`: the predecessor's backend cannot be ended, so that only the fence is left."""
        eye = self.world.eyes[service]
        gone = ", backend_pid = 0" if fenced_only else ""
        eye.execute(f"UPDATE log.lease SET until = now() - interval '1 s'{gone} WHERE owner = %s".encode(), [owner])
        eye.execute("UPDATE log.worker SET until = now() - interval '1 s' WHERE owner = %s", [owner])
        self._orphans = [orphan for orphan in self._orphans if orphan[1] != owner]
        self.note(f"the lease of one of {service} runs out{' and its backend stays' if fenced_only else ''}")

    # --- acts ---

    def _act(self) -> None:
        busy = {pending.entity for pending in self._unanswered}
        if self._unanswered and (not self._left or self.dice.random() < 0.4):
            return self._send(self._unanswered.pop(self.dice.randrange(len(self._unanswered))))
        if not self._left:
            return
        following = self._left[0]
        if busy and (following.entity in busy or not following.entity):
            return  # it has to wait for an answer to what came before
        self._left.popleft()
        if isinstance(following.act, Settle):
            self.note("everything comes to rest")
            self.rest()
            return self.accepted.append(following.act)
        self._send(following)

    def _send(self, pending: Pending, *, calm: bool = False) -> None:
        lost = not calm and self.dice.random() < 0.15 and "unanswered" in self.faults
        how = self.dice.choice((BEFORE_COMMIT, AFTER_COMMIT, "on the way"))
        if lost and how != "on the way":
            self.world.api_plan.plan = Plan(how, LOST)
        try:
            told = self._call(pending)
        finally:
            self.world.api_plan.plan = None
        if lost and how == "on the way":
            told = "unanswered"
        self.note(f"act {pending.number} {type(pending.act).__name__}: {told}")
        self.counts[told] += 1
        if told in ("unanswered", "busy"):
            self._unanswered.append(pending)
        elif told == "accepted":
            self.accepted.append(pending.act)
            if isinstance(pending.act, Push):
                self._pushed.append(pending.act)

    def _call(self, pending: Pending) -> str:
        try:
            return self._request(pending)
        except ApiProblem as problem:
            if problem.status in (429, 503):
                return "busy"
            if problem.status >= 500:
                self.broken.append(f"act {pending.number}: HTTP {problem.status} {problem}")
            return f"refused: {problem.status} {problem.type}"

    def _request(self, pending: Pending) -> str:
        act = pending.act
        assert not isinstance(act, Settle)
        client, headers = self._clients[act.company], {"Idempotency-Key": f"{self.seed}-{pending.number}"}
        match act:
            case Configure(_, service, method, path, body):
                client.request(method, f"/{service}/v1/{path}", json=dict(body), headers=headers)
            case Push(_, events):
                client.push(list(events))  # type: ignore[arg-type]
            case Tick(_, at):
                client.post("/metrics/v1/ticks", {"at": at})
            case Decide(_, goal, period, body, what):
                if not self._find_case(client, pending, goal, period):
                    return "no case"
                path = f"/reviews/v1/cases/{pending.case}/{what}"
                client.request("POST", path, json=dict(body), headers=headers)
        return "accepted"

    def _find_case(self, client: Any, pending: Pending, goal: str, period: str) -> bool:
        """The case is looked up once: a repetition means the same one, closed by then or not."""
        if pending.case is None:
            found = client.get("/reviews/v1/cases", goal=goal, period=period)["items"]
            pending.case = next((case["id"] for case in found if case["status"] != "closed"), None)
        return pending.case is not None

    def _repeat(self) -> None:
        """A source sends again what was accepted long ago."""
        act = self.dice.choice(self._pushed)
        try:
            receipts = self._clients[act.company].push(list(act.events))  # type: ignore[arg-type]
        except ApiProblem as problem:
            return self.note(f"a repetition: {problem.status}")
        self.counts["duplicates"] += sum(receipt["status"] == "duplicate" for receipt in receipts)
        self.note(f"a repetition: {sorted(receipt['status'] for receipt in receipts)}")

    # --- rest ---

    def rest(self) -> None:
        """No fault happens any more, until every reader stands at the end of what it reads. Raises Stuck."""
        for _ in range(ROUNDS_TO_REST):
            self._calm_down()
            while self._unanswered:
                self._send(self._unanswered.pop(0), calm=True)
            for process in self.processes:
                if process.owned and self._lag(process):
                    self._step(process, None, 5_000, None)
            if not any(self._lags().values()):
                return
        lagging = [f"{name} lags by {lag}" for name, lag in self._lags().items() if lag]
        raise Stuck("; ".join(lagging) + f"; last of all: {self.trace[-1]}")

    def _calm_down(self) -> None:
        for process in self.processes:
            if process.actor.state != "idle":
                self._go_on(process)
        for service, owner in list(self._orphans):
            self._expire(service, owner)
        for service in sorted(self.world.workers):
            self._share(service)

    def _share(self, service: str) -> None:
        """Renews until everybody knows what is whose, and every partition is somebody's."""
        mine = [process for process in self.processes if process.runtime.service.name == service]
        wanted = {place: process.owner for process in mine for place in process.owned}
        if wanted.keys() < set(mine[0].worker._places()) or wanted != self.world.owners(service):
            for process in mine:
                self._renew(process)

    def _lag(self, process: Process) -> bool:
        ends = self.world.ends()
        return any(process.stands(place) < ends[place] for place in process.owned)

    def _lags(self) -> dict[str, int]:
        ends, lags = self.world.ends(), {}
        for service, runtime in self.world.workers.items():
            at = self.world.positions(service)
            mine = [place for place in ends if place[0] in runtime.service.inputs]
            lags[service] = sum(ends[place] - at.get(place, 0) for place in mine)
        return lags


__all__ = ["DONE", "FAULTS", "SUSPENDED", "Run", "Stuck"]
