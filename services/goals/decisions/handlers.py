"""Carrying out what a review decided: a new target version, once, however often the decision arrives."""

from collections.abc import Sequence
from datetime import date

from shared.configuration import define, in_force, require
from shared.contracts.goals import DecisionApplied, DecisionRefused, Goal, Target
from shared.contracts.reviews import DecisionMade
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Conflict, DomainError, Invalid, Stale
from shared.periods import business_day
from shared.service import Received

from ..goals.handlers import check_target
from ..organisation.store import last_tick
from ..scores.book import settings_book


def decisions_made(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """The company's lock comes before the question whether a decision is new: it may arrive on two ways at a time."""
    for received in events:
        company, event = received.company, received.event
        uow.lock_company(company)
        answered = "SELECT 1 FROM decision WHERE company = :company AND decision = :decision"
        if event.kind == "change_target" and not uow.value(answered, company=company, decision=event.decision):
            _answer(uow, company, event)


def _answer(uow: UnitOfWork, company: str, event: DecisionMade) -> None:
    """A broken rule is an answer to the case, not a fault of the record."""
    answer: DecisionApplied | DecisionRefused
    ids = {"decision": event.decision, "case": event.case, "goal": event.goal}
    version, refused = None, None
    try:
        # Where databases are rebuilt, the target that it made stands there already.
        version = _made(uow, company, event) or _apply(uow, company, event)
        answer = DecisionApplied(**ids, target_version=version)
    except DomainError as error:
        refused = error.rule
        answer = DecisionRefused(**ids, rule=refused, remedy=error.remedy)
    uow.run(
        "INSERT INTO decision (company, decision, goal, target_version, refused) "
        "VALUES (:company, :decision, :goal, :version, :refused)",
        company=company, decision=event.decision, goal=event.goal, version=version, refused=refused,
    )  # fmt: skip
    uow.publish(answer, company=company, key=event.goal)


def _made(uow: UnitOfWork, company: str, event: DecisionMade) -> int | None:
    version: int | None = uow.value(
        "SELECT version FROM configuration WHERE company = :company AND kind = 'targets' AND code = :goal "
        "AND content->>'decision' = :decision AND recorded_by = :by",
        company=company, goal=event.goal, decision=event.decision, by=event.by,
    )  # fmt: skip
    return version


def _apply(uow: UnitOfWork, company: str, event: DecisionMade) -> int:
    status = require(uow, Goal, company, event.goal).content.status
    if status != "active":
        rule = f"The goal {event.goal} is {status}; its targets stay as they are."
        raise Conflict(rule, remedy="Accept the deviation, or define a new goal.")
    begins = event.effective_from or _today(uow, company)
    # One that is planned for later was known when the deviation was found, and goes on counting from its day.
    target = in_force(uow, Target, company, event.goal, begins)
    seen, now = event.seen_target_version, target.version if target else 0
    if now != seen:
        rule = f"The decision was made on version {seen} of the target; on {begins} version {now} is in force."
        raise Stale(rule, remedy="Look at the new target and decide again.")
    if event.value is None:
        raise Invalid("A decision that changes a target names the new value.", remedy="Give the value.")
    kept = {"direction": target.content.direction, "phasing": target.content.phasing} if target else {}
    new = Target(
        effective_from=begins, value=event.value, reason=event.reason,
        approver=event.by, decision=event.decision, **kept,
    )  # fmt: skip
    before, uow.actor = uow.actor, event.by
    try:
        return define(uow, company, event.goal, new, check=check_target)[0].version
    finally:
        uow.actor = before


def _today(uow: UnitOfWork, company: str) -> date:
    """The day on which the last tick fell: where a decision names no day, it counts from then on."""
    at, book = last_tick(uow, company), settings_book(uow, company, ())
    if at is None or book is None:
        rule = "A decision that changes a target names the day from which it counts."
        raise Invalid(rule, remedy="Give effective_from.")
    return business_day(book.calendar, at)
