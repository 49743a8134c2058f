"""Scores and readings arrive."""

from collections.abc import Sequence

from services.incentives.drivers.store import Arrival, record
from shared.contracts.goals import ScoreChanged
from shared.contracts.metrics import ReadingChanged
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import plain
from shared.service import Received


def scores_changed(uow: UnitOfWork, events: Sequence[Received]) -> None:
    record(uow, events[0].company, [_score(received.event) for received in events])


def readings_changed(uow: UnitOfWork, events: Sequence[Received]) -> None:
    record(uow, events[0].company, [_reading(received.event) for received in events])


def _score(event: ScoreChanged) -> Arrival:
    value = None if event.score is None else plain(event.score)
    return {"kind": event.kind, "code": event.code, "subject": "", "period": event.period, "version": event.version,
            "value": value, "reason": event.reason, "qualified": event.qualified}  # fmt: skip


def _reading(event: ReadingChanged) -> Arrival:
    value = None if event.value is None else plain(event.value)
    return {"kind": "reading", "code": event.metric, "subject": event.subject, "period": event.period,
            "version": event.version, "value": value, "reason": event.reason, "qualified": event.qualified}  # fmt: skip
