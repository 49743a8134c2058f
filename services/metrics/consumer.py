"""What happens when an event arrives: one table."""

from collections.abc import Mapping, Sequence

from services.metrics.chain.handlers import linkages_defined, nodes_defined
from services.metrics.events.accept import accepted_again
from services.metrics.events.handlers import on_accepted, on_mapping, taking_up
from services.metrics.events.records import taken_again
from services.metrics.observations.handlers import (
    conversions_defined,
    metrics_defined,
    organisation_changed,
    rates_defined,
)
from services.metrics.periods.handlers import services_closed, ticked_again
from services.metrics.readings.handlers import guards_defined, policies_defined
from shared.contracts import goals, intake, metrics
from shared.contracts.base import Contract, PeriodClosed, Tick
from shared.database.unit_of_work import UnitOfWork
from shared.service import Handler, Received


def _both(first: Handler, then: Handler) -> Handler:
    """What is there is measured again before what waited joins it."""

    def handle(uow: UnitOfWork, events: Sequence[Received]) -> None:
        first(uow, events)
        then(uow, events)

    return handle


HANDLERS: Mapping[type[Contract], Handler] = {
    metrics.EventAccepted: on_accepted,
    intake.EventRejected: taken_again,
    metrics.Mapping: on_mapping,
    metrics.Metric: _both(metrics_defined, taking_up("metric:{code}")),
    metrics.Rate: _both(rates_defined, taking_up("rate:{code}")),
    # A factor is used both ways, so what waits for either is taken up.
    metrics.Conversion: _both(
        conversions_defined, taking_up("conversion:{code}", "conversion:{content.to_unit}-{content.from_unit}")
    ),
    metrics.Node: nodes_defined,
    metrics.Linkage: linkages_defined,
    metrics.Guard: guards_defined,
    metrics.MetricsPolicy: policies_defined,
    PeriodClosed: services_closed,
    goals.Company: taking_up("company"),
    goals.Unit: _both(organisation_changed, taking_up("unit:{code}")),
    goals.Person: _both(organisation_changed, taking_up("person:{code}")),
}
ACCEPTED: Mapping[type[Contract], Handler] = {metrics.EventAccepted: accepted_again, Tick: ticked_again}
