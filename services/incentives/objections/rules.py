"""What holds for objections."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from shared.errors import Conflict, Forbidden, Invalid, NotFound
from shared.numbers import multiply


class NothingToObject(NotFound):
    """There is no such line, or nothing is paid for that period yet."""


class ObjectionUnclear(Invalid):
    """It names neither a line nor a plan and period."""


class ClaimBeside(Invalid):
    """The amount does not hang on what is claimed."""


class AlreadyAnswered(Conflict):
    """An objection is answered once."""


class NotYoursToAnswer(Forbidden):
    """Nobody answers an objection of their own."""


class AmountNotDecided(Invalid):
    """An answer that adjusts says to what."""


def due_at(raised: datetime, hours: Decimal) -> datetime:
    """When an objection is overdue."""
    return raised + timedelta(seconds=int(multiply(hours, Decimal(3600))))


def check_answer(objection: Any, me: str, outcome: str, amount: Decimal | None) -> None:
    """Raises the rule that an answer breaks."""
    if objection.status != "open":
        rule = f"The objection {objection.id} was answered already: {objection.status}."
        raise AlreadyAnswered(rule, field="id", remedy="Object again, if something new is known.")
    if me in (objection.raised_by, objection.payee.removeprefix("person:")):
        rule = "An objection is answered by somebody else than who raised it and who is paid."
        raise NotYoursToAnswer(rule, remedy="Ask a colleague with the role compensation to.")
    if amount is not None and outcome != "adjusted":
        rule = f"An answer that says {outcome} decides no amount."
        raise AmountNotDecided(rule, field="amount", remedy="Leave it out, or send the outcome adjusted.")


def decided(amount: Decimal | None, after: Decimal | None) -> Decimal:
    """The amount that an adjustment comes to. Raises AmountNotDecided."""
    found = after if amount is None else amount
    if found is None:
        rule = "What the claim would come to is not known, so the amount has to be named."
        raise AmountNotDecided(rule, field="amount", remedy="Send the amount that is right.")
    return found
