"""Wires the incentives service."""

from services.incentives.accruals.routes import router as accruals
from services.incentives.assignments.routes import router as assignments_router
from services.incentives.assignments.store import note_assignments
from services.incentives.consumer import HANDLERS
from services.incentives.drivers.routes import router as drivers
from services.incentives.drivers.store import settle
from services.incentives.plans.store import check, note_drivers
from services.incentives.policies import POLICIES
from services.incentives.tables import metadata
from shared.configuration import configuration_router
from shared.contracts.incentives import Assignment, IncentivesPolicy, Plan
from shared.policy import policy_router
from shared.service import Service


def service() -> Service:
    """Plans and assignments in; scores and readings in; one driver change out, however many people hang on it."""
    plans = configuration_router(Plan, write_roles=("compensation",), check=check)
    return Service(
        name="incentives",
        metadata=metadata,
        topics={"incentives.configuration": False, "incentives.drivers": True},
        inputs=("goals.configuration", "goals.outcomes", "metrics.readings"),
        handlers=HANDLERS,
        commands={Plan: note_drivers, Assignment: note_assignments},
        settle=settle,
        routers=(plans, assignments_router, drivers, accruals, policy_router(IncentivesPolicy, POLICIES)),
        policies=POLICIES,
    )
