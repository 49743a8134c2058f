"""Entitlements in the database: frozen when a period closes, restated when what they are made from has moved."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.periods import Period, parse_period

from ..accruals.store import Book, calendar_of
from ..drivers.store import settle
from .compute import Computed, Due, due_of, gone, own_values, portions, template
from .steps import Program
from .touched import moved

_COLUMNS = ("company", "period", "plan", "payee", "version", "amount", "currency", "content", "change", "latest")


@dataclass(frozen=True, slots=True)
class Change:
    """A version that a restatement made; `before` is 0 where somebody had nothing before [currency]."""

    period: str
    plan: str
    payee: str
    version: int
    currency: str
    before: Decimal
    after: Decimal


def freeze(uow: UnitOfWork, company: str, period: Period) -> None:
    """Version 1 of every entitlement of a period, when incentives closes it; a frozen period stays as it is."""
    settle(uow)
    change = uow.lock_company(company)
    if uow.value(
        "SELECT EXISTS (SELECT 1 FROM frozen WHERE company = :company AND period = :label AND plan = '')",
        company=company, label=period.label,
    ):  # fmt: skip
        return
    book = Book(uow, company, calendar_of(uow, company), period)
    for due in due_of(book):
        writer = _Writer(uow, company, period.label, due, change)
        for part in portions(due.compute(None, None)):
            writer.first(part)
        _frozen(uow, company, period, due.code, change)
    _frozen(uow, company, period, "", change)


def restate(uow: UnitOfWork, company: str, upto: Period) -> list[Change]:
    """Computes again what has moved in the closed periods that end no later than a run's period, the run's among them.

    A version is written where the amount or what it is made from differs; nothing else is touched.
    """
    settle(uow)
    change, made = uow.lock_company(company), list[Change]()
    calendar = calendar_of(uow, company)
    for closed in _closed(uow, company, upto):
        period = parse_period(calendar, closed.period)
        book = Book(uow, company, calendar, period)
        since = _computed_upto(uow, company, period.label)
        dues = list(due_of(book, (upto.end - period.end).days))
        for due in dues:
            made += _restate(uow, book, due, since.pop(due.code, None), change)
        for code in sorted(since):
            made += _withdraw(uow, book, code, change)
    return made


def _restate(uow: UnitOfWork, book: Book, due: Due, since: int | None, change: int) -> Iterator[Change]:
    company, label = book.company, book.period.label
    payees: Sequence[str] | None = None
    if since is not None:
        found = moved(uow, company, label, due.watched, due.keys, since)
        if not found.everybody and not found.payees:
            return
        payees = sorted(found.payees) if due.alone and not found.everybody else None
    writer, seen = _Writer(uow, company, label, due, change), set[str]()
    held = amounts(uow, company, label, due.code, payees) if due.late else None
    for part in portions(due.compute(payees, held)):
        seen |= {one.payee for one in part}
        yield from writer.next(part)
    left = amounts(uow, company, label, due.code, payees, but=seen)
    yield from writer.next([gone(payee) for payee in left])
    _frozen(uow, company, book.period, due.code, change)


def _withdraw(uow: UnitOfWork, book: Book, code: str, change: int) -> Iterator[Change]:
    """A plan, pool or award that does not count in a period any more."""
    company, label = book.company, book.period.label
    if held := amounts(uow, company, label, code, None, but=()):
        currency = next(iter(latest(uow, company, label, code, [min(held)]).values())).currency
        writer = _Writer(uow, company, label, _Gone(code, currency), change)
        yield from writer.next([gone(payee) for payee in sorted(held)])


@dataclass(frozen=True, slots=True)
class _Gone:
    code: str
    currency: str


@dataclass
class _Writer:
    """Writes versions of a plan's entitlements in a period; what many share is written once."""

    uow: UnitOfWork
    company: str
    period: str
    due: "Due | _Gone"
    change: int
    _known: dict[int, tuple[str, Program]] = field(default_factory=dict)

    def first(self, part: Sequence[Computed]) -> None:
        self._write([(one, 1, self._content(one)) for one in part])

    def next(self, part: Sequence[Computed]) -> list[Change]:
        """Writes those that differ from their latest version."""
        fresh = []
        before = latest(self.uow, self.company, self.period, self.due.code, [one.payee for one in part])
        for one in part:
            row, content = before.get(one.payee), self._content(one)
            if row is None or (row.amount, row.content) != (one.amount, content):
                fresh.append((one, row.version + 1 if row else 1, content))
        self.uow.run(
            "UPDATE entitlement SET latest = false WHERE company = :company AND period = :period AND plan = :plan "
            "AND payee = ANY(:payees) AND latest",
            company=self.company, period=self.period, plan=self.due.code,
            payees=[one.payee for one, version, _ in fresh if version > 1],
        )  # fmt: skip
        self._write(fresh)
        return [
            Change(
                self.period, self.due.code, one.payee, version, self.due.currency,
                before[one.payee].amount if version > 1 else Decimal(0), one.amount,
            )
            for one, version, _ in fresh
        ]  # fmt: skip

    def _write(self, rows: Sequence[tuple[Computed, int, dict[str, Any]]]) -> None:
        self.uow.copy("entitlement", _COLUMNS, (
            (self.company, self.period, self.due.code, one.payee, version, one.amount, self.due.currency,
             Jsonb(content), self.change, True) for one, version, content in rows
        ))  # fmt: skip

    def _content(self, one: Computed) -> dict[str, Any]:
        return {"calculation": self._calculation(one.program), "given": own_values(one.givens)}

    def _calculation(self, program: Program) -> str:
        # The program is kept beside its hash, so that its identity stays its own.
        if id(program) not in self._known:
            name, steps = template(program)
            self.uow.run(
                "INSERT INTO calculation (company, id, steps) VALUES (:company, :id, :steps) ON CONFLICT DO NOTHING",
                company=self.company, id=name, steps=steps,
            )  # fmt: skip
            self._known[id(program)] = name, program
        return self._known[id(program)][0]


