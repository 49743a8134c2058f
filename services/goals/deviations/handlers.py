"""Where goals stand, and judging gaps when a tick says how far time has come (mechanism M2)."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from shared.closing import close as close_period
from shared.closing import state_hash
from shared.contracts.base import Tick
from shared.contracts.goals import DeviationCleared, DeviationFound, Goal
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import published
from shared.organisation import head
from shared.periods import Calendar, Period, business_day, parse_period, period_of

from ..goals.store import owner_of
from ..organisation.store import last_tick
from ..scores import store
from ..scores.book import Book, settings_book
from ..scores.dirty import dirty
from ..scores.rules import LARGEST, ONE_DAY, TargetInForce, gap, shortfall, target_to_date
from ..scores.settle import settle
from ..scores.store import Score
from ..state import STATE


@dataclass(frozen=True, slots=True)
class Standing:
    """How a goal stands in a period at the end of a day.

    `target` is the whole period's, `due` what of it is due by then; they and `shortfall` are in the metric's unit,
    `gap` and `limit` are ratios. Without actual, target or direction there is neither shortfall nor gap.
    """

    goal: Goal
    period: Period
    target: TargetInForce | None
    limit: Decimal
    due: Decimal | None = None
    shortfall: Decimal | None = None
    gap: Decimal | None = None

    @property
    def deviates(self) -> bool:
        """Exactly the limit is no deviation; compared unrounded."""
        return self.gap is not None and self.gap > self.limit


def standing(book: Book, code: str, period: Period, actual: Decimal | None, on: date) -> Standing | None:
    """The gap of a goal against the target due by the end of day `on`; None where there is no goal in the period."""
    goal, target, last = book.goal(code, period), book.target(code, period), period.end - ONE_DAY
    if goal is None:
        return None
    limit, _ = book.policy("deviation_limit", min(on, last))
    if target is None:
        return Standing(goal, period, None, limit)
    due = target_to_date(target.value, period, on, phased=book.phased(goal, target, last))
    direction = book.direction(goal, target, last)
    if actual is None or direction is None:
        return Standing(goal, period, target, limit, due)
    return Standing(goal, period, target, limit, due, shortfall(actual, due, direction), gap(actual, due, direction))


def on_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Judges what has ended since it was last judged, clears what is within its limit again, and passes the tick on.

    A tick that closes a period judges what came since the last one.
    """
    uow.lock_company(company)
    before = last_tick(uow, company)
    if before is None or tick.at > before or tick.closes:
        uow.run(
            "INSERT INTO clock (company, at) VALUES (:company, :at) ON CONFLICT (company) DO UPDATE SET at = :at",
            company=company, at=tick.at,
        )  # fmt: skip
        _mark_targets_that_begin(uow, company)
        settle(uow)
        _judge_all(uow, company, before, tick)
    if tick.closes:
        close_period(uow, company, tick, {"state": state_hash(uow, company, tick.closes, STATE)})
    # Both topics carry it: who reads them knows which commands and outcomes came before this instant.
    uow.publish_everywhere(tick, company=company, topic="goals.outcomes")
    uow.publish_everywhere(tick, company=company, topic="goals.configuration")


def _judge_all(uow: UnitOfWork, company: str, before: datetime | None, tick: Tick) -> None:
    setting = settings_book(uow, company, ())
    if setting is None:
        return
    completed = _completed_day(setting.calendar, tick.at)
    ended = _ended(uow, company, completed)
    running = _running(uow, setting, company, before, completed)
    known = _known(uow, company, {row.code for row in (*ended, *running)})
    found_open = {place for place, cleared in known.items() if cleared is None}
    again = store.latest_scores(uow, company, {f"goal:{goal}" for goal, _ in found_open})
    still = [row for row in again if (row.code, row.period) in found_open]
    rows = {(row.code, row.period): row for row in (*still, *running, *ended)}
    book = settings_book(uow, company, {code for code, _ in rows})
    assert book is not None, "the calendar was there a moment ago"
    for place, row in sorted(rows.items()):
        now = standing(book, row.code, parse_period(book.calendar, row.period), row.actual, completed)
        if now is None or now.gap is None:
            continue
        if place in found_open and not now.deviates:
            _publish_cleared(uow, company, row, _told(now.gap), tick)
        if place not in known and now.deviates and now.goal.metric is not None and now.goal.status == "active":
            _publish_found(uow, company, row, now, tick)
    judged = [(company, row.code, row.period, row.period_end, tick.at) for row in ended]
    uow.copy("judged", ("company", "goal", "period", "period_end", "at"), judged)


