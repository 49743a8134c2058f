"""Carrying out what a review decided: a new target version, once, however often the decision arrives."""

from collections.abc import Sequence
from datetime import date

from shared.configuration import define, latest
from shared.contracts.goals import DecisionApplied, DecisionRefused, Goal, Target
from shared.contracts.reviews import DecisionMade
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Conflict, DomainError, Invalid, NotFound, Stale
from shared.periods import business_day
from shared.service import Received

from ..goals.handlers import check_target
from ..scores import store
from ..scores.book import settings_book


class DecisionIncomplete(Invalid):
    """A decision that changes a target names the new value, and a day unless time is known to have passed."""


class GoalUnknown(NotFound):
    """The goal of a decision does not exist."""


class GoalNotActive(Conflict):
    """Only targets of active goals are changed by decisions."""


class TargetChangedSince(Stale):
    """The target has changed since the case was opened."""


def decisions_made(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A broken rule is an answer to the case, not a fault of the record."""
    for received in events:
        event: DecisionMade = received.event
        if event.kind == "change_target":
            uow.lock_company(received.company)
            if _first(uow, received.company, event):
                _answer(uow, received.company, event)


def _first(uow: UnitOfWork, company: str, event: DecisionMade) -> bool:
    return bool(
        uow.run(
            "INSERT INTO decision (company, decision, goal) VALUES (:company, :decision, :goal) ON CONFLICT DO NOTHING",
            company=company, decision=event.decision, goal=event.goal,
        )
    )  # fmt: skip


def _answer(uow: UnitOfWork, company: str, event: DecisionMade) -> None:
    answer: DecisionApplied | DecisionRefused
    ids = {"decision": event.decision, "case": event.case, "goal": event.goal}
    try:
        answer = DecisionApplied(**ids, target_version=_apply(uow, company, event))
    except DomainError as error:
        answer = DecisionRefused(**ids, rule=error.rule, remedy=error.remedy)
    uow.run(
        "UPDATE decision SET target_version = :version, refused = :rule "
        "WHERE company = :company AND decision = :decision",
        company=company, decision=event.decision, version=getattr(answer, "target_version", None),
        rule=getattr(answer, "rule", None),
    )  # fmt: skip
    uow.publish(answer, company=company, key=event.goal)


def _apply(uow: UnitOfWork, company: str, event: DecisionMade) -> int:
    goal, target = latest(uow, Goal, company, event.goal), latest(uow, Target, company, event.goal)
    if goal is None:
        raise GoalUnknown(f"There is no goal {event.goal!r}.", remedy="Define it, and decide again.")
    if goal.content.status != "active":
        raise GoalNotActive(
            f"The goal {event.goal} is {goal.content.status}; its targets stay as they are.",
            remedy="Accept the deviation, or define a new goal.",
        )
    now = target.version if target else 0
    if now != event.seen_target_version:
        raise TargetChangedSince(
            f"The decision was made on version {event.seen_target_version} of the target; it is now version {now}.",
            remedy="Look at the new target and decide again.",
        )
    if event.value is None:
        raise DecisionIncomplete("A decision that changes a target names the new value.", remedy="Give the value.")
    direction, phasing = (target.content.direction, target.content.phasing) if target else (None, "linear")
    new = Target(
        effective_from=event.effective_from or _today(uow, company), value=event.value, direction=direction,
        reason=event.reason, approver=event.by, decision=event.decision, phasing=phasing,
    )  # fmt: skip
    before, uow.actor = uow.actor, event.by
    try:
        return define(uow, company, event.goal, new, check=check_target)[0].version
    finally:
        uow.actor = before


def _today(uow: UnitOfWork, company: str) -> date:
    """The day on which the last tick fell: where a decision names no day, it counts from then on."""
    at, book = store.last_tick(uow, company), settings_book(uow, company, ())
    if at is None or book is None:
        raise DecisionIncomplete(
            "A decision that changes a target names the day from which it counts.", remedy="Give effective_from."
        )
    return business_day(book.calendar, at)
