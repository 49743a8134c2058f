"""What incentives publishes: plans, assignments, and the driver values that accruals are derived from."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.contracts.base import Citation, Code, Configuration, Contract, PeriodLabel, Policy, Subject
from shared.numbers import DecimalString

Name = Annotated[str, Field(min_length=1, max_length=200, examples=["Sales East"])]


class Driver(Contract):
    """What a component depends on: the score of a goal or scorecard, or a reading."""

    TYPE, TOPIC = "", ""
    kind: Literal["goal", "scorecard", "reading"]
    code: Code = Field(description="The goal's, scorecard's or metric's code.")
    subject: Subject | None = Field(default=None, description="For a reading: whose.")


class Component(Contract):
    """One component of a plan."""

    TYPE, TOPIC = "", ""
    code: Code
    name: Name
    driver: Driver
    weight: DecimalString = Field(description="Share of the target amount [ratio]; all components add up to 1.")
    curve: dict[str, Any] = Field(
        description="From the driver's value to a payout factor; see docs/curves.md.",
        examples=[{"kind": "linear", "slope": "0.01", "floor": "0", "cap": "1.2"}],
    )
    gate: DecimalString | None = Field(default=None, description="Below this driver value the component pays nothing.")
    cap: DecimalString | None = Field(default=None, description="Highest payout factor [ratio].")
    factor: DecimalString = Field(default=Decimal(1), description="Multiplies the payout factor [ratio].")


class Plan(Configuration):
    """An incentive plan."""

    KIND, OWNER = "plans", "incentives"
    name: Name
    period: Literal["month", "quarter", "half_year", "year"]
    currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["CNY"])
    components: list[Component] = Field(min_length=1, max_length=20)
    factor: DecimalString = Field(default=Decimal(1), description="Team factor [ratio].")
    cap: DecimalString | None = Field(default=None, description="Highest payout as a share of the amount [ratio].")


class Assignment(Configuration):
    """A person's part in a plan. Its code is the person's and the plan's, or any other; dates may not overlap."""

    KIND, OWNER = "assignments", "incentives"
    person: Code
    plan: Code
    amount: DecimalString = Field(description="Target bonus for a whole period, in the plan's currency.")
    starts: date
    ends: date | None = Field(default=None, description="Last day; null: until further notice.")
    share: DecimalString = Field(default=Decimal(1), description="Part-time share [ratio].")
    factor: DecimalString = Field(default=Decimal(1), description="Individual factor [ratio].")


class IncentivesPolicy(Policy):
    """A dated parameter of incentives."""

    KIND, OWNER = "incentives-policies", "incentives"


class DriverChanged(Contract):
    """What a component depends on has a new value for a period: one, however many people hang on it. Key: kind/code."""

    TYPE, TOPIC = "valueloop.incentives.driver-changed.v1", "incentives.drivers"
    kind: Literal["goal", "scorecard", "reading"]
    code: Code
    subject: Subject | None
    period: PeriodLabel
    version: int
    change: int
    value: DecimalString | None
    reason: str | None = None
    inputs: list[Citation] = Field(default_factory=list)


EVENTS: tuple[type[Contract], ...] = (Plan, Assignment, IncentivesPolicy, DriverChanged)
