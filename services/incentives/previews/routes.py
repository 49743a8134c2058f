"""Previews over HTTP: what commands and events would change in pay, exactly, without keeping anything."""

from decimal import Decimal
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Code, PeriodLabel
from shared.http.context import Context, RequestContext
from shared.http.routing import Router
from shared.numbers import DecimalString, subtract
from shared.preview import Change, previewed, quantiles
from shared.rehearsal import PREVIEWERS, EventFate, Rehearsed, ScoreDifference

from ..access import PersonalAmount, may_see_all
from .compute import Outcome, compare
from .rules import Summary, largest, summarised

router = Router(tags=["previews"], transactional=False)
MOST_PEOPLE = 100_000
Quantiles = dict[str, DecimalString]


class PersonDifference(BaseModel):
    """What a payee would get from a plan, pool or award, before and after, rounded once, in `currency`."""

    model_config = ConfigDict(from_attributes=True)
    payee: str
    plan: str
    currency: str
    before: DecimalString
    after: DecimalString
    difference: DecimalString


class CurrencyPreview(BaseModel):
    """All amounts of a currency that the change may move."""

    currency: str
    before: DecimalString
    after: DecimalString
    difference: DecimalString
    up: int = Field(description="How many amounts rise.")
    down: int
    same: int
    differences: Quantiles = Field(description="Of what differs, by percent, by nearest rank [currency].")
    relative: Quantiles = Field(description="The same as part of what was there before [ratio].")


class PayPreview(BaseModel):
    """What would change in pay for a period: if it closed now; for a closed one, what a restatement would make."""

    period: str
    plans: list[str] = Field(description="The plans, pools and awards that the change may move; all else stays.")
    totals: list[CurrencyPreview]
    changed: int = Field(description="How many payees get another amount.")
    people: list[PersonDifference] | None = Field(
        description="By size of the difference, up to `limit`; null for who may not see everybody's amounts."
    )
    goals: list[ScoreDifference]
    events: list[EventFate]


@router.post("/previews", operation_id="postPayPreview", summary="What commands and events would change in pay")
def post_preview(
    context: Context,
    body: Change,
    period: Annotated[PeriodLabel, Query(examples=["2025-Q1"])],
    limit: Annotated[int, Query(ge=0, le=MOST_PEOPLE, description="The most people listed.")] = 1_000,
    person: Annotated[list[Code] | None, Query(max_length=1_000, description="Lists only these.")] = None,
) -> PayPreview:
    """Settings of metrics, goals and incentives, and events. Committing the same changes exactly what is told."""
    context.require(*PREVIEWERS)
    if person and not may_see_all(context):
        raise PersonalAmount("Amounts of people are shown to compensation, finance and audit.", field="person")
    outcome, others = previewed(
        context, body, "incentives", lambda uow, asked: compare(uow, context.company, asked, period)
    )
    return _view(context, outcome, others, period, limit, {f"person:{code}" for code in person or ()})


def amount_if(
    context: RequestContext, change: Change, period: str, plan: str, payee: str
) -> tuple[Decimal | None, Decimal | None]:
    """What a payee is due from a plan, pool or award in a period, as things are and if the change were made [currency].

    None where the plan does not pay them. Where the change cannot move the plan, both are what it is now. Whether the
    caller may see it is not judged here. Call it from a thread, before the caller's transaction changes anything.

    Raises:
        What `shared.preview.previewed` raises.
    """
    outcome, _ = previewed(
        context, change, "incentives", lambda uow, asked: compare(uow, context.company, asked, period, (plan, payee))
    )
    before, after = (paid[plan].by_payee.get(payee) if plan in paid else None
                     for paid in (outcome.before, outcome.after))  # fmt: skip
    return before, after


def _view(
    context: RequestContext, outcome: Outcome, others: Rehearsed, period: str, limit: int, only: set[str]
) -> PayPreview:
    summaries, changed = summarised(outcome.payees())
    shown = [one for one in largest(changed) if not only or one.payee in only][:limit]
    return PayPreview(
        period=period, plans=sorted(outcome.before.keys() | outcome.after.keys()),
        totals=[_total(currency, summaries[currency]) for currency in sorted(summaries)],
        changed=len({one.payee for one in changed}),
        people=[PersonDifference.model_validate(one) for one in shown] if may_see_all(context) else None,
        goals=others.goals, events=others.events,
    )  # fmt: skip


def _total(currency: str, found: Summary) -> CurrencyPreview:
    return CurrencyPreview(
        currency=currency, before=found.before, after=found.after, difference=subtract(found.after, found.before),
        up=found.up, down=found.down, same=found.same, differences=quantiles(found.differences),
        relative=quantiles(found.relative),
    )  # fmt: skip
