"""From driver values to an amount, in the one order of steps of mechanism M11, each step kept to be shown.

driver → gate → curve → × component factor, component cap → × weight → plan cap → × target amount → × team factor
→ × individual factor → × share → × eligible days / days of the period → rounded half-up once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.incentives.plans.rules import DriverKey
from shared.contracts.incentives import Component, Plan
from shared.curves import evaluate, parse_curve
from shared.money import round_money
from shared.numbers import divide, multiply, plain, total


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a calculation: its name, the value after it, and how it came about."""

    name: str
    value: Decimal
    how: str


@dataclass(frozen=True, slots=True)
class Line:
    """What a component contributes: `factor` is a share of the target amount [ratio], None with the reason why."""

    component: Component
    factor: Decimal | None
    reason: str | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Payout:
    """A plan's payout factor for a period, the same for all its people [ratio]; None where nothing is known."""

    lines: tuple[Line, ...]
    factor: Decimal | None
    complete: bool
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What one assignment brings: target amount of a whole period, share, individual factor, eligible days."""

    assignment: str
    version: int
    amount: Decimal
    share: Decimal
    factor: Decimal
    days: int


@dataclass(frozen=True, slots=True)
class Accrual:
    """A person's entitlement if the period closed now, in the plan's currency.

    `unrounded` and `total` are None where the payout factor is; `lines` are unrounded amounts before the plan's cap.
    """

    lines: tuple[Decimal | None, ...]
    parts: tuple[Decimal | None, ...]
    unrounded: Decimal | None
    total: Decimal | None
    steps: tuple[Step, ...]


def component_line(component: Component, value: Decimal | None, reason: str | None) -> Line:
    """One component at a driver value.

    Args:
        value: the score (0–120) or reading; None where there is none, with `reason`.
    """
    if value is None:
        return Line(component, None, reason or "There is no value, and no reason came with it.", ())
    steps = [Step("driver", value, f"{component.driver.kind} {component.driver.code}")]
    if component.gate is not None:
        if value < component.gate:
            steps.append(Step("gate", Decimal(0), f"below the gate of {plain(component.gate)}: pays nothing"))
            return Line(component, Decimal(0), None, tuple(steps))
        steps.append(Step("gate", value, f"at least the gate of {plain(component.gate)}: passed"))
    steps += _curve_steps(component, value)
    factor = multiply(steps[-1].value, component.weight)
    steps.append(Step("weight", factor, f"× {plain(component.weight)}"))
    return Line(component, factor, None, tuple(steps))


def _curve_steps(component: Component, value: Decimal) -> list[Step]:
    found = evaluate(parse_curve(component.curve), value)
    held = ", held there" if found.clamped else ""
    steps = [Step("curve", found.value, f"{component.curve['kind']}, {found.segment}{held}")]
    if component.factor != 1:
        steps.append(Step("component factor", multiply(found.value, component.factor), f"× {plain(component.factor)}"))
    if component.cap is not None and steps[-1].value > component.cap:
        steps.append(Step("component cap", component.cap, f"at most {plain(component.cap)}"))
    return steps


def payout(
    plan: Plan, values: Mapping[DriverKey, tuple[Decimal | None, str | None]], *, partial: bool = True
) -> Payout:
    """The payout factor of a plan.

    Args:
        values: value and reason of every driver of the plan.
        partial: whether the factor adds up what is known while a driver is missing (policy `incomplete_total`).
    """
    lines = tuple(component_line(c, *values[DriverKey.of(c.driver)]) for c in plan.components)
    known = [line.factor for line in lines if line.factor is not None]
    complete = len(known) == len(lines)
    if not known or not (complete or partial):
        return Payout(lines, None, complete, ())
    steps = [Step("payout factor", total(known), "sum of the components" + ("" if complete else " that have a value"))]
    if plan.cap is not None and steps[0].value > plan.cap:
        steps.append(Step("plan cap", plan.cap, f"at most {plain(plan.cap)}"))
    return Payout(lines, steps[-1].value, complete, tuple(steps))


def basis_of(part: Part) -> Decimal:
    """Target amount × individual factor × share × eligible days, exact [currency × days]."""
    return multiply(multiply(multiply(part.amount, part.factor), part.share), Decimal(part.days))


def amount_of(basis: Decimal, plan: Plan, factor: Decimal, period_days: int) -> Decimal:
    """An unrounded amount: everything is multiplied exactly and divided once [currency].

    >>> from types import SimpleNamespace
    >>> amount_of(Decimal(20000 * 45), SimpleNamespace(factor=Decimal("1.2")), Decimal("0.9"), 90)
    Decimal('10800.00')
    """
    return divide(multiply(multiply(basis, plan.factor), factor), Decimal(period_days))


def payable(basis: Decimal, plan: Plan, factor: Decimal, period_days: int) -> Decimal:
    """The amount rounded half-up to the minor unit, once [currency]."""
    return round_money(amount_of(basis, plan, factor, period_days), plan.currency)


def accrual(plan: Plan, found: Payout, parts: Sequence[Part], period_days: int) -> Accrual:
    """A person's accrual from the payout factor of the plan and the person's assignments in the period."""
    basis = total(basis_of(part) for part in parts)

    def amount(basis: Decimal, factor: Decimal | None) -> Decimal | None:
        return None if factor is None else amount_of(basis, plan, factor, period_days)

    lines = tuple(amount(basis, line.factor) for line in found.lines)
    shares = tuple(amount(basis_of(part), found.factor) for part in parts)
    unrounded = amount(basis, found.factor)
    if found.factor is None or unrounded is None:
        return Accrual(lines, shares, None, None, ())
    rounded = round_money(unrounded, plan.currency)
    steps = [step for part in parts for step in part_steps(plan, found.factor, part, period_days)]
    steps.append(Step("sum", unrounded, "of all assignments, unrounded"))
    steps.append(Step("rounded", rounded, f"half-up to the minor unit of {plan.currency}, once"))
    return Accrual(lines, shares, unrounded, rounded, tuple(steps))


def part_steps(plan: Plan, factor: Decimal, part: Part, period_days: int) -> list[Step]:
    """The steps from the payout factor to the unrounded amount of one assignment."""
    value = multiply(factor, part.amount)
    steps = [Step("target amount", value, f"{plain(factor)} × {plain(part.amount)} ({part.assignment})")]
    for name, times in (("team factor", plan.factor), ("individual factor", part.factor), ("share", part.share)):
        value = multiply(value, times)
        steps.append(Step(name, value, f"× {plain(times)}"))
    prorated = amount_of(basis_of(part), plan, factor, period_days)
    steps.append(Step("eligible days", prorated, f"× {part.days} / {period_days} days"))
    return steps
