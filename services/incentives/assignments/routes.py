"""Assignments over HTTP. They carry personal amounts, so they are not shown like other settings."""

from datetime import date
from typing import Annotated

from fastapi import Depends, Query, Request
from pydantic import Field

from shared.configuration import configuration_router, latest
from shared.contracts.base import Code
from shared.contracts.incentives import Assignment
from shared.errors import Invalid
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router

from ..access import may_see_all, require_visible
from .schemas import AssignmentItem, AssignmentResult, AssignmentShown
from .store import check, define_many, find

MOST_AT_ONCE = 5_000
router = Router(tags=["assignments"])


class CodeTwice(Invalid):
    """One call names an assignment twice."""


def _require_visible(context: Context, request: Request, code: Code) -> None:
    if request.method == "GET" and not may_see_all(context):
        found = latest(context.uow, Assignment, context.company, code)
        require_visible(context, f"person:{found.content.person if found else ''}")


single = Router(dependencies=[Depends(_require_visible)])
single.include_router(configuration_router(Assignment, write_roles=("compensation",), check=check, listed=False))


@router.get("/assignments", operation_id="listAssignments", summary="List assignments")
def list_assignments(
    context: Context,
    page: Paging,
    person: Annotated[Code | None, Query()] = None,
    plan: Annotated[Code | None, Query()] = None,
    on: Annotated[date | None, Query(description="As in force on this day; default: the latest.")] = None,
) -> Page[AssignmentShown]:
    """All of them for compensation, finance, auditor and admin; others name a person whose amounts they may see."""
    require_visible(context, f"person:{person or ''}")
    rows = find(
        context.uow, context.company, after=page.after or "", limit=page.fetch, on=on or date.max, person=person,
        plan=plan,
    )  # fmt: skip
    return page.of([AssignmentShown.model_validate(row._asdict()) for row in rows], lambda item: item.code)


@router.put("/assignments", operation_id="putAssignments", summary="Define or change many; each is reported")
def put_assignments(
    context: Context, items: Annotated[list[AssignmentItem], Field(min_length=1, max_length=MOST_AT_ONCE)]
) -> list[AssignmentResult]:
    """Up to 5,000 in one call and one transaction. One that breaks a rule is reported and stops none of the others;
    repeating the call changes nothing."""
    context.require("compensation")
    seen: set[str] = set()
    for i, item in enumerate(items):
        if item.code in seen:
            rule, remedy = f"{item.code} stands in the list twice.", "Send its versions in calls of their own."
            raise CodeTwice(rule, field=f"{i}.code", remedy=remedy)
        seen.add(item.code)
    return define_many(context.uow, context.company, items)
