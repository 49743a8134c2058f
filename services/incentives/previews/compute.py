"""What commands and events would change in what people are entitled to: the difference of two computations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from shared.configuration import decode, history
from shared.contracts.incentives import Assignment, Award, DriverChanged, IncentivesPolicy, Override, Plan, Pool
from shared.contracts.metrics import Rate
from shared.database.unit_of_work import UnitOfWork
from shared.log.append import Outgoing
from shared.rehearsal import Asked, finish, play, rolled_back

from ..accruals.store import Book, book
from ..entitlements.compute import Due, due_of
from ..entitlements.store import amounts
from ..plans.rules import OWN, DriverKey
from .rules import Moved

_WHOLE: dict[str, Any] = {kind.TYPE: kind for kind in (Plan, Pool, Award)}


@dataclass(frozen=True)
class Concerned:
    """What a change may move: all; plans, pools and awards by code; payees of some; what hangs on drivers."""

    everything: bool = False
    codes: set[str] = field(default_factory=set)
    payees: set[tuple[str, str]] = field(default_factory=set)
    drivers: set[DriverKey] = field(default_factory=set)

    def payees_of(self, due: Due) -> list[str] | None:
        """Whose amounts may move: None for everybody's."""
        if self.everything or self.codes & set(due.watched) or self.drivers & due.keys:
            return None
        found = {payee for code, payee in self.payees if code == due.code}
        found |= {one.subject for one in self.drivers if DriverKey(one.kind, one.code, OWN) in due.keys}
        return None if found and not due.alone else sorted(found)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a plan, pool or award pays in a period, by payee [currency]."""

    currency: str
    by_payee: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is paid before and after, by code; of what a change cannot move, nothing."""

    before: Mapping[str, Amounts]
    after: Mapping[str, Amounts]

    def payees(self) -> Iterator[Moved]:
        """Everybody in what may move, by plan and payee."""
        for code in sorted(self.before.keys() | self.after.keys()):
            old, new = self.before.get(code), self.after.get(code)
            currency = (new or old).currency  # type: ignore[union-attr]  # one of the two has it
            olds, news = old.by_payee if old else {}, new.by_payee if new else {}
            for payee in sorted(olds.keys() | news.keys()):
                yield Moved(payee, code, currency, olds.get(payee, Decimal(0)), news.get(payee, Decimal(0)))


def compare(
    uow: UnitOfWork, company: str, asked: Asked, period: str, only: tuple[str, str] | None = None
) -> Outcome:  # fmt: skip
    """Computes a period after the change and, that taken back, before it; only what the change may move.

    Args:
        uow: one that is rolled back and holds the company's lock.
        only: a plan, pool or award and a payee of it: these alone are computed, whether they may move or not.
    """
    with rolled_back(uow) as supposed:
        play(supposed, company, asked)
        finish(supposed)
        concerned = _concerned(supposed, company, asked, period)
        after = _paid(supposed, company, period, concerned, only)
    return Outcome(_paid(uow, company, period, concerned, only), after)


def _paid(
    uow: UnitOfWork, company: str, period: str, concerned: Concerned, only: tuple[str, str] | None
) -> dict[str, Amounts]:
    """As closing now would entitle; of a closed period, as the next restatement would."""
    found = book(uow, company, period)
    paid = {}
    for due in due_of(found, _days_since(uow, found)):
        payees = concerned.payees_of(due) if only is None else [only[1]] if only[0] == due.code else []
        if payees is None or payees:
            held = amounts(uow, company, period, due.code, payees) if due.late else None
            computed = due.compute(payees, held)
            paid[due.code] = Amounts(due.currency, {one.payee: one.amount for one in computed})
    return paid


def _days_since(uow: UnitOfWork, found: Book) -> int:
    """From the period's end to that of the last closed one, by which a run would be made [days]; 0 while it is open."""
    last = uow.value(
        "SELECT max(ends) FROM frozen WHERE company = :company AND plan = '' AND kind = :kind",
        company=found.company, kind=found.period.kind,
    )  # fmt: skip
    return max((last - found.period.end).days, 0) if last else 0


def _concerned(uow: UnitOfWork, company: str, asked: Asked, period: str) -> Concerned:
    """By what the transaction would publish, and by the rates that it was told of."""
    types = {event.type for event in uow.outgoing} | {told.type for told in asked.records}
    found = Concerned(bool(types & {Rate.TYPE, IncentivesPolicy.TYPE}))
    for event in uow.outgoing:
        if kind := _WHOLE.get(event.type):
            found.codes.add(decode(kind, event.data).code)
        elif event.type in (Assignment.TYPE, Override.TYPE):
            found.payees.update(_whose(uow, company, event))
        elif event.type == DriverChanged.TYPE:
            driver = DriverChanged.model_validate_json(event.data)
            if driver.period == period:
                found.drivers.add(DriverKey(driver.kind, driver.code, driver.subject or ""))
    return found


def _whose(uow: UnitOfWork, company: str, event: Outgoing) -> Iterator[tuple[str, str]]:
    """Plan and payee of every version of an assignment or override: one that moves on moves both."""
    if event.type == Assignment.TYPE:
        for mine in history(uow, Assignment, company, decode(Assignment, event.data).code):
            yield mine.content.plan, f"person:{mine.content.person}"
    else:
        for decided in history(uow, Override, company, decode(Override, event.data).code):
            yield decided.content.plan, decided.content.payee