def latest(uow: UnitOfWork, company: str, period: str, plan: str, payees: Sequence[str]) -> dict[str, Any]:
    """The latest version of the entitlements of some payees."""
    rows = uow.rows(
        "SELECT payee, version, amount, currency, content FROM entitlement WHERE company = :company "
        "AND period = :period AND plan = :plan AND latest AND payee = ANY(:payees)",
        company=company, period=period, plan=plan, payees=payees,
    )  # fmt: skip
    return {row.payee: row for row in rows}


def amounts(
    uow: UnitOfWork, company: str, period: str, plan: str, payees: Sequence[str] | None, but: Collection[str] = ()
) -> dict[str, Decimal]:
    """What payees are entitled to at the latest, where that is not nothing; of `payees` only those, where given."""
    rows = uow.rows(
        "SELECT payee, amount FROM entitlement WHERE company = :company AND period = :period AND plan = :plan "
        "AND latest AND amount <> 0 AND (CAST(:payees AS text[]) IS NULL OR payee = ANY(:payees)) ORDER BY payee",
        company=company, period=period, plan=plan, payees=payees,
    )  # fmt: skip
    return {row.payee: row.amount for row in rows if row.payee not in but}


def _frozen(uow: UnitOfWork, company: str, period: Period, plan: str, change: int) -> None:
    uow.run(
        "INSERT INTO frozen (company, period, plan, starts, ends, kind, change) "
        "VALUES (:company, :period, :plan, :starts, :ends, :kind, :change) "
        "ON CONFLICT (company, period, plan) DO UPDATE SET change = excluded.change",
        company=company, period=period.label, plan=plan, starts=period.start, ends=period.end, kind=period.kind,
        change=change,
    )  # fmt: skip


def _closed(uow: UnitOfWork, company: str, upto: Period) -> Sequence[Any]:
    return uow.rows(
        "SELECT period FROM frozen WHERE company = :company AND plan = '' AND ends <= :end ORDER BY ends, period",
        company=company, end=upto.end,
    )  # fmt: skip


def _computed_upto(uow: UnitOfWork, company: str, period: str) -> dict[str, int]:
    """By plan, pool or award, the change up to which it was computed."""
    rows = uow.rows(
        "SELECT plan, change FROM frozen WHERE company = :company AND period = :period AND plan <> ''",
        company=company, period=period,
    )  # fmt: skip
    return {row.plan: row.change for row in rows}
