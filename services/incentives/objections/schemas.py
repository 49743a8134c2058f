"""What objections look like over HTTP."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shared.contracts.base import Code, PeriodLabel
from shared.contracts.incentives import Driver
from shared.contracts.objections import Outcome
from shared.numbers import DecimalString
from shared.preview import Change

Status = Literal["open", "refused", "adjusted", "corrected"]
Words = Annotated[str, Field(min_length=3, max_length=2000)]


class ClaimedValue(BaseModel):
    """A score or reading as it should be."""

    model_config = ConfigDict(extra="forbid")
    driver: Driver
    value: DecimalString


class Claim(BaseModel):
    """What would be right: values, or events and settings. Nothing: the words have to do."""

    model_config = ConfigDict(extra="forbid")
    values: list[ClaimedValue] = Field(default_factory=list, max_length=50)
    change: Change | None = Field(default=None, description="Events and settings as they should have come.")

    @model_validator(mode="after")
    def _one_of_them(self) -> "Claim":
        if self.values and self.change:
            raise ValueError("a claim has values or a change, not both")
        return self


class NewObjection(BaseModel):
    """An objection to a line of a statement, or to what a plan, pool or award pays for a closed period."""

    model_config = ConfigDict(extra="forbid")
    statement: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Number of the statement.")
    line: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Its line, which names the plan.")
    plan: Code | None = Field(default=None, description="Where no line is named.")
    period: PeriodLabel | None = Field(default=None, description="Default: the statement's.", examples=["2025-Q1"])
    text: Words = Field(examples=["Two trucks of March are missing."])
    claim: Claim = Field(default_factory=Claim)


class NewAnswer(BaseModel):
    """What becomes of an objection."""

    model_config = ConfigDict(extra="forbid")
    outcome: Outcome = Field(
        description="`adjusted`: the amount is decided by hand from now on; `corrected`: the events or settings at "
        "fault were put right, and the difference follows from them; `refused`."
    )
    amount: DecimalString | None = Field(
        default=None, description="For `adjusted`; default: what it would be if the claim were right."
    )
    reason: Words


class Counterfactual(BaseModel):
    """What an amount is, and what it would be if the claim were right [currency]; null: not known."""

    before: DecimalString | None
    after: DecimalString | None
    difference: DecimalString | None
    currency: str


class AnswerView(BaseModel):
    """How an objection was answered."""

    outcome: Outcome
    reason: str
    by: str
    at: datetime
    before: DecimalString | None = Field(
        description="The amount as everything was then; of `corrected`: when the objection was raised."
    )
    after: DecimalString | None = Field(
        description="What it would have been if the claim were right; of `corrected`: what it came to."
    )
    amount: DecimalString | None = Field(description="What was decided by hand; null unless `adjusted`.")


class ObjectionView(BaseModel):
    """An objection and its answer."""

    id: str
    payee: str
    plan: str
    period: str
    text: str
    claim: Claim
    amount: DecimalString | None = Field(description="What was entitled to when it was raised.")
    status: Status
    raised_by: str
    raised_at: datetime
    due: datetime = Field(description="By then it is answered.")
    overdue: bool = Field(description="Whether it was not.")
    escalated_to: str | None
    answer: AnswerView | None
    links: dict[str, str]
