"""Deviations judged at ticks, and the cases they open, with what people decide about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.simulation.acts import Configure, Decide
from tests.simulation.dates import ONE_DAY, Span
from tests.simulation.judged import Judge, Score, gap, owner
from tests.simulation.settings import Settings

Place = tuple[str, Span]


@dataclass(slots=True)
class Case:
    """A case as it stands; told in words by `str()`."""

    owner: str | None
    due: datetime
    target_version: int
    status: str = "open"
    escalated_to: str | None = None
    decisions: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        words = [self.status, f"of {self.owner or 'nobody'}", f"target version {self.target_version}"]
        words += [f"went to {self.escalated_to}"] if self.escalated_to else []
        return ", ".join([*words, *self.decisions])


@dataclass(slots=True)
class Cases:
    """What has been judged in a company, and its cases. `found` says of each deviation whether it was cleared, `astray`
    where the services accepted a decision on a case that should not have been open."""

    last_tick: datetime | None = None
    judged: set[Place] = field(default_factory=set)
    found: dict[Place, bool] = field(default_factory=dict)
    open: dict[Place, Case] = field(default_factory=dict)
    astray: list[tuple[str, str]] = field(default_factory=list)

    def tick(self, judge: Judge, at: datetime) -> None:
        """Judges what ended since it was last judged; clears what is within its limit; escalates what is overdue."""
        completed = judge.calendar.day(at) - ONE_DAY
        rows = {(code, span): row for code, span, row in judge.goals() if None not in (row.actual, row.target)}
        ended = {place for place in rows if place[1].last <= completed and place not in self.judged}
        running = {place for place in rows if self._runs(judge, place[1], completed)}
        still = {place for place, cleared in self.found.items() if not cleared and place in rows}
        for place in sorted(ended | running | still, key=lambda place: (place[0], place[1].label)):
            self._judge(judge, place, rows[place], completed, at)
        self.judged |= ended
        self.last_tick = at
        self._escalate(judge, at)

    def _runs(self, judge: Judge, span: Span, completed: date) -> bool:
        """Whether a day or week, by policy, has ended within an open period since the last tick."""
        how = judge.settings.policy("goals", "deviation_judgement", completed, "period_end")
        today = completed + ONE_DAY
        boundary = completed if how == "day" else judge.calendar.span("week", today).start - ONE_DAY
        before = judge.calendar.day(self.last_tick) - ONE_DAY if self.last_tick else date.min
        return how != "period_end" and boundary > before and span.start <= boundary and span.end > today

    def _judge(self, judge: Judge, place: Place, row: Score, completed: date, at: datetime) -> None:
        code, span = place
        goal, aim = judge.settings.body("goals/goals", code, span.last), judge.aim(code, span)
        direction = judge.direction(goal, aim, span) if goal else None
        if goal is None or aim is None or direction is None or row.actual is None:
            return
        missing = gap(row.actual, judge.due(code, goal, aim, span, completed), direction)
        limit = judge.settings.policy("goals", "deviation_limit", min(completed, span.last), "0.10")
        deviates = missing > Decimal(limit)
        if self.found.get(place) is False and not deviates:
            self.found[place] = True
            if self.is_open(place):
                self.open[place].status = "closed: within_limit"
        if place not in self.found and deviates and goal.get("metric") and goal.get("status") == "active":
            self.found[place] = False
            hours = int(judge.settings.policy("reviews", "plan_due_hours", judge.calendar.day(at), "24"))
            who = head(judge.settings, owner(goal), span.last)
            self.open[place] = Case(who, at + timedelta(hours=hours), aim.version.number)

    def is_open(self, place: Place) -> bool:
        return place in self.open and not self.open[place].status.startswith("closed")

    def _escalate(self, judge: Judge, at: datetime) -> None:
        day = judge.calendar.day(at)
        if judge.settings.policy("reviews", "escalation", day, "superior") == "superior":
            for case in self.open.values():
                if case.status == "open" and case.due <= at:
                    person = judge.settings.body("goals/people", case.owner or "", day)
                    case.status, case.escalated_to = "escalated", person.get("manager") if person else None

    def decide(self, settings: Settings, act: Decide) -> None:
        """A plan or a decision that was accepted; goals carries out a change of target, or refuses it."""
        place = next((p for p in self.open if (p[0], p[1].label) == (act.goal, act.period) and self.is_open(p)), None)
        if place is None:
            self.astray.append((act.goal, act.period))
            return
        case, kind = self.open[place], act.body.get("kind")
        if act.what == "plans":
            case.status = "planned" if case.status == "open" else case.status
        elif kind == "change_target":
            applied = self._change(settings, case, act)
            case.decisions.append(f"change_target {'applied' if applied else 'refused'}")
            case.status = "closed: decided" if applied else case.status
        else:
            case.decisions.append(f"{kind} done")
            case.status = "closed: decided" if kind == "accept" else case.status

    def _change(self, settings: Settings, case: Case, act: Decide) -> bool:
        begins = date.fromisoformat(act.body["effective_from"])
        goal, standing = settings.body("goals/goals", act.goal), settings.on("goals/targets", act.goal, begins)
        seen = act.body.get("seen_target_version") or case.target_version
        if not goal or goal["status"] != "active" or (standing.number if standing else 0) != seen:
            return False
        ends = [span.end for code, span in self.judged if code == act.goal]
        if begins < date.fromisoformat(goal["starts"]) or any(begins < end for end in ends):
            return False
        kept: Mapping[str, Any] = standing.body if standing else {}
        body = {name: kept[name] for name in ("direction", "phasing") if name in kept}
        body |= {"value": act.body["value"], "effective_from": act.body["effective_from"], "reason": act.body["reason"]}
        settings.record(Configure(act.company, "goals", "PUT", f"goals/{act.goal}/targets", body))
        return True


def head(settings: Settings, subject: str, day: date) -> str | None:
    """Who answers for a subject: the person, or the head of the unit or of the nearest one above that has one."""
    for node in settings.path(subject, day)[0]:
        kind, _, code = node.partition(":")
        if kind == "person":
            return code
        if found := (settings.body("goals/units", code, day) or {}).get("head"):
            return str(found)
    return None
