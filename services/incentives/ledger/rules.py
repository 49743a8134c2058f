"""From what somebody is entitled to, and what is booked already, to postings. The ledger's SQL says the same in bulk.

Balances are credits less debits. `payable`, `held` and `paid` are never negative; `carried` is, where
the payee owes; the others are costs and advances. All but `expense` and `clawback` together hold
what is booked of the entitlement.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import get_args

from shared.contracts.payouts import Account
from shared.errors import Invalid
from shared.numbers import add, multiply, subtract, total

ACCOUNTS: tuple[Account, ...] = get_args(Account)
ZERO = Decimal(0)
NEVER_NEGATIVE: tuple[Account, ...] = ("payable", "held", "paid")
DUE: tuple[Account, ...] = ("payable", "held", "carried")
Balances = dict[Account, Decimal]
"""The accounts of a payee and plan: credits less debits of each kind."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a payee's accounts of a plan hold before a line; `payable` without what is on its way to the bank.

    `carried` below zero is owed by the payee; `draw` is an outstanding advance, below zero where one was recovered that
    was then reversed; `expense` is what was accrued [the run's currency].
    """

    payable: Decimal = ZERO
    held: Decimal = ZERO
    carried: Decimal = ZERO
    draw: Decimal = ZERO
    expense: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Terms:
    """What a line is subject to.

    Args:
        hold: why nothing is paid at present, or None.
        minimum: amounts above zero and below it are carried on.
        draw: what is at least paid for the period, advanced where less is due; 0 for none.
        recoverable: whether later amounts above their draw pay the advance back.
    """

    hold: str | None = None
    minimum: Decimal = ZERO
    draw: Decimal = ZERO
    recoverable: bool = True


@dataclass(frozen=True, slots=True)
class Figures:
    """What a line books: the difference of entitlement, advances, and to which account the amount goes."""

    difference: Decimal
    advance: Decimal
    granted: Decimal
    recovered: Decimal
    clawed_back: Decimal
    account: Account
    amount: Decimal
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Booking:
    """One posting. `debtor` and `creditor` are whose accounts they are, where not the line's payee's."""

    debit: Account
    credit: Account
    amount: Decimal
    cause: str
    debtor: str | None = None
    creditor: str | None = None


def figures(difference: Decimal, opening: Opening, terms: Terms) -> Figures:
    """What becomes of the difference between what a payee is entitled to and what is booked.

    Everything due comes together and goes to one account: what is negative or below the minimum is carried, what is
    on hold is held, all else is payable. What is taken back undoes expense that was not paid yet; the rest is clawed
    back.
    """
    returned = max(opening.draw.copy_negate(), ZERO)
    available = total((opening.payable, opening.held, opening.carried, difference, returned))
    short = max(subtract(terms.draw, available), ZERO) if terms.draw else ZERO
    advance, granted = (add(short, returned), ZERO) if terms.recoverable else (returned, short)
    recovered = min(max(opening.draw, ZERO), max(subtract(available, terms.draw), ZERO))
    amount = subtract(add(available, short), recovered)
    unpaid = total((opening.payable, opening.held, max(opening.carried, ZERO)))
    clawed_back = max(subtract(difference.copy_negate(), min(unpaid, max(opening.expense, ZERO))), ZERO)
    account, why = _account(amount, terms)
    return Figures(difference, advance, granted, recovered, clawed_back, account, amount, why)


def _account(amount: Decimal, terms: Terms) -> tuple[Account, str | None]:
    if amount < 0:
        return "carried", "More was paid than is due."
    if terms.hold is not None and amount > 0:
        return "held", terms.hold
    if amount < terms.minimum:
        return "carried", "Below the minimum payout."
    return "payable", None


def postings(opening: Opening, made: Figures) -> list[Booking]:
    """The postings of a line; credits of the account that gathers all come before its debits."""
    to, less = made.account, max(made.difference.copy_negate(), ZERO)
    others = [(kind, getattr(opening, kind)) for kind in DUE if kind != to]
    found = [
        Booking("expense", to, max(made.difference, ZERO), "entitled"),
        *(Booking(kind, to, amount, "gathered") for kind, amount in others),
        Booking("draw", to, made.advance, "advance"),
        Booking("grant", to, made.granted, "advance"),
        *(Booking(to, kind, amount.copy_negate(), "gathered") for kind, amount in others),
        Booking(to, "expense", subtract(less, made.clawed_back), "entitled to less"),
        Booking(to, "clawback", made.clawed_back, "clawed back"),
        Booking(to, "draw", made.recovered, "advance recovered"),
    ]
    return [booking for booking in found if booking.amount > 0]


def taken_over(payee: str, had: Opening) -> list[Booking]:
    """The postings by which another payee's accounts pass to the one that `payee` turned out to be."""
    kinds: tuple[Account, ...] = (*DUE, "draw", "expense")
    signed = [(k, multiply(getattr(had, k), Decimal(1 if k in DUE else -1))) for k in kinds]
    return [
        Booking(kind, kind, amount.copy_abs(), "merged", payee if amount > 0 else None, payee if amount < 0 else None)
        for kind, amount in signed
        if amount
    ]


def reversal(made: Sequence[Booking], paid: Decimal) -> list[Booking]:
    """Takes back what a line booked; what was paid meanwhile is owed.

    Args:
        paid: what the bank has paid of it.
    """
    back = [
        replace(one, debit=one.credit, credit=one.debit, debtor=one.creditor, creditor=one.debtor, cause="reversed")
        for one in made
    ]
    return [*back, Booking("carried", "payable", paid, "paid before it was reversed")] if paid else back


def after(balances: Balances, bookings: Iterable[Booking]) -> Balances:
    """The balances of a payee after postings between that payee's own accounts."""
    changed = {kind: balances.get(kind, ZERO) for kind in ACCOUNTS}
    for booking in bookings:
        if booking.debtor is None:
            changed[booking.debit] = subtract(changed[booking.debit], booking.amount)
        if booking.creditor is None:
            changed[booking.credit] = add(changed[booking.credit], booking.amount)
    return changed


def booked(balances: Balances) -> Decimal:
    """What is booked of the entitlement: accrued expense less what was clawed back."""
    return add(balances["expense"], balances["clawback"]).copy_negate()


class MappingIncomplete(Invalid):
    """The accounts of the general ledger are not named for every kind of account."""


def read_mapping(text: str) -> dict[str, str]:
    """Which account of the general ledger stands for each kind. Raises MappingIncomplete."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, dict) and found.keys() == set(ACCOUNTS) and all(isinstance(v, str) for v in found.values()):
        return found
    rule = f"It is a JSON object that names an account, as text, for each of {', '.join(ACCOUNTS)}."
    raise MappingIncomplete(rule, field="value", remedy='Send it like {"expense": "6601", …}.')
