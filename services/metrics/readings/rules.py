"""What the catalogue says on a day, who belongs to whom, and how cells become readings."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

from shared.contracts.metrics import Conversion, Guard, Linkage, Metric, MetricsPolicy, Node, Rate
from shared.formula import (
    FORMULA,
    CycleFound,
    Expression,
    Lookup,
    Null,
    Outcome,
    compile_formula,
    parse,
    topological_order,
)
from shared.numbers import INTEGER_DIGITS, divide, published, subtract, total
from shared.periods import Calendar, Period, next_, period_of, previous, same_last_year
from shared.units import MONEY, is_money, parse_unit

T = TypeVar("T")
Key = tuple[str, str, str, date]
"""A reading: metric, subject, kind of period, first day of the period."""
NO_OBSERVATIONS = "no observations"
DEEPEST = 64


class Dated(Generic[T]):
    """Settings by code, each as it changed over time. Versions come sorted by beginning, then by version."""

    def __init__(self, versions: Mapping[str, Sequence[tuple[date, int, T]]]) -> None:
        self._versions = {code: ([v[0] for v in found], found) for code, found in versions.items() if found}

    def on(self, code: str, day: date = date.max) -> tuple[int, T] | None:
        """The version and content in force on a day; None where nothing is."""
        starts, versions = self._versions.get(code, ([], []))
        index = bisect_right(starts, day)
        return versions[index - 1][1:] if index else None

    def all_on(self, day: date = date.max) -> dict[str, T]:
        """Every setting in force on a day, by code."""
        return {code: found[1] for code in sorted(self._versions) if (found := self.on(code, day))}

    def every(self, code: str) -> list[T]:
        """Every content a setting ever had."""
        return [content for _, _, content in self._versions.get(code, ([], []))[1]]

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
        names = sorted(candidates)
        cuts = {start for versions in self.above.values() for start, _ in versions if period.start < start < period.end}
        edges = [period.start, *sorted(cuts), period.end]
        return [
            (name, start, end)
            for start, end in pairwise(edges)
            for name in names
            if subject in self.path(name, start)[0]
        ]


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula, compiled, with what it reads: (function, name); the function is None for the current period."""

    source: str
    reads: tuple[tuple[str | None, str], ...]
    run: Callable[[Lookup], Outcome]


@lru_cache(maxsize=4096)
def compiled(source: str) -> Formula:
    """The formula that a text means. Raises FormulaError."""
    expression: Expression = parse(source, functions=FORMULA)
    reads: list[tuple[str | None, str]] = [(None, name) for name in sorted(expression.names)]
    return Formula(source, (*reads, *sorted(expression.calls)), compile_formula(expression))


@dataclass(frozen=True)
class Definitions:
    """All settings by which one company's events become readings."""

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
        graph = {code: [name for name, how in self._reads(code, latest=True) if how is None] for code in self.latest}
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
            for name, how in sorted(self._reads(code), key=str):
                found.setdefault((how, name), []).append(code)
        return found

    @cached_property
    def anchored(self) -> set[str]:
        """Metrics that have a reading only where some base metric has one in the same period.

        What looks back only (`previous`) exists one period after such a metric and no further, so every ripple ends.
        """
        found = {code for code, metric in self.latest.items() if not metric.formula}
        for code in self.order:
            if any(how is None and name in found for name, how in self._reads(code, latest=True)):
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

    def _reads(self, code: str, latest: bool = False) -> set[tuple[str, str | None]]:
        formulas = self.formulas(code)[-1:] if latest else self.formulas(code)
        return {(name, how) for formula in formulas for how, name in formula.reads}

    def base(self, code: str) -> Metric | None:
        """The metric where observations feed it."""
        metric = self.latest.get(code)
        return metric if metric and not metric.formula else None

    def period(self, kind: Any, start: date) -> Period:
        """The period of a kind that begins on a day."""
        assert self.calendar is not None, "nothing is folded before the company is known"
        return period_of(self.calendar, kind, start)

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
        period = self.period(kind, start)
        if how is None:
            return [key]
        if how == "previous":
            return [(metric, subject, kind, next_(self.calendar, period).start)]
        # Leap days and 53rd weeks: up to two periods of next year have the same counterpart.
        around = {self.period(kind, start + timedelta(days=days)).start for days in range(364, 374)}
        found = [(metric, subject, kind, day) for day in sorted(around)]
        return [each for each in found if self.moved(each, how) == key]


# --- cells to readings ---


class Cell(NamedTuple):
    """The fold of one subject's observations of a day with equal dimensions."""

    metric: str
    subject: str
    day: date
    dims: str
    member: str
    n: int
    total: Decimal
    minimum: Decimal | None
    maximum: Decimal | None
    last: Decimal | None


