"""Awards over HTTP: they are personal amounts, so they are shown to those who pay and check."""

from collections.abc import Sequence

from fastapi import Depends

from shared.configuration import configuration_router
from shared.contracts.incentives import Award
from shared.database.unit_of_work import UnitOfWork
from shared.http.routing import Router
from shared.service import Received

from ..access import require_pay_role
from ..drivers.rules import period_kind
from ..entitlements.touched import hang, touch
from ..plans.store import check_code
from ..policies import policy
from .rules import Range, check_award, keys_of


def check(uow: UnitOfWork, company: str, code: str, new: Award, _before: Award | None) -> None:
    """Raises the rule that a new version of an award breaks."""
    bounds = (policy(uow, company, f"strategic_award_{end}", new.effective_from) for end in ("lowest", "highest"))
    check_award(new, Range(*bounds))
    check_code(uow, company, new, code)


def note_awards(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Remembers what an award hangs on, and that it was changed."""
    for received in events:
        award, code = received.event.content, received.event.code
        hang(uow, received.company, code, period_kind(award.period), keys_of(award))
        touch(uow, received.company, code, award.effective_from)


router = Router(dependencies=[Depends(require_pay_role)])
router.include_router(configuration_router(Award, write_roles=("compensation",), check=check))
