"""Wires the incentives service."""

from shared.closing import closing_router
from shared.configuration import configuration_router
from shared.contracts.incentives import Assignment, IncentivesPolicy, Plan
from shared.policy import policy_router
from shared.service import Service

from .accruals.routes import router as accruals
from .assignments import routes as assignments
from .assignments.store import note_assignments
from .consumer import HANDLERS
from .drivers.routes import router as drivers
from .drivers.store import settle
from .periods.handlers import on_tick
from .plans.store import check, note_drivers
from .policies import POLICIES
from .tables import metadata


def service() -> Service:
    """Plans and assignments in; scores and readings in; one driver change out, however many people hang on it."""
    plans = configuration_router(Plan, write_roles=("compensation",), check=check)
    policies = policy_router(IncentivesPolicy, POLICIES)
    return Service(
        name="incentives",
        metadata=metadata,
        topics={"incentives.configuration": False, "incentives.drivers": True},
        derived=("incentives.drivers",),
        inputs=("goals.configuration", "goals.outcomes", "metrics.readings"),
        handlers=HANDLERS,
        commands={Plan: note_drivers, Assignment: note_assignments},
        settle=settle,
        tick_inputs=("metrics.readings", "goals.outcomes"),
        close_inputs=("goals.configuration",),
        on_tick=on_tick,
        routers=(plans, assignments.router, assignments.single, drivers, accruals, policies, closing_router()),
        policies=POLICIES,
    )