class Rollup(NamedTuple):
    """A metric of a subject and period in one currency (empty where it is not money of any currency).

    `total` is the sum where differences can be applied to it, else the folded value itself.
    """

    currency: str
    n: int
    total: Decimal


def additive(metric: Metric) -> bool:
    """Whether its roll-ups are sums and counts, so that a difference can be applied without reading the rest.

    An average is the sum of all observations over their count, whatever the subjects.
    """
    if metric.over_time == "average":
        return metric.across_subjects in ("sum", "average")
    return metric.over_time in ("sum", "count") and metric.across_subjects == "sum"


def folded(metric: Metric, cells: Iterable[Cell]) -> tuple[int, Decimal]:
    """How many observations, and `Rollup.total`, of the cells of one roll-up."""
    held = [cell for cell in cells if cell.n]
    n = sum(cell.n for cell in held)
    if additive(metric):
        return n, total(cell.total for cell in held)
    if metric.over_time == "distinct" and metric.across_subjects == "distinct":
        return n, Decimal(len({cell.member for cell in held}))
    series: dict[object, list[Cell]] = {}
    for cell in held:
        # A stock is kept per dimension: its last values add up to the subject's stock.
        series.setdefault((cell.subject, cell.dims) if metric.over_time == "last" else cell.subject, []).append(cell)
    return n, _across(metric, [_over_time(metric, cells) for cells in series.values()])


def _over_time(metric: Metric, cells: list[Cell]) -> Decimal:
    match metric.over_time:
        case "minimum":
            return min(cell.minimum for cell in cells if cell.minimum is not None)
        case "maximum":
            return max(cell.maximum for cell in cells if cell.maximum is not None)
        case "last":
            last = max(cells, key=lambda cell: cell.day).last
            return Decimal(0) if last is None else last
        case "distinct":
            return Decimal(len({cell.member for cell in cells}))
        case "average":
            return divide(total(cell.total for cell in cells), Decimal(sum(cell.n for cell in cells)))
    return total(cell.total for cell in cells)


def _across(metric: Metric, values: list[Decimal]) -> Decimal:
    if not values:
        return Decimal(0)
    match metric.across_subjects:
        case "minimum":
            return min(values)
        case "maximum":
            return max(values)
        case "average":
            return divide(total(values), Decimal(len(values)))
    return total(values)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a reading says: a value in a unit, or why there is none; and what qualifies it."""

    value: Decimal | None
    unit: str
    reason: str | None = None
    qualified: tuple[str, ...] = ()


def base_finding(metric: Metric, rollups: Iterable[Rollup]) -> Finding:
    """The reading of a base metric. Amounts of several currencies are never added."""
    held = sorted(rollup for rollup in rollups if rollup.n)
    if not held:
        return Finding(None, metric.unit, NO_OBSERVATIONS)
    if len(held) > 1:
        return Finding(None, metric.unit, _several([rollup.currency for rollup in held]))
    _, n, amount = held[0]
    if metric.over_time == "average" and additive(metric):
        amount = divide(amount, Decimal(n))
    return finding(metric, amount, held[0].currency or metric.unit)


def _several(currencies: Iterable[str]) -> str:
    return f"amounts in {', '.join(sorted(currencies))} are not added; ask for one by its dimension `currency`"


def finding(metric: Metric, value: Decimal, unit: str) -> Finding:
    """A value as it is published: at most 10 decimals where it is not money, at most 18 digits before the point."""
    if value and value.adjusted() >= INTEGER_DIGITS:
        return Finding(None, unit, f"the value has more than {INTEGER_DIGITS} digits before the point")
    return Finding(value if is_money(parse_unit(metric.unit)) else published(value), unit)


# --- derived readings ---


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived reading with what was read: (role, key) for readings; (role, code, version, value) for settings."""

    finding: Finding
    formula: str
    version: int
    readings: tuple[tuple[str, Key], ...]
    settings: tuple[tuple[str, str, int, str | None], ...]


