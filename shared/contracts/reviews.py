"""What reviews publishes: cases as they open, escalate and close, and the decisions that are carried out elsewhere."""

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from shared.contracts.base import Code, Contract, PeriodLabel, Policy
from shared.numbers import DecimalString


class ReviewsPolicy(Policy):
    """A dated parameter of reviews."""

    KIND, OWNER = "reviews-policies", "reviews"


class CaseOpened(Contract):
    """A case was opened. Key: case."""

    TYPE, TOPIC = "valueloop.reviews.case-opened.v1", "reviews.cases"
    case: str
    goal: Code
    period: PeriodLabel
    owner: str | None
    due: datetime


class CaseEscalated(Contract):
    """A case was overdue and went to the owner's superior. Key: case."""

    TYPE, TOPIC = "valueloop.reviews.case-escalated.v1", "reviews.cases"
    case: str
    to: str | None = Field(description="The person it went to; null where there is nobody above.")
    at: datetime


class RectificationPlanned(Contract):
    """The owner submitted a plan to rectify. Key: case."""

    TYPE, TOPIC = "valueloop.reviews.rectification-planned.v1", "reviews.cases"
    case: str
    by: str
    text: str
    at: datetime


class CaseClosed(Contract):
    """A case was closed. Key: case."""

    TYPE, TOPIC = "valueloop.reviews.case-closed.v1", "reviews.cases"
    case: str
    why: Literal["within_limit", "decided"]
    at: datetime


class DecisionMade(Contract):
    """A decision on a case. Key: case. goals answers with `DecisionApplied` or `DecisionRefused`."""

    TYPE, TOPIC = "valueloop.reviews.decision-made.v1", "reviews.cases"
    decision: str = Field(description="Unique.")
    case: str
    goal: Code
    kind: Literal["change_target", "accept", "investigate"]
    by: str
    reason: str
    value: DecimalString | None = Field(default=None, description="For `change_target`: the new target.")
    effective_from: date | None = Field(default=None, description="For `change_target`.")
    seen_target_version: int = Field(description="The target version the case was opened on; another makes it stale.")


EVENTS: tuple[type[Contract], ...] = (
    ReviewsPolicy, CaseOpened, CaseEscalated, RectificationPlanned, CaseClosed, DecisionMade,
)  # fmt: skip
