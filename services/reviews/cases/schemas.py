"""What cases look like over HTTP."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Citation
from shared.numbers import DecimalString

Status = Literal["open", "planned", "escalated", "closed"]
Kind = Literal["change_target", "accept", "investigate"]
Words = Annotated[str, Field(min_length=1, max_length=4000)]


class NewPlan(BaseModel):
    """How the owner will bring the goal back within its limit."""

    model_config = ConfigDict(extra="forbid")
    text: Words = Field(examples=["Two extra shifts until the 20th; the supplier delivers daily from Monday."])


class NewDecision(BaseModel):
    """What is decided about a case."""

    model_config = ConfigDict(extra="forbid")
    kind: Kind = Field(
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


class CauseView(BaseModel):
    """A deviation that opened the case, or joined it."""

    judged_at: datetime
    target: DecimalString
    target_version: int
    actual: DecimalString
    gap: DecimalString = Field(description="Share of the target that was missing [ratio].")
    limit: DecimalString
    score_version: int
    inputs: list[Citation]
    links: dict[str, str]


class PlanView(BaseModel):
    """A rectification plan."""

    by: str
    text: str
    at: datetime


class DecisionView(BaseModel):
    """A decision and its fate."""

    id: str
    kind: Kind
    by: str
    at: datetime
    reason: str
    value: DecimalString | None
    effective_from: date | None
    seen_target_version: int
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
    plans: list[PlanView]
    decisions: list[DecisionView]
    history: list[Happening]


def case_fields(row: Any) -> dict[str, Any]:
    """A row of `review_case` as fields of a view."""
    fields = {name: row._mapping[name] for name in CaseView.model_fields if name != "links"}
    links = {"score": score_link(row.goal, row.period, row.score_version)}
    return fields | {"links": links | {"self": f"/reviews/v1/cases/{quote(row.id)}"}}


def score_link(goal: str, period: str, version: int) -> str:
    return f"/goals/v1/scores/goal/{quote(goal)}/{quote(period)}/explanation?version={version}"


def cause_view(row: Any) -> CauseView:
    content = row.content
    kept = {name: content[name] for name in CauseView.model_fields if name != "links"}
    return CauseView(**kept, links={"score": score_link(content["goal"], content["period"], content["score_version"])})


def decision_view(row: Any) -> DecisionView:
    return DecisionView(**{name: row._mapping[name] for name in DecisionView.model_fields})


def in_full(row: Any, causes: list[CauseView], plans: list[PlanView], decisions: list[DecisionView]) -> CaseInFull:
    return CaseInFull(
        **case_fields(row), causes=causes, plans=plans, decisions=decisions, history=_history(row, plans, decisions)
    )


def _history(row: Any, plans: list[PlanView], decisions: list[DecisionView]) -> list[Happening]:
    found = [Happening(at=row.opened_at, what="opened", who=row.owner, detail=None)]
    found += [Happening(at=plan.at, what="planned", who=plan.by, detail=plan.text) for plan in plans]
    if row.escalated_at:
        found.append(Happening(at=row.escalated_at, what="escalated", who=row.escalated_to, detail=None))
    for decision in decisions:
        found.append(Happening(at=decision.at, what="decided", who=decision.by, detail=_said(decision)))
        if decision.answered_at and decision.fate in ("applied", "refused"):
            found.append(Happening(at=decision.answered_at, what=decision.fate, who=None, detail=decision.rule))
    if row.closed_at:
        found.append(Happening(at=row.closed_at, what="closed", who=None, detail=row.closed_why))
    return sorted(found, key=lambda happening: happening.at)


def _said(decision: DecisionView) -> str:
    return f"{decision.kind}: {decision.reason}"
