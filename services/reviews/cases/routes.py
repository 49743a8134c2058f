"""Cases over HTTP: read, plan, decide."""

from collections.abc import Collection
from typing import Annotated, Any

from fastapi import Path, Query

from services.reviews.cases import schemas, store
from services.reviews.cases.handlers import acting_at, close
from services.reviews.cases.rules import (
    NotYoursToDecide,
    NotYoursToPlan,
    after_plan,
    check_decision,
    check_open,
    decision_id,
    fate_of,
)
from shared.contracts.base import Code, PeriodLabel
from shared.contracts.reviews import DecisionMade, RectificationPlanned
from shared.errors import NotFound
from shared.http.context import Context, RequestContext
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.organisation import manages

SEES_ALL = frozenset({"admin", "strategist", "analyst", "auditor"})
router = Router(tags=["cases"])
CaseId = Annotated[str, Path(min_length=1, max_length=200)]


class CaseNotFound(NotFound):
    """There is no such case, or the caller may not see it."""


@router.get("/cases", operation_id="listCases", summary="List cases")
def list_cases(
    context: Context,
    page: Paging,
    status: Annotated[schemas.Status | None, Query()] = None,
    goal: Annotated[Code | None, Query()] = None,
    owner: Annotated[Code | None, Query()] = None,
    period: Annotated[PeriodLabel | None, Query()] = None,
) -> Page[schemas.CaseView]:
    """Your own and those of the people below you; all of them for strategist, analyst, auditor and admin."""
    context.require_reader()
    rows = store.find(
        context.uow, context.company, after=page.after or "", limit=page.fetch, owners=_visible_owners(context),
        me=context.principal.subject, status=status, goal=goal, owner=owner, period=period,
    )  # fmt: skip
    return page.of([schemas.CaseView(**schemas.case_fields(row)) for row in rows], lambda item: item.id)


def _visible_owners(context: RequestContext) -> Collection[str] | None:
    if context.principal.roles & SEES_ALL:
        return None
    me, day = context.principal.subject, store.today(context.uow, context.company)
    return {me, *store.people_below(context.uow, context.company, me, day)}


@router.get("/cases/{id}", operation_id="getCase", summary="Get a case with its causes, plans, decisions and history")
def get_case(context: Context, id: CaseId) -> schemas.CaseInFull:
    context.require_reader()
    return _in_full(context, _visible(context, id))


def _in_full(context: RequestContext, row: Any) -> schemas.CaseInFull:
    uow, company = context.uow, context.company
    causes = [schemas.cause_view(r) for r in store.children(uow, company, "cause", row.id)]
    plans = [
        schemas.PlanView(by=r.by, text=r.text, at=r.at) for r in store.children(uow, company, "rectification", row.id)
    ]
    decisions = [schemas.decision_view(r) for r in store.children(uow, company, "decision", row.id)]
    return schemas.in_full(row, causes, plans, decisions)


def _visible(context: RequestContext, case: str) -> Any:
    row = store.get(context.uow, context.company, case)
    if row and (context.principal.roles & SEES_ALL or row.owner == context.principal.subject or _above(context, row)):
        return row
    raise CaseNotFound(f"There is no case {case!r} that you may see.", remedy="List them with GET /reviews/v1/cases.")


def _above(context: RequestContext, row: Any) -> bool:
    """Whether the caller is above the owner now, or the one it was escalated to."""
    me, uow, company = context.principal.subject, context.uow, context.company
    if row.owner is None or me == row.owner:
        return False
    return bool(row.escalated_to == me) or manages(uow, company, me, row.owner, store.today(uow, company))


@router.post("/cases/{id}/plans", operation_id="submitPlan", summary="Submit a rectification plan", status_code=201)
def submit_plan(context: Context, id: CaseId, plan: schemas.NewPlan) -> schemas.CaseInFull:
    """By the owner, or those above. A case with a plan is not escalated any more."""
    context.require_reader()
    uow, company, me = context.uow, context.company, context.principal.subject
    uow.lock_company(company)
    row = _visible(context, id)
    if not ("admin" in context.principal.roles or row.owner == me or _above(context, row)):
        raise NotYoursToPlan("A plan is submitted by the owner of the case or those above.", remedy="Ask the owner to.")
    check_open(store.standing(uow, company, row))
    at = acting_at(uow, company, id) or row.opened_at
    store.add_plan(uow, company, id, me, plan.text, at, after_plan(row.status))
    uow.publish(RectificationPlanned(case=id, by=me, text=plan.text, at=at), company=company, key=id)
    return _in_full(context, store.get(uow, company, id))


@router.post("/cases/{id}/decisions", operation_id="decideCase", summary="Decide on a case", status_code=201)
def decide_case(context: Context, id: CaseId, decision: schemas.NewDecision) -> schemas.CaseInFull:
    """By a strategist, or those above the owner. A change of target is carried out by goals: the case shows its answer,
    and closes when the target has changed."""
    context.require_reader()
    uow, company = context.uow, context.company
    uow.lock_company(company)
    row = _visible(context, id)
    if not (context.principal.roles & {"admin", "strategist"} or _above(context, row)):
        raise NotYoursToDecide(
            "A case is decided by a strategist or by those above its owner.", remedy="Ask one of them to."
        )
    check_decision(store.standing(uow, company, row), decision.kind, decision.value, decision.effective_from)
    at = acting_at(uow, company, id) or row.opened_at
    fate, closes = fate_of(decision.kind)
    uow.publish(_decide(context, row, decision, at, fate), company=company, key=id)
    if closes:
        close(uow, company, id, "decided", at)
    return _in_full(context, store.get(uow, company, id))


def _decide(context: RequestContext, row: Any, decision: schemas.NewDecision, at: Any, fate: str) -> DecisionMade:
    number = 1 + len(store.children(context.uow, context.company, "decision", row.id))
    made = DecisionMade(
        decision=decision_id(row.id, number), case=row.id, goal=row.goal, kind=decision.kind,
        by=context.principal.subject, reason=decision.reason, value=decision.value,
        effective_from=decision.effective_from,
        seen_target_version=decision.seen_target_version or row.target_version,
    )  # fmt: skip
    store.add_decision(
        context.uow, context.company, id=made.decision, case=row.id, number=number, kind=made.kind, by=made.by,
        reason=made.reason, value=made.value, effective_from=made.effective_from,
        seen_target_version=made.seen_target_version, at=at, fate=fate,
    )  # fmt: skip
    return made
