"""Goals, their targets, their tree, and what waits."""

from datetime import date
from typing import Annotated, Any

from fastapi import Header, Query, Response

from shared.configuration import Setting, Versioned, configuration_router, define, history, require, shown
from shared.contracts.base import Code
from shared.contracts.goals import Goal, Target
from shared.http.conditional import etag
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router

from . import tree
from .handlers import check_goal, check_target
from .tree import GoalNode, GoalPath, GoalTree
from .waiting import Waiting, waiting

OnDay = Annotated[date | None, Query(description="As on this day; default: the latest state.")]

goals = configuration_router(Goal, write_roles=("strategist",), check=check_goal)
router = Router(tags=["goals"])
router.settings[Target.KIND] = Setting(Target, check_target)


@router.get("/goals/{code}/targets", operation_id="listGoalTargets", summary="Every version of a goal's target")
def list_goal_targets(context: Context, code: Code) -> list[Versioned[Target]]:
    context.require_reader()
    require(context.uow, Goal, context.company, code)
    return [shown(found) for found in history(context.uow, Target, context.company, code)]


@router.put(
    "/goals/{code}/targets", operation_id="putGoalTarget", response_model=Versioned[Target],
    summary="Set or change the target from a day on; a change has a reason, an approver and tactics",
    responses={201: {"model": Versioned[Target]}},
)  # fmt: skip
def put_goal_target(
    context: Context,
    code: Code,
    content: Target,
    response: Response,
    if_match: Annotated[str | None, Header(description="The ETag last read: refuses to overwrite a change.")] = None,
) -> Any:
    context.require("strategist")
    recorded, changed = define(context.uow, context.company, code, content, if_match=if_match, check=check_target)
    response.status_code = 201 if changed and recorded.version == 1 else 200
    response.headers["ETag"] = etag(recorded.version)
    return shown(recorded)


@router.get("/goals/{code}/tree", operation_id="getGoalTree", summary="A goal with all below it, coverage and padding")
def get_goal_tree(context: Context, code: Code, on: OnDay = None) -> GoalTree:
    context.require_reader()
    require(context.uow, Goal, context.company, code, on or date.max)
    return tree.tree(context.uow, context.company, code, on or date.max)


@router.get("/goals/{code}/path", operation_id="getGoalPath", summary="From a goal up to the top one")
def get_goal_path(context: Context, code: Code, on: OnDay = None) -> GoalPath:
    context.require_reader()
    require(context.uow, Goal, context.company, code, on or date.max)
    return tree.path(context.uow, context.company, code, on or date.max)


@router.get("/orphans", operation_id="listOrphans", summary="Goals that support nothing: tie each to a parent")
def list_orphans(context: Context, page: Paging, on: OnDay = None) -> Page[GoalNode]:
    """A goal without a parent is a top goal where the top unit owns it; any other is an orphan."""
    context.require_reader()
    found = tree.orphans(context.uow, context.company, on or date.max, page.after or "", page.fetch)
    return page.of(found, lambda item: item.code)


@router.get("/waiting", operation_id="listWaiting", summary="What was accepted and waits for something not known yet")
def list_waiting(context: Context, page: Paging) -> Page[Waiting]:
    context.require_reader()
    found = waiting(context.uow, context.company, page.after, page.fetch)
    return page.of(found, lambda item: [item.kind, item.code, item.waits_for])
