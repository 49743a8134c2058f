"""Scores and readings arrive."""

from collections.abc import Sequence
from typing import Any

from shared.contracts.goals import ScoreChanged
from shared.contracts.metrics import ReadingChanged
from shared.database.unit_of_work import UnitOfWork
from shared.service import Received

from .rules import period_kind
from .store import record


def arrived(uow: UnitOfWork, events: Sequence[Received]) -> None:
    record(uow, events[0].company, [_as_row(received.event) for received in events])


def _as_row(event: ScoreChanged | ReadingChanged) -> dict[str, Any]:
    """The columns of `arrived`, and more that the database ignores."""
    row = event.model_dump(mode="json", exclude={"inputs"}) | {"period_kind": period_kind(event.period)}
    if isinstance(event, ReadingChanged):
        return row | {"kind": "reading", "code": event.metric}
    return row | {"subject": "", "value": row["score"]}
