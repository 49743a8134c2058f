"""What holds for an incentive plan, whoever defines it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.incentives.plans.definitions import is_tiers, parse_tiers
from shared.contracts.incentives import Component, Driver, Participant, Plan
from shared.curves import Curve, CurveInvalid, parse_curve
from shared.errors import Conflict, DomainError, Invalid
from shared.money import UnknownCurrency, minor_digits, round_money
from shared.numbers import plain, subtract, total

LOWEST_SCORE, HIGHEST_SCORE = Decimal(0), Decimal(120)


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
    """A cap or a floor below zero would turn a bonus into a debt."""


class FloorAboveCap(Invalid):
    """Nothing can be at least its floor and at most a lower cap."""


class AmountTooFine(Invalid):
    """An amount has more decimals than its currency."""


class AmountNegative(Invalid):
    """An amount is below zero."""


class BudgetUnclear(Invalid):
    """A budget is an amount or a pool, one of the two."""


class CoreShareTooSmall(Invalid):
    """Core strategic components carry less of the weight than the policy `core_share` wants (mechanism M6)."""


class PointsWithoutScore(Invalid):
    """Collaboration points are added to a score; a reading is none."""


class SharesDoNotAddUp(Invalid):
    """The shares of the participants do not add up to exactly 1."""


class ShareNegative(Invalid):
    """A share of zero or less pays nothing, or takes from the others."""


class ParticipantTwice(Invalid):
    """Somebody takes part twice."""


class PlanFixed(Invalid):
    """The currency and the kind of period of a plan stay as they are once people are assigned to it."""


class CodeTaken(Conflict):
    """Amounts are kept by the code they come from, so a plan, a pool and an award cannot share one."""


OWN = "self"


@dataclass(frozen=True, slots=True, order=True)
class DriverKey:
    """A driver, whatever the period. `subject` is '' for a score, and `self` for a reading of whoever is paid."""

    kind: str
    code: str
    subject: str

    @classmethod
    def of(cls, driver: Driver) -> "DriverKey":
        return cls(driver.kind, driver.code, OWN if driver.own else driver.subject or "")


@dataclass(frozen=True, slots=True)
class Limits:
    """The policies that a plan must keep: `largest_factor`, and `core_share` where `core_required` says so [ratio]."""

    largest_factor: Decimal
    core_share: Decimal | None = None


def drivers_of(plan: Plan) -> list[Driver]:
    """Everything that a plan hangs on, collaboration points included."""
    return [
        driver
        for component in plan.components
        for driver in (component.driver, *(points.driver for points in component.points))
    ]


def check_plan(plan: Plan, limits: Limits) -> None:
    """Raises the first broken rule of a plan: see `faults`."""
    for fault in faults(plan, limits):
        raise fault


def faults(plan: Plan, limits: Limits) -> Iterator[DomainError]:
    """Every broken rule of a plan, each with its field and remedy."""
    try:
        minor_digits(plan.currency)
    except UnknownCurrency as error:
        yield error
        return
    largest = limits.largest_factor
    yield from factor_fault(plan.factor, largest, "factor")
    yield from _bounds(plan.cap, plan.floor, "")
    for family, factor in plan.families.items():
        yield from factor_fault(factor, largest, f"families.{family}")
    yield from amount_faults(plan.currency, {"amount_cap": plan.amount_cap, "minimum_payout": plan.minimum_payout})
    yield from _budget(plan)
    seen: set[str] = set()
    for i, component in enumerate(plan.components):
        if component.code in seen:
            rule, remedy = f"The component {component.code} stands in the plan twice.", "Give each a code of its own."
            yield ComponentTwice(rule, field=f"components.{i}.code", remedy=remedy)
        seen.add(component.code)
        yield from _component(component, largest, f"components.{i}")
    yield from _weights(plan, limits.core_share)


def _weights(plan: Plan, core_share: Decimal | None) -> Iterator[DomainError]:
    shares = [component for component in plan.components if not is_tiers(component.curve)]
    gap = subtract(Decimal(1), total(component.weight for component in shares)) if shares else Decimal(0)
    if gap != 0:
        found, missing = (plain(share.scaleb(2)) for share in (subtract(Decimal(1), gap), gap.copy_abs()))
        rule = f"The weights of a plan's components add up to 100 %; these add up to {found} %."
        remedy = f"{'Raise' if gap > 0 else 'Lower'} one weight by {missing} %."
        yield WeightsDoNotAddUp(rule, field="components", remedy=remedy)
    core = total(component.weight for component in shares if component.core)
    if not shares and any(component.core for component in plan.components):
        core = Decimal(1)
    if core_share is not None and core < core_share:
        has, wants = plain(core.scaleb(2)), plain(core_share.scaleb(2))
        rule = f"Core strategic components carry at least {wants} % of a plan's weight; here it is {has} %."
        remedy = f"Give core components {plain(subtract(core_share, core).scaleb(2))} % more, or mark them `core`."
        yield CoreShareTooSmall(rule, field="components", remedy=remedy)


def check_factor(factor: Decimal, largest: Decimal, field: str) -> None:
    """Raises FactorOutOfRange unless 0 <= factor <= largest [ratio]."""
    for fault in factor_fault(factor, largest, field):
        raise fault


def factor_fault(factor: Decimal, largest: Decimal, field: str) -> Iterator[DomainError]:
    if not 0 <= factor <= largest:
        rule = f"A factor lies between 0 and {plain(largest)}; this is {plain(factor)}."
        yield FactorOutOfRange(rule, field=field, remedy="Correct it, or raise the policy largest_factor.")


def amount_faults(currency: str, amounts: dict[str, Decimal | None]) -> Iterator[DomainError]:
    """Amounts by field: 0 or more, with the decimals of the currency."""
    for field, amount in amounts.items():
        if amount is not None and amount < 0:
            rule, remedy = f"An amount is 0 or more; this is {plain(amount)}.", "What is taken back is a correction."
            yield AmountNegative(rule, field=field, remedy=remedy)
        elif amount is not None and amount != (payable := round_money(amount, currency)):
            rule = f"{currency} has {minor_digits(currency)} decimals; {plain(amount)} has more."
            yield AmountTooFine(rule, field=field, remedy=f"Round it to {plain(payable)}.")


def check_shares(participants: Sequence[Participant]) -> None:
    """Raises ParticipantTwice, ShareNegative, or SharesDoNotAddUp with the missing part."""
    seen: set[str] = set()
    for i, one in enumerate(participants):
        if one.payee in seen:
            rule, remedy = f"{one.payee} takes part twice.", "Add the two shares."
            raise ParticipantTwice(rule, field=f"participants.{i}.payee", remedy=remedy)
        if one.share <= 0:
            rule, remedy = f"A share is above 0; this is {plain(one.share)}.", "Leave out who gets nothing."
            raise ShareNegative(rule, field=f"participants.{i}.share", remedy=remedy)
        seen.add(one.payee)
    gap = subtract(Decimal(1), total(one.share for one in participants))
    if gap != 0:
        found, missing = plain(subtract(Decimal(1), gap).scaleb(2)), plain(gap.copy_abs().scaleb(2))
        rule = f"The shares of the participants add up to 100 %; these add up to {found} %."
        remedy = f"{missing} % {'is missing' if gap > 0 else 'is too much'}: correct a share, or let `company` have it."
        raise SharesDoNotAddUp(rule, field="participants", remedy=remedy)


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


def check_driver(driver: Driver, field: str) -> None:
    """Raises DriverSubject unless a reading says whose it is, and a score does not."""
    for fault in driver_fault(driver, field):
        raise fault


def driver_fault(driver: Driver, field: str) -> Iterator[DomainError]:
    if driver.kind == "reading" and (driver.subject is None) != driver.own:
        rule, remedy = "A reading is about a subject, or the person's own.", "Add one, like unit:sales, or `own`."
        yield DriverSubject(rule, field=f"{field}.subject", remedy=remedy)
    if driver.kind != "reading" and (driver.subject is not None or driver.own):
        field = f"{field}.{'own' if driver.own else 'subject'}"
        yield DriverSubject("A score has no subject: its goal has an owner.", field=field, remedy="Leave it out.")


def _budget(plan: Plan) -> Iterator[DomainError]:
    if budget := plan.budget:
        if (budget.amount is None) == (budget.pool is None):
            rule, remedy = "A budget is an amount or a pool, one of the two.", "Give one of `amount` and `pool`."
            yield BudgetUnclear(rule, field="budget", remedy=remedy)
        yield from amount_faults(plan.currency, {"budget.amount": budget.amount})


def _component(component: Component, largest: Decimal, field: str) -> Iterator[DomainError]:
    yield from driver_fault(component.driver, f"{field}.driver")
    if is_tiers(component.curve) and component.weight != 0:
        rule = "A component with a table of rates pays an amount, not a share: its weight is 0."
        yield WeightNotPositive(rule, field=f"{field}.weight", remedy='Write "0".')
    if not is_tiers(component.curve) and component.weight <= 0:
        rule = f"The weight of a component is above 0; this is {plain(component.weight)}."
        yield WeightNotPositive(rule, field=f"{field}.weight", remedy="Give it a weight, or leave the component out.")
    yield from factor_fault(component.factor, largest, f"{field}.factor")
    if component.accelerator:
        yield from factor_fault(component.accelerator.factor, largest, f"{field}.accelerator.factor")
    yield from _bounds(component.cap, component.floor, f"{field}.")
    yield from _points(component, field)
    try:
        _check_curve(component)
    except CurveInvalid as error:
        path = f"{field}.curve.{error.field}" if error.field else f"{field}.curve"
        yield CurveInvalid(error.rule, field=path, remedy=error.remedy or "Correct it; docs/curves.md has examples.")


def _points(component: Component, field: str) -> Iterator[DomainError]:
    if component.points and component.driver.kind == "reading":
        rule = "Collaboration points are added to a score; a reading is none."
        yield PointsWithoutScore(rule, field=f"{field}.points", remedy="Let the component hang on a score.")
    for i, points in enumerate(component.points):
        yield from driver_fault(points.driver, f"{field}.points.{i}.driver")


def _check_curve(component: Component) -> None:
    if is_tiers(component.curve):
        parse_tiers(component.curve)
        return
    curve = parse_curve(component.curve)
    _check_whole_range(curve, "reading" if component.driver.kind == "reading" else "score")


def _check_whole_range(curve: Curve, what: str) -> None:
    """A score lies between 0 and 120, a reading may be anything from 0 up, and every one of them has its band."""
    if not (bands := curve.bands):
        return
    first, last = bands[0].start, bands[-1].end
    if first is not None and first > LOWEST_SCORE:
        rule, field = f"A {what} can be less than {plain(first)}, where no band applies.", "bands.0.from"
        raise CurveInvalid(rule, field=field, remedy="Begin the first band at 0.")
    if last is not None and (what == "reading" or last < HIGHEST_SCORE):
        rule = f"A {what} can be {'more' if what == 'reading' else 'up to 120'}; above {plain(last)} no band applies."
        raise CurveInvalid(rule, field=f"bands.{len(bands) - 1}.to", remedy="Leave the last band open.")


def _bounds(cap: Decimal | None, floor: Decimal | None, field: str) -> Iterator[DomainError]:
    for name, bound in (("cap", cap), ("floor", floor)):
        if bound is not None and bound < 0:
            rule, remedy = f"A {name} is 0 or more; this is {plain(bound)}.", "No plan pays less than nothing."
            yield CapNegative(rule, field=f"{field}{name}", remedy=remedy)
    if cap is not None and floor is not None and floor > cap:
        rule, remedy = (
            f"The floor {plain(floor)} lies above the cap {plain(cap)}.",
            "Lower the floor.",
        )
        yield FloorAboveCap(rule, field=f"{field}floor", remedy=remedy)
