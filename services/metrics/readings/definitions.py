"""What the settings say on a day: the catalogue, the organisation, and which metric reads which."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, Generic, TypeVar

from shared.contracts.metrics import Conversion, Guard, Linkage, Metric, MetricsPolicy, Node, Rate
from shared.formula import FORMULA, CycleFound, Lookup, Outcome, compile_formula, parse, topological_order
from shared.periods import Calendar, Period, next_, period_of, previous, same_last_year

T = TypeVar("T")
Key = tuple[str, str, str, date]
"""A reading: metric, subject, kind of period, first day of the period."""
SETTINGS = ("parameter", "benchmark")
DEEPEST = 64


class Dated(Generic[T]):
    """Settings by code, each as it changed over time. Versions come sorted by beginning, then by version."""

    def __init__(self, versions: Mapping[str, Sequence[tuple[date, int, T]]]) -> None:
        self._versions = versions

    def on(self, code: str, day: date = date.max) -> tuple[int, T] | None:
        """The version and content in force on a day; None where nothing is."""
        versions = self._versions.get(code, ())
        index = bisect_right(versions, day, key=lambda version: version[0])
        return versions[index - 1][1:] if index else None

    def all_on(self, day: date = date.max) -> dict[str, T]:
        """Every setting in force on a day, by code."""
        return {code: found[1] for code in sorted(self._versions) if (found := self.on(code, day))}

    def every(self, code: str) -> list[T]:
        """Every content a setting ever had."""
        return [content for _, _, content in self._versions.get(code, ())]

    def codes(self) -> Iterable[str]:
        return self._versions.keys()


class Tree:
    """Who belongs to whom, dated: for each subject the subject above it from a day on (None: it is the top)."""

    def __init__(self, above: Mapping[str, Sequence[tuple[date, str | None]]]) -> None:
        self.above = above
        self._paths: dict[tuple[str, date], tuple[tuple[str, ...], str | None]] = {}

    def path(self, subject: str, day: date) -> tuple[tuple[str, ...], str | None]:
        """The subjects it rolls up into, itself first; or none, and the first that is unknown on that day."""
        found = self._paths.get((subject, day))
        if found is None:
            found = self._paths[subject, day] = self._walk(subject, day)
        return found

    def _walk(self, subject: str, day: date) -> tuple[tuple[str, ...], str | None]:
        nodes: list[str] = []
        current: str | None = subject
        while current is not None:
            versions = self.above.get(current, ())
            index = bisect_right(versions, day, key=lambda version: version[0])
            if not index or len(nodes) >= DEEPEST:
                return (), current
            nodes.append(current)
            current = versions[index - 1][1]
        return tuple(nodes), None

    def ever_below(self, subjects: Iterable[str]) -> set[str]:
        """The subjects that were under one of these on any day, themselves included."""
        below: dict[str | None, set[str]] = {}
        for subject, versions in self.above.items():
            for _, above in versions:
                below.setdefault(above, set()).add(subject)
        found, waiting = set(), list(subjects)
        while waiting:
            if (subject := waiting.pop()) not in found:
                found.add(subject)
                waiting.extend(below.get(subject, ()))
        return found

    def members(self, subject: str, candidates: Iterable[str], period: Period) -> list[tuple[str, date, date]]:
        """Which candidates rolled up into `subject`, each with the first day and the day after the last."""
        cuts = {start for versions in self.above.values() for start, _ in versions if period.start < start < period.end}
        names, spans = sorted(candidates), pairwise([period.start, *sorted(cuts), period.end])
        return [(name, start, end) for start, end in spans for name in names if subject in self.path(name, start)[0]]


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula, compiled, with what it reads: (function, name); the function is None for the current period."""

    source: str
    reads: frozenset[tuple[str | None, str]]
    run: Callable[[Lookup], Outcome]

    @property
    def inputs(self) -> list[tuple[str | None, str]]:
        """What it reads that is a reading, sorted."""
        return sorted((read for read in self.reads if read[0] not in SETTINGS), key=str)


@lru_cache(maxsize=4096)
def compiled(source: str) -> Formula:
    """The formula that a text means. Raises FormulaError."""
    expression = parse(source, functions=FORMULA)
    reads: set[tuple[str | None, str]] = {(None, name) for name in expression.names}
    return Formula(source, frozenset(reads | set(expression.calls)), compile_formula(expression))


