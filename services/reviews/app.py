"""Wires the reviews service."""

from services.reviews.cases.handlers import on_tick
from services.reviews.cases.routes import router as cases
from services.reviews.consumer import HANDLERS
from services.reviews.policies import POLICIES
from services.reviews.tables import metadata
from shared.contracts.reviews import ReviewsPolicy
from shared.policy import policy_router
from shared.service import Service


def service() -> Service:
    """Deviations in; cases, escalations and decisions out."""
    return Service(
        name="reviews",
        metadata=metadata,
        topics={"reviews.configuration": False, "reviews.cases": True},
        inputs=("goals.configuration", "goals.outcomes"),
        handlers=HANDLERS,
        tick_inputs=("goals.outcomes",),
        on_tick=on_tick,
        routers=(cases, policy_router(ReviewsPolicy, POLICIES)),
        policies=POLICIES,
    )
