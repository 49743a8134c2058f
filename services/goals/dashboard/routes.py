"""The execution dashboard: target to date, current, gap and risk of each goal (mechanism M2)."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Query

from shared.configuration import all_in_force, require
from shared.contracts.base import Code
from shared.contracts.goals import Goal, Unit
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Conflict, Invalid
from shared.http.context import Context
from shared.http.routing import Router
from shared.numbers import published
from shared.organisation import head, subtree
from shared.periods import Period, period_of

from ..goals.store import owner_of
from ..organisation.store import visible_people
from ..scores import store
from ..scores.book import ONE_DAY, Book, settings_book
from ..scores.routes import view
from ..scores.rules import gap, shortfall, target_to_date
from ..scores.store import Score
from .schemas import Dashboard, DashboardLine

router = Router(tags=["dashboard"])


class DayMissing(Invalid):
    """Before the first tick nobody knows which day it is."""


class NoCalendar(Conflict):
    """Without the company's calendar no period is known."""


@router.get("/dashboard", operation_id="getDashboard", summary="Target to date, current, gap and risk per goal")
def get_dashboard(
    context: Context,
    unit: Annotated[Code | None, Query(description="This unit and all below it; default: the whole company.")] = None,
    on: Annotated[
        date | None, Query(ge=date(1900, 1, 1), le=date(2199, 12, 31), description="Default: the last tick's day.")
    ] = None,
) -> Dashboard:
    context.require_reader()
    uow, company = context.uow, context.company
    setting = settings_book(uow, company, ())
    if setting is None:
        raise NoCalendar("The company has no calendar yet.", remedy="PUT /goals/v1/companies/company first.")
    if on is None and store.last_tick(uow, company) is None:
        raise DayMissing("No tick has come yet, so the day is not known.", field="on", remedy="Give a day.")
    day = on or setting.judged_on
    goals = {code: found.content for code, found in all_in_force(uow, Goal, company, day).items()}
    wanted = _wanted(context, {code: goal for code, goal in goals.items() if goal.status == "active"}, unit, day)
    return Dashboard(unit=unit, on=day, items=_lines(uow, company, wanted, day))


def _wanted(context: Context, goals: dict[str, Goal], unit: str | None, day: date) -> list[str]:
    people = visible_people(context.uow, context.company, context.principal)
    subjects = None
    if unit:
        require(context.uow, Unit, context.company, unit, day)
        subjects = subtree(context.uow, context.company, unit, day)
    return [
        code for code, goal in goals.items()
        if (subjects is None or owner_of(goal) in subjects)
        and (people is None or goal.owner_person is None or goal.owner_person in people)
        and goal.starts <= day and (goal.due is None or day <= goal.due)
    ]  # fmt: skip


def _lines(uow: UnitOfWork, company: str, codes: Iterable[str], day: date) -> list[DashboardLine]:
    book = settings_book(uow, company, codes)
    assert book is not None, "the calendar was there a moment ago"
    found = store.latest_scores(uow, company, {f"goal:{code}" for code in book.goals}, (day, day + ONE_DAY))
    rows = {(row.code, row.period): row for row in found}
    heads: dict[str, str | None] = {}
    lines = []
    for code in sorted(book.goals):
        period = period_of(book.calendar, book.goals[code][-1].content.period, day)
        goal = book.goal(code, period)
        if goal is None:
            continue
        owner = owner_of(goal)
        if owner not in heads:
            heads[owner] = head(uow, company, owner, day)
        lines.append(_line(book, code, goal, period, rows.get((code, period.label)), day, heads[owner]))
    return lines


def _line(
    book: Book, code: str, goal: Goal, period: Period, row: Score | None, day: date, responsible: str | None
) -> DashboardLine:
    last = period.end - ONE_DAY
    target, _ = book.target(code, period)
    direction = book.direction(goal, target, last)
    due = target_to_date(target.value, period, day, phased=book.phased(goal, target, last)) if target else None
    figures: dict[str, Any] = {"shortfall": None, "gap": None, "alert": False, "over_fulfilled": False}
    if row and row.actual is not None and due is not None and direction:
        limit, _ = book.policy("deviation_limit", day)
        missing = gap(row.actual, due, direction)
        figures = {
            "shortfall": _out(shortfall(row.actual, due, direction)), "gap": _out(missing),
            "alert": missing > limit, "over_fulfilled": missing < 0,
        }  # fmt: skip
    return DashboardLine(
        goal=code, name=goal.name, owner=owner_of(goal), responsible=responsible, period=period.label,
        target=_out(due), period_target=_out(target.value) if target else None,
        current=_out(row.actual) if row else None, score=_out(row.score) if row else None,
        reason=row.reason if row else "There is no data for this period.", qualified=list(row.qualified) if row else [],
        explanation=view(row).explanation if row else None, **figures,
    )  # fmt: skip


def _out(value: Decimal | None) -> Decimal | None:
    return None if value is None else published(value)