def _same_period(formula: Formula) -> set[str]:
    return {name for how, name in formula.reads if how is None}


@lru_cache(maxsize=65536)
def _period(calendar: Calendar, kind: Any, day: date) -> Period:
    return period_of(calendar, kind, day)


@dataclass(frozen=True)
class Definitions:
    """All settings by which one company's events become readings. Nothing is folded before the company is known."""

    calendar: Calendar | None
    tree: Tree
    metrics: Dated[Metric]
    rates: Dated[Rate]
    conversions: Dated[Conversion]
    policies: Dated[MetricsPolicy]
    guards: Dated[Guard]
    nodes: Dated[Node]
    linkages: Dated[Linkage]

    @cached_property
    def latest(self) -> dict[str, Metric]:
        """The metrics as last defined: how a metric folds does not depend on the day, its formula does."""
        return self.metrics.all_on()

    @cached_property
    def order(self) -> list[str]:
        """Derived metrics, each after those it reads in the same period."""
        last = {code: self.formulas(code)[-1:] for code in self.latest}
        graph = {
            code: sorted({name for formula in found for name in _same_period(formula)}) for code, found in last.items()
        }
        try:
            ordered = topological_order(graph)
        except CycleFound:  # refused when defined; metrics that only met on different days may still form one here
            ordered = sorted(graph)
        return [code for code in ordered if code in self.latest and self.formulas(code)]

    @cached_property
    def dependents(self) -> dict[tuple[str | None, str], list[str]]:
        """By (function, name): the derived metrics that read it in any of their versions."""
        found: dict[tuple[str | None, str], list[str]] = {}
        for code in self.order:
            for read in {read for formula in self.formulas(code) for read in formula.reads}:
                found.setdefault(read, []).append(code)
        return found

    @cached_property
    def anchored(self) -> set[str]:
        """Metrics that, by every version of theirs, have a reading only where some base metric has one in the period.

        What looks back only (`previous`) exists one period after such a metric and no further, so every ripple ends.
        """
        found = {code for code, metric in self.latest.items() if not metric.formula}
        for code in self.order:
            if all(_same_period(formula) & found for formula in self.formulas(code)):
                found.add(code)
        return found

    @cached_property
    def guards_of(self) -> dict[str, list[str]]:
        """Guards by the metric that they qualify."""
        found: dict[str, list[str]] = {}
        for code in sorted(self.guards.codes()):
            for metric in {guard.metric for guard in self.guards.every(code)}:
                found.setdefault(metric, []).append(code)
        return found

    def formulas(self, code: str) -> list[Formula]:
        """The formulas a metric ever had; empty for a base metric."""
        return [compiled(metric.formula) for metric in self.metrics.every(code) if metric.formula]

    def base(self, code: str) -> Metric | None:
        """The metric where observations feed it."""
        metric = self.latest.get(code)
        return metric if metric and not metric.formula else None

    def period(self, kind: str, day: date) -> Period:
        """The period of a kind that holds a day."""
        assert self.calendar is not None
        return _period(self.calendar, kind, day)

    def last_day(self, kind: str, start: date) -> date:
        """The day whose settings decide about the period that begins then."""
        return self.period(kind, start).end - timedelta(days=1)

    def moved(self, key: Key, how: str | None) -> Key:
        """The reading that a formula for `key` means by a function: the same period, the one before, last year's."""
        metric, subject, kind, start = key
        assert self.calendar is not None
        if how == "previous":
            start = previous(self.calendar, self.period(kind, start)).start
        elif how == "same_period_last_year":
            start = same_last_year(self.calendar, self.period(kind, start)).start
        return metric, subject, kind, start

    def following(self, key: Key, how: str | None) -> list[Key]:
        """The periods whose formulas mean `key` by a function: the inverse of `moved`."""
        metric, subject, kind, start = key
        assert self.calendar is not None
        if how is None:
            return [key]
        if how == "previous":
            return [(metric, subject, kind, next_(self.calendar, self.period(kind, start)).start)]
        # Leap days and 53rd weeks: up to two periods of next year have the same counterpart.
        around = {self.period(kind, start + timedelta(days=days)).start for days in range(364, 374)}
        found = [(metric, subject, kind, day) for day in sorted(around)]
        return [each for each in found if self.moved(each, how) == key]
