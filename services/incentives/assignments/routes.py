"""Assignments over HTTP. They carry personal amounts, so they are not shown like other settings."""

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import Header, Query, Response
from pydantic import BaseModel, Field

from services.incentives.access import may_see_all, require_person
from services.incentives.assignments.store import Outcome, check, define_many, find
from shared.configuration import Versioned, define, history, in_force, require, shown
from shared.contracts.base import Code
from shared.contracts.incentives import Assignment
from shared.errors import Invalid
from shared.http.conditional import etag
from shared.http.context import Context, RequestContext
from shared.http.paging import Page, Paging
from shared.http.problems import words_of
from shared.http.routing import Router

MOST_AT_ONCE = 5_000
router = Router(tags=["assignments"])
On = Annotated[date | None, Query(description="As in force on this day; default: the latest.")]


class AssignmentShown(Versioned[Assignment]):
    """An assignment, and what it waits for."""

    waiting_for: list[Literal["person"]] = Field(description="`person`: nobody with that code is known yet.")


class AssignmentItem(BaseModel):
    """One of many assignments."""

    code: Code
    content: Assignment


class Refusal(BaseModel):
    """Why one of many was refused."""

    type: str
    detail: str
    field: str | None
    remedy: str | None


class AssignmentResult(BaseModel):
    """What became of one of many."""

    code: str
    outcome: Literal["created", "versioned", "unchanged", "refused"]
    version: int | None
    problem: Refusal | None


class CodeTwice(Invalid):
    """One call names an assignment twice."""


@router.get("/assignments", operation_id="listAssignments", summary="List assignments")
def list_assignments(
    context: Context,
    page: Paging,
    person: Annotated[Code | None, Query()] = None,
    plan: Annotated[Code | None, Query()] = None,
    on: On = None,
) -> Page[AssignmentShown]:
    """All of them for compensation, finance, auditor and admin; others name a person whose amounts they may see."""
    day = on or date.max
    if not may_see_all(context):
        require_person(context, person or "", day)
    rows = find(
        context.uow, context.company, after=page.after or "", limit=page.fetch, person=person, plan=plan, on=day
    )
    return page.of([_listed(row) for row in rows], lambda item: item.code)


def _listed(row: Any) -> AssignmentShown:
    return AssignmentShown(
        code=row.code, version=row.version, recorded_by=row.recorded_by, recorded_at=row.recorded_at,
        content=Assignment.model_validate(row.content), waiting_for=["person"] if row.waits else [],
    )  # fmt: skip


@router.get("/assignments/{code}", operation_id="getAssignment", summary="Get one of the assignments")
def get_assignment(context: Context, code: Code, response: Response, on: On = None) -> Versioned[Assignment]:
    _require_visible(context, code)
    found = require(context.uow, Assignment, context.company, code, on or date.max)
    response.headers["ETag"] = etag(found.version)
    return shown(found)


@router.get(
    "/assignments/{code}/versions", operation_id="listAssignmentVersions", summary="List every recorded version"
)
def list_assignment_versions(context: Context, code: Code) -> list[Versioned[Assignment]]:
    _require_visible(context, code)
    require(context.uow, Assignment, context.company, code)
    return [shown(found) for found in history(context.uow, Assignment, context.company, code)]


def _require_visible(context: RequestContext, code: str) -> None:
    if not may_see_all(context):
        found = in_force(context.uow, Assignment, context.company, code, date.max)
        require_person(context, found.content.person if found else "", date.max)


@router.put(
    "/assignments/{code}", operation_id="putAssignment", summary="Define or change; repeating it changes nothing",
    response_model=Versioned[Assignment], responses={201: {"model": Versioned[Assignment]}},
)  # fmt: skip
def put_assignment(
    context: Context,
    code: Code,
    content: Assignment,
    response: Response,
    if_match: Annotated[str | None, Header(description="The ETag last read: refuses to overwrite a change.")] = None,
) -> Any:
    context.require("compensation")
    recorded, changed = define(context.uow, context.company, code, content, if_match=if_match, check=check)
    response.status_code = 201 if changed and recorded.version == 1 else 200
    response.headers["ETag"] = etag(recorded.version)
    return shown(recorded)


@router.put("/assignments", operation_id="putAssignments", summary="Define or change many; each is reported")
def put_assignments(
    context: Context, items: Annotated[list[AssignmentItem], Field(min_length=1, max_length=MOST_AT_ONCE)]
) -> list[AssignmentResult]:
    """Up to 5,000 in one call and one transaction. One that breaks a rule is reported and stops none of the others;
    repeating the call changes nothing."""
    context.require("compensation")
    _check_codes(items)
    outcomes = define_many(context.uow, context.company, [(item.code, item.content) for item in items])
    return [_result(outcome) for outcome in outcomes]


def _check_codes(items: list[AssignmentItem]) -> None:
    seen: set[str] = set()
    for i, item in enumerate(items):
        if item.code in seen:
            raise CodeTwice(
                f"{item.code} stands in the list twice.",
                field=f"{i}.code",
                remedy="Send its versions in calls of their own.",
            )
        seen.add(item.code)


def _result(outcome: Outcome) -> AssignmentResult:
    if outcome.error is None:
        word = ("created" if outcome.version == 1 else "versioned") if outcome.changed else "unchanged"
        return AssignmentResult(code=outcome.code, outcome=word, version=outcome.version, problem=None)
    kind = "urn:valueloop:problem:" + "-".join(words_of(type(outcome.error).__name__))
    refusal = Refusal(type=kind, detail=outcome.error.rule, field=outcome.error.field, remedy=outcome.error.remedy)
    return AssignmentResult(code=outcome.code, outcome="refused", version=None, problem=refusal)
