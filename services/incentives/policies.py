"""The dated parameters of incentives."""

from datetime import date
from decimal import Decimal
from typing import Any

from shared.contracts.incentives import IncentivesPolicy
from shared.database.unit_of_work import UnitOfWork
from shared.policy import PolicyDefinition, decimal_between, one_of, policy_in_force

from .ledger.rules import read_mapping

NO_MEAN = Decimal(1000)  # the default of highest_mean_factor, which no mean exceeds: spares adding them up

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
        code="highest_score",
        meaning="What a component's score with its collaboration points is held at.",
        unit="points",
        default="120",
        source="mechanism M11",
        read=decimal_between("100", "1000"),
    ),
    PolicyDefinition(
        code="core_required",
        meaning="Whether a plan is refused whose core strategic components carry less weight than core_share.",
        unit="choice",
        default="no",
        source="mechanism M6",
        read=one_of("no", "yes"),
    ),
    PolicyDefinition(
        code="core_share",
        meaning="The least weight of core strategic components in a plan, where core_required says so.",
        unit="ratio",
        default="0.5",
        source="mechanism M6",
        read=decimal_between("0", "1"),
    ),
    PolicyDefinition(
        code="lowest_individual_factor",
        meaning="The lowest individual factor that is accepted.",
        unit="ratio",
        default="0",
        source="mechanism M11, calibration",
        read=decimal_between("0", "1"),
    ),
    PolicyDefinition(
        code="highest_individual_factor",
        meaning="The highest individual factor that is accepted.",
        unit="ratio",
        default="10",
        source="mechanism M11, calibration; mechanism M6 names factors of 2 to 3",
        read=decimal_between("1", "1000"),
    ),
    PolicyDefinition(
        code="highest_mean_factor",
        meaning="The mean of a plan's individual factors, weighted by target amount, is at most this.",
        unit="ratio",
        default="1000",
        source="mechanism M11, calibration",
        read=decimal_between("1", "1000"),
    ),
    PolicyDefinition(
        code="strategic_award_lowest",
        meaning="A strategic contribution award is at least this, in its own currency.",
        unit="money",
        default="200000",
        source="mechanism M6",
        read=decimal_between("0", "999999999999999999"),
    ),
    PolicyDefinition(
        code="strategic_award_highest",
        meaning="A strategic contribution award is at most this, in its own currency.",
        unit="money",
        default="500000",
        source="mechanism M6",
        read=decimal_between("0", "999999999999999999"),
    ),
    PolicyDefinition(
        code="largest_factor",
        meaning="The largest team, component or individual factor that is accepted; a larger one is a typing error.",
        unit="ratio",
        default="10",
        source="mechanism M6 names factors of 2 to 3",
        read=decimal_between("1", "1000"),
    ),
    PolicyDefinition(
        code="without_account",
        meaning="Whether what a payee without a payment account is due is held, or paid by whoever knows the account.",
        unit="choice",
        default="hold",
        source="architecture, Money",
        read=one_of("hold", "pay"),
    ),
    PolicyDefinition(
        code="objection_due_hours",
        meaning="How long after it was raised an objection is to be answered; elapsed hours.",
        unit="h",
        default="240",
        source="mechanism M9",
        read=decimal_between("0", "8784"),
    ),
    PolicyDefinition(
        code="journal_accounts",
        meaning="The account of the general ledger that stands for each kind of account here, as JSON.",
        unit="accounts",
        default='{"expense": "6601", "payable": "2211", "held": "2212", "carried": "2213", "paid": "1002", '
        '"draw": "1221", "grant": "6602", "clawback": "6603"}',
        source="architecture, Money",
        read=read_mapping,
    ),
)


def policy(uow: UnitOfWork, company: str, code: str, day: date) -> Any:
    """The value of a parameter on a day."""
    return policy_in_force(uow, POLICIES, IncentivesPolicy, company, code, day)[0]
