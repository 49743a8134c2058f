"""Computes what everybody is entitled to from a plan, a pool or an award in a period, portion by portion."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from typing import Any

from shared.configuration import Recorded, all_in_force
from shared.contracts.incentives import Award, Plan, Pool
from shared.database.unit_of_work import Jsonb
from shared.numbers import INTEGER_DIGITS

from ..accruals.definitions import OUT_OF_RANGE, Person, Value
from ..accruals.store import Book, PlanInPeriod
from ..assignments.rules import last_day
from ..awards.rules import award_shared, keys_of
from ..plans.rules import OWN, DriverKey, drivers_of
from ..pools.rules import Shared
from .steps import Draft, Given, Program, Step, text_of

PORTION = 2_000  # people at once: with more alive, collecting garbage takes longer than the computation
LIMIT = Decimal(1).scaleb(INTEGER_DIGITS)


@dataclass(frozen=True, slots=True)
class Computed:
    """What somebody is entitled to [currency], and the values of their own in the program that says so."""

    payee: str
    amount: Decimal
    program: Program
    givens: Sequence[Given]


@dataclass(frozen=True)
class DuePlan:
    """A plan: its people, and whoever an override names.

    Args:
        late: whether the plan's window for taking back is over.
    """

    book: Book
    found: Recorded[Plan]
    late: bool = False

    @property
    def code(self) -> str:
        return self.found.code

    @property
    def currency(self) -> str:
        return self.found.content.currency

    @property
    def watched(self) -> Sequence[str]:
        """The plan, and the pool it is paid from."""
        budget = self.found.content.budget
        return [self.code, budget.pool] if budget and budget.pool else [self.code]

    @property
    def alone(self) -> bool:
        """Whether each person's amount is a matter of its own."""
        return self.found.content.budget is None

    @property
    def keys(self) -> set[DriverKey]:
        plans = [segment.plan for segment in self.book.segments(self.code, self.found)]
        drivers = [driver for plan in plans for driver in drivers_of(plan)]
        budget = self.found.content.budget
        if budget and budget.pool and (pool := self.book.pool_setting(budget.pool)):
            drivers += pool_drivers(pool.content)
        return {DriverKey.of(driver) for driver in drivers}

    def compute(self, payees: Sequence[str] | None, before: Mapping[str, Decimal] | None) -> Iterator[Computed]:
        plan = self.book.plan(self.code, self.found)
        for person in _everybody(plan, payees):
            computed = _computed(plan, person)
            held = before.get(person.payee) if before and self.late else None
            if held is not None and computed.amount < held and person.override is None:
                computed = _computed(plan, replace(person, kept=held))
            yield computed


@dataclass(frozen=True)
class DueShared:
    """A pool or an award: its participants."""

    book: Book
    code: str
    shared: Shared
    keys: set[DriverKey]
    alone: bool = False
    late: bool = False

    @property
    def currency(self) -> str:
        return self.shared.currency

    @property
    def watched(self) -> Sequence[str]:
        return [self.code]

    def compute(self, payees: Sequence[str] | None, before: Mapping[str, Decimal] | None) -> Iterator[Computed]:
        overrides = self.book.overrides.get(self.code, {})
        for payee in sorted({*self.shared.payees(), *overrides}):
            draft, payable = Draft(), False
            if payee in self.shared.payees():
                draft, payable = self.shared.part(payee)
            if override := overrides.get(payee):
                amount, cite, how = override
                draft.given("override", "Override", amount, how, *([cite] if cite else []))
            yield _finished(payee, Program(draft.steps, draft.missing, payable=payable or override is not None), [])


Due = DuePlan | DueShared


def due_of(book: Book, upto_days: int = 0) -> Iterator[Due]:
    """Everything that pays in a period.

    Args:
        upto_days: how long ago the period ended, for the windows of plans [days].
    """
    for found in book.paying().values():
        window = found.content.clawback_days
        yield DuePlan(book, found, window is not None and upto_days > window)
    for code, pool in all_in_force(book.uow, Pool, book.company, last_day(book.period)).items():
        if pool.content.period == book.period.kind and pool.content.participants and (made := book.pool(code)):
            yield DueShared(book, code, made[1], {DriverKey.of(driver) for driver in pool_drivers(pool.content)})
    for code, award in all_in_force(book.uow, Award, book.company, last_day(book.period)).items():
        if award.content.period == book.period.label:
            shared = award_shared(code, award.version, award.content, book.values(award_drivers(award.content)))
            yield DueShared(book, code, shared, keys_of(award.content))


def pool_drivers(pool: Pool) -> list[Any]:
    """What a pool hangs on."""
    return [pool.driver, *([pool.condition.driver] if pool.condition else [])]


def award_drivers(award: Award) -> list[Any]:
    """What an award hangs on."""
    return [driver for driver in (award.count, award.condition and award.condition.driver) if driver]


def _everybody(plan: PlanInPeriod, payees: Sequence[str] | None) -> Iterator[Person]:
    """The plan's people, and those without an assignment for whom an amount was decided."""
    codes = None if payees is None else [payee.removeprefix("person:") for payee in payees]
    overrides = dict(plan.book.overrides.get(plan.code, {}))
    for person in plan.people(codes):
        overrides.pop(person.payee, None)
        yield person
    for payee, override in sorted(overrides.items()):
        if payees is None or payee in payees:
            lacking = {key: Value(None) for key in plan.terms.values if key.subject == OWN}
            yield Person(payee, (), lacking, override)


def _computed(plan: PlanInPeriod, person: Person) -> Computed:
    program = plan.calculator.program(person)
    givens = [person.cited(source, plan.terms.period) for source in program.sources]
    return _finished(person.payee, program, givens)


def _finished(payee: str, program: Program, givens: Sequence[Given]) -> Computed:
    """The amount; 0, with the reason as its last step, where it is not known or out of range."""
    amount = program.run([given[0] for given in givens])
    if amount is not None and -LIMIT < amount < LIMIT:
        return Computed(payee, amount, program, givens)
    return Computed(payee, Decimal(0), _nothing(program, OUT_OF_RANGE if amount is not None else None), givens)


@lru_cache(maxsize=256)
def _nothing(program: Program, reason: str | None) -> Program:
    how = reason or "too little is known: nothing is paid until it is"
    last = Step("nothing", "Nothing yet", "constant", ("0",), how)
    return Program([*program.steps, last], [*program.missing, *([reason] if reason else [])])


def gone(payee: str) -> Computed:
    """Somebody who is entitled to nothing any more."""
    how = "no assignment, share or override counts any more"
    return Computed(payee, Decimal(0), Program([Step("nothing", "Nothing", "constant", ("0",), how)]), [])


def template(program: Program) -> tuple[str, Jsonb]:
    """A program as it is kept for all who share it: its hash, and its steps; what is a person's own has no value."""
    steps = [step.as_json() for step in program.steps]
    text = json.dumps(steps, sort_keys=True, ensure_ascii=False)
    return sha256(text.encode()).hexdigest()[:32], Jsonb(steps)


def own_values(givens: Sequence[Given]) -> list[Any]:
    """What `content.given` keeps of a person's own values: plain text, or that with its citation and words."""
    return [
        [text_of(value), cite.model_dump(exclude_none=True) if cite else None, how] if cite or how else text_of(value)
        for value, cite, how in givens
    ]


def portions(computed: Iterable[Computed]) -> Iterator[list[Computed]]:
    """Some at a time."""
    source = iter(computed)
    while part := list(islice(source, PORTION)):
        yield part
