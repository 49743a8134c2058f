"""What holds for a person's part in a plan."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from services.incentives.plans.rules import check_factor
from shared.contracts.incentives import Assignment, Plan
from shared.errors import Conflict, Invalid
from shared.money import minor_digits, round_money
from shared.numbers import plain
from shared.periods import Period


class UnknownPlan(Invalid):
    """There is no plan with that code."""


class AmountNegative(Invalid):
    """A target amount is below zero."""


class AmountTooFine(Invalid):
    """A target amount has more decimals than its currency."""


class ShareOutOfRange(Invalid):
    """A part-time share is not above 0 and at most 1."""


class EndsBeforeItStarts(Invalid):
    """The last day lies before the first."""


class AssignmentFixed(Invalid):
    """An assignment stays with its person and plan."""


class PersonAssignedTwice(Conflict):
    """A person is assigned to one plan twice on the same days."""


@dataclass(frozen=True, slots=True)
class Span:
    """One version of an assignment: the days it covers, and the days on which it is the version in force."""

    code: str
    person: str
    plan: str
    effective_from: date
    until: date | None
    starts: date
    ends: date | None


def check_assignment(assignment: Assignment, plan: Plan | None, largest_factor: Decimal) -> None:
    """Raises the first broken rule of an assignment that needs no other assignment to be seen.

    Args:
        plan: its plan, None where there is none.
        largest_factor: policy `largest_factor` [ratio].
    """
    if plan is None:
        raise UnknownPlan(
            f"There is no plan {assignment.plan}.", field="plan", remedy="Define the plan first, or correct the code."
        )
    _check_amount(assignment.amount, plan.currency)
    if not 0 < assignment.share <= 1:
        raise ShareOutOfRange(
            f"A share lies above 0 and is at most 1; this is {plain(assignment.share)}.", field="share",
            remedy="Write 0.5 for half time.",
        )  # fmt: skip
    check_factor(assignment.factor, largest_factor, "factor")
    if assignment.ends is not None and assignment.ends < assignment.starts:
        raise EndsBeforeItStarts(
            f"It ends on {assignment.ends} and starts on {assignment.starts}.", field="ends",
            remedy="Give a last day on or after the first.",
        )  # fmt: skip


def _check_amount(amount: Decimal, currency: str) -> None:
    if amount < 0:
        raise AmountNegative(f"A target amount is 0 or more; this is {plain(amount)}.", field="amount")
    if amount != round_money(amount, currency):
        raise AmountTooFine(
            f"{currency} has {minor_digits(currency)} decimals; {plain(amount)} has more.", field="amount",
            remedy=f"Round it to {plain(round_money(amount, currency))}.",
        )  # fmt: skip


def check_alone(new: Span, others: Iterable[Span]) -> None:
    """Raises PersonAssignedTwice where another assignment covers one of the days while both are in force.

    Args:
        others: assignments of the same person; those with the same code or another plan do not count.
    """
    for other in others:
        if other.code != new.code and other.plan == new.plan and _meet(new, other):
            raise PersonAssignedTwice(
                f"{new.person} is assigned to {new.plan} from {other.starts} to {other.ends or 'further notice'} "
                f"already, by {other.code}.",
                field="starts", remedy=f"End {other.code} before, or choose other days.", other=other.code,
            )  # fmt: skip


def check_same(assignment: Assignment, others: Iterable[Span], code: str) -> None:
    """Raises AssignmentFixed where an earlier version of `code` is about another person or plan."""
    for other in others:
        if other.code == code and (other.person, other.plan) != (assignment.person, assignment.plan):
            raise AssignmentFixed(
                f"{code} assigns {other.person} to {other.plan}, and stays with them.",
                field="person" if other.person != assignment.person else "plan",
                remedy="End it, and define an assignment with another code.",
            )  # fmt: skip


def span_of(code: str, assignment: Assignment, others: Iterable[Span]) -> Span:
    """The span of a new version, in force until the next recorded version of the same code."""
    later = [s.effective_from for s in others if s.code == code and s.effective_from > assignment.effective_from]
    return Span(
        code, assignment.person, assignment.plan, assignment.effective_from, min(later, default=None),
        assignment.starts, assignment.ends,
    )  # fmt: skip


def with_span(spans: Iterable[Span], new: Span) -> list[Span]:
    """The spans after `new` was recorded: it replaces what began on the same day, and ends what was in force."""
    kept = [s for s in spans if (s.code, s.effective_from) != (new.code, new.effective_from)]
    return [new, *(_ended(s, new) for s in kept)]


def _ended(span: Span, new: Span) -> Span:
    open_then = span.until is None or span.until > new.effective_from
    if span.code == new.code and span.effective_from < new.effective_from and open_then:
        return replace(span, until=new.effective_from)
    return span


def _meet(a: Span, b: Span) -> bool:
    in_force = (a.until is None or b.effective_from < a.until) and (b.until is None or a.effective_from < b.until)
    return in_force and (a.ends is None or b.starts <= a.ends) and (b.ends is None or a.starts <= b.ends)


def eligible_days(starts: date, ends: date | None, period: Period) -> int:
    """Days of the period that an assignment covers; both its days included [days]."""
    last = (period.end - period.start).days - 1
    first_day = max(0, (starts - period.start).days)
    last_day = last if ends is None else min(last, (ends - period.start).days)
    return max(0, last_day - first_day + 1)
