"""Deviations, ticks and the answers of goals."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shared.closing import close as close_period
from shared.closing import state_hash
from shared.contracts.base import Tick
from shared.contracts.goals import DecisionApplied, DecisionRefused, DeviationFound
from shared.contracts.reviews import (
    CaseClosed,
    CaseEscalated,
    CaseOpened,
    DecisionMade,
    RectificationPlanned,
    ReviewsPolicy,
)
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.organisation import superior
from shared.service import Received

from ..policies import policy
from ..state import STATE
from . import store
from .rules import after_plan, due_at, fate_of


def deviations_found(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """One open case per goal and period: a second cause joins it."""
    company = events[0].company
    uow.lock_company(company)
    cases = store.open_cases(uow, company, {(e.event.goal, e.event.period) for e in events})
    for received in events:
        found: DeviationFound = received.event
        key = (found.goal, found.period)
        if key not in cases:
            cases[key] = _open(uow, company, found)
        _join(uow, company, cases[key], found)


def _open(uow: UnitOfWork, company: str, found: DeviationFound) -> str:
    number = store.next_number(uow, company, found.goal, found.period)
    case = f"{found.goal}.{found.period}.{number}"
    day = store.day_of(uow, company, found.judged_at)
    due = due_at(found.judged_at, policy(uow, company, "plan_due_hours", day))
    store.insert(
        uow, "review_case", company=company, id=case, goal=found.goal, goal_name=found.goal_name, period=found.period,
        number=number, owner=found.owner, status="open", opened_at=found.judged_at, due=due,
        target_version=found.target_version, score_version=found.score_version,
    )  # fmt: skip
    event = CaseOpened(case=case, goal=found.goal, period=found.period, owner=found.owner, due=due)
    uow.publish(event, company=company, key=case)
    return case


def _join(uow: UnitOfWork, company: str, case: str, found: DeviationFound) -> None:
    """The case looks at the latest cause; the same deviation again changes nothing."""
    causes = [row.content for row in store.children(uow, company, "cause", case)]
    content = found.model_dump(mode="json")
    if content not in causes:
        store.insert(uow, "cause", company=company, case=case, number=len(causes) + 1, content=Jsonb(content))
        figures = {"target_version": found.target_version, "score_version": found.score_version}
        store.update(uow, "review_case", company, case, **figures)


def deviations_cleared(uow: UnitOfWork, events: Sequence[Received]) -> None:
    company = events[0].company
    uow.lock_company(company)
    cases = store.open_cases(uow, company, {(e.event.goal, e.event.period) for e in events})
    for received in events:
        if case := cases.get((received.event.goal, received.event.period)):
            close(uow, company, case, "within_limit", received.event.judged_at)


def planned(uow: UnitOfWork, company: str, case: Any, plan: RectificationPlanned) -> None:
    """Keeps a plan that was accepted, and says so."""
    number = 1 + len(store.children(uow, company, "rectification", case.id))
    store.insert(uow, "rectification", company=company, number=number, **dict(plan))
    store.update(uow, "review_case", company, case.id, status=after_plan(case.status))
    uow.publish(plan, company=company, key=case.id)


def decided(uow: UnitOfWork, company: str, case: Any, made: DecisionMade) -> None:
    """Keeps a decision that was accepted, and says so; one that asks nothing of goals may close its case."""
    fate, closes = fate_of(made.kind)
    number = 1 + len(store.children(uow, company, "decision", case.id))
    given = {name: value for name, value in made if name not in ("decision", "goal")}
    store.insert(uow, "decision", company=company, id=made.decision, number=number, at=case.now, fate=fate, **given)
    uow.publish(made, company=company, key=case.id)
    if closes:
        close(uow, company, case.id, "decided", case.now)


def accepted_again(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Plans and decisions that were accepted once, where the cases are rebuilt."""
    for received in events:
        uow.lock_company(received.company)
        if case := store.get(uow, received.company, received.event.case):
            keep: Any = planned if isinstance(received.event, RectificationPlanned) else decided
            keep(uow, received.company, case, received.event)


def close(uow: UnitOfWork, company: str, case: str, why: Any, at: datetime) -> None:
    """Closes a case that is open, and says so."""
    if store.update(uow, "review_case", company, case, status="closed", closed_why=why, closed_at=at):
        uow.publish(CaseClosed(case=case, why=why, at=at), company=company, key=case)


def decisions_answered(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """The first answer counts, however often one is delivered. An applied decision closes its case; a refused one
    leaves it open, and the case shows why."""
    company = events[0].company
    uow.lock_company(company)
    for received in events:
        answer: DecisionApplied | DecisionRefused = received.event
        if case := store.get(uow, company, answer.case):
            fate = "applied" if isinstance(answer, DecisionApplied) else "refused"
            told = answer.model_dump(include={"target_version", "rule", "remedy"})
            first = store.update(uow, "decision", company, answer.decision, fate=fate, answered_at=case.now, **told)
            if first and fate == "applied":
                close(uow, company, case.id, "decided", case.now)


def on_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Overdue cases without a plan go to the owner's superior, once; then the tick goes on to whoever reads cases.

    A period is closed with its open cases named: a case goes on, and what it changes restates.
    """
    uow.lock_company(company)
    store.time_has_come(uow, company, tick.at)
    day = store.day_of(uow, company, tick.at)
    if policy(uow, company, "escalation", day) == "superior":
        for row in store.overdue(uow, company, tick.at):
            to = superior(uow, company, row.owner, day) if row.owner else None
            store.update(uow, "review_case", company, row.id, status="escalated", escalated_to=to, escalated_at=tick.at)
            uow.publish(CaseEscalated(case=row.id, to=to, at=tick.at), company=company, key=row.id)
    if tick.closes:
        still = store.still_open(uow, company, tick.closes.period)
        close_period(
            uow, company, tick, {"cases": {"open": still, "state": state_hash(uow, company, tick.closes, STATE)}}
        )
    uow.publish_everywhere(tick, company=company, topic=CaseOpened.TOPIC)
    uow.publish_everywhere(tick, company=company, topic=ReviewsPolicy.TOPIC)
