"""Tells a story through the public API, as a client does: what was not answered is sent again."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from services.client import ApiProblem
from tests.simulation.actors import AFTER_COMMIT, BEFORE_COMMIT, LOST, Plan
from tests.simulation.story import Act, Configure, Decide, Push, Settle, Tick
from tests.simulation.world import World

UNANSWERED = 0.15  # of the requests


@dataclass
class Pending:
    """An act on its way: sent perhaps more than once, answered not yet."""

    act: Act
    number: int
    case: str | None = None

    @property
    def entity(self) -> tuple[str, ...]:
        """Acts of one entity follow each other; others may overtake. Empty: it follows all, and all follow it."""
        match self.act:
            case Configure(company, service, _, path):
                return company, service, path
            case Push(company):
                return company, "events"
        return ()


class Teller:
    """Sends the acts of a story, some of them more than once.

    `accepted` are those that the API took, in an order that every entity's own is part of.
    """

    def __init__(self, world: World, acts: Sequence[Act], name: str, faults: frozenset[str]) -> None:
        self.accepted: list[Act] = []
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self.pushed: list[Push] = []
        self.unanswered: list[Pending] = []
        self.left = deque(Pending(act, number) for number, act in enumerate(acts))
        self._world, self._name, self._faults = world, name, faults
        self._dice = Random(f"teller {name}")
        self._clients = {act.company: world.client(act.company) for act in acts if not isinstance(act, Settle)}

    @property
    def done(self) -> bool:
        return not self.left and not self.unanswered

    def next(self, rest: Callable[[], None]) -> str:
        """Tells one act, if one may be told now; what came of it. `rest` is called where the story settles."""
        if self.unanswered and (not self.left or self._dice.random() < 0.4):
            return self._send(self.unanswered.pop(self._dice.randrange(len(self.unanswered))))
        busy = {pending.entity for pending in self.unanswered}
        if busy and (() in busy or self.left[0].entity in busy or not self.left[0].entity):
            return "waits for an answer"
        following = self.left.popleft()
        if isinstance(following.act, Settle):
            rest()
            self.accepted.append(following.act)
            return "settled"
        return self._send(following)

    def finish(self) -> list[str]:
        """Sends again whatever was not answered, until it is, or nothing but a lock of somebody stopped prevents it."""
        waiting, self.unanswered = self.unanswered, []
        return [self._send(pending, calm=True) for pending in waiting]

    def repeat(self) -> str:
        """A source sends again what was accepted long ago."""
        act = self._dice.choice(self.pushed)
        try:
            receipts = self._clients[act.company].push([dict(event) for event in act.events])
        except ApiProblem as problem:
            return f"a repetition: {problem.status}"
        self.counts["duplicates"] += sum(receipt["status"] == "duplicate" for receipt in receipts)
        return f"a repetition: {sorted(receipt['status'] for receipt in receipts)}"

    def _send(self, pending: Pending, *, calm: bool = False) -> str:
        how = self._dice.choice((BEFORE_COMMIT, AFTER_COMMIT, "on the way"))
        lost = not calm and self._dice.random() < UNANSWERED and "unanswered" in self._faults
        if lost and how != "on the way":
            self._world.api_plan.plan = Plan(how, LOST)
        told = self._call(pending)
        self._world.api_plan.plan = None
        self._world.await_end(self._world.api_plan)
        if lost and how == "on the way":
            told = "unanswered"
        self.counts[told.split(":")[0]] += 1
        if told in ("unanswered", "busy"):
            self.unanswered.append(pending)
        elif told == "accepted":
            self._take(pending.act)
        return f"act {pending.number} {type(pending.act).__name__}: {told}"

    def _take(self, act: Act) -> None:
        self.accepted.append(act)
        if isinstance(act, Push):
            self.pushed.append(act)

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
        client, headers = self._clients[act.company], {"Idempotency-Key": f"{self._name}-{pending.number}"}
        match act:
            case Configure(_, service, method, path, body):
                client.request(method, f"/{service}/v1/{path}", json=dict(body), headers=headers)
            case Push(_, events):
                client.push([dict(event) for event in events])
            case Tick(_, at):
                client.post("/metrics/v1/ticks", {"at": at})
            case Decide(_, goal, period, body, what):
                if not self._found_case(client, pending, goal, period):
                    return "no case"
                client.request("POST", f"/reviews/v1/cases/{pending.case}/{what}", json=dict(body), headers=headers)
        return "accepted"

    def _found_case(self, client: Any, pending: Pending, goal: str, period: str) -> bool:
        """The case is looked up once: a repetition means the same one, closed by then or not."""
        if pending.case is None:
            found = client.get("/reviews/v1/cases", goal=goal, period=period)["items"]
            pending.case = next((case["id"] for case in found if case["status"] != "closed"), None)
        return pending.case is not None
