"""The execution dashboard: target to date, current, gap and risk of each goal (mechanism M2)."""

from collections.abc import Iterable, Set
from datetime import date
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from shared.configuration import all_in_force, require
from shared.contracts.base import Code, Subject
from shared.contracts.goals import Goal, Unit
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Conflict, Invalid
from shared.http.context import Context
from shared.http.routing import Router
from shared.organisation import head, subtree
from shared.periods import period_of

from ..deviations.handlers import Standing, standing
from ..goals.store import at, owner_of, persons_of
from ..organisation.store import last_tick, visible_people
from ..scores import store
from ..scores.book import settings_book
from ..scores.routes import Published, ScoreView
from ..scores.rules import ONE_DAY, OUT_OF_RANGE, tellable
from ..scores.store import Score

router = Router(tags=["dashboard"])


class DayMissing(Invalid):
    """Before the first tick nobody knows which day it is."""


class NoCalendar(Conflict):
    """Without the company's calendar no period is known."""


class DashboardLine(BaseModel):
    """How a goal stands in the period that holds the day (mechanism M2)."""

    goal: str
    name: str
    owner: Subject
    responsible: str | None = Field(description="The person who answers for it.")
    period: str
    target: Published | None = Field(description="Due by the end of the day: the target to date.")
    period_target: Published | None = Field(description="Of the whole period.")
    current: Published | None
    shortfall: Published | None = Field(description="Missing, in the metric's unit; negative is over-fulfilment.")
    gap: Published | None = Field(description="Missing share of the target to date [ratio].")
    alert: bool = Field(description="Whether the gap is over the limit; exactly the limit is not.")
    over_fulfilled: bool
    score: Published | None = Field(description="What closing now would give, against the whole target.")
    reason: str | None = Field(description="Why there are no figures.")
    qualified: list[str]
    explanation: str | None


class Dashboard(BaseModel):
    """The goals in a unit and below it."""

    unit: str | None
    on: date
    items: list[DashboardLine]


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
    if on is None and last_tick(uow, company) is None:
        raise DayMissing("No tick has come yet, so the day is not known.", field="on", remedy="Give a day.")
    day = on or setting.judged_on
    people = visible_people(uow, company, context.principal)
    return Dashboard(unit=unit, on=day, items=_lines(uow, company, _wanted(context, unit, day), people, day))


def _wanted(context: Context, unit: str | None, day: date) -> list[str]:
    """The active goals in the unit that run on the day."""
    uow, company = context.uow, context.company
    if unit:
        require(uow, Unit, company, unit, day)
    subjects = subtree(uow, company, unit, day) if unit else None
    goals = {code: found.content for code, found in all_in_force(uow, Goal, company, day).items()}
    return [
        code for code, goal in goals.items()
        if goal.status == "active" and goal.starts <= day and (goal.due is None or day <= goal.due)
        and (subjects is None or owner_of(goal) in subjects)
    ]  # fmt: skip


def _lines(
    uow: UnitOfWork, company: str, codes: Iterable[str], people: Set[str] | None, day: date
) -> list[DashboardLine]:
    """How they stand, as far as those who own or are measured by them at the end of the period are among the people."""
    book = settings_book(uow, company, codes)
    assert book is not None, "the calendar was there a moment ago"
    found = store.latest_scores(uow, company, {f"goal:{code}" for code in book.goals}, (day, day + ONE_DAY))
    scores = {(score.code, score.period): score for score in found}
    heads: dict[str, str | None] = {}
    lines = []
    for code in sorted(book.goals):
        running = at(book.goals[code], day)
        assert running is not None, "it is in force on the day"
        period = period_of(book.calendar, running.content.period, day)
        goal, score = book.goal(code, period), scores.get((code, period.label))
        if goal is None or not (people is None or persons_of(goal) <= people):
            continue
        if now := standing(book, code, period, score.actual if score else None, day):
            owner = owner_of(now.goal)
            if owner not in heads:
                heads[owner] = head(uow, company, owner, day)
            lines.append(_line(code, owner, heads[owner], now, score))
    return lines


def _line(code: str, owner: str, responsible: str | None, now: Standing, score: Score | None) -> DashboardLine:
    shortfall, gap = tellable(now.shortfall), tellable(now.gap)
    beyond = OUT_OF_RANGE if (shortfall, gap).count(None) > (now.shortfall, now.gap).count(None) else None
    return DashboardLine(
        goal=code, name=now.goal.name, owner=owner, responsible=responsible, period=now.period.label,
        target=now.due, period_target=now.target.value if now.target else None, shortfall=shortfall, gap=gap,
        alert=now.deviates, over_fulfilled=now.gap is not None and now.gap < 0,
        current=score and score.actual, score=score and score.score, qualified=list(score.qualified) if score else [],
        reason=score.reason or beyond if score else "There is no data for this period.",
        explanation=score and ScoreView.model_validate(score).explanation,
    )  # fmt: skip
