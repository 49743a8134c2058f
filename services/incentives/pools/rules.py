"""What holds for pools, and what a result brings into one and to each participant."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.incentives.accruals.definitions import Value, driver_cite
from services.incentives.entitlements.steps import Draft, Program
from services.incentives.plans.rules import DriverKey, amount_faults, check_driver, check_shares
from shared.contracts.base import Citation
from shared.contracts.incentives import Condition, Driver, Participant, Pool
from shared.errors import Invalid
from shared.money import minor_digits
from shared.numbers import plain

Values = Mapping[DriverKey, Value]
COMPANY = "company"


class PoolShareOutOfRange(Invalid):
    """The part of a result that goes into a pool is above 0 and at most 1."""


@dataclass(frozen=True, slots=True)
class Shared:
    """An amount that participants share: its steps, the amount, and why it is incomplete."""

    draft: Draft
    amount: str | None
    currency: str
    participants: Sequence[Participant]

    @property
    def whole(self) -> Decimal | None:
        """The amount [currency]; None where it is not known."""
        return Program(self.draft.steps).of("amount") if self.amount else None

    def payees(self) -> Iterator[str]:
        """Everybody who is paid; the company keeps its part."""
        return (one.payee for one in self.participants if one.payee != COMPANY)

    def part(self, payee: str) -> tuple[Draft, bool]:
        """The steps up to a participant's part, and whether it is known."""
        draft = Draft()
        draft.steps, draft.missing = list(self.draft.steps), list(self.draft.missing)
        if self.amount is None:
            return draft, False
        pairs = [text for one in self.participants for text in (one.payee, plain(one.share))]
        digits, how = str(minor_digits(self.currency)), "by share, the largest remainders first"
        draft.add("part", f"Part of {payee}", "split", self.amount, digits, payee, *pairs, how=how)
        return draft, True


def check_pool(pool: Pool) -> None:
    """Raises the first broken rule of a pool."""
    minor_digits(pool.currency)
    check_driver(pool.driver, "driver")
    if pool.driver.own:
        check_driver(pool.driver.model_copy(update={"own": False}), "driver")
    if not 0 < pool.share <= 1:
        rule = f"A share is above 0 and at most 1; this is {plain(pool.share)}."
        raise PoolShareOutOfRange(rule, field="share", remedy='Write "0.2" for 20 %.')
    for fault in amount_faults(pool.currency, {"cap": pool.cap}):
        raise fault
    if pool.condition:
        check_driver(pool.condition.driver, "condition.driver")
    if pool.participants:
        check_shares(pool.participants)


def pool_shared(code: str, version: int, pool: Pool, values: Values, period: str) -> Shared:
    """What a result brings into a pool: max(0, result) × share, at most the cap, if its condition is met."""
    draft = Draft()
    amount = None
    if result := known(draft, "result", pool.name, pool.driver, values, period):
        result = draft.add("positive", "Result", "maximum", result, "0", how="an empty pool is no debt")
        cite = Citation(what="pool", code=code, version=version)
        amount = draft.add("pool", "Pool", "product", result, plain(pool.share), how="× share", cites=[cite])
        if pool.cap is not None:
            amount = draft.add("cap", "Cap", "minimum", amount, plain(pool.cap))
        amount = conditioned(draft, pool.condition, amount, values, period)
        amount = amount and rounded(draft, amount, pool.currency)
    return Shared(draft, amount, pool.currency, pool.participants)


def known(draft: Draft, id: str, name: str, driver: Driver, values: Values, period: str) -> str | None:
    """A driver's value as a step; None where it has none."""
    key = DriverKey.of(driver)
    found = values[key]
    if found.value is None:
        draft.lacks(id, name, found.reason or "There is no value, and no reason came with it.")
        return None
    return draft.given(id, name, found.value, f"{driver.kind} {driver.code}", driver_cite(key, period, found))


def conditioned(
    draft: Draft, condition: Condition | None, amount: str, values: Values, period: str
) -> str | None:  # fmt: skip
    """The amount if its condition is met, nothing if not; None where that is not known."""
    if condition is None:
        return amount
    reached = known(draft, "reached", "Condition", condition.driver, values, period)
    if reached is None:
        return None
    met = draft.add("met", "Condition", "at_least", reached, plain(condition.at_least))
    return draft.add("if.met", "If its condition is met", "product", amount, met)


def rounded(draft: Draft, amount: str, currency: str) -> str:
    how = f"half-up to the minor unit of {currency}, once"
    return draft.add("amount", "Amount", "round", amount, str(minor_digits(currency)), how=how)