def _completed_day(calendar: Calendar, at: datetime) -> date:
    """The last day that is over at an instant."""
    return business_day(calendar, at) - ONE_DAY


def _ended(uow: UnitOfWork, company: str, completed: date) -> list[Score]:
    """Scores of goals for periods that are over, have figures, and were never judged.

    Whether a period without figures deviates cannot be said; it is judged at the first tick after they came.
    """
    return _judgeable(
        uow, "s.period_end <= :after AND NOT EXISTS (SELECT 1 FROM judged j WHERE j.company = s.company "
        "AND j.goal = s.code AND j.period = s.period)", company=company, after=completed + ONE_DAY,
    )  # fmt: skip


def _running(uow: UnitOfWork, book: Book, company: str, before: datetime | None, completed: date) -> list[Score]:
    """Scores of open periods, where by policy a day or week that ended since the last tick is judged."""
    how, _ = book.policy("deviation_judgement", completed)
    boundary = completed if how == "day" else period_of(book.calendar, "week", completed + ONE_DAY).start - ONE_DAY
    if how == "period_end" or (before and boundary <= _completed_day(book.calendar, before)):
        return []
    condition = "s.period_start <= :day AND s.period_end > :after"
    return _judgeable(uow, condition, company=company, day=boundary, after=completed + ONE_DAY)


def _judgeable(uow: UnitOfWork, condition: str, **params: Any) -> list[Score]:
    rows = uow.rows(
        f"{store.SELECT} WHERE s.company = :company AND s.kind = 'goal' AND s.latest AND s.actual IS NOT NULL "
        f"AND s.target IS NOT NULL AND {condition}", **params,
    )  # fmt: skip
    return [Score(**row._mapping) for row in rows]


def _known(uow: UnitOfWork, company: str, goals: set[str]) -> dict[tuple[str, str], datetime | None]:
    """The deviations of these goals and all open ones, with when they were cleared."""
    rows = uow.rows(
        "SELECT goal, period, cleared_at FROM deviation WHERE company = :company "
        "AND (cleared_at IS NULL OR goal = ANY(:goals))", company=company, goals=sorted(goals),
    )  # fmt: skip
    return {(row.goal, row.period): row.cleared_at for row in rows}


def _publish_found(uow: UnitOfWork, company: str, row: Score, now: Standing, tick: Tick) -> None:
    assert now.target and now.due is not None and now.gap is not None and row.actual is not None, "it deviates"
    uow.run(
        "INSERT INTO deviation (company, goal, period, found_at) VALUES (:company, :goal, :period, :at)",
        company=company, goal=row.code, period=row.period, at=tick.at,
    )  # fmt: skip
    event = DeviationFound(
        goal=row.code, goal_name=now.goal.name, period=row.period, target=published(now.due),
        target_version=now.target.version.version, actual=published(row.actual), gap=_told(now.gap), limit=now.limit,
        owner=head(uow, company, owner_of(now.goal), now.period.end - ONE_DAY), judged_at=tick.at,
        score_version=row.version, inputs=list(row.inputs),
    )  # fmt: skip
    uow.publish(event, company=company, key=row.code)


def _told(gap: Decimal) -> Decimal:
    """With 10 decimals; where that is more than others can read, the largest gap that they can."""
    return max(LARGEST.copy_negate(), min(published(gap), LARGEST))


def _publish_cleared(uow: UnitOfWork, company: str, row: Score, now: Decimal, tick: Tick) -> None:
    uow.run(
        "UPDATE deviation SET cleared_at = :at WHERE company = :company AND goal = :goal AND period = :period",
        company=company, goal=row.code, period=row.period, at=tick.at,
    )  # fmt: skip
    event = DeviationCleared(goal=row.code, period=row.period, gap=now, judged_at=tick.at)
    uow.publish(event, company=company, key=row.code)


def _mark_targets_that_begin(uow: UnitOfWork, company: str) -> None:
    """Where a target counts from its date, scores of the open period change as time passes it."""
    rows = uow.rows(
        "SELECT DISTINCT t.code FROM configuration t JOIN score s ON s.company = t.company AND s.kind = 'goal' "
        "AND s.code = t.code AND s.latest AND t.effective_from >= s.period_start AND t.effective_from < s.period_end "
        "WHERE t.company = :company AND t.kind = 'targets' AND EXISTS (SELECT 1 FROM configuration p "
        "WHERE p.company = :company AND p.kind = 'goals-policies' AND p.code = 'target_change' "
        "AND p.content->>'value' = 'from_its_date')",
        company=company,
    )  # fmt: skip
    dirty(uow, company).nodes |= {f"goal:{row.code}" for row in rows}
