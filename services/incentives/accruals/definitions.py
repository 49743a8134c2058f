"""What a calculation is made from: the terms that all people of a plan share, and what is a person's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from typing import Any

from services.incentives.entitlements.steps import Given
from services.incentives.plans.rules import DriverKey
from shared.contracts.base import Citation
from shared.contracts.incentives import Driver, Plan
from shared.numbers import INTEGER_DIGITS, multiply, plain, published

OUT_OF_RANGE = f"out of range: more than {INTEGER_DIGITS} digits before the point"
ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Value:
    """A driver in a period: its value, or the reason why there is none; a reading's unit, where it is known."""

    value: Decimal | None
    reason: str | None = None
    version: int = 0
    unit: str | None = None

    def times(self, factor: Decimal) -> "Value":
        return self if self.value is None or factor == 1 else replace(self, value=multiply(self.value, factor))


@dataclass(frozen=True, slots=True)
class Rate:
    """An exchange rate: one unit of the driver's currency in the plan's."""

    rate: Decimal
    version: int


@dataclass(frozen=True, slots=True)
class Segment:
    """The days of a period that one version of a plan counts for: all of them, but for a change by days [days]."""

    version: int
    plan: Plan
    days: int
    first: date
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Scale:
    """The budget of a plan, and the sum of what its people earned."""

    whole: Decimal
    earned: Decimal
    cite: Citation


@dataclass(frozen=True, slots=True)
class Terms:
    """Everything that is the same for all people of a plan in a period.

    Args:
        days: of the period [days].
        values: of the drivers that are not people's own; of these, only the unit.
        rates: by currencies, such as `USD-CNY`, as on the period's last day.
        partial: whether an incomplete amount adds up what is known (policy `incomplete_total`).
        highest: what a score with collaboration points is held at (policy `highest_score`).
        scale: where the budget is distributed.
        blocked: why nothing can be paid, such as a budget that is not known.
    """

    code: str
    period: str
    days: int
    segments: tuple[Segment, ...]
    values: Mapping[DriverKey, Value]
    rates: Mapping[str, Rate] = field(default_factory=dict)
    partial: bool = True
    highest: Decimal = Decimal(120)
    scale: Scale | None = None
    blocked: str | None = None

    @property
    def plan(self) -> Plan:
        """The version of the period's last day."""
        return self.segments[-1].plan

    def with_(self, **changes: Any) -> "Terms":
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Part:
    """What one assignment brings to one segment of a period; target amount and guarantee are for a whole period."""

    assignment: str
    version: int
    target_amount: Decimal
    share: Decimal
    individual_factor: Decimal
    eligible_days: Decimal
    segment: int = 0
    family_factor: Decimal = ONE
    guarantee: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """What is a person's own. `override` and `kept` replace what is computed; `extra` is a unit of a scaled budget."""

    payee: str
    parts: tuple[Part, ...]
    drivers: Mapping[DriverKey, Value] = field(default_factory=dict)
    override: Given | None = None
    kept: Decimal | None = None
    extra: Decimal = Decimal(0)

    def with_(self, times: Decimal, extra: bool) -> "Person":
        """The same with own readings multiplied, and with a minor unit more of a scaled budget."""
        if times == 1 and not extra:
            return self
        drivers = {key: value.times(times) for key, value in self.drivers.items()}
        return replace(self, drivers=drivers, extra=ONE if extra else self.extra)

    def shape(self, terms: Terms) -> "Shape":
        """What decides which steps there are."""
        parts = tuple((part.segment, part.guarantee is not None) for part in self.parts)
        lacking = frozenset(key for key, found in self.drivers.items() if found.value is None)
        return Shape(parts, lacking, self.override is not None, self.kept is not None, terms.scale is not None)

    def given(self, source: Any) -> Decimal:
        """The value that a program asks for."""
        name, which = source
        if name == "driver":
            return self.drivers[which].value or Decimal(0)
        if name == "override" and self.override:
            return self.override[0]
        value: Decimal = getattr(self if which is None else self.parts[which], name)
        return value

    def cited(self, source: Any, period: str) -> Given:
        """The same with where it comes from."""
        name, which = source
        if name == "override" and self.override:
            return self.override
        cite = None
        if name == "driver":
            cite = driver_cite(DriverKey(which.kind, which.code, self.payee), period, self.drivers[which])
        elif name == "target_amount":
            part = self.parts[which]
            cite = Citation(what="assignment", code=part.assignment, version=part.version)
        return self.given(source), cite, ""


@dataclass(frozen=True, slots=True)
class Shape:
    """Which steps a person's calculation has: (segment, whether guaranteed) of each part, own drivers lacking …"""

    parts: tuple[tuple[int, bool], ...]
    lacking: frozenset[DriverKey]
    override: bool
    kept: bool
    scaled: bool


def shown(value: Decimal | None) -> Decimal | None:
    """At most 10 decimals; None where it is out of range, which no answer can carry."""
    rounded = None if value is None else published(value)
    return None if rounded is None or rounded.copy_abs() >= Decimal(1).scaleb(INTEGER_DIGITS) else rounded


def no_value(driver: Driver, period: str) -> str:
    """Why a driver has no value as long as nothing has come for it."""
    if driver.kind != "reading":
        return f"No score of the {driver.kind} {driver.code} for {period} has come."
    whose = "the person" if driver.own else driver.subject
    return f"No reading of {driver.code} for {whose} in {period} has come."


def driver_cite(key: DriverKey, period: str, found: Value) -> Citation:
    """The driver version that was used; its own citation leads on to the score or reading."""
    value = None if found.value is None else plain(found.value)
    return Citation(
        what=key.kind, code=key.code, subject=key.subject or None, period=period, version=found.version, value=value
    )  # fmt: skip
