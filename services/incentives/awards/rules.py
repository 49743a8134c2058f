"""What holds for awards, and what an award comes to."""

from dataclasses import dataclass
from decimal import Decimal

from services.incentives.accruals.definitions import Value
from services.incentives.entitlements.steps import Draft
from services.incentives.plans.rules import DriverKey, amount_faults, check_driver, check_shares
from services.incentives.pools.rules import Shared, Values, conditioned, known, rounded
from shared.contracts.base import Citation
from shared.contracts.incentives import Award
from shared.errors import Invalid
from shared.money import minor_digits
from shared.numbers import plain

__all__ = ["Value", "award_shared", "check_award"]


class AwardUnclear(Invalid):
    """An award is an amount, or a base and a rate."""


class AwardWithoutCondition(Invalid):
    """A strategic contribution award is paid only when its core strategic goal is completed (mechanism M6)."""


class AwardOutOfRange(Invalid):
    """A strategic contribution award lies outside the range of the policies (mechanism M6)."""


@dataclass(frozen=True, slots=True)
class Range:
    """Policies `strategic_award_lowest` and `strategic_award_highest` [currency]."""

    lowest: Decimal
    highest: Decimal


def check_award(award: Award, range_: Range) -> None:
    """Raises the first broken rule of an award."""
    minor_digits(award.currency)
    if (award.amount is None) == (award.base is None) or (award.base is None) != (award.rate is None):
        rule = "An award is an amount, or a base with a rate; one of the two."
        raise AwardUnclear(rule, field="amount", remedy="Give `amount`, or `base` and `rate`.")
    for fault in amount_faults(award.currency, {"amount": award.amount}):
        raise fault
    if award.rate is not None and not 0 <= award.rate <= 1:
        rule = f"A rate lies between 0 and 1; this is {plain(award.rate)}."
        raise AwardUnclear(rule, field="rate", remedy='Write "0.1" for 10 %.')
    for field, driver in (("count", award.count), ("condition.driver", award.condition and award.condition.driver)):
        if driver:
            check_driver(driver, field)
    check_shares(award.participants)
    if award.strategic:
        _check_strategic(award, range_)


def _check_strategic(award: Award, range_: Range) -> None:
    if award.condition is None or award.condition.driver.kind != "goal":
        rule = "A strategic contribution award is paid only when its core strategic goal is completed."
        raise AwardWithoutCondition(rule, field="condition", remedy="Name the goal and the score it needs.")
    if award.amount is None or not range_.lowest <= award.amount <= range_.highest:
        low, high = plain(range_.lowest), plain(range_.highest)
        found = "none" if award.amount is None else plain(award.amount)
        rule = f"A strategic contribution award lies between {low} and {high}; this is {found}."
        raise AwardOutOfRange(rule, field="amount", remedy="Change it, or the policies strategic_award_….")


def award_shared(code: str, version: int, award: Award, values: Values) -> Shared:
    """What an award comes to: amount, or base × rate, not below zero; × how often; if its condition is met."""
    draft, cite = Draft(), Citation(what="award", code=code, version=version)
    amount: str | None
    if award.amount is not None:
        amount = draft.given("award", award.name, award.amount, "", cite)
    else:
        base = draft.given("base", award.name, award.base or Decimal(0), "what it is a part of", cite)
        base = draft.add("positive", award.name, "maximum", base, "0", how="no award is a debt")
        amount = draft.add("award", award.name, "product", base, plain(award.rate or Decimal(0)), how="× rate")
    if award.count:
        amount = _counted(draft, award, amount, values)
    if amount:
        amount = conditioned(draft, award.condition, amount, values, award.period)
    amount = amount and rounded(draft, amount, award.currency)
    return Shared(draft, amount, award.currency, award.participants)


def _counted(draft: Draft, award: Award, amount: str, values: Values) -> str | None:
    assert award.count
    if not (times := known(draft, "count", "How often", award.count, values, award.period)):
        return None
    times = draft.add("times", "How often", "maximum", times, "0")
    if award.times == "once":
        times = draft.add("once", "Once", "minimum", times, "1", how="however often")
    return draft.add("counted", "For every time", "product", amount, times)


def keys_of(award: Award) -> set[DriverKey]:
    """The drivers an award hangs on."""
    drivers = [award.count, award.condition.driver if award.condition else None]
    return {DriverKey.of(driver) for driver in drivers if driver}
