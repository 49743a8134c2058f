"""Judging gaps when a tick says how far time has come (mechanism M2)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from shared.contracts.base import Citation, Tick
from shared.contracts.goals import DeviationCleared, DeviationFound, Goal
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import published
from shared.organisation import head
from shared.periods import Calendar, Period, business_day, parse_period, period_of

from ..goals.store import owner_of
from ..scores import store
from ..scores.book import ONE_DAY, Book, settings_book
from ..scores.dirty import dirty
from ..scores.rules import gap, target_to_date
from ..scores.store import Score


@dataclass(frozen=True, slots=True)
class Judgement:
    """A goal's figures in a period at the end of a day. `gap` and `limit` are ratios."""

    goal: Goal
    row: Score
    period: Period
    target: Decimal
    target_version: int
    gap: Decimal
    limit: Decimal

    @property
    def deviates(self) -> bool:
        """Exactly the limit is no deviation; compared unrounded."""
        return self.gap > self.limit


def judge(book: Book, row: Score, on: date) -> Judgement | None:
    """The gap of a measured goal against the target due by the end of day `on`; None without actual or target."""
    period = parse_period(book.calendar, row.period)
    goal, last = book.goal(row.code, period), period.end - ONE_DAY
    target, _ = book.target(row.code, period)
    direction = book.direction(goal, target, last) if goal else None
    if goal is None or target is None or direction is None or row.actual is None:
        return None
    phased = book.phased(goal, target, last)
    due = target_to_date(target.value, period, on, phased=phased)
    limit, _ = book.policy("deviation_limit", min(on, last))
    return Judgement(goal, row, period, due, target.version.version, gap(row.actual, due, direction), limit)


def on_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Judges what has ended since it was last judged, clears what is within its limit again, and passes the tick on."""
    uow.lock_company(company)
    before = store.last_tick(uow, company)
    if before is None or tick.at > before:
        uow.run(
            "INSERT INTO clock (company, at) VALUES (:company, :at) ON CONFLICT (company) DO UPDATE SET at = :at",
            company=company, at=tick.at,
        )  # fmt: skip
        _judge_all(uow, company, before, tick)
        _mark_targets_that_begin(uow, company)
    # Both topics carry it: who reads them knows which commands and outcomes came before this instant.
    uow.publish_everywhere(tick, company=company, topic="goals.outcomes")
    uow.publish_everywhere(tick, company=company, topic="goals.configuration")


def _judge_all(uow: UnitOfWork, company: str, before: datetime | None, tick: Tick) -> None:
    setting = settings_book(uow, company, ())
    if setting is None:
        return
    completed = completed_day(setting.calendar, tick.at)
    ended = _ended(uow, company, completed)
    running = _running(uow, setting, company, before, completed)
    known = _known(uow, company, {row.code for row in (*ended, *running)})
    found_open = {place for place, cleared in known.items() if cleared is None}
    rows = {(row.code, row.period): row for row in (*_scores(uow, company, found_open), *running, *ended)}
    book = settings_book(uow, company, {code for code, _ in rows})
    assert book is not None, "the calendar was there a moment ago"
    for place, row in sorted(rows.items()):
        judgement = judge(book, row, completed)
        if judgement is None:
            continue
        if place in found_open and not judgement.deviates:
            _publish_cleared(uow, company, judgement, tick)
        active = judgement.goal.metric is not None and judgement.goal.status == "active"
        if place not in known and judgement.deviates and active:
            _publish_found(uow, company, judgement, tick)
    judged = [(company, row.code, row.period, row.period_end, tick.at) for row in ended]
    uow.copy("judged", ("company", "goal", "period", "period_end", "at"), judged)


def completed_day(calendar: Calendar, at: datetime) -> date:
    """The last day that is over at an instant."""
    return business_day(calendar, at) - ONE_DAY


def _ended(uow: UnitOfWork, company: str, completed: date) -> list[Score]:
    """Scores of goals for periods that are over, have figures, and were never judged.

    Whether a period without figures deviates cannot be said; it is judged at the first tick after they came.
    """
    rows = uow.rows(
        f"{store.SELECT} LEFT JOIN judged j ON j.company = s.company AND j.goal = s.code AND j.period = s.period "
        "WHERE s.company = :company AND s.kind = 'goal' AND s.latest AND s.period_end <= :after "
        "AND s.actual IS NOT NULL AND s.target IS NOT NULL AND j.goal IS NULL",
        company=company, after=completed + ONE_DAY,
    )  # fmt: skip
    return [Score(*tuple(row)) for row in rows]


def _running(uow: UnitOfWork, book: Book, company: str, before: datetime | None, completed: date) -> list[Score]:
    """Scores of open periods, where by policy a day or week that ended since the last tick is judged."""
    how, _ = book.policy("deviation_judgement", completed)
    if how == "period_end":
        return []
    boundary = completed if how == "day" else period_of(book.calendar, "week", completed + ONE_DAY).start - ONE_DAY
    if before and boundary <= completed_day(book.calendar, before):
        return []
    rows = uow.rows(
        f"{store.SELECT} WHERE s.company = :company AND s.kind = 'goal' AND s.latest AND s.period_start <= :day "
        "AND s.period_end > :after AND s.actual IS NOT NULL AND s.target IS NOT NULL",
        company=company, day=boundary, after=completed + ONE_DAY,
    )  # fmt: skip
    return [Score(*tuple(row)) for row in rows]


def _known(uow: UnitOfWork, company: str, goals: Collection[str]) -> dict[tuple[str, str], datetime | None]:
    """The deviations of these goals and all open ones, with when they were cleared."""
    rows = uow.rows(
        "SELECT goal, period, cleared_at FROM deviation WHERE company = :company "
        "AND (cleared_at IS NULL OR goal = ANY(:goals))", company=company, goals=sorted(goals),
    )  # fmt: skip
    return {(row.goal, row.period): row.cleared_at for row in rows}


def _scores(uow: UnitOfWork, company: str, wanted: Collection[tuple[str, str]]) -> list[Score]:
    found = store.latest_scores(uow, company, {f"goal:{goal}" for goal, _ in wanted})
    return [row for row in found if (row.code, row.period) in wanted]


def _publish_found(uow: UnitOfWork, company: str, judgement: Judgement, tick: Tick) -> None:
    row, period = judgement.row, judgement.period
    uow.run(
        "INSERT INTO deviation (company, goal, period, found_at) VALUES (:company, :goal, :period, :at)",
        company=company, goal=row.code, period=row.period, at=tick.at,
    )  # fmt: skip
    event = DeviationFound(
        goal=row.code, goal_name=judgement.goal.name, period=row.period, target=published(judgement.target),
        target_version=judgement.target_version, actual=row.actual, gap=published(judgement.gap),
        limit=judgement.limit, owner=head(uow, company, owner_of(judgement.goal), period.end - ONE_DAY),
        judged_at=tick.at, score_version=row.version, inputs=[Citation.model_validate(cited) for cited in row.inputs],
    )  # fmt: skip
    uow.publish(event, company=company, key=row.code)


def _publish_cleared(uow: UnitOfWork, company: str, judgement: Judgement, tick: Tick) -> None:
    uow.run(
        "UPDATE deviation SET cleared_at = :at WHERE company = :company AND goal = :goal AND period = :period",
        company=company, goal=judgement.row.code, period=judgement.row.period, at=tick.at,
    )  # fmt: skip
    event = DeviationCleared(
        goal=judgement.row.code, period=judgement.row.period, gap=published(judgement.gap), judged_at=tick.at
    )
    uow.publish(event, company=company, key=judgement.row.code)


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
