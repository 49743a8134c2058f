"""Everything that the scores to be recomputed are made from, read in a fixed number of statements."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Row

from shared.configuration import Recorded, latest
from shared.contracts.goals import Company, Goal, GoalsPolicy, Scorecard, Target
from shared.contracts.metrics import Metric
from shared.database.unit_of_work import UnitOfWork
from shared.periods import Calendar, Period, business_day, parse_period, period_of
from shared.units import is_money, parse_unit

from ..goals.store import at, code_of, histories, members, subject_of, upward
from ..organisation.store import last_tick
from ..policies import BY_CODE
from . import store
from .dirty import Dirty, ReadingKey
from .rules import ONE_DAY, Direction, TargetInForce, TargetVersion, target_of
from .store import Score


@dataclass
class Book:
    """The settings, readings and scores around some goals and scorecards of one company.

    `judged_on` is the last day of which something has passed, before the first tick the end of time. `above` gives the
    nodes that hang on a node, `below` the goals a node hangs on, in whatever version.
    """

    calendar: Calendar
    judged_on: date
    goals: dict[str, list[Recorded[Goal]]] = field(default_factory=dict)
    scorecards: dict[str, list[Recorded[Scorecard]]] = field(default_factory=dict)
    targets: dict[str, list[Recorded[Target]]] = field(default_factory=dict)
    metrics: dict[str, list[Recorded[Metric]]] = field(default_factory=dict)
    policies: dict[str, list[Recorded[GoalsPolicy]]] = field(default_factory=dict)
    above: dict[str, set[str]] = field(default_factory=dict)
    below: dict[str, set[str]] = field(default_factory=dict)
    readings: dict[ReadingKey, Row[Any]] = field(default_factory=dict)
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    values: dict[tuple[str, int], Any] = field(default_factory=dict)

    def policy(self, code: str, day: date) -> tuple[Any, int]:
        """The value of a policy on a day and its version; 0 is the default."""
        found = at(self.policies.get(code), day)
        key = code, found.version if found else 0
        if key not in self.values:
            self.values[key] = BY_CODE[code].read(found.content.value if found else BY_CODE[code].default)
        return self.values[key], key[1]

    def goal(self, code: str, period: Period) -> Goal | None:
        """The goal as in force on the period's last day."""
        found = at(self.goals.get(code), period.end - ONE_DAY)
        return found.content if found else None

    def metric(self, goal: Goal, day: date) -> Metric | None:
        """The metric of a goal on a day, where it is known."""
        found = at(self.metrics.get(goal.metric), day) if goal.metric else None
        return found.content if found else None

    def target(self, code: str, period: Period) -> TargetInForce | None:
        """The target of a goal for a period."""
        versions = [
            TargetVersion(t.version, c.effective_from, c.value, c.direction, c.phasing)
            for t in self.targets.get(code, []) for c in [t.content]
        ]  # fmt: skip
        change, _ = self.policy("target_change", period.end - ONE_DAY)
        return target_of(versions, period, change, max(self.judged_on, period.start))

    def direction(self, goal: Goal, target: TargetInForce | None, day: date) -> Direction | None:
        """The target's direction, else the metric's, which may be awaited (None); without a metric more is better."""
        if target and target.version.direction:
            return target.version.direction
        metric = self.metric(goal, day)
        return metric.better if metric else None if goal.metric else "higher"

    def phased(self, goal: Goal, target: TargetInForce, day: date) -> bool:
        """Whether the target builds up over the period: only where the metric adds up over time."""
        metric = self.metric(goal, day)
        return target.version.phasing == "linear" and metric is not None and adds_up(metric)


def adds_up(metric: Metric) -> bool:
    """Whether a year's reading is the sum of its months'. Of derived metrics only money is taken to: a formula may be
    a ratio."""
    return metric.over_time in ("sum", "count") and (metric.formula is None or is_money(parse_unit(metric.unit)))


def settings_book(uow: UnitOfWork, company: str, goals: Iterable[str], scorecards: Iterable[str] = ()) -> Book | None:
    """The settings around some goals; None while the company has no calendar."""
    setting = latest(uow, Company, company, "company")
    if setting is None:
        return None
    calendar = Calendar(setting.content.time_zone, setting.content.fiscal_year_start_month)
    tick = last_tick(uow, company)
    # At midnight it is the day before of which something has passed.
    book = Book(calendar, business_day(calendar, tick - timedelta(microseconds=1)) if tick else date.max)
    book.goals = histories(uow, Goal, company, set(goals))
    book.scorecards = histories(uow, Scorecard, company, set(scorecards))
    book.targets = histories(uow, Target, company, book.goals.keys())
    metrics = {found.content.metric for versions in book.goals.values() for found in versions}
    book.metrics = histories(uow, Metric, company, {metric for metric in metrics if metric})
    book.policies = histories(uow, GoalsPolicy, company, BY_CODE.keys())
    return book


def open_book(uow: UnitOfWork, company: str, dirty: Dirty) -> Book | None:
    """Reads what the dirty scores, and all above them, are made from; completes the nodes that `dirty` stands for."""
    if dirty.everything:
        rows = uow.rows(
            "SELECT DISTINCT CASE kind WHEN 'goals' THEN 'goal:' ELSE 'scorecard:' END || code AS node "
            "FROM configuration WHERE company = :company AND kind IN ('goals', 'scorecards')", company=company,
        )  # fmt: skip
        dirty.nodes |= {row.node for row in rows}
    seeds = {f"reading:{m}/{s}" for m, s, _ in dirty.readings} | {f"metric:{m}" for m in dirty.metrics} | dirty.nodes
    links = upward(uow, company, seeds)
    dirty.nodes |= {target for source, target in links if source.startswith("metric:")}
    nodes = dirty.nodes | {target for _, target in links}
    below = members(uow, company, nodes)
    codes = _codes("goal", nodes | {source for source, _ in below})
    book = settings_book(uow, company, codes, _codes("scorecard", nodes))
    if book is None:
        return None
    for source, target in {*links, *below}:
        book.above.setdefault(source, set()).add(target)
        if source.startswith("goal:"):
            book.below.setdefault(target, set()).add(source)
    goals = [found.content for code in _codes("goal", dirty.nodes) for found in book.goals.get(code, [])]
    measured = {(goal.metric, subject_of(goal)) for goal in goals if goal.metric}
    book.readings = store.readings(uow, company, dirty.readings, measured)
    span = (date.min, date.max) if dirty.nodes else _span(book.calendar, dirty)
    for score in store.latest_scores(uow, company, nodes | {source for source, _ in below}, span):
        book.scores.setdefault(f"{score.kind}:{score.code}", {})[score.period] = score
    return book


def _codes(kind: str, nodes: Iterable[str]) -> set[str]:
    return {code_of(node) for node in nodes if node.startswith(f"{kind}:")}


def _span(calendar: Calendar, dirty: Dirty) -> tuple[date, date]:
    """The fiscal years around the dirty periods: no goal's period is longer, and none counts outside."""
    periods = [parse_period(calendar, label) for _, _, label in dirty.readings]
    years = [period_of(calendar, "year", day) for p in periods for day in (p.start, p.end - ONE_DAY)]
    return min((y.start for y in years), default=date.min), max((y.end for y in years), default=date.max)
