"""What incentives publishes of objections: raised, overdue, answered."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.contracts.base import Code, Contract, PeriodLabel
from shared.contracts.payouts import TOPIC, Actor, Payee
from shared.numbers import DecimalString

ObjectionId = Annotated[Code, Field(description="The objection's id.", examples=["2025-Q1.1"])]
Outcome = Literal["refused", "adjusted", "corrected"]


class ObjectionRaised(Contract):
    """A payee says that an amount is wrong. Key: objection."""

    TYPE, TOPIC = "valueloop.incentives.objection-raised.v1", TOPIC
    objection: ObjectionId
    payee: Payee
    plan: Code = Field(description="The plan, pool or award whose amount is objected to.")
    period: PeriodLabel
    text: str = Field(description="What is wrong, in the payee's words.", examples=["Two trucks are missing."])
    claim: str = Field(description="What would be right, as JSON: values and changes.", examples=['{"values": []}'])
    by: Actor
    at: datetime
    due: datetime = Field(description="When it is overdue.")
    amount: DecimalString | None = Field(default=None, description="What was entitled to when it was raised.")


class ObjectionOverdue(Contract):
    """An objection got no answer in time, and went to the payee's superior. Key: objection."""

    TYPE, TOPIC = "valueloop.incentives.objection-overdue.v1", TOPIC
    objection: ObjectionId
    to: str | None = Field(description="The person it went to; null where there is nobody above.")
    at: datetime


class ObjectionAnswered(Contract):
    """An objection got its answer. Key: objection."""

    TYPE, TOPIC = "valueloop.incentives.objection-answered.v1", TOPIC
    objection: ObjectionId
    outcome: Outcome = Field(description="`adjusted`: an override decides the amount; `corrected`: its cause was.")
    reason: str
    by: Actor
    at: datetime
    before: DecimalString | None = Field(
        description="The amount as everything was when it was answered; of `corrected`: when it was raised."
    )
    after: DecimalString | None = Field(
        description="What it would have been if the claim were right; of `corrected`: what it came to."
    )
    amount: DecimalString | None = Field(description="What the override says; null unless `adjusted`.")


EVENTS: tuple[type[Contract], ...] = (ObjectionRaised, ObjectionOverdue, ObjectionAnswered)
