"""Wires the reviews service."""

from shared.closing import closing_router
from shared.contracts.reviews import DecisionMade, RectificationPlanned, ReviewsPolicy
from shared.policy import policy_router
from shared.service import Service

from .cases.handlers import accepted_again, on_tick
from .cases.routes import router as cases
from .consumer import HANDLERS
from .policies import POLICIES
from .tables import metadata


def service() -> Service:
    """Deviations in; cases, escalations and decisions out."""
    return Service(
        name="reviews",
        metadata=metadata,
        topics={"reviews.configuration": False, "reviews.cases": True},
        inputs=("goals.configuration", "goals.outcomes"),
        handlers=HANDLERS,
        accepted={RectificationPlanned: accepted_again, DecisionMade: accepted_again},
        tick_inputs=("goals.outcomes",),
        close_inputs=("goals.configuration",),
        on_tick=on_tick,
        routers=(cases, policy_router(ReviewsPolicy, POLICIES), closing_router()),
        policies=POLICIES,
    )
