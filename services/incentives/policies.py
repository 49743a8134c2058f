"""The dated parameters of incentives."""

from datetime import date
from typing import Any

from shared.contracts.incentives import IncentivesPolicy
from shared.database.unit_of_work import UnitOfWork
from shared.policy import PolicyDefinition, decimal_between, one_of, policy_in_force

POLICIES = (
    PolicyDefinition(
        code="incomplete_total",
        meaning="What the total of an accrual shows while a driver is missing: the sum of what is known, or nothing.",
        unit="choice",
        default="partial",
        source="mechanism M11; conventions, missing data",
        read=one_of("partial", "null"),
    ),
    PolicyDefinition(
        code="largest_factor",
        meaning="The largest team, component or individual factor that is accepted; a larger one is a typing error.",
        unit="ratio",
        default="10",
        source="mechanism M6 names factors of 2 to 3",
        read=decimal_between("1", "1000"),
    ),
)


def policy(uow: UnitOfWork, company: str, code: str, day: date) -> Any:
    """The value of a parameter on a day."""
    return policy_in_force(uow, POLICIES, IncentivesPolicy, company, code, day)[0]
