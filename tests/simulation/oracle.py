"""Every number that a story must end in, recomputed from the accepted acts alone, the slow and obvious way.

It shares no code with the services: nothing of `services` or `shared` is imported here or below.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.simulation import figures
from tests.simulation.acts import FIRST_DAY, LAST_DAY, Act, Configure, Decide, Push, Settle, Tick
from tests.simulation.cases import Cases
from tests.simulation.dates import Span
from tests.simulation.judged import Judge
from tests.simulation.observed import accepted_events, observe
from tests.simulation.paid import accruals
from tests.simulation.settings import EVER, Settings, text, told

Key = tuple[str, ...]
INSTANT = timedelta(microseconds=1)


@dataclass(slots=True)
class Numbers:
    """What can be seen at the end. Values are plain decimal text; a number that is not there is no number, so None and
    an absent key are the same.

    `readings` by (company, metric, subject, period), `nodes` by (company, node, period), `scores` and `cases` by
    (company, goal, period), `scorecards` by (company, scorecard, period), `accruals` by (company, person, plan,
    period), `waiting`, how many events wait, by (company, reference). A case is told in words.
    """

    readings: dict[Key, str | None] = field(default_factory=dict)
    nodes: dict[Key, str | None] = field(default_factory=dict)
    scores: dict[Key, str | None] = field(default_factory=dict)
    scorecards: dict[Key, str | None] = field(default_factory=dict)
    accruals: dict[Key, str | None] = field(default_factory=dict)
    cases: dict[Key, str | None] = field(default_factory=dict)
    waiting: dict[Key, str | None] = field(default_factory=dict)


ONE_OF = {
    "readings": "reading", "nodes": "node", "scores": "score", "scorecards": "scorecard", "accruals": "accrual",
    "cases": "case", "waiting": "waiting",
}  # fmt: skip


def differences(expected: Numbers, actual: Numbers) -> list[str]:
    """A line for each number that is not the same on both sides, such as
    `reading sim1a/yield/unit:plant/2025-01: oracle 0.93, services 0.92`."""
    found = []
    for kind in fields(Numbers):
        ours, theirs = getattr(expected, kind.name), getattr(actual, kind.name)
        for key in sorted(ours.keys() | theirs.keys()):
            left, right = ours.get(key), theirs.get(key)
            if left != right:
                shown = f"oracle {left or 'nothing'}, services {right or 'nothing'}"
                found.append(f"{ONE_OF[kind.name]} {'/'.join(key)}: {shown}")
    return found


def expected(accepted: Sequence[Act]) -> Numbers:
    """The numbers that these accepted acts make, in the order in which they were committed.

    Acts that were refused must not be among them; of an event that was sent again the first acceptance counts.
    """
    numbers = Numbers()
    for company in sorted({act.company for act in accepted if not isinstance(act, Settle)}):
        told_of = _Company(company)
        for act in accepted:
            if not isinstance(act, Settle) and act.company == company:
                told_of.take(act)
        told_of.tell(numbers)
    return numbers


@dataclass(slots=True)
class _Company:
    """One company as the acts so far have made it."""

    name: str
    settings: Settings = field(default_factory=Settings)
    batches: list[Sequence[Mapping[str, Any]]] = field(default_factory=list)
    cases: Cases = field(default_factory=Cases)

    def take(self, act: Configure | Push | Tick | Decide) -> None:
        match act:
            case Configure():
                self.settings.record(act)
            case Push():
                self.batches.append(act.events)
            case Decide():
                self.cases.decide(self.settings, act)
            case Tick():
                self._tick(datetime.fromisoformat(act.at))

    def _tick(self, at: datetime) -> None:
        """Judged is the state that the acts before make; time never runs back."""
        if self.cases.last_tick and at <= self.cases.last_tick:
            return
        if judge := self._judge(at):
            self.cases.tick(judge, at)
        self.cases.last_tick = at

    def _judge(self, at: datetime | None) -> Judge | None:
        calendar = self.settings.calendar
        if calendar is None:
            return None
        observations, _ = observe(self.settings, accepted_events(self.batches))
        found = figures.readings(self.settings, observations)
        # At midnight it is the day before of which something has passed.
        return Judge(self.settings, calendar, found, calendar.day(at - INSTANT) if at else EVER)

    def tell(self, numbers: Numbers) -> None:
        _, waiting = observe(self.settings, accepted_events(self.batches))
        numbers.waiting |= {(self.name, reference): str(len(events)) for reference, events in waiting.items()}
        judge = self._judge(self.cases.last_tick)
        if judge is None:
            return
        drivers = self._tell_scores(judge, numbers)
        for metric, subject, span in judge.readings:
            value = told(judge.readings[metric, subject, span])
            numbers.readings[self.name, metric, subject, span.label] = text(value)
            drivers["reading", metric, subject, span] = value
        for (node, span), ratio in figures.nodes(self.settings, judge.readings).items():
            numbers.nodes[self.name, node, span.label] = text(ratio)
        for person, plan, span, total in accruals(self.settings, judge.calendar, drivers, FIRST_DAY, LAST_DAY):
            numbers.accruals[self.name, person, plan, span.label] = text(total)
        for (goal, span), case in self.cases.open.items():
            numbers.cases[self.name, goal, span.label] = str(case)
        for goal, period in self.cases.astray:
            numbers.cases[self.name, goal, period] = "none to decide on"

    def _tell_scores(self, judge: Judge, numbers: Numbers) -> dict[tuple[str, str, str, Span], Decimal]:
        drivers = {}
        goals, cards = ("goal", judge.goals(), numbers.scores), ("scorecard", judge.cards(), numbers.scorecards)
        for kind, rows, into in (goals, cards):
            for code, span, row in rows:
                if row.score is not None:
                    into[self.name, code, span.label] = text(row.score)
                    drivers[kind, code, "", span] = told(row.score)
        return drivers
