"""Overrides over HTTP: they are personal amounts, so they are shown to those who pay and check."""

from collections.abc import Sequence
from datetime import date

from fastapi import Depends

from shared.configuration import all_in_force, configuration_router, latest
from shared.contracts.incentives import Award, Override, Plan, Pool
from shared.database.unit_of_work import UnitOfWork
from shared.http.routing import Router
from shared.service import Received

from ..access import require_pay_role
from ..accruals.store import calendar_of
from ..entitlements.touched import touch
from .rules import check_alone, check_override

PAYING: tuple[type[Plan] | type[Pool] | type[Award], ...] = (Plan, Pool, Award)


def check(uow: UnitOfWork, company: str, code: str, new: Override, _before: Override | None) -> None:
    """Raises the rule that a new version of an override breaks."""
    found = (latest(uow, kind, company, new.plan) for kind in PAYING)
    check_override(new, next((one.content.currency for one in found if one), None))
    others = all_in_force(uow, Override, company, date.max)
    check_alone(calendar_of(uow, company), code, new, [(key, one.content) for key, one in others.items()])


def note_overrides(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Notes whose amount was decided."""
    for received in events:
        override = received.event.content
        touch(uow, received.company, override.plan, override.effective_from, [override.payee])


router = Router(dependencies=[Depends(require_pay_role)])
router.include_router(configuration_router(Override, write_roles=("compensation",), check=check))