@dataclass(slots=True)
class _Reader:
    """Answers a formula's look-ups and notes them."""

    definitions: Definitions
    key: Key
    reading: Callable[[Key], Finding | None]
    readings: dict[tuple[str, Key], None] = field(default_factory=dict)
    settings: dict[tuple[str, str, int, str | None], None] = field(default_factory=dict)

    def __call__(self, how: str | None, name: str) -> Decimal | None:
        if how in ("parameter", "benchmark"):
            return self._setting(how, name)
        meant = self.definitions.moved((name, *self.key[1:]), how)
        self.readings[how or "input", meant] = None
        found = self.reading(meant)
        if found is None:
            raise Null(f"{name} has no reading" + (f" in {self._label(meant)}" if how else ""))
        if found.value is None:
            raise Null(f"{name}: {found.reason}"[:500])
        return found.value

    def _setting(self, how: str, name: str) -> Decimal:
        day = self._last_day()
        if how == "parameter":
            policy = self.definitions.policies.on(name, day)
            version, text = (policy[0], policy[1].value) if policy else (0, None)
        else:
            metric = self.definitions.metrics.on(name, day)
            known = metric and metric[1].benchmark
            version, text = (metric[0] if metric else 0), None if known is None else str(known)
        self.settings[how, name, version, text] = None
        if text is None:
            raise Null(f"{how}({name}) is not set on {day}")
        try:
            return Decimal(text)
        except ArithmeticError:
            raise Null(f"{how}({name}) is not a number") from None

    def _last_day(self) -> date:
        return self.definitions.period(self.key[2], self.key[3]).end - timedelta(days=1)

    def _label(self, key: Key) -> str:
        return self.definitions.period(key[2], key[3]).label


def derive(definitions: Definitions, key: Key, reading: Callable[[Key], Finding | None]) -> Derived | None:
    """The derived reading for a key by the formula in force on the period's last day; None where there is none.

    It exists where at least one of its inputs of the current period (of another, if it reads none) has a reading.
    """
    last_day = definitions.period(key[2], key[3]).end - timedelta(days=1)
    version, metric = definitions.metrics.on(key[0], last_day) or (0, None)
    if metric is None or not metric.formula or key[2] not in definitions.latest[key[0]].grains:
        return None
    formula = compiled(metric.formula)
    reads = [(how, definitions.moved((name, *key[1:]), how)) for how, name in formula.reads if how not in _SETTINGS]
    inputs = [each for _, each in reads]
    current = [each for how, each in reads if how is None]
    anchored = [each for each in current or inputs if each[0] in definitions.anchored]
    if not any(reading(each) is not None for each in anchored or current):
        return None
    reader = _Reader(definitions, key, reading)
    outcome = formula.run(reader)
    unit = _derived_unit(definitions, metric, inputs, reading)
    found = Finding(None, metric.unit, outcome.reason)
    if isinstance(unit, Finding):
        found = unit
    elif isinstance(outcome.value, Decimal):
        found = finding(metric, outcome.value, unit)
    elif outcome.value is not None:
        found = Finding(None, metric.unit, "the formula does not yield a number")
    return Derived(found, formula.source, version, tuple(reader.readings), tuple(reader.settings))


_SETTINGS = ("parameter", "benchmark")


def _derived_unit(
    definitions: Definitions, metric: Metric, inputs: list[Key], reading: Callable[[Key], Finding | None]
) -> str | Finding:
    """A metric in any currency is in that of its inputs; several currencies do not mix, not even into a ratio."""
    loose = [each for each in inputs if (m := definitions.latest.get(each[0])) and parse_unit(m.unit) == MONEY]
    currencies = {found.unit for each in loose if (found := reading(each)) and found.value is not None} - {"money"}
    if len(currencies) > 1:
        return Finding(None, metric.unit, _several(currencies))
    return currencies.pop() if currencies and parse_unit(metric.unit) == MONEY else metric.unit


# --- guards ---


def improvement(metric: Metric, now: Finding | None, before: Finding | None) -> Decimal | None:
    """By how much a figure got better than in the period before [its unit]; negative for worse, None if unknown."""
    if now is None or before is None or now.value is None or before.value is None or now.unit != before.unit:
        return None
    return subtract(now.value, before.value) if metric.better == "higher" else subtract(before.value, now.value)


def qualifications(definitions: Definitions, key: Key, reading: Callable[[Key], Finding | None]) -> tuple[str, ...]:
    """What qualifies a reading: it got better while a guard got worse by more than its tolerance (mechanism T3)."""
    better = _improved(definitions, key, reading)
    if better is None or better <= 0:
        return ()
    return tuple(
        guard.message
        for _, _, guard in guards_on(definitions, key)
        if (change := _improved(definitions, (guard.guard, *key[1:]), reading)) is not None
        and change.copy_negate() > guard.tolerance
    )


def guards_on(definitions: Definitions, key: Key) -> list[tuple[str, int, Guard]]:
    """The guards of a metric in force on the period's last day: code, version, content."""
    last_day = definitions.period(key[2], key[3]).end - timedelta(days=1)
    found = [(code, definitions.guards.on(code, last_day)) for code in definitions.guards_of.get(key[0], [])]
    return [(code, *guard) for code, guard in found if guard and guard[1].metric == key[0]]


def _improved(definitions: Definitions, key: Key, reading: Callable[[Key], Finding | None]) -> Decimal | None:
    metric = definitions.latest.get(key[0])
    return improvement(metric, reading(key), reading(definitions.moved(key, "previous"))) if metric else None
