"""The dated parameters of reviews."""

from datetime import date
from typing import Any

from shared.contracts.reviews import ReviewsPolicy
from shared.database.unit_of_work import UnitOfWork
from shared.policy import PolicyDefinition, decimal_between, one_of, policy_in_force

POLICIES = (
    PolicyDefinition(
        code="plan_due_hours",
        meaning="How long after a deviation was judged its owner has to submit a rectification plan; elapsed hours.",
        unit="h",
        default="24",
        source="mechanism M2",
        read=decimal_between("0", "8784"),
    ),
    PolicyDefinition(
        code="escalation",
        meaning="To whom a case goes when no plan was submitted in time: the owner's superior, or nobody.",
        unit="choice",
        default="superior",
        source="mechanism M2; conventions, opens a case",
        read=one_of("superior", "nobody"),
    ),
)


def policy(uow: UnitOfWork, company: str, code: str, day: date) -> Any:
    """The value of a parameter on a day."""
    return policy_in_force(uow, POLICIES, ReviewsPolicy, company, code, day)[0]
