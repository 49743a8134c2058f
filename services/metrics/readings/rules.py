"""How cells become readings, readings become derived readings, and guards qualify them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from services.metrics.readings.definitions import SETTINGS, Definitions, Key, compiled
from shared.contracts.metrics import Guard, Metric
from shared.formula import Null
from shared.numbers import INTEGER_DIGITS, divide, published, subtract, total
from shared.units import MONEY, is_money, parse_unit

NO_OBSERVATIONS = "no observations"


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
            return max(cells, key=lambda cell: cell.day).last or Decimal(0)
        case "distinct":
            return Decimal(len({cell.member for cell in cells}))
        case "average":
            return divide(total(cell.total for cell in cells), Decimal(sum(cell.n for cell in cells)))
    return total(cell.total for cell in cells)


def _across(metric: Metric, values: list[Decimal]) -> Decimal:
    match metric.across_subjects:
        case "minimum":
            return min(values, default=Decimal(0))
        case "maximum":
            return max(values, default=Decimal(0))
        case "average" if values:
            return divide(total(values), Decimal(len(values)))
    return total(values)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a reading says: a value in a unit, or why there is none; and what qualifies it."""

    value: Decimal | None
    unit: str
    reason: str | None = None
    qualified: tuple[str, ...] = ()


Reading = Callable[[Key], Finding | None]


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
    last_day: date
    reading: Reading
    readings: dict[tuple[str, Key], None] = field(default_factory=dict)
    settings: dict[tuple[str, str, int, str | None], None] = field(default_factory=dict)

    def __call__(self, how: str | None, name: str) -> Decimal | None:
        if how in SETTINGS:
            return self._setting(how, name)
        meant = self.definitions.moved((name, *self.key[1:]), how)
        self.readings[how or "input", meant] = None
        found = self.reading(meant)
        if found is None:
            raise Null(f"{name} has no reading" + (f" in {self.definitions.period(*meant[2:]).label}" if how else ""))
        if found.value is None:
            raise Null(f"{name}: {found.reason}"[:500])
        return found.value

    def _setting(self, how: str, name: str) -> Decimal:
        if how == "parameter":
            policy = self.definitions.policies.on(name, self.last_day)
            version, text = (policy[0], policy[1].value) if policy else (0, None)
        else:
            version, metric = self.definitions.metrics.on(name, self.last_day) or (0, None)
            text = None if metric is None or metric.benchmark is None else str(metric.benchmark)
        self.settings[how, name, version, text] = None
        if text is None:
            raise Null(f"{how}({name}) is not set on {self.last_day}")
        try:
            return Decimal(text)
        except ArithmeticError:
            raise Null(f"{how}({name}) is not a number") from None


def derive(definitions: Definitions, key: Key, reading: Reading) -> Derived | None:
    """The derived reading for a key by the formula in force on the period's last day; None where there is none.

    It exists where at least one of its inputs of the current period (of another, if it reads none) has a reading.
    """
    last_day = definitions.last_day(*key[2:])
    version, metric = definitions.metrics.on(key[0], last_day) or (0, None)
    if metric is None or not metric.formula or key[2] not in definitions.latest[key[0]].grains:
        return None
    formula = compiled(metric.formula)
    inputs = [definitions.moved((name, *key[1:]), how) for how, name in formula.inputs]
    current = [each for each in inputs if each[3] == key[3]]
    anchored = [each for each in current or inputs if each[0] in definitions.anchored]
    if not any(reading(each) is not None for each in anchored or current):
        return None
    reader = _Reader(definitions, key, last_day, reading)
    outcome = formula.run(reader)
    unit, mixed = _derived_unit(definitions, metric, inputs, reading)
    if mixed or not isinstance(outcome.value, Decimal):
        odd = None if outcome.value is None else "the formula does not yield a number"
        found = Finding(None, metric.unit, mixed or odd or outcome.reason)
    else:
        found = finding(metric, outcome.value, unit)
    return Derived(found, formula.source, version, tuple(reader.readings), tuple(reader.settings))


def _derived_unit(
    definitions: Definitions, metric: Metric, inputs: list[Key], reading: Reading
) -> tuple[str, str | None]:
    """A metric in any currency is in that of its inputs; several currencies do not mix, not even into a ratio."""
    loose = [each for each in inputs if (m := definitions.latest.get(each[0])) and parse_unit(m.unit) == MONEY]
    currencies = {found.unit for each in loose if (found := reading(each)) and found.value is not None} - {"money"}
    if len(currencies) > 1:
        return metric.unit, _several(currencies)
    return currencies.pop() if currencies and parse_unit(metric.unit) == MONEY else metric.unit, None


# --- guards ---


def qualifications(definitions: Definitions, key: Key, reading: Reading) -> tuple[str, ...]:
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
    last_day = definitions.last_day(*key[2:])
    found = [(code, definitions.guards.on(code, last_day)) for code in definitions.guards_of.get(key[0], [])]
    return [(code, *guard) for code, guard in found if guard and guard[1].metric == key[0]]


def _improved(definitions: Definitions, key: Key, reading: Reading) -> Decimal | None:
    """By how much a figure got better than in the period before [its unit]; negative for worse, None if unknown."""
    metric, now, before = definitions.latest.get(key[0]), reading(key), reading(definitions.moved(key, "previous"))
    if not metric or not now or not before or now.value is None or before.value is None or now.unit != before.unit:
        return None
    return subtract(now.value, before.value) if metric.better == "higher" else subtract(before.value, now.value)
