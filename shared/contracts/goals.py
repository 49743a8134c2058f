"""What goals publishes: the organisation, goals, targets, scorecards; scores, deviations and the fate of decisions."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from shared.contracts.base import Citation, Code, Configuration, Contract, MetricCode, PeriodLabel, Policy, Subject
from shared.numbers import DecimalString

Name = Annotated[str, Field(min_length=1, max_length=200, examples=["Sales East"])]
Labels = Annotated[dict[str, str], Field(default_factory=dict, description="Names in other languages: `zh-CN` …")]


class Company(Configuration):
    """The company itself (code `company`): its calendar and currency. Fixed once events have been accepted."""

    KIND, OWNER = "companies", "goals"
    name: Name
    labels: Labels
    time_zone: str = Field(description="IANA name.", examples=["Asia/Shanghai"])
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.", examples=["CNY"])
    fiscal_year_start_month: int = Field(default=1, ge=1, le=12)


class Unit(Configuration):
    """A part of the organisation. Dated: a unit may move under another parent."""

    KIND, OWNER = "units", "goals"
    name: Name
    labels: Labels
    kind: Literal["company", "business_unit", "department", "team"]
    parent: Code | None = Field(default=None, description="The unit above; null for the top.")
    position: Literal["revenue", "cost", "profit", "investment", "innovation", "efficiency"] | None = Field(
        default=None, description="Its value position (mechanism V3)."
    )
    head: Code | None = Field(default=None, description="The person who answers for it.")


class Person(Configuration):
    """A person. Dated: a transfer is a new version with another unit; leaving is one without a unit."""

    KIND, OWNER = "people", "goals"
    name: Name
    unit: Code | None = Field(description="The unit they belong to; null once they have left.")
    manager: Code | None = Field(default=None, description="Their superior.")


class Goal(Configuration):
    """A goal. Exactly one owner: a unit or a person (mechanism T1)."""

    KIND, OWNER = "goals", "goals"
    name: Name
    labels: Labels
    parent: Code | None = Field(default=None, description="The goal it supports; null for a top goal.")
    owner_unit: Code | None = None
    owner_person: Code | None = None
    metric: MetricCode | None = Field(default=None, description="Null: its score is rolled up from its children.")
    subject: Subject | None = Field(default=None, description="Whose reading is judged; default: the owner.")
    period: Literal["day", "week", "month", "quarter", "half_year", "year"] = Field(
        description="The kind of period it is judged for."
    )
    starts: date = Field(description="First day.")
    due: date | None = Field(default=None, description="Last day; null: continuous, judged every period.")
    contribution: Literal["sum", "weighted_average", "minimum", "milestone"] = Field(
        default="weighted_average",
        description="How its children add up where it has no metric: actuals summed, scores averaged by weight, the "
        "lowest score, or the share of children that reached their target.",
    )
    weight: DecimalString = Field(default=Decimal(1), description="Its weight among its siblings.")
    ceiling: DecimalString | None = Field(default=None, description="Resource ceiling, in the company's currency.")
    reserve: DecimalString = Field(default=Decimal(0), description="Share by which children may exceed it [ratio].")
    core: bool = Field(default=False, description="Whether it is a core strategic goal.")
    status: Literal["draft", "active", "closed"] = "draft"


class Target(Configuration):
    """A target of a goal, from a day on; its code is the goal's. A new version never reaches back."""

    KIND, OWNER = "targets", "goals"
    value: DecimalString = Field(description="In the metric's unit.")
    direction: Literal["higher", "lower", "at_least", "at_most"] | None = Field(
        default=None,
        description="Higher or lower is better; `at_least`/`at_most` is a maintain goal, met or not met. "
        "Default: the metric's direction.",
    )
    approver: Code | None = None
    tactics: str | None = Field(default=None, max_length=2000, description="The change of tactics it goes with.")
    decision: str | None = Field(default=None, description="The decision it carries out, where there was one.")
    phasing: Literal["linear", "none"] = Field(
        default="linear", description="Target to date: in proportion to the days passed, or the whole at any time."
    )


class ScorecardLine(Contract):
    """One line of a scorecard."""

    TYPE, TOPIC = "", ""
    goal: Code
    weight: DecimalString = Field(description="Share [ratio]; all lines add up to 1.", examples=["0.4"])
    perspective: Literal["financial", "customer", "internal_process", "learning_and_growth"]


class Scorecard(Configuration):
    """A weighted set of goals of a unit or person."""

    KIND, OWNER = "scorecards", "goals"
    name: Name
    labels: Labels
    owner_unit: Code | None = None
    owner_person: Code | None = None
    period: Literal["month", "quarter", "half_year", "year"]
    lines: list[ScorecardLine] = Field(min_length=1, max_length=100)
    missing: Literal["skip", "worst", "block"] = Field(
        default="skip",
        description="A line without data is left out and the rest renormalised, counts 0, or blocks the total.",
    )


class GoalsPolicy(Policy):
    """A dated parameter of goals."""

    KIND, OWNER = "goals-policies", "goals"


class ScoreChanged(Contract):
    """The score of a goal or scorecard for a period has a new version; carries its whole state. Key: kind/code."""

    TYPE, TOPIC = "valueloop.goals.score-changed.v1", "goals.outcomes"
    kind: Literal["goal", "scorecard"]
    code: Code
    period: PeriodLabel
    version: int
    change: int = Field(description="The change of this service that made it.")
    score: DecimalString | None = Field(description="0–120, unrounded to 10 decimals; null where it cannot be scored.")
    attainment: DecimalString | None = Field(description="[ratio]; null for scorecards and where there is none.")
    actual: DecimalString | None = None
    target: DecimalString | None = None
    reason: str | None = Field(default=None, description="Why there is no score.")
    qualified: list[str] = Field(default_factory=list, description="Guards that qualify the figure, in words.")
    inputs: list[Citation] = Field(default_factory=list)


class DeviationFound(Contract):
    """At a tick, a goal's gap was over the limit. Once per goal and period. Key: goal."""

    TYPE, TOPIC = "valueloop.goals.deviation-found.v1", "goals.outcomes"
    goal: Code
    goal_name: str
    period: PeriodLabel
    target: DecimalString
    target_version: int
    actual: DecimalString
    gap: DecimalString = Field(description="Share of the target that is missing [ratio].")
    limit: DecimalString
    owner: str | None = Field(description="The person who answers for the goal.")
    judged_at: datetime
    score_version: int
    inputs: list[Citation] = Field(default_factory=list)


class DeviationCleared(Contract):
    """At a tick, a goal whose deviation was found is within the limit again. Key: goal."""

    TYPE, TOPIC = "valueloop.goals.deviation-cleared.v1", "goals.outcomes"
    goal: Code
    period: PeriodLabel
    gap: DecimalString
    judged_at: datetime


class DecisionApplied(Contract):
    """A decision has become a new target version. Key: goal."""

    TYPE, TOPIC = "valueloop.goals.decision-applied.v1", "goals.outcomes"
    decision: str
    case: str
    goal: Code
    target_version: int


class DecisionRefused(Contract):
    """A decision could not be carried out. Key: goal."""

    TYPE, TOPIC = "valueloop.goals.decision-refused.v1", "goals.outcomes"
    decision: str
    case: str
    goal: Code
    rule: str
    remedy: str | None = None


EVENTS: tuple[type[Contract], ...] = (
    Company, Unit, Person, Goal, Target, Scorecard, GoalsPolicy,
    ScoreChanged, DeviationFound, DeviationCleared, DecisionApplied, DecisionRefused,
)  # fmt: skip
