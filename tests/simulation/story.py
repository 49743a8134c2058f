"""Makes up what happens to a small company or two, from a seed.

`story(seed, length)` gives the same acts for the same seed and length, always; it may be cut to any prefix.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from random import Random

from tests.simulation.acts import (
    FIRST_DAY,
    LAST_DAY,
    Act,
    Configure,
    Decide,
    Push,
    Settle,
    Tick,
)
from tests.simulation.dates import Calendar
from tests.simulation.organisation import Plan, foundation
from tests.simulation.scenes import SCENES, Body, Scene, Thread, World, derived

__all__ = ["FIRST_DAY", "LAST_DAY", "Act", "Configure", "Decide", "Push", "Settle", "Tick", "story"]
TICKS = ("2025-01-20T10:00:00Z", "2025-02-03T16:00:00Z", "2025-03-01T05:00:00Z", "2025-04-01T17:30:00Z",
         "2025-04-03T08:00:00Z", "2025-05-05T12:00:00+08:00", "2025-07-02T00:00:00+02:00")  # fmt: skip


def story(seed: int, length: int) -> list[Act]:
    """The acts of a seed, about `length` of them, and no fewer than make sense (some 40); companies are called
    `sim<seed>a` and sometimes `sim<seed>b`."""
    dice = Random(f"story {seed}")
    companies = [f"sim{seed}a"] + ([f"sim{seed}b"] if dice.random() < 0.15 else [])
    tales = [_tale(dice, company, length // len(companies)) for company in companies]
    return tales[0] if len(tales) == 1 else _together(dice, tales)


def _tale(dice: Random, company: str, length: int) -> list[Act]:
    """One company's acts: what is set and what happens in two to four phases, each ended by a tick and decisions."""
    grains = ["month", "quarter"] + (["year"] if dice.random() < 0.3 else [])
    world = World(company, dice, [], [], grains)
    plan = foundation(world, large=length > 60)
    chosen = dice.sample(SCENES, min(len(SCENES), max(1, length // 30)))
    scenes = [scene(world, max(8, length // (2 * len(chosen)))) for scene in chosen]
    metrics = {code: what for scene in scenes for code, what in scene.metrics.items()}
    if dice.random() < 0.7:
        scenes.append(derived(world, metrics))
        metrics |= scenes[-1].metrics
    plan.strive(world, metrics)
    ticks = sorted(dice.sample(range(len(TICKS)), dice.randint(1, 3)))
    pushes = list(_pushes(world, [event for scene in scenes for event in scene.events]))
    spare = [pushes.pop() for _ in range(dice.randrange(min(4, len(pushes))))]  # pushed while a tick is on its way
    phases = _phases(dice, plan, scenes, pushes, len(ticks) + 1)
    acts: list[Act] = []
    for number, threads in enumerate(phases):
        acts += _merged(dice, threads)
        if number < len(ticks):
            acts += _judgement(world, plan, TICKS[ticks[number]], spare[number :: len(ticks)])
    return acts


def _phases(
    dice: Random, plan: Plan, scenes: Sequence[Scene], pushes: Sequence[Push], count: int
) -> list[list[Thread]]:
    """Threads by phase: what is set comes mostly first, changes later, events whenever; each thread keeps its order."""
    phases: list[list[Thread]] = [[] for _ in range(count)]
    phases[0] += plan.first
    for thread in [thread for scene in scenes for thread in scene.threads] + plan.settings:
        if dice.random() > 0.03:  # what is never set keeps events waiting
            phases[0 if dice.random() < 0.8 else dice.randrange(count)].append(thread)
    late = [thread for scene in scenes for thread in scene.changes] + plan.changes
    for thread in dice.sample(late, min(len(late), dice.randint(2, 7))):
        phases[dice.randrange(count)].append(thread)
    for push in pushes:
        phases[dice.randrange(count)].append([push])
    return phases


def _pushes(world: World, events: Sequence[Body]) -> Iterable[Push]:
    """Batches in any order; some events come twice, some under a known id with another content, some are none."""
    dice, sent = world.dice, list(events)
    for event in events:
        if (roll := dice.random()) < 0.08:
            sent.append(event)
        elif roll < 0.14:
            sent.append(event | {"data": event["data"] | {"revision": "9", "amount": "1", "rate": "0.5"}})
        elif roll < 0.16:
            sent.append({name: value for name, value in event.items() if name != "id"})
    if dice.random() < 0.5:
        sent.append(world.event("memo", world.moment(), text="No mapping takes this."))
    dice.shuffle(sent)
    while sent:
        size = dice.choice((1, 2, 3, 5, 8))
        yield Push(world.company, tuple(sent[:size]))
        del sent[:size]


def _merged(dice: Random, threads: Sequence[Thread]) -> list[Act]:
    """All acts in some order that keeps every thread's own."""
    turns = [number for number, thread in enumerate(threads) for _ in thread]
    dice.shuffle(turns)
    rest = [iter(thread) for thread in threads]
    return [next(rest[number]) for number in turns]


def _judgement(world: World, plan: Plan, at: str, meanwhile: Sequence[Push]) -> list[Act]:
    """A tick on settled ground, and what people do about the cases that it opens."""
    dice, today = world.dice, datetime.fromisoformat(at).date()
    acts: list[Act] = [Settle(), Tick(world.company, at), *meanwhile, Settle()]
    places = [
        (goal, span.label)
        for goal, kind in plan.goals.items()
        for span in Calendar("UTC", plan.first_month).between(kind, FIRST_DAY, today)
    ]
    decided = set()
    for goal, label in dice.sample(places, min(len(places), 6)):
        if goal in decided:  # which of two new targets of one goal comes first is for the story to say
            acts.append(Settle())
        decided.add(goal)
        acts.append(_decision(world, goal, label, today))
    return [*acts, Settle()]


def _decision(world: World, goal: str, label: str, today: date) -> Decide:
    dice = world.dice
    if (roll := dice.random()) < 0.25:
        return Decide(world.company, goal, label, {"text": "More shifts."}, "plans")
    body: Body = {"kind": "accept" if roll < 0.45 else "investigate", "reason": "Seen"}
    if roll > 0.6:
        begins = dice.choice((today.isoformat(), "2025-04-01", "2025-06-01", "2025-01-01"))
        body = {
            "kind": "change_target",
            "reason": "Too high",
            "value": str(dice.randint(1, 400)),
            "effective_from": begins,
        }
    return Decide(world.company, goal, label, body)


def _together(dice: Random, tales: Sequence[Sequence[Act]]) -> list[Act]:
    """Two companies side by side; where one settles, all is settled."""
    return _merged(dice, [list(tale) for tale in tales])
