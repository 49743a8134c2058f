"""Pools over HTTP: who shares in one is personal, so they are shown to those who pay and check."""

from collections.abc import Sequence

from fastapi import Depends

from shared.configuration import configuration_router
from shared.contracts.incentives import Pool
from shared.database.unit_of_work import UnitOfWork
from shared.http.routing import Router
from shared.service import Received

from ..access import require_pay_role
from ..entitlements.compute import pool_drivers
from ..entitlements.touched import hang, touch
from ..plans.rules import DriverKey
from ..plans.store import check_code
from .rules import check_pool


def check(uow: UnitOfWork, company: str, code: str, new: Pool, _before: Pool | None) -> None:
    """Raises the rule that a new version of a pool breaks."""
    check_pool(new)
    check_code(uow, company, new, code)


def note_pools(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Remembers what a pool hangs on, and that it was changed."""
    for received in events:
        pool, code = received.event.content, received.event.code
        hang(uow, received.company, code, pool.period, {DriverKey.of(driver) for driver in pool_drivers(pool)})
        touch(uow, received.company, code, pool.effective_from)


router = Router(dependencies=[Depends(require_pay_role)])
router.include_router(configuration_router(Pool, write_roles=("compensation",), check=check))
