"""Who may see a personal amount: the person, those above them, and the roles that pay and check."""

from datetime import date

from shared.configuration import in_force
from shared.contracts.goals import Unit
from shared.errors import Forbidden
from shared.http.context import RequestContext
from shared.organisation import head, manages, path_up

PAY_ROLES = frozenset({"admin", "compensation", "finance", "auditor"})


class PersonalAmount(Forbidden):
    """The caller may not see the amounts of this person or unit."""


def may_see_all(context: RequestContext) -> bool:
    """Whether the caller's roles show every amount."""
    return bool(context.principal.roles & PAY_ROLES)


def require_person(context: RequestContext, person: str, day: date) -> None:
    """The caller is the person, manages them on that day, or has a role that pays.

    Raises:
        PersonalAmount: the same words whether the person exists or not.
    """
    context.require_reader()
    me = context.principal.subject
    if may_see_all(context) or me == person or manages(context.uow, context.company, me, person, day):
        return
    raise _hidden()


def require_unit(context: RequestContext, unit: str, day: date) -> None:
    """The caller heads the unit or one above it, manages its head, or has a role that pays.

    Raises:
        PersonalAmount: the same words whether the unit exists or not.
    """
    context.require_reader()
    if not may_see_all(context) and not _answers_for(context, unit, day):
        raise _hidden()


def _answers_for(context: RequestContext, unit: str, day: date) -> bool:
    uow, company, me = context.uow, context.company, context.principal.subject
    for subject in path_up(uow, company, f"unit:{unit}", day):
        above = in_force(uow, Unit, company, subject.split(":", 1)[1], day)
        if above and above.content.head == me:
            return True
    responsible = head(uow, company, f"unit:{unit}", day)
    return responsible is not None and manages(uow, company, me, responsible, day)


def _hidden() -> PersonalAmount:
    return PersonalAmount(
        "Personal amounts are shown to the person, to those above them, and to compensation, finance and audit.",
        remedy="Ask for your own, or ask somebody who may see it.",
    )
