"""Wires goals; the only place that does."""

from shared.closing import closing_router
from shared.contracts.goals import GoalsPolicy
from shared.policy import policy_router
from shared.rehearsal import rehearsal_router
from shared.service import Service

from .consumer import COMMANDS, HANDLERS, OVERTAKEN
from .dashboard import routes as dashboard
from .deviations.handlers import on_tick
from .goals import routes as goals
from .organisation import routes as organisation
from .policies import POLICIES
from .previews import routes as previews
from .scorecards import routes as scorecards
from .scores import routes as scores
from .scores.settle import settle
from .tables import metadata


def service() -> Service:
    """The organisation, goals and their targets, scores and scorecards, deviations."""
    return Service(
        name="goals",
        metadata=metadata,
        topics={"goals.configuration": False, "goals.outcomes": True},
        derived=("goals.outcomes",),
        inputs=("metrics.readings", "metrics.configuration", "reviews.cases"),
        handlers=HANDLERS,
        commands=COMMANDS,
        settle=settle,
        tick_inputs=("metrics.readings",),
        close_inputs=("metrics.configuration",),
        on_tick=on_tick,
        routers=(
            organisation.companies, organisation.units, organisation.people,
            goals.router, goals.goals, scores.router, scorecards.scorecards, dashboard.router,
            policy_router(GoalsPolicy, POLICIES), closing_router(), previews.router,
            rehearsal_router(previews.rehearse),
        ),
        policies=POLICIES,
        overtaken=OVERTAKEN,
    )  # fmt: skip
