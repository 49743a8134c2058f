"""What holds for a case: when it is due, what may be done in it, and what a decision does to it."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Literal

from shared.errors import Conflict, Invalid
from shared.numbers import multiply

DecisionKind = Literal["change_target", "accept", "investigate"]


class CaseIsClosed(Conflict):
    """Nothing more can be done in a case that is closed."""


class DecisionPending(Conflict):
    """Goals has not answered the last decision yet."""


class DecisionIncomplete(Invalid):
    """A change of target names the new target and its first day."""


class DecisionOverfull(Invalid):
    """Only a change of target has a value and a first day."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a case stands when somebody acts on it; `pending` is the decision that goals has not answered."""

    id: str
    status: str
    pending: str | None


def due_at(judged_at: datetime, hours: Decimal) -> datetime:
    """When the plan is due: elapsed hours after the deviation was judged, whatever the clocks on the wall did."""
    return judged_at + timedelta(seconds=int(multiply(hours, Decimal(3600))))


def after_plan(status: str) -> str:
    """A submitted plan ends the waiting; a case that has been escalated stays with the superior."""
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
    for field, content in {"value": value, "effective_from": effective_from}.items():
        if kind == "change_target" and content is None:
            rule = "A change of target names the new target and the day it begins."
            raise DecisionIncomplete(rule, field=field, remedy=f"Add {field}.")
        if kind != "change_target" and content is not None:
            rule = f"A decision to {kind} changes no target."
            raise DecisionOverfull(rule, field=field, remedy=f"Leave {field} out, or change the target.")


def fate_of(kind: DecisionKind) -> tuple[str, bool]:
    """What becomes of a decision at once, and whether it closes its case."""
    return ("pending", False) if kind == "change_target" else ("done", kind == "accept")
