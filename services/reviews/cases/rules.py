"""What holds for a case: its name, when it is due, who may do what, and what a decision does to it."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from shared.errors import Conflict, Forbidden, Invalid
from shared.numbers import multiply

DecisionKind = Literal["change_target", "accept", "investigate"]
SECONDS_PER_HOUR = Decimal(3600)


class CaseIsClosed(Conflict):
    """Nothing more can be done in a case that is closed."""


class DecisionPending(Conflict):
    """Goals has not answered the last decision yet."""


class DecisionIncomplete(Invalid):
    """A change of target names the new target and its first day."""


class DecisionOverfull(Invalid):
    """Only a change of target has a value and a first day."""


class NotYoursToDecide(Forbidden):
    """A decision is for a strategist or for those above the owner."""


class NotYoursToPlan(Forbidden):
    """A plan is for the owner or those above."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a case stands when somebody acts on it."""

    id: str
    status: str
    pending: str | None
    """The decision that goals has not answered."""


def case_id(goal: str, period: str, number: int) -> str:
    """A case's name, made from what it is about: the same in every replay.

    >>> case_id("sales", "2025-Q1", 1)
    'sales.2025-Q1.1'
    """
    return f"{goal}.{period}.{number}"


def decision_id(case: str, number: int) -> str:
    """A decision's name within the company.

    >>> decision_id("sales.2025-Q1.1", 2)
    'sales.2025-Q1.1.d2'
    """
    return f"{case}.d{number}"


def due_at(judged_at: datetime, hours: Decimal) -> datetime:
    """When the plan is due: elapsed hours after the deviation was judged, whatever the clocks on the wall did."""
    return judged_at + timedelta(seconds=int(multiply(hours, SECONDS_PER_HOUR)))


def after_plan(status: str) -> str:
    """A submitted plan ends the waiting; a case that has been escalated stays with the superior.

    >>> after_plan("open"), after_plan("escalated")
    ('planned', 'escalated')
    """
    return "planned" if status == "open" else status


def check_open(case: Standing) -> None:
    """Raises CaseIsClosed."""
    if case.status == "closed":
        raise CaseIsClosed(f"The case {case.id} is closed.", remedy="A new deviation opens a new case.")


def check_decision(case: Standing, kind: DecisionKind, value: Decimal | None, effective_from: date | None) -> None:
    """Raises CaseIsClosed, DecisionPending, DecisionIncomplete or DecisionOverfull."""
    check_open(case)
    if case.pending:
        raise DecisionPending(
            f"The decision {case.pending} has not been answered by goals yet.",
            remedy="Read the case again in a moment; then decide on what has become of it.",
        )
    given = {"value": value, "effective_from": effective_from}
    for field, content in given.items():
        if kind == "change_target" and content is None:
            raise DecisionIncomplete(
                "A change of target names the new target and the day it begins.", field=field, remedy=f"Add {field}."
            )
        if kind != "change_target" and content is not None:
            raise DecisionOverfull(
                f"A decision to {kind} changes no target.",
                field=field,
                remedy=f"Leave {field} out, or change the target.",
            )


def fate_of(kind: DecisionKind) -> tuple[str, bool]:
    """What becomes of a decision at once, and whether it closes its case.

    >>> fate_of("change_target"), fate_of("accept"), fate_of("investigate")
    (('pending', False), ('done', True), ('done', False))
    """
    return ("pending", False) if kind == "change_target" else ("done", kind == "accept")
