"""Shapes of scores in HTTP answers."""

from typing import Literal

from pydantic import BaseModel, Field

from shared.contracts.base import Citation
from shared.numbers import DecimalString


class ScoreView(BaseModel):
    """One version of a score."""

    kind: Literal["goal", "scorecard"]
    code: str
    period: str
    version: int
    change: int = Field(description="The change of this service that made it.")
    score: DecimalString | None = Field(description="0–120; null where it cannot be scored.")
    attainment: DecimalString | None = Field(description="[ratio]")
    actual: DecimalString | None
    target: DecimalString | None
    reason: str | None = Field(description="Why there is no score.")
    qualified: list[str] = Field(description="What qualifies the figure, in words.")
    explanation: str = Field(description="Where it is explained.")


class Step(BaseModel):
    """One step or member of a score."""

    name: str = Field(examples=["actual", "target", "attainment", "score", "child", "line"])
    code: str | None = None
    value: DecimalString | None = None
    weight: DecimalString | None = Field(default=None, description="As set.")
    effective_weight: DecimalString | None = Field(
        default=None, description="After what has no data was left out; null where this part was."
    )
    note: str | None = None


class Input(Citation):
    """What a score was made from, with the way to its own explanation."""

    link: str | None = None


class Explanation(BaseModel):
    """Why a score is what it is."""

    score: ScoreView
    rule: str = Field(description="Direction of the target, or how children or lines add up.")
    parts: list[Step]
    inputs: list[Input]


class Effect(BaseModel):
    """A version of a score that a reading moved."""

    kind: Literal["goal", "scorecard"]
    code: str
    period: str
    version: int
    change: int
    before: DecimalString | None = Field(description="The score of the version before; null also where there was none.")
    after: DecimalString | None
    caused_by: str = Field(description="What below moved it: the reading, or the score of a goal.")
    explanation: str
    link: str = Field(description="What it moved in turn: drivers and plans.")


class Effects(BaseModel):
    """The scores that a version of a reading moved, through tree and scorecards."""

    scores: list[Effect]
