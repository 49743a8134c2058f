"""What incentives publishes: plans, assignments, and the driver values that accruals are derived from."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from shared.contracts.base import Citation, Code, Configuration, Contract, PeriodLabel, Policy, Subject
from shared.contracts.objections import EVENTS as OBJECTIONS
from shared.contracts.payouts import EVENTS as PAYOUTS
from shared.contracts.payouts import (  # noqa: F401  parts of those events, for the catalogue
    FailedLine,
    LinePart,
    MergedBalance,
    PayoutLine,
    Posting,
)
from shared.contracts.statements import EVENTS as STATEMENTS
from shared.contracts.statements import Issued  # noqa: F401  part of an event, for the catalogue
from shared.numbers import DecimalString

Name = Annotated[str, Field(min_length=1, max_length=200, examples=["Sales East"])]
Payee = Annotated[
    str,
    StringConstraints(pattern=r"^(person|partner):[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"),
    Field(description="Who is paid: `person:CODE` or `partner:CODE`.", examples=["person:wang"]),
]


class Driver(Contract):
    """What a component depends on: the score of a goal or scorecard, or a reading."""

    TYPE, TOPIC = "", ""
    kind: Literal["goal", "scorecard", "reading"]
    code: Code = Field(description="The goal's, scorecard's or metric's code.")
    subject: Subject | None = Field(default=None, description="For a reading: whose.")
    own: bool = Field(default=False, description="A reading of the very person who is paid; `subject` is left out.")


class Condition(Contract):
    """What must be reached for something to be paid."""

    TYPE, TOPIC = "", ""
    driver: Driver
    at_least: DecimalString = Field(description="The bound is included.", examples=["100"])


class Points(Contract):
    """Points on top of a component's score, such as for a shared goal that was reached (mechanisms M11, C2)."""

    TYPE, TOPIC = "", ""
    driver: Driver = Field(description="The shared goal.")
    at_least: DecimalString = Field(default=Decimal(100), description="From this score on.")
    points: DecimalString = Field(description="Added to the component's score.")


class Accelerator(Contract):
    """What lies above a threshold counts more."""

    TYPE, TOPIC = "", ""
    above: DecimalString = Field(description="Payout factor [ratio], or amount where the component pays one.")
    factor: DecimalString = Field(description="Multiplies what lies above [ratio].")


class Component(Contract):
    """One component of a plan."""

    TYPE, TOPIC = "", ""
    code: Code
    name: Name
    driver: Driver
    weight: DecimalString = Field(
        description="Share of the target amount [ratio]; all components add up to 1. 0 for one that pays an amount."
    )
    curve: dict[str, Any] = Field(
        description="From the driver's value to a payout factor, or a table of rates; see docs/plans.md.",
        examples=[{"kind": "linear", "slope": "0.01", "floor": "0", "cap": "1.2"}],
    )
    gate: DecimalString | None = Field(default=None, description="Below this driver value the component pays nothing.")
    cap: DecimalString | None = Field(default=None, description="Highest payout factor [ratio], or amount.")
    factor: DecimalString = Field(default=Decimal(1), description="Multiplies the payout factor [ratio].")
    floor: DecimalString = Field(default=Decimal(0), description="Lowest payout factor [ratio], or amount.")
    accelerator: Accelerator | None = Field(default=None, description="Counts more what lies above a threshold.")
    points: list[Points] = Field(default_factory=list, max_length=5, description="Collaboration points on its score.")
    core: bool = Field(default=False, description="Whether it is a core strategic metric (mechanism M6).")
    prorated: bool = Field(
        default=False, description="Whether an amount counts by eligible days and part-time share; shares always do."
    )


class Budget(Contract):
    """What a plan may pay in all: an amount, or a pool."""

    TYPE, TOPIC = "", ""
    amount: DecimalString | None = Field(default=None, description="In the plan's currency; or name a pool.")
    pool: Code | None = Field(default=None, description="The pool it is paid from; or give an amount.")
    distribute: Literal["at_most", "whole"] = Field(
        default="at_most", description="Scale down where people earn more, or always pay out exactly the whole."
    )


class Plan(Configuration):
    """An incentive plan."""

    KIND, OWNER = "plans", "incentives"
    name: Name
    period: Literal["month", "quarter", "half_year", "year"]
    currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["CNY"])
    components: list[Component] = Field(min_length=1, max_length=20)
    factor: DecimalString = Field(default=Decimal(1), description="Team factor [ratio].")
    cap: DecimalString | None = Field(default=None, description="Highest payout as a share of the amount [ratio].")
    floor: DecimalString | None = Field(default=None, description="Lowest payout as a share of the amount [ratio].")
    amount_cap: DecimalString | None = Field(
        default=None, description="Highest amount of a person for a period, whatever it comes from."
    )
    families: dict[Code, DecimalString] = Field(
        default_factory=dict,
        max_length=100,
        description="Factor by job family [ratio]; 1 for any other.",
        examples=[{"core": "2.5"}],
    )
    on_change: Literal["last_day", "by_days"] = Field(
        default="last_day",
        description="Of a plan changed within a period: the version of the last day counts, or each for its days.",
    )
    budget: Budget | None = Field(default=None, description="What all its people together are paid from.")
    clawback_days: int | None = Field(
        default=None, ge=0, le=36_600,
        description="Nothing is taken back later than this after the period's end [days]; null: at any time.",
    )  # fmt: skip
    minimum_payout: DecimalString | None = Field(
        default=None, description="Less than this is carried forward instead of paid."
    )


