"""What becomes dirty when readings, metrics and settings arrive."""

from collections.abc import Sequence

from shared.contracts.goals import Scorecard
from shared.database.unit_of_work import UnitOfWork
from shared.service import Received

from ..goals.store import depend
from . import store
from .dirty import dirty


def readings_changed(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Keeps every reading, known to a goal or not: a goal that is defined later takes it up."""
    company = events[0].company
    store.keep_readings(uow, company, [event.event for event in events])
    marks = dirty(uow, company)
    marks.readings |= {(e.event.metric, e.event.subject, e.event.period) for e in events}


def metrics_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """The direction of a metric decides about the goals it measures."""
    for event in events:
        dirty(uow, event.company).metrics.add(event.event.code)


def scorecard_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    for event in events:
        card: Scorecard = event.event.content
        depend(uow, event.company, f"scorecard:{event.key}", {f"goal:{line.goal}" for line in card.lines})
        dirty(uow, event.company).nodes.add(f"scorecard:{event.key}")


def company_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """With the calendar the periods of what has waited for it are known."""
    for event in events:
        dirty(uow, event.company).everything = True


def policy_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A curve or the rule for changed targets may change any score; how deviations are judged changes none."""
    for event in events:
        if event.key in ("attainment_curve", "target_change"):
            dirty(uow, event.company).everything = True
