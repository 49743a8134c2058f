"""Shapes of the goal tree in HTTP answers."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, Field

from shared.contracts.base import Subject
from shared.numbers import DecimalString


class GoalCoverage(BaseModel):
    """How the targets of a goal's children stand to its own; information only (mechanisms G1, G6)."""

    children: DecimalString = Field(description="The children's targets added up, in the metric's unit.")
    gap: DecimalString = Field(description="What they leave uncovered; 0 where they cover it.")
    padding: DecimalString | None = Field(description="By how much they exceed the goal's own target [ratio].")
    over_reserve: bool = Field(description="Whether they exceed it by more than its reserve.")


class GoalNode(BaseModel):
    """A goal in its place."""

    code: str
    name: str
    parent: str | None
    owner: Subject
    status: Literal["draft", "active", "closed"]
    metric: str | None
    period: str
    starts: date
    due: date | None = Field(description="Null: continuous.")
    contribution: str
    weight: DecimalString
    target: DecimalString | None
    ceiling: DecimalString | None = None
    ceiling_remaining: DecimalString | None = Field(default=None, description="Not yet given to a child.")
    coverage: GoalCoverage | None = Field(default=None, description="Of goals to which children contribute by sum.")


class GoalBranch(GoalNode):
    """A goal with what is below it."""

    children: list["GoalBranch"] = Field(description="By code. Below 30 levels ask for the tree of a lower goal.")


class PaddingLevel(BaseModel):
    """One level of a tree (mechanism G6)."""

    depth: int = Field(description="0 for the goal asked for.")
    total: DecimalString = Field(description="The targets of this level added up.")
    padding: DecimalString | None = Field(description="By how much this level exceeds the one above [ratio].")


class GoalTree(GoalBranch):
    """A goal with everything below it, and what each level adds to the targets."""

    levels: list[PaddingLevel] = Field(description="Where all contribute by sum; else empty.")
    padding: DecimalString | None = Field(description="By how much the lowest level exceeds the top [ratio].")


class GoalPath(BaseModel):
    """From a goal up to the top one."""

    goals: list[GoalNode]


class Waiting(BaseModel):
    """Something that was accepted and waits for something else."""

    kind: Literal["goal", "unit"]
    code: str
    waits_for: Literal["company", "metric", "target", "reading", "person"]
    name: str = Field(description="The code of what is awaited.")
    note: str
