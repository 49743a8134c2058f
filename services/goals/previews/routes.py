"""Previews over HTTP: what commands and events would change in scores, exactly, without keeping anything."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from shared.contracts.base import PeriodLabel
from shared.database.unit_of_work import UnitOfWork
from shared.http.context import Context
from shared.http.routing import Router
from shared.numbers import DecimalString, subtract, total
from shared.preview import Change, previewed, quantiles
from shared.rehearsal import PREVIEWERS, Asked, EventFate, Rehearsed, ScoreDifference, finish, play

from ..scores.rules import tellable

router = Router(tags=["previews"], transactional=False)
_MOVED = """
SELECT s.kind, s.code, s.period, b.score AS before, s.score AS after, b.actual AS actual_before,
s.actual AS actual_after, b.target AS target_before, s.target AS target_after FROM score s LEFT JOIN score b
ON (b.company, b.kind, b.code, b.period, b.version) = (s.company, s.kind, s.code, s.period, s.version - 1)
WHERE s.company = :company AND s.change = :change
AND (s.score, s.actual, s.target) IS DISTINCT FROM (b.score, b.actual, b.target) ORDER BY 1, 2, 3"""


class ScorePreview(BaseModel):
    """What would change in scores."""

    scores: list[ScoreDifference] = Field(description="Each that differs, by kind, code and period.")
    up: int = Field(description="How many scores rise; those that come or go count in neither.")
    down: int
    total: DecimalString = Field(description="Sum of the differences [points].")
    quantiles: dict[str, DecimalString] = Field(description="Of the differences, by percent, by nearest rank [points].")
    events: list[EventFate]


def rehearse(uow: UnitOfWork, company: str, asked: Asked) -> Rehearsed:
    """What goals would tell, and which scores would differ."""
    play(uow, company, asked)
    return finish(uow).model_copy(update={"goals": differences(uow, company)})


def differences(uow: UnitOfWork, company: str) -> list[ScoreDifference]:
    """The scores that this transaction has given another value."""
    found = []
    for row in uow.rows(_MOVED, company=company, change=uow.lock_company(company)):
        told: dict[str, Any] = {
            name: tellable(value) if isinstance(value, Decimal) else value for name, value in row._asdict().items()
        }
        before, after = told["before"], told["after"]
        difference = None if before is None or after is None else subtract(after, before)
        found.append(ScoreDifference(difference=difference, **told))
    return found


@router.post("/previews", operation_id="postScorePreview", summary="What commands and events would change in scores")
def post_preview(
    context: Context,
    body: Change,
    period: Annotated[PeriodLabel | None, Query(description="Only scores of this one.", examples=["2025-Q1"])] = None,
) -> ScorePreview:
    """Settings of metrics and goals, and events. Committing the same changes exactly what is told."""
    context.require(*PREVIEWERS)
    company = context.company
    mine, others = previewed(context, body, "goals", lambda uow, asked: rehearse(uow, company, asked))
    return _view([one for one in mine.goals if period in (None, one.period)], others.events)


def _view(scores: Sequence[ScoreDifference], events: list[EventFate]) -> ScorePreview:
    moved = [one.difference for one in scores if one.difference is not None]
    return ScorePreview(
        scores=list(scores), up=sum(one > 0 for one in moved), down=sum(one < 0 for one in moved), total=total(moved),
        quantiles=quantiles(moved), events=events,
    )  # fmt: skip
