"""Scores of goals and scorecards, from readings and targets, as the state stands."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from tests.simulation.dates import ONE_DAY, Calendar, Span, counts_in
from tests.simulation.figures import Readings
from tests.simulation.observed import MONEY
from tests.simulation.settings import EVER, ZERO, Settings, Version, minus, over, plus, times, told

ONE, MET = Decimal(1), Decimal(100)
CURVE = '{"kind": "linear", "slope": "100", "floor": "0", "cap": "120"}'
UPWARD = ("higher", "at_least")


class Score(NamedTuple):
    """What a goal or scorecard has in a period; None where there is no such number."""

    score: Decimal | None = None
    attainment: Decimal | None = None
    actual: Decimal | None = None
    target: Decimal | None = None


NOTHING = Score()


class Aim(NamedTuple):
    """The target of a period, and the version that decides it."""

    value: Decimal
    version: Version


@dataclass(slots=True)
class Judge:
    """Scores everything of one company. `judged_on` is the last day of which something has passed."""

    settings: Settings
    calendar: Calendar
    readings: Readings
    judged_on: date = EVER
    known: dict[tuple[str, Span], Score] = field(default_factory=dict)

    def spans(self, kind: str) -> Iterator[Span]:
        """The periods of a kind that any reading touches."""
        days = [day for _, _, span in self.readings for day in (span.start, span.last)]
        return self.calendar.between(kind, min(days), max(days)) if days else iter(())

    def goals(self) -> Iterator[tuple[str, Span, Score]]:
        """Every goal with every period that it may have a score for."""
        for code, body in self.settings.each("goals/goals"):
            for span in self.spans(body["period"]):
                yield code, span, self.goal(code, span)

    def cards(self) -> Iterator[tuple[str, Span, Score]]:
        for code, body in self.settings.each("goals/scorecards"):
            for span in self.spans(body["period"]):
                yield code, span, self._card(code, span)

    def goal(self, code: str, span: Span) -> Score:
        if (code, span) not in self.known:
            self.known[code, span] = self._goal(code, span)
        return self.known[code, span]

    def _goal(self, code: str, span: Span) -> Score:
        goal = self.settings.body("goals/goals", code, span.last)
        if goal is None or goal.get("status", "draft") != "active" or goal["period"] != span.kind:
            return NOTHING
        due = goal.get("due")
        if date.fromisoformat(goal["starts"]) >= span.end or (due and span.start > date.fromisoformat(due)):
            return NOTHING
        return self._measured(code, goal, span) if goal.get("metric") else self._rolled_up(code, goal, span)

    def _measured(self, code: str, goal: Mapping[str, Any], span: Span) -> Score:
        aim = self.aim(code, span)
        direction = self.direction(goal, aim, span)
        value = self.readings.get((goal["metric"], goal.get("subject") or owner(goal), span))
        return NOTHING if value is None or direction is None else self._against(told(value), aim, direction, span)

    def _against(self, actual: Decimal | None, aim: Aim | None, direction: str, span: Span) -> Score:
        if actual is None or aim is None:
            return Score(None, None, actual, aim and aim.value)
        curve = self.curve(span)
        if direction in ("at_least", "at_most") or not aim.value:
            met = shortfall(actual, aim.value, direction) <= 0
            return Score(MET if met else ZERO, ONE if met else ZERO, actual, aim.value)
        reached = attainment(actual, aim.value, direction)
        score = highest(curve) if reached is None else on_curve(curve, reached)
        return Score(score, reached, actual, aim.value)

    def _rolled_up(self, code: str, goal: Mapping[str, Any], span: Span) -> Score:
        children = [
            (child, body) for child, body in self.settings.each("goals/goals", span.last)
            if body.get("parent") == code and body.get("status", "draft") == "active"
        ]  # fmt: skip
        best = {child: self._best(child, span) for child, _ in children}
        match goal.get("contribution", "weighted_average"):
            case "weighted_average":
                return Score(averaged([(Decimal(body.get("weight", "1")), best[child]) for child, body in children]))
            case "minimum":
                scored = [(row.score, child) for child, row in best.items() if row.score is not None]
                return best[min(scored)[1]]._replace(actual=None, target=None) if scored else NOTHING
            case "milestone":
                if all(row.score is None for row in best.values()):
                    return NOTHING
                share = over(Decimal(sum(map(reached_target, best.values()))), Decimal(len(best)))
                return Score(on_curve(self.curve(span), share), share)
        actuals = [actual for child, _ in children if (actual := self._summed(child, span)) is not None]
        aim = self.aim(code, span)
        return self._against(
            plus(*actuals) if actuals else None, aim, self.direction(goal, aim, span) or "higher", span
        )

    def _rows(self, code: str, whole: Span) -> list[Score]:
        """The scores of a goal that count in a period, oldest first."""
        kinds = {version.body["period"] for version in self.settings.kinds["goals/goals"].get(code, ())}
        parts = [span for kind in kinds for span in self.spans(kind) if counts_in(span, whole)]
        return [self.goal(code, span) for span in sorted(parts, key=lambda span: span.end)]

    def _best(self, code: str, whole: Span) -> Score:
        """Of several the latest that has a score."""
        return next((row for row in reversed(self._rows(code, whole)) if row.score is not None), NOTHING)

    def _summed(self, code: str, whole: Span) -> Decimal | None:
        """What a child's periods bring: their sum, where its metric adds up over time, else the last."""
        known = [row.actual for row in self._rows(code, whole) if row.actual is not None]
        if len(known) < 2:
            return known[0] if known else None
        goal = self.settings.body("goals/goals", code, whole.last)
        return plus(*known) if goal is None or self.adds_up(goal, whole.last) is not False else known[-1]

    def _card(self, code: str, span: Span) -> Score:
        card = self.settings.body("goals/scorecards", code, span.last)
        if card is None or card["period"] != span.kind:
            return NOTHING
        rows = [(Decimal(line["weight"]), self._best(line["goal"], span)) for line in card["lines"]]
        missing, absent = card.get("missing", "skip"), [row for _, row in rows if row.score is None]
        if missing == "block" and absent:
            return NOTHING
        if missing == "worst" and len(absent) < len(rows):
            rows = [(weight, row if row.score is not None else Score(ZERO)) for weight, row in rows]
        return Score(averaged(rows))

    # --- what decides ---

    def aim(self, code: str, span: Span) -> Aim | None:
        """The target of a goal for a period in which it may have changed."""
        change = self.settings.policy("goals", "target_change", span.last, "whole_period")
        judged_on = max(self.judged_on, span.start)
        day = min(judged_on, span.last) if change == "from_its_date" else span.last
        version = self.settings.on("goals/targets", code, day)
        if version is None:
            return None
        if change != "prorated":
            return Aim(Decimal(version.body["value"]), version)
        days = [span.start + n * ONE_DAY for n in range((span.end - span.start).days)]
        each = [found for day in days if (found := self.settings.on("goals/targets", code, day))]
        return Aim(over(plus(*(Decimal(v.body["value"]) for v in each)), Decimal(len(each))), version)

    def direction(self, goal: Mapping[str, Any], aim: Aim | None, span: Span) -> str | None:
        """The target's direction, else the metric's, which may not be known; without a metric more is better."""
        if aim and aim.version.body.get("direction"):
            return str(aim.version.body["direction"])
        if not goal.get("metric"):
            return "higher"
        metric = self.settings.body("metrics/metrics", goal["metric"], span.last)
        return str(metric.get("better", "higher")) if metric else None

    def adds_up(self, goal: Mapping[str, Any], day: date) -> bool | None:
        """Whether the metric's year is the sum of its months; None where no metric is known."""
        metric = self.settings.body("metrics/metrics", goal.get("metric") or "", day)
        if metric is None:
            return None
        return metric.get("over_time", "sum") in ("sum", "count") and (
            "formula" not in metric or metric["unit"] in MONEY
        )

    def curve(self, span: Span) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.settings.policy("goals", "attainment_curve", span.last, CURVE))
        return found

    def due(self, code: str, goal: Mapping[str, Any], aim: Aim, span: Span, on: date) -> Decimal:
        """What of the target is due by the end of a day: in proportion to the days, where the metric adds up."""
        phased = aim.version.body.get("phasing", "linear") == "linear" and self.adds_up(goal, span.last)
        if not phased or on >= span.last:
            return aim.value
        passed = max((on - span.start).days + 1, 0)
        return over(times(aim.value, Decimal(passed)), Decimal((span.end - span.start).days))


