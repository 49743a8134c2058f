"""What holds for an incentive plan, whoever defines it."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from shared.contracts.incentives import Component, Driver, Plan
from shared.curves import CurveInvalid, parse_curve
from shared.errors import Invalid
from shared.money import minor_digits
from shared.numbers import plain, subtract, total


class WeightsDoNotAddUp(Invalid):
    """The weights of a plan do not add up to exactly 1."""


class WeightNotPositive(Invalid):
    """A component without weight pays nothing and hides a mistake."""


class ComponentTwice(Invalid):
    """Two components of a plan have one code."""


class DriverSubject(Invalid):
    """A reading names whose it is; a score does not."""


class FactorOutOfRange(Invalid):
    """A factor is negative or larger than the policy `largest_factor`."""


class CapNegative(Invalid):
    """A cap below zero would turn a bonus into a debt."""


class PlanFixed(Invalid):
    """The currency and the kind of period of a plan stay as they are once people are assigned to it."""


@dataclass(frozen=True, slots=True, order=True)
class DriverKey:
    """A driver, whatever the period. `subject` is '' for a score."""

    kind: str
    code: str
    subject: str

    @classmethod
    def of(cls, driver: Driver) -> "DriverKey":
        return cls(driver.kind, driver.code, driver.subject or "")


def check_plan(plan: Plan, largest_factor: Decimal) -> None:
    """Raises the first broken rule of a plan.

    Args:
        largest_factor: policy `largest_factor` [ratio].

    Raises:
        UnknownCurrency, WeightsDoNotAddUp, WeightNotPositive, ComponentTwice, DriverSubject, CurveInvalid,
        FactorOutOfRange, CapNegative.
    """
    minor_digits(plan.currency)
    check_factor(plan.factor, largest_factor, "factor")
    _check_cap(plan.cap, "cap")
    seen: set[str] = set()
    for i, component in enumerate(plan.components):
        if component.code in seen:
            rule, remedy = f"The component {component.code} stands in the plan twice.", "Give each a code of its own."
            raise ComponentTwice(rule, field=f"components.{i}.code", remedy=remedy)
        seen.add(component.code)
        _check_component(component, largest_factor, f"components.{i}")
    gap = subtract(Decimal(1), total(component.weight for component in plan.components))
    if gap != 0:
        found, missing = (plain(share.scaleb(2)) for share in (subtract(Decimal(1), gap), gap.copy_abs()))
        rule = f"The weights of a plan's components add up to 100 %; these add up to {found} %."
        remedy = f"{'Raise' if gap > 0 else 'Lower'} one weight by {missing} %."
        raise WeightsDoNotAddUp(rule, field="components", remedy=remedy)


def check_factor(factor: Decimal, largest: Decimal, field: str) -> None:
    """Raises FactorOutOfRange unless 0 <= factor <= largest [ratio]."""
    if not 0 <= factor <= largest:
        rule = f"A factor lies between 0 and {plain(largest)}; this is {plain(factor)}."
        raise FactorOutOfRange(rule, field=field, remedy="Correct it, or raise the policy largest_factor.")


def check_fixed(plan: Plan, others: Iterable[tuple[str, str]]) -> None:
    """Amounts are recorded in the plan's currency and for its period: a version with another would reinterpret them.

    Args:
        others: (currency, period) of the versions recorded so far, where people are assigned.
    """
    for currency, period in others:
        if (currency, period) != (plan.currency, plan.period):
            raise PlanFixed(
                f"People are assigned to this plan with amounts in {currency} for a {period}; "
                f"this version says {plan.currency} for a {plan.period}.",
                field="currency" if currency != plan.currency else "period", remedy="Define another plan.",
            )  # fmt: skip


def _check_component(component: Component, largest_factor: Decimal, field: str) -> None:
    reading = component.driver.kind == "reading"
    if reading != (component.driver.subject is not None):
        rule = "A reading is about a subject." if reading else "A score has no subject: its goal has an owner."
        remedy = "Add it, like unit:sales." if reading else "Leave it out."
        raise DriverSubject(rule, field=f"{field}.driver.subject", remedy=remedy)
    if component.weight <= 0:
        rule = f"The weight of a component is above 0; this is {plain(component.weight)}."
        raise WeightNotPositive(rule, field=f"{field}.weight", remedy="Give it a weight, or leave the component out.")
    check_factor(component.factor, largest_factor, f"{field}.factor")
    _check_cap(component.cap, f"{field}.cap")
    try:
        parse_curve(component.curve)
    except CurveInvalid as error:
        path = f"{field}.curve.{error.field}" if error.field else f"{field}.curve"
        raise CurveInvalid(error.rule, field=path, remedy=error.remedy) from None


def _check_cap(cap: Decimal | None, field: str) -> None:
    if cap is not None and cap < 0:
        raise CapNegative(f"A cap is 0 or more; this is {plain(cap)}.", field=field)