class Guarantee(Contract):
    """A person gets at least this, whatever was reached."""

    TYPE, TOPIC = "", ""
    amount: DecimalString = Field(description="For a whole period, in the plan's currency.")
    until: date = Field(description="For periods that end on or before this day.")


class Draw(Contract):
    """An advance on what will be earned."""

    TYPE, TOPIC = "", ""
    amount: DecimalString = Field(description="Per period, in the plan's currency.")
    recoverable: bool = Field(default=True, description="Whether later earnings pay it back.")
    until: date | None = Field(default=None, description="For periods that end on or before this day.")


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
    job_family: Code | None = Field(default=None, description="Which of the plan's `families` factors counts.")
    guarantee: Guarantee | None = Field(default=None, description="What is paid at least, for a time.")
    draw: Draw | None = Field(default=None, description="What is paid in advance, for a time.")


class Override(Configuration):
    """A decision on one amount that replaces the computed one, however often that is computed again."""

    KIND, OWNER = "overrides", "incentives"
    payee: Payee
    plan: Code = Field(description="Code of the plan, pool or award.")
    period: PeriodLabel = Field(description="The first period it holds for.", examples=["2025-Q1"])
    until: date | None = Field(default=None, description="It holds for later periods that end by then too.")
    amount: DecimalString | None = Field(description="Null: withdrawn, the computed amount counts again.")


class Participant(Contract):
    """Who shares in an amount, and how much of it."""

    TYPE, TOPIC = "", ""
    payee: str = Field(
        pattern=r"^((person|partner):[A-Za-z0-9][A-Za-z0-9._-]{0,79}|company)$", examples=["partner:mill"],
        description="`person:CODE`, `partner:CODE`, or `company`, whose part is kept and not paid.",
    )  # fmt: skip
    share: DecimalString = Field(description="All shares add up to exactly 1 [ratio].", examples=["0.6"])


class Pool(Configuration):
    """An amount that comes from a result, and is shared: of a saving, a profit, a premium (mechanisms V3, V6, C3)."""

    KIND, OWNER = "pools", "incentives"
    name: Name
    period: Literal["month", "quarter", "half_year", "year"]
    currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["CNY"])
    driver: Driver = Field(description="The result in money; below zero the pool is empty.")
    share: DecimalString = Field(description="Part of the result that goes into the pool [ratio].", examples=["0.2"])
    cap: DecimalString | None = Field(default=None, description="Highest amount of the pool.")
    condition: Condition | None = Field(default=None, description="Without it the pool is empty.")
    participants: list[Participant] = Field(
        default_factory=list, max_length=100, description="Nobody: the pool only serves as budget of plans."
    )


class Award(Configuration):
    """An amount for one period: for an idea, a supplier's innovation, a special effort (mechanisms C1, C3, M6, M8)."""

    KIND, OWNER = "awards", "incentives"
    name: Name
    period: PeriodLabel = Field(description="The period it belongs to.", examples=["2025-Q1"])
    currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["CNY"])
    amount: DecimalString | None = Field(default=None, description="The award; or give `base` and `rate`.")
    base: DecimalString | None = Field(
        default=None, description="What it is a part of, such as a saving: estimated first, verified in a new version."
    )
    rate: DecimalString | None = Field(default=None, description="Part of the base that is awarded [ratio].")
    count: Driver | None = Field(default=None, description="A reading that counts how often it was earned.")
    times: Literal["once", "every_time"] = Field(default="once", description="With `count`: paid once, or each time.")
    condition: Condition | None = Field(default=None, description="Without it nothing is paid.")
    strategic: bool = Field(
        default=False, description="A strategic contribution award: has its condition, and lies in its range."
    )
    participants: list[Participant] = Field(min_length=1, max_length=100, description="Who shares in it.")
    promised: date | None = Field(default=None, description="Day by which it is to be paid.")


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


EVENTS: tuple[type[Contract], ...] = (
    Plan, Assignment, Override, Pool, Award, IncentivesPolicy, DriverChanged, *PAYOUTS, *STATEMENTS,
    *OBJECTIONS,
)  # fmt: skip
