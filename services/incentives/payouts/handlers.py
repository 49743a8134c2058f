"""What was accepted about payout runs: done once when it is accepted, and again where the ledger is rebuilt."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shared.contracts.payouts import (
    PayoutReleased,
    PayoutReversed,
    PayoutSettled,
    RunApproved,
    RunCalculated,
    RunOpened,
    RunRejected,
    RunSubmitted,
)
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Conflict
from shared.service import Received

from . import store
from .steps import released, restated


class RunExists(Conflict):
    """There is a run with that code."""


def opened(uow: UnitOfWork, company: str, event: RunOpened) -> None:
    """Raises RunExists."""
    if not store.open_run(uow, company, event):
        rule = f"There is a payout run {event.run} already."
        raise RunExists(rule, field="code", remedy="Choose another code, or go on with that run.")
    uow.publish(event, company=company, key=event.run)


def settled(uow: UnitOfWork, company: str, event: PayoutSettled) -> list[int]:
    """Which lines were paid."""
    uow.lock_company(company)
    paid = store.settle_lines(uow, company, event.run, event.settled, event.day)
    for refused in event.failed:
        store.fail_line(uow, company, event.run, refused.line, refused.reason)
    for returned in event.returned:
        store.return_line(uow, company, event.run, returned.line, returned.reason, event.day)
    if event.others:
        paid += store.settle_lines(uow, company, event.run, None, event.day)
    _settle_run(uow, company, event.run, event.by)
    uow.publish(event, company=company, key=event.run)
    return paid


def reversed_(uow: UnitOfWork, company: str, event: PayoutReversed) -> bool:
    """Whether the line could be taken back."""
    if not store.reverse_line(uow, company, event.run, event.line, event.reason, event.day):
        return False
    _settle_run(uow, company, event.run, event.by)
    uow.publish(event, company=company, key=event.run)
    return True


def _settle_run(uow: UnitOfWork, company: str, code: str, by: str) -> None:
    run = store.get(uow, company, code)
    if run.status == "released" and not store.unanswered(uow, company, code):
        store.move(uow, run, "settled", "settled", by)


def _released_again(uow: UnitOfWork, company: str, event: PayoutReleased) -> None:
    store.insert_released(uow, company, event)
    store.release_lines(uow, company, event.run, event.lines[0].line, event.lines[-1].line)
    uow.publish(event, company=company, key=event.run)
    if event.last:
        run = store.get(uow, company, event.run)
        total = uow.value(
            "SELECT coalesce(sum(amount), 0) FROM payout_line WHERE company = :c AND run = :r AND account = 'payable'",
            c=company, r=event.run,
        )  # fmt: skip
        last = event.lines[-1].line
        store.progress(uow, run, None, last, lines=last, total=total, hash=event.hash, released_by=event.by,
                       released_on=event.day)  # fmt: skip
        released(uow, company, store.get(uow, company, event.run))


def _noted_again(uow: UnitOfWork, company: str, event: Any) -> None:
    """A run that was not released yet is a draft again: its lines are made from what is known then."""
    uow.publish(event, company=company, key=event.run)


_AGAIN: Mapping[type[Any], Callable[[UnitOfWork, str, Any], Any]] = {
    RunOpened: opened, RunCalculated: restated, RunSubmitted: _noted_again, RunApproved: _noted_again,
    RunRejected: _noted_again,
    PayoutReleased: _released_again, PayoutSettled: settled, PayoutReversed: reversed_,
}  # fmt: skip


def accepted_again(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """What was accepted once, where databases are rebuilt."""
    for received in events:
        uow.lock_company(received.company)
        _AGAIN[type(received.event)](uow, received.company, received.event)


ACCEPTED = dict.fromkeys(_AGAIN, accepted_again)
