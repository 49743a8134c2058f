"""Who may see a personal amount: the person, those above them, and the roles that pay and check."""

from datetime import UTC, date, datetime

from shared.configuration import in_force
from shared.contracts.goals import Unit
from shared.errors import Forbidden
from shared.http.context import Context, RequestContext
from shared.organisation import manages, path_up

PAY_ROLES = frozenset({"admin", "compensation", "finance", "auditor"})
DRIVER_ROLES = ("strategist", "analyst", "compensation", "finance", "auditor")


class PersonalAmount(Forbidden):
    """The caller may not see the amounts of this person or unit."""


def may_see_all(context: RequestContext) -> bool:
    """Whether the caller's roles show every amount."""
    return bool(context.principal.roles & PAY_ROLES)


def require_pay_role(context: Context) -> None:
    """The caller may see everybody's amounts, and the settings that name them. Raises PersonalAmount."""
    context.require_reader()
    if not may_see_all(context):
        raise PersonalAmount(
            "Amounts of others are shown to compensation, finance and audit.", remedy="Ask for your own entitlements."
        )


def require_drivers(context: RequestContext) -> None:
    """The caller may see the scores and readings of everybody, people's own among them. Raises RoleMissing."""
    context.require(*DRIVER_ROLES)


def require_visible(context: RequestContext, subject: str, last: date = date.max) -> None:
    """The caller is or manages the person, heads the unit or one above it or manages its head, or has a role that pays.

    Judged as of today, or of `last` where that is over: rights are about now, so no later manager sees anything yet.

    Raises:
        PersonalAmount: the same words whether the person or unit exists or not.
    """
    context.require_reader()
    if not (may_see_all(context) or _answers_for(context, subject, min(last, datetime.now(UTC).date()))):
        raise PersonalAmount(
            "Personal amounts are shown to the person, to those above them, and to compensation, finance and audit.",
            remedy="Ask for your own, or ask somebody who may see it.",
        )


def _answers_for(context: RequestContext, subject: str, day: date) -> bool:
    uow, company, me = context.uow, context.company, context.principal.subject
    kind, code = subject.split(":", 1)
    if kind == "person":
        return me == code or manages(uow, company, me, code, day)
    units = [in_force(uow, Unit, company, node.split(":", 1)[1], day) for node in path_up(uow, company, subject, day)]
    heads = [unit.content.head for unit in units if unit and unit.content.head]
    return bool(heads) and (me in heads or manages(uow, company, me, heads[0], day))
