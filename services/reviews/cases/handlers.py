"""Deviations, ticks and the answers of goals."""

from collections.abc import Sequence
from datetime import datetime

from services.reviews.cases import store
from services.reviews.cases.rules import case_id, due_at
from services.reviews.policies import policy
from shared.contracts.base import Tick
from shared.contracts.goals import DecisionApplied, DecisionRefused, DeviationCleared, DeviationFound
from shared.contracts.reviews import CaseClosed, CaseEscalated, CaseOpened
from shared.database.unit_of_work import UnitOfWork
from shared.organisation import superior
from shared.service import Received

TOPIC = CaseOpened.TOPIC


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
        store.add_cause(uow, company, cases[key], found)


def _open(uow: UnitOfWork, company: str, found: DeviationFound) -> str:
    number = store.next_number(uow, company, found.goal, found.period)
    case = case_id(found.goal, found.period, number)
    day = store.day_of(uow, company, found.judged_at)
    due = due_at(found.judged_at, policy(uow, company, "plan_due_hours", day))
    store.insert(uow, company, case, number, found, due)
    event = CaseOpened(case=case, goal=found.goal, period=found.period, owner=found.owner, due=due)
    uow.publish(event, company=company, key=case)
    return case


def deviations_cleared(uow: UnitOfWork, events: Sequence[Received]) -> None:
    company = events[0].company
    uow.lock_company(company)
    cases = store.open_cases(uow, company, {(e.event.goal, e.event.period) for e in events})
    for received in events:
        cleared: DeviationCleared = received.event
        if case := cases.get((cleared.goal, cleared.period)):
            close(uow, company, case, "within_limit", cleared.judged_at)


def close(uow: UnitOfWork, company: str, case: str, why: str, at: datetime) -> None:
    """Closes a case that is open, and says so."""
    if store.close(uow, company, case, why, at):
        uow.publish(CaseClosed.model_validate({"case": case, "why": why, "at": at}), company=company, key=case)


def decisions_applied(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """The first answer counts, however often one is delivered."""
    company = events[0].company
    uow.lock_company(company)
    for received in events:
        applied: DecisionApplied = received.event
        at = acting_at(uow, company, applied.case)
        if at and store.answer_decision(
            uow, company, applied.decision, "applied", at, target_version=applied.target_version
        ):
            close(uow, company, applied.case, "decided", at)


def decisions_refused(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """The case stays open, and shows why."""
    company = events[0].company
    uow.lock_company(company)
    for received in events:
        refused: DecisionRefused = received.event
        if at := acting_at(uow, company, refused.case):
            store.answer_decision(
                uow, company, refused.decision, "refused", at, rule=refused.rule, remedy=refused.remedy
            )


def acting_at(uow: UnitOfWork, company: str, case: str) -> datetime | None:
    """When something happens in a case: the last tick, never before it was opened; None where there is no such case."""
    row = store.get(uow, company, case)
    if row is None:
        return None
    opened: datetime = row.opened_at
    return max(store.now(uow, company) or opened, opened)


def on_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Overdue cases without a plan go to the owner's superior, once; then the tick goes on to whoever reads cases."""
    uow.lock_company(company)
    store.time_has_come(uow, company, tick.at)
    day = store.day_of(uow, company, tick.at)
    if policy(uow, company, "escalation", day) == "superior":
        for row in store.overdue(uow, company, tick.at):
            to = superior(uow, company, row.owner, day) if row.owner else None
            store.escalate(uow, company, row.id, to, tick.at)
            uow.publish(CaseEscalated(case=row.id, to=to, at=tick.at), company=company, key=row.id)
    uow.publish_everywhere(tick, company=company, topic=TOPIC)
