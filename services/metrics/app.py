"""The one place where metrics is wired together."""

from services.metrics import consumer
from services.metrics.catalogue.routes import catalogue_router
from services.metrics.chain.handlers import settle
from services.metrics.chain.routes import router as chain
from services.metrics.events import clock, routes
from services.metrics.events.previews import rehearse
from services.metrics.mappings.routes import router as mappings
from services.metrics.periods.handlers import on_tick
from services.metrics.periods.routes import router as periods
from services.metrics.readings.routes import router as readings
from services.metrics.tables import metadata
from shared.closing import closing_router
from shared.contracts.intake import REJECTED
from shared.rehearsal import rehearsal_router
from shared.service import Service


def service() -> Service:
    """Metrics: source events in, readings and value nodes out."""
    return Service(
        name="metrics",
        metadata=metadata,
        topics={
            "metrics.source-events": True,
            "metrics.configuration": False,
            "metrics.readings": True,
            REJECTED: False,
        },
        derived=("metrics.readings", REJECTED),
        inputs=(
            "metrics.source-events", "metrics.configuration", "goals.configuration", "incentives.configuration",
            "reviews.configuration",
        ),
        handlers=consumer.HANDLERS,
        accepted=consumer.ACCEPTED,
        settle=settle,
        tick_inputs=("metrics.source-events",),
        on_tick=on_tick,
        routers=(
            routes.pushed, routes.signed, routes.router, mappings, catalogue_router(), readings, chain,
            closing_router(), periods, rehearsal_router(rehearse),
        ),
        lifespan=clock.ticking,
    )  # fmt: skip
