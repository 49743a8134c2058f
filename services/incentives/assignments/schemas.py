"""What assignments look like over HTTP."""

from typing import Literal

from pydantic import BaseModel, Field

from shared.configuration import Versioned
from shared.contracts.base import Code
from shared.contracts.incentives import Assignment


class AssignmentShown(Versioned[Assignment]):
    """An assignment, and what it waits for."""

    waiting_for: list[Literal["person"]] = Field(description="`person`: nobody with that code is known yet.")


class AssignmentItem(BaseModel):
    """One of many assignments."""

    code: Code
    content: Assignment


class Refusal(BaseModel):
    """Why one of many was refused."""

    type: str
    detail: str
    field: str | None
    remedy: str | None


class AssignmentResult(BaseModel):
    """What became of one of many."""

    code: str
    outcome: Literal["created", "versioned", "unchanged", "refused"]
    version: int | None = None
    problem: Refusal | None = None
