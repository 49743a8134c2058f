"""Shapes of the dashboard."""

from datetime import date

from pydantic import BaseModel, Field

from shared.contracts.base import Subject
from shared.numbers import DecimalString


class DashboardLine(BaseModel):
    """How a goal stands in the period that holds the day (mechanism M2)."""

    goal: str
    name: str
    owner: Subject
    responsible: str | None = Field(description="The person who answers for it.")
    period: str
    target: DecimalString | None = Field(description="Due by the end of the day: the target to date.")
    period_target: DecimalString | None = Field(description="Of the whole period.")
    current: DecimalString | None
    shortfall: DecimalString | None = Field(description="Missing, in the metric's unit; negative is over-fulfilment.")
    gap: DecimalString | None = Field(description="Missing share of the target to date [ratio].")
    alert: bool = Field(description="Whether the gap is over the limit; exactly the limit is not.")
    over_fulfilled: bool
    score: DecimalString | None = Field(description="What closing now would give, against the whole target.")
    reason: str | None = Field(description="Why there are no figures.")
    qualified: list[str]
    explanation: str | None


class Dashboard(BaseModel):
    """The goals in a unit and below it."""

    unit: str | None
    on: date
    items: list[DashboardLine]
