"""What cases look like over HTTP."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.goals import DeviationFound
from shared.contracts.reviews import RectificationPlanned
from shared.numbers import DecimalString

from .rules import DecisionKind

Status = Literal["open", "planned", "escalated", "closed"]
Words = Annotated[str, Field(min_length=1, max_length=4000)]


class NewPlan(BaseModel):
    """How the owner will bring the goal back within its limit."""

    model_config = ConfigDict(extra="forbid")
    text: Words = Field(examples=["Two extra shifts until the 20th; the supplier delivers daily from Monday."])


class NewDecision(BaseModel):
    """What is decided about a case."""

    model_config = ConfigDict(extra="forbid")
    kind: DecisionKind = Field(
        description="Changing the target or accepting the deviation closes the case; investigating does not."
    )
    reason: Words
    value: DecimalString | None = Field(default=None, description="For `change_target`: the new target.")
    effective_from: date | None = Field(default=None, description="For `change_target`: its first day.")
    seen_target_version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        default=None,
        description="The target version it is decided on; goals refuses it where there is a newer one. "
        "Default: the version that the case shows.",
    )


class CaseView(BaseModel):
    """A case."""

    id: str
    goal: str
    goal_name: str
    period: str
    owner: str | None
    status: Status
    opened_at: datetime
    due: datetime = Field(description="When the rectification plan is due.")
    target_version: int
    escalated_to: str | None
    escalated_at: datetime | None
    closed_why: Literal["within_limit", "decided"] | None
    closed_at: datetime | None
    links: dict[str, str] = Field(description="`score`: why the goal stands where it stands.")


class CauseView(DeviationFound):
    """A deviation that opened the case, or joined it."""

    links: dict[str, str]


class DecisionView(NewDecision):
    """A decision and its fate."""

    model_config = ConfigDict(extra="ignore")
    id: str
    by: str
    at: datetime
    fate: Literal["pending", "applied", "refused", "done"] = Field(
        description="`pending` until goals answers; `done` where there was nothing for goals to do."
    )
    target_version: int | None = Field(description="The target version it became.")
    rule: str | None = Field(description="Why it was refused.")
    remedy: str | None
    answered_at: datetime | None


class Happening(BaseModel):
    """One thing that happened in a case."""

    at: datetime
    what: Literal["opened", "planned", "escalated", "decided", "applied", "refused", "closed"]
    who: str | None
    detail: str | None


class CaseInFull(CaseView):
    """A case with all that belongs to it."""

    causes: list[CauseView]
    plans: list[RectificationPlanned]
    decisions: list[DecisionView]
    history: list[Happening]
