"""Wires the incentives service."""

from shared.closing import closing_router
from shared.configuration import configuration_router
from shared.contracts.incentives import Assignment, Award, IncentivesPolicy, Override, Plan, Pool
from shared.contracts.statements import StatementsIssued
from shared.policy import policy_router
from shared.service import Service

from .accruals.routes import router as accruals
from .assignments import routes as assignments
from .assignments.store import note_assignments
from .awards.routes import note_awards
from .awards.routes import router as awards
from .consumer import HANDLERS, OVERTAKEN
from .drivers.routes import router as drivers
from .drivers.store import settle
from .entitlements.routes import router as entitlements
from .entitlements.touched import touch_all
from .objections.routes import router as objections
from .objections.store import ACCEPTED as OBJECTED
from .overrides.routes import note_overrides
from .overrides.routes import router as overrides
from .payouts.answers import router as answers
from .payouts.exports import router as exports
from .payouts.handlers import ACCEPTED
from .payouts.routes import router as payouts
from .payouts.settings import settings_router
from .periods.handlers import on_tick
from .plans.routes import router as validations
from .plans.store import check, note_drivers
from .policies import POLICIES
from .pools.routes import note_pools
from .pools.routes import router as pools
from .previews.routes import router as previews
from .statements.routes import router as statements
from .statements.store import issued_again
from .tables import metadata


def service() -> Service:
    """Plans and assignments in; scores and readings in; one driver change out, however many people hang on it."""
    plans = configuration_router(Plan, write_roles=("compensation",), check=check)
    policies = policy_router(IncentivesPolicy, POLICIES)
    return Service(
        name="incentives",
        metadata=metadata,
        topics={
            "incentives.configuration": False,
            "incentives.drivers": True,
            "incentives.payouts": False,
            "incentives.steps": True,
        },
        derived=("incentives.drivers", "incentives.steps"),
        inputs=(
            "goals.configuration",
            "goals.outcomes",
            "metrics.readings",
            "metrics.configuration",
            "incentives.steps",
        ),
        handlers=HANDLERS,
        accepted={**ACCEPTED, StatementsIssued: issued_again, **OBJECTED},
        commands={
            Plan: note_drivers,
            Assignment: note_assignments,
            Override: note_overrides,
            Pool: note_pools,
            Award: note_awards,
            IncentivesPolicy: touch_all,
        },
        settle=settle,
        tick_inputs=("metrics.readings", "goals.outcomes"),
        close_inputs=("goals.configuration", "metrics.configuration"),
        on_tick=on_tick,
        routers=(
            plans,
            validations,
            assignments.router,
            assignments.single,
            drivers,
            accruals,
            entitlements,
            overrides,
            pools,
            awards,
            policies,
            closing_router(),
            payouts,
            answers,
            exports,
            statements,
            objections,
            settings_router(),
            previews,
        ),
        policies=POLICIES,
        overtaken=OVERTAKEN,
    )
