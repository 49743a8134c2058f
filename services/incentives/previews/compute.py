"""What commands and events would change in what people are entitled to: the difference of two computations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from shared.configuration import decode, history
from shared.contracts.incentives import Assignment, Award, DriverChanged, IncentivesPolicy, Override, Plan, Pool
from shared.contracts.metrics import Rate
from shared.database.unit_of_work import UnitOfWork
from shared.rehearsal import Asked, finish, play, rolled_back

from ..accruals.store import Book, book
from ..entitlements.compute import Due, due_of
from ..entitlements.store import amounts
from ..plans.rules import OWN, DriverKey
from .rules import Moved

_BY_CODE: dict[str, Any] = {kind.TYPE: kind for kind in (Plan, Pool, Award)}
_BY_PLAN: dict[str, Any] = {kind.TYPE: kind for kind in (Assignment, Override)}


@dataclass(frozen=True, slots=True)
class Concerned:
    """What a change may move: everything, plans, pools and awards by code, and all that hangs on drivers."""

    everything: bool
    codes: frozenset[str]
    drivers: frozenset[DriverKey]

    def holds(self, due: Due) -> bool:
        return self.everything or bool(self.codes & set(due.watched)) or bool(self.drivers & due.keys)


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


def compare(uow: UnitOfWork, company: str, asked: Asked, period: str, only: tuple[str, str] | None = None) -> Outcome:
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
    concerned = replace(concerned, codes=concerned.codes | after.keys())
    return Outcome(_paid(uow, company, period, concerned, only), after)


def _paid(
    uow: UnitOfWork, company: str, period: str, concerned: Concerned, only: tuple[str, str] | None
) -> dict[str, Amounts]:  # fmt: skip
    """As closing now would entitle; of a closed period, as the next restatement would."""
    found, payees = book(uow, company, period), [only[1]] if only else None
    paid = {}
    for due in due_of(found, _days_since(uow, found)):
        if due.code == only[0] if only else concerned.holds(due):
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
    everything, codes, drivers = any(told.type == Rate.TYPE for told in asked.records), set[str](), set[DriverKey]()
    for event in uow.outgoing:
        if kind := _BY_CODE.get(event.type):
            codes.add(decode(kind, event.data).code)
        elif kind := _BY_PLAN.get(event.type):
            versions = history(uow, kind, company, decode(kind, event.data).code)
            codes |= {each.content.plan for each in versions}
        elif event.type == DriverChanged.TYPE:
            drivers |= _keys(DriverChanged.model_validate_json(event.data), period)
        everything = everything or event.type == IncentivesPolicy.TYPE
    return Concerned(everything, frozenset(codes), frozenset(drivers))


def _keys(driver: DriverChanged, period: str) -> set[DriverKey]:
    """The driver by its subject and, of a person's own, as plans name it."""
    if driver.period != period:
        return set()
    subject = driver.subject or ""
    subjects: Sequence[str] = (subject, OWN) if subject.startswith("person:") else (subject,)
    return {DriverKey(driver.kind, driver.code, each) for each in subjects}
