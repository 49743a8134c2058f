"""What a preview adds up: totals, counts and the spread of what people would get more or less."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

from shared.numbers import add, divide, published, subtract


@dataclass(frozen=True, slots=True)
class Moved:
    """A payee's amount from a plan, pool or award, before and after [currency]."""

    payee: str
    plan: str
    currency: str
    before: Decimal
    after: Decimal

    @property
    def difference(self) -> Decimal:
        return subtract(self.after, self.before)


@dataclass
class Summary:
    """Of one currency: totals [currency], how many amounts move which way, and what moves by how much.

    `differences` are amounts [currency], `relative` their parts of what was there before [ratio]; of what was nothing
    there is no part.
    """

    before: Decimal = Decimal(0)
    after: Decimal = Decimal(0)
    up: int = 0
    down: int = 0
    same: int = 0
    differences: list[Decimal] = field(default_factory=list)
    relative: list[Decimal] = field(default_factory=list)

    def take(self, one: Moved) -> None:
        self.before, self.after = add(self.before, one.before), add(self.after, one.after)
        difference = one.difference
        self.up, self.down = self.up + (difference > 0), self.down + (difference < 0)
        self.same += difference == 0
        if difference:
            self.differences.append(difference)
            if one.before:
                self.relative.append(published(divide(difference, one.before.copy_abs())))


def summarised(payees: Iterable[Moved]) -> tuple[dict[str, Summary], list[Moved]]:
    """A summary of each currency, and those who get another amount."""
    found: dict[str, Summary] = {}
    changed = []
    for one in payees:
        found.setdefault(one.currency, Summary()).take(one)
        if one.before != one.after:
            changed.append(one)
    return found, changed


def largest(changed: Iterable[Moved]) -> list[Moved]:
    """By size of the difference, then by payee and plan."""
    return sorted(changed, key=lambda one: (one.difference.copy_abs().copy_negate(), one.payee, one.plan))
