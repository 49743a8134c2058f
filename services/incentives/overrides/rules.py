"""What holds for a decision on one amount."""

from collections.abc import Iterable
from datetime import date

from services.incentives.plans.rules import amount_faults
from shared.contracts.incentives import Override
from shared.errors import Conflict, Invalid
from shared.periods import Calendar, Period, parse_period


class OverrideWithoutReason(Invalid):
    """An amount is decided by hand only with a reason."""


class NothingToOverride(Invalid):
    """No plan, pool or award has that code."""


class OverriddenTwice(Conflict):
    """Two decisions on one amount."""


def check_override(override: Override, currency: str | None) -> None:
    """Raises the first broken rule of an override; `currency`: of what it overrides, None where that does not exist."""
    if not (override.reason and override.reason.strip()):
        rule = "Whoever decides an amount by hand says why."
        raise OverrideWithoutReason(rule, field="reason", remedy="Give the reason; the payee's statement shows it.")
    if currency is None:
        rule = f"There is no plan, pool or award {override.plan}."
        raise NothingToOverride(rule, field="plan", remedy="Correct the code.")
    for fault in amount_faults(currency, {"amount": override.amount}):
        raise fault


def check_alone(calendar: Calendar, code: str, new: Override, others: Iterable[tuple[str, Override]]) -> None:
    """Raises OverriddenTwice where another override of the payee and plan holds for one of the periods."""
    first, end = span(calendar, new)
    for other_code, other in others:
        alike = (other.payee, other.plan) == (new.payee, new.plan) and other.amount is not None
        if other_code == code or not alike or new.amount is None:
            continue
        theirs, until = span(calendar, other)
        if theirs.kind == first.kind and first.start < until and theirs.start < end:
            rule = f"{other_code} decides the amount of {new.payee} from {new.plan} already."
            raise OverriddenTwice(
                rule, field="period", remedy=f"Withdraw {other_code}, or change it.", other=other_code
            )


def span(calendar: Calendar, override: Override) -> tuple[Period, date]:
    """The first period an override holds for, and the day after the last day it can end on."""
    first = parse_period(calendar, override.period)
    until = override.until
    return first, first.end if until is None or until < first.end else until


def holds(override: Override, calendar: Calendar, period: Period) -> bool:
    """Whether an override is about a period: its first, and later ones of the same kind that end by `until`."""
    first = parse_period(calendar, override.period)
    if first.kind != period.kind or period.start < first.start:
        return False
    return period.start == first.start or (override.until is not None and (period.end - override.until).days <= 1)