def owner(goal: Mapping[str, Any]) -> str:
    return f"unit:{goal['owner_unit']}" if goal.get("owner_unit") else f"person:{goal['owner_person']}"


def shortfall(actual: Decimal, target: Decimal, direction: str) -> Decimal:
    return minus(target, actual) if direction in UPWARD else minus(actual, target)


def gap(actual: Decimal, target: Decimal, direction: str) -> Decimal:
    """The share of the target that is missing; a target of zero is missed whole or not."""
    missing = shortfall(actual, target, direction)
    if not target:
        return ONE if missing > 0 else ZERO
    return over(missing, abs(target))


def attainment(actual: Decimal, target: Decimal, direction: str) -> Decimal | None:
    """Actual over target, or the reverse where lower is better; None beyond any ratio."""
    if target < 0:
        return minus(ONE, gap(actual, target, direction))
    if direction == "higher":
        return over(actual, target)
    return over(target, actual) if actual > 0 else None


def averaged(rows: Sequence[tuple[Decimal, Score]]) -> Decimal | None:
    """Scores by weight, renormalised over those that there are."""
    held = [(weight, row.score) for weight, row in rows if row.score is not None]
    weights = plus(*(weight for weight, _ in held))
    return over(plus(*(times(weight, score) for weight, score in held)), weights) if weights else None


def reached_target(row: Score) -> bool:
    if row.attainment is not None:
        return row.attainment >= 1
    return row.score is not None and row.score >= MET


def on_curve(curve: Mapping[str, Any], x: Decimal) -> Decimal:
    """The curve's value, held between its floor and cap."""
    match curve["kind"]:
        case "linear":
            value = times(Decimal(curve["slope"]), x)
        case "interpolated":
            value = _between([(Decimal(a), Decimal(b)) for a, b in curve["points"]], x)
        case _:
            bands = curve["bands"]
            begun = [band for band in bands if band["from"] is None or x >= Decimal(band["from"])]
            value = Decimal((begun[-1] if begun else bands[0])["value"])
    if curve.get("cap") is not None and value > Decimal(curve["cap"]):
        return Decimal(curve["cap"])
    return Decimal(curve["floor"]) if curve.get("floor") is not None and value < Decimal(curve["floor"]) else value


def _between(points: Sequence[tuple[Decimal, Decimal]], x: Decimal) -> Decimal:
    if x <= points[0][0] or x >= points[-1][0]:
        return points[0][1] if x <= points[0][0] else points[-1][1]
    (ax, ay), (bx, by) = next((a, b) for a, b in pairwise(points) if a[0] <= x < b[0])
    run, rise = minus(bx, ax), minus(by, ay)
    return over(plus(times(ay, run), times(minus(x, ax), rise)), run)


def highest(curve: Mapping[str, Any]) -> Decimal:
    """What an actual of zero scores where lower is better."""
    return Decimal(curve["cap"])
