"""From driver values to an amount, in the one order of steps of mechanism M11, each step kept to be shown.

driver → gate → curve → × component factor, component cap, nothing below 0 → × weight → plan cap → × target amount
→ × team factor → × individual factor → × share → × eligible days / days of the period → rounded half-up once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.incentives.plans.rules import DriverKey
from shared.contracts.incentives import Component, Plan
from shared.curves import evaluate, parse_curve
from shared.money import round_money
from shared.numbers import INTEGER_DIGITS, DecimalString, divide, multiply, plain, published, total

OUT_OF_RANGE = f"out of range: more than {INTEGER_DIGITS} digits before the point"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a calculation: its name, the value after it as `shown`, and how it came about."""

    step: str
    value: DecimalString | None
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
    """What one assignment brings in a period; the target amount is that of a whole period."""

    assignment: str
    version: int
    target_amount: Decimal
    share: Decimal
    individual_factor: Decimal
    eligible_days: int


@dataclass(frozen=True, slots=True)
class Accrual:
    """A person's entitlement if the period closed now, in the plan's currency.

    `unrounded` and `total` are None where the payout factor is, `total` also where it is out of range; `lines` are
    unrounded amounts before the plan's cap.
    """

    lines: tuple[Decimal | None, ...]
    parts: tuple[Decimal | None, ...]
    unrounded: Decimal | None
    total: Decimal | None
    steps: tuple[Step, ...]


def shown(value: Decimal | None) -> Decimal | None:
    """At most 10 decimals; None where it is out of range, which no answer can carry."""
    rounded = None if value is None else published(value)
    return None if rounded is None or rounded.copy_abs() >= Decimal(1).scaleb(INTEGER_DIGITS) else rounded


def _step(name: str, value: Decimal, how: str) -> Step:
    fits = shown(value)
    return Step(name, fits, how if fits is not None else f"{how}; {OUT_OF_RANGE}")


def component_line(component: Component, value: Decimal | None, reason: str | None) -> Line:
    """One component at a driver value.

    Args:
        value: the score (0–120) or reading; None where there is none, with `reason`.
    """
    if value is None:
        return Line(component, None, reason or "There is no value, and no reason came with it.", ())
    steps = [_step("driver", value, f"{component.driver.kind} {component.driver.code}")]
    if component.gate is not None and value < component.gate:
        steps.append(_step("gate", Decimal(0), f"below the gate of {plain(component.gate)}: pays nothing"))
        return Line(component, Decimal(0), None, tuple(steps))
    if component.gate is not None:
        steps.append(_step("gate", value, f"at least the gate of {plain(component.gate)}: passed"))
    found = evaluate(parse_curve(component.curve), value)
    factor, held = found.value, ", held there" if found.clamped else ""
    steps.append(_step("curve", factor, f"{component.curve['kind']}, {found.segment}{held}"))
    if component.factor != 1:
        factor = multiply(factor, component.factor)
        steps.append(_step("component factor", factor, f"× {plain(component.factor)}"))
    if component.cap is not None and factor > component.cap:
        factor = component.cap
        steps.append(_step("component cap", factor, f"at most {plain(factor)}"))
    if factor < 0:
        factor = Decimal(0)
        steps.append(_step("not below zero", factor, "at least 0: a bonus does not become a debt"))
    factor = multiply(factor, component.weight)
    steps.append(_step("weight", factor, f"× {plain(component.weight)}"))
    return Line(component, factor, None, tuple(steps))


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
    factor = total(known)
    steps = [_step("payout factor", factor, "sum of the components" + ("" if complete else " that have a value"))]
    if plan.cap is not None and factor > plan.cap:
        factor = plan.cap
        steps.append(_step("plan cap", factor, f"at most {plain(factor)}"))
    return Payout(lines, factor, complete, tuple(steps))


def basis_of(part: Part) -> Decimal:
    """Target amount × individual factor × share × eligible days, exact [currency × days]."""
    whole = multiply(multiply(part.target_amount, part.individual_factor), part.share)
    return multiply(whole, Decimal(part.eligible_days))


def amount_of(basis: Decimal, plan: Plan, factor: Decimal, period_days: int) -> Decimal:
    """An unrounded amount: everything is multiplied exactly and divided once [currency]."""
    return divide(multiply(multiply(basis, plan.factor), factor), Decimal(period_days))


def payable(basis: Decimal, plan: Plan, factor: Decimal, period_days: int) -> Decimal | None:
    """The amount rounded half-up to the minor unit, once [currency]; None where it is out of range."""
    return shown(round_money(amount_of(basis, plan, factor, period_days), plan.currency))


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
    steps = [step for part in parts for step in _part_steps(plan, found.factor, part, period_days)]
    steps.append(_step("sum", unrounded, "of all assignments, unrounded"))
    steps.append(_step("rounded", rounded, f"half-up to the minor unit of {plan.currency}, once"))
    return Accrual(lines, shares, unrounded, shown(rounded), tuple(steps))


def _part_steps(plan: Plan, factor: Decimal, part: Part, period_days: int) -> list[Step]:
    """The steps from the payout factor to the unrounded amount of one assignment."""
    value = multiply(factor, part.target_amount)
    steps = [_step("target amount", value, f"{plain(factor)} × {plain(part.target_amount)} ({part.assignment})")]
    factors = {"team factor": plan.factor, "individual factor": part.individual_factor, "share": part.share}
    for name, times in factors.items():
        value = multiply(value, times)
        steps.append(_step(name, value, f"× {plain(times)}"))
    prorated = amount_of(basis_of(part), plan, factor, period_days)
    steps.append(_step("eligible days", prorated, f"× {part.eligible_days} / {period_days} days"))
    return steps
