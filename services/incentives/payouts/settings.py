"""The settings of payees: payment accounts, holds and merges. All are personal."""

from typing import Any

from fastapi import Depends

from shared.configuration import all_in_force, configuration_router
from shared.contracts.payouts import Hold, PayeeMerge, PaymentAccount
from shared.database.unit_of_work import UnitOfWork
from shared.http.context import Context
from shared.http.routing import Router

from .rules import check_account, check_hold, check_merge

PAY = ("compensation", "finance")


def _pay_only(context: Context) -> None:
    context.require(*PAY)


def settings_router() -> Router:
    """Their routes; compensation and finance only, for reading too."""
    router = Router(dependencies=[Depends(_pay_only)])
    router.include_router(configuration_router(PaymentAccount, write_roles=PAY, check=_account))
    router.include_router(configuration_router(Hold, write_roles=PAY, check=_hold))
    router.include_router(configuration_router(PayeeMerge, write_roles=PAY, check=_merge))
    return router


def _account(_uow: UnitOfWork, _company: str, _code: str, new: PaymentAccount, _before: Any) -> None:
    check_account(new)


def _hold(_uow: UnitOfWork, _company: str, _code: str, new: Hold, _before: Any) -> None:
    check_hold(new)


def _merge(uow: UnitOfWork, company: str, code: str, new: PayeeMerge, _before: Any) -> None:
    known = {other: each.content for other, each in all_in_force(uow, PayeeMerge, company).items()}
    check_merge(code, new, known)
