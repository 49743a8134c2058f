"""What may be set of goals and targets, and what becomes dirty when it is."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal

from shared.configuration import history, latest, require
from shared.contracts.base import ALWAYS
from shared.contracts.goals import Goal, Person, Scorecard, Target, Unit
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Conflict, Invalid
from shared.numbers import plain
from shared.service import Received

from ..organisation.routes import UnknownReference, refuse_circle, require_existing
from ..scores.dirty import dirty
from . import store
from .rules import check_ceilings, check_owner, check_status


class GoalDatesInvalid(Invalid):
    """A goal is due on or after the day it starts, in the years 1900 to 2199."""


class GoalClosed(Conflict):
    """A closed goal keeps its targets and scores."""


class TargetReachesBack(Conflict):
    """A new version of a target never reaches back before the goal's start or into a period that was judged, unless it
    corrects it."""


class TargetChangeUnexplained(Invalid):
    """A target that changes says why (mechanism G5)."""


def require_owner(uow: UnitOfWork, company: str, new: Goal | Scorecard) -> None:
    """Exactly one owner, who exists."""
    check_owner(new.owner_unit, new.owner_person)
    require_existing(uow, Unit, company, new.owner_unit, date.max, "owner_unit")
    require_existing(uow, Person, company, new.owner_person, date.max, "owner_person")


def check_goal(uow: UnitOfWork, company: str, code: str, new: Goal, before: Goal | None) -> None:
    require_owner(uow, company, new)
    _check_numbers(new)
    check_status(before.status if before else None, new.status)
    for later in history(uow, Goal, company, code):
        if later.content.effective_from > new.effective_from:
            check_status(new.status, later.content.status)
    if new.parent:
        _check_parent(uow, company, code, new, new.parent)
    check_ceilings(code, new.ceiling, [*_ceilings(uow, company, code), Decimal(0)])


def _check_numbers(new: Goal) -> None:
    if not date(1900, 1, 1) <= new.starts <= (new.due or new.starts) <= date(2199, 12, 31):
        rule = "A goal is due on or after the day it starts, in the years 1900 to 2199."
        raise GoalDatesInvalid(rule, field="due" if new.due else "starts", remedy="Correct one of the two days.")
    for field in ("weight", "ceiling", "reserve"):
        value = getattr(new, field)
        if value is not None and value < 0:
            raise Invalid(f"The {field} is not negative; this is {plain(value)}.", field=field)


def _check_parent(uow: UnitOfWork, company: str, code: str, new: Goal, parent: str) -> None:
    above = latest(uow, Goal, company, parent)
    if parent != code and not above:
        raise UnknownReference(f"There is no goal {parent!r}.", field="parent", remedy="Define the parent first.")
    refuse_circle(store.circle_of_goals(uow, company, code, parent), "parent")
    if new.ceiling is not None and above:
        check_ceilings(parent, above.content.ceiling, [*_ceilings(uow, company, parent, without=code), new.ceiling])


def _ceilings(uow: UnitOfWork, company: str, parent: str, without: str | None = None) -> list[Decimal]:
    """Of the children that are not closed."""
    codes = {store.code_of(source) for source, _ in store.members(uow, company, [f"goal:{parent}"])}
    goals = store.contents_at(store.histories(uow, Goal, company, codes), date.max)
    return [
        goal.ceiling for code, goal in goals.items()
        if code != without and goal.parent == parent and goal.status != "closed" and goal.ceiling is not None
    ]  # fmt: skip


def check_target(uow: UnitOfWork, company: str, code: str, new: Target, before: Target | None) -> None:
    """Approver and tactics are asked for and not demanded: small companies have neither (mechanism G5)."""
    goal, begins = require(uow, Goal, company, code).content, new.effective_from
    if goal.status == "closed":
        rule = f"The goal {code} is closed; its targets stay as they are."
        raise GoalClosed(rule, field="code", remedy="Define a new goal.")
    if begins != ALWAYS and begins < goal.starts:
        rule = f"The goal {code} starts on {goal.starts}; a target cannot begin before."
        remedy = f"Take {goal.starts} or later, or leave it out."
        raise TargetReachesBack(rule, field="effective_from", remedy=remedy)
    judged = uow.value(
        "SELECT max(period_end) FROM judged WHERE company = :company AND goal = :goal", company=company, goal=code
    )
    if judged and begins < judged and not new.correction:
        rule = f"Periods before {judged} have been judged; a new version never reaches back."
        raise TargetReachesBack(rule, field="effective_from", remedy=f"Take {judged} or later.")
    if not new.reason and (before or latest(uow, Target, company, code)):
        remedy = "Say why; add approver and change of tactics."
        raise TargetChangeUnexplained("A target changes with a reason.", field="reason", remedy=remedy)


def goal_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Its own scores become dirty, and those of everything that has it, or had it, as a child."""
    for event in events:
        goal: Goal = event.event.content
        node, marked = f"goal:{event.key}", dirty(uow, event.company)
        if goal.metric:
            sources = {f"metric:{goal.metric}", f"reading:{goal.metric}/{store.subject_of(goal)}"}
            store.depend(uow, event.company, node, sources)
        if goal.parent:
            store.depend(uow, event.company, f"goal:{goal.parent}", {node})
        marked.nodes |= {node} | {above for source, above in store.upward(uow, event.company, [node]) if source == node}


def target_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    for event in events:
        dirty(uow, event.company).nodes.add(f"goal:{event.key}")
