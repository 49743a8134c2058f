"""Cases over HTTP: read, plan, decide."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Path, Query

from shared.contracts.base import Code, PeriodLabel
from shared.contracts.reviews import DecisionMade, RectificationPlanned
from shared.errors import Forbidden, NotFound
from shared.http.context import Context, RequestContext
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.organisation import manages

from . import store
from .handlers import decided, planned
from .rules import check_decision, check_open
from .schemas import CaseInFull, CaseView, NewDecision, NewPlan, Status

SEES_ALL = frozenset({"admin", "strategist", "analyst", "auditor"})
router = Router(tags=["cases"])
CaseId = Annotated[str, Path(min_length=1, max_length=200)]


class CaseNotFound(NotFound):
    """There is no such case, or the caller may not see it."""


class NotYoursToDecide(Forbidden):
    """A decision is for a strategist or for those above the owner."""


class NotYoursToPlan(Forbidden):
    """A plan is for the owner or those above."""


@router.get("/cases", operation_id="listCases", summary="List cases")
def list_cases(
    context: Context,
    page: Paging,
    status: Annotated[Status | None, Query()] = None,
    goal: Annotated[Code | None, Query()] = None,
    owner: Annotated[Code | None, Query()] = None,
    period: Annotated[PeriodLabel | None, Query()] = None,
) -> Page[CaseView]:
    """Your own and those of the people below you; all of them for strategist, analyst, auditor and admin."""
    context.require_reader()
    uow, company, me = context.uow, context.company, context.principal.subject
    sees_all = context.principal.roles & SEES_ALL
    rows = store.find(
        uow, company, after=page.after or "", limit=page.fetch, me=me,
        owners=None if sees_all else {me, *store.people_below(uow, company, me, store.today(uow, company))},
        status=status, goal=goal, owner=owner, period=period,
    )  # fmt: skip
    return page.of([CaseView(**_fields(row)) for row in rows], lambda item: item.id)


@router.get("/cases/{id}", operation_id="getCase", summary="Get a case with its causes, plans, decisions and history")
def get_case(context: Context, id: CaseId) -> CaseInFull:
    context.require_reader()
    return _in_full(context, _visible(context, id))


@router.post("/cases/{id}/plans", operation_id="submitPlan", summary="Submit a rectification plan", status_code=201)
def submit_plan(context: Context, id: CaseId, plan: NewPlan) -> CaseInFull:
    """By the owner, or those above. A case with a plan is not escalated any more."""
    context.require_reader()
    uow, company, me = context.uow, context.company, context.principal.subject
    uow.lock_company(company)
    case = _visible(context, id)
    if not ("admin" in context.principal.roles or case.owner == me or _above(context, case)):
        raise NotYoursToPlan("A plan is submitted by the owner of the case or those above.", remedy="Ask the owner to.")
    check_open(case)
    planned(uow, company, case, RectificationPlanned(case=id, by=me, text=plan.text, at=case.now))
    return _in_full(context, store.get(uow, company, id))


@router.post("/cases/{id}/decisions", operation_id="decideCase", summary="Decide on a case", status_code=201)
def decide_case(context: Context, id: CaseId, decision: NewDecision) -> CaseInFull:
    """By a strategist, or those above the owner. A change of target is carried out by goals: the case shows its answer,
    and closes when the target has changed."""
    context.require_reader()
    uow, company = context.uow, context.company
    uow.lock_company(company)
    case = _visible(context, id)
    if not (context.principal.roles & {"admin", "strategist"} or _above(context, case)):
        rule = "A case is decided by a strategist or by those above its owner."
        raise NotYoursToDecide(rule, remedy="Ask one of them to.")
    check_decision(case, decision.kind, decision.value, decision.effective_from)
    number = 1 + len(store.children(uow, company, "decision", id))
    given = dict(decision) | {"seen_target_version": decision.seen_target_version or case.target_version}
    made = DecisionMade(decision=f"{id}.d{number}", case=id, goal=case.goal, by=context.principal.subject, **given)
    decided(uow, company, case, made)
    return _in_full(context, store.get(uow, company, id))


def _visible(context: RequestContext, case: str) -> Any:
    row = store.get(context.uow, context.company, case)
    if row and (context.principal.roles & SEES_ALL or row.owner == context.principal.subject or _above(context, row)):
        return row
    raise CaseNotFound(f"There is no case {case!r} that you may see.", remedy="List them with GET /reviews/v1/cases.")


def _above(context: RequestContext, case: Any) -> bool:
    """Whether the caller is above the owner now, or the one it was escalated to."""
    me, uow, company = context.principal.subject, context.uow, context.company
    if case.owner is None or me == case.owner:
        return False
    return bool(case.escalated_to == me) or manages(uow, company, me, case.owner, store.today(uow, company))


def _in_full(context: RequestContext, case: Any) -> CaseInFull:
    causes, plans, decisions = (
        store.children(context.uow, context.company, table, case.id) for table in ("cause", "rectification", "decision")
    )
    return CaseInFull.model_validate(_fields(case) | {
        "causes": [row.content | {"links": {"score": _score_link(**row.content)}} for row in causes],
        "plans": [{"case": case.id, "by": row.by, "text": row.text, "at": row.at} for row in plans],
        "decisions": [row._asdict() for row in decisions],
        "history": _history(case, plans, decisions),
    })  # fmt: skip


def _fields(case: Any) -> dict[str, Any]:
    row = case._asdict()
    return row | {"links": {"score": _score_link(**row), "self": f"/reviews/v1/cases/{quote(case.id)}"}}


def _score_link(goal: str, period: str, score_version: int, **_: Any) -> str:
    return f"/goals/v1/scores/goal/{quote(goal)}/{quote(period)}/explanation?version={score_version}"


def _history(case: Any, plans: Sequence[Any], decisions: Sequence[Any]) -> list[dict[str, Any]]:
    found: list[tuple[Any, ...]] = [(case.opened_at, "opened", case.owner, None)]
    found += [(row.at, "planned", row.by, row.text) for row in plans]
    found.append((case.escalated_at, "escalated", case.escalated_to, None))
    for row in decisions:
        found.append((row.at, "decided", row.by, f"{row.kind}: {row.reason}"))
        found.append((row.answered_at, row.fate, None, row.rule))
    found.append((case.closed_at, "closed", None, case.closed_why))
    happened = sorted((one for one in found if one[0]), key=lambda one: one[0])
    return [dict(zip(("at", "what", "who", "detail"), one, strict=True)) for one in happened]
