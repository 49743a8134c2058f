"""What holds for a person's part in a plan."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
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
        rule = f"There is no plan {assignment.plan}."
        raise UnknownPlan(rule, field="plan", remedy="Define the plan first, or correct the code.")
    amount, payable = assignment.amount, round_money(assignment.amount, plan.currency)
    if amount < 0:
        raise AmountNegative(f"A target amount is 0 or more; this is {plain(amount)}.", field="amount")
    if amount != payable:
        rule = f"{plan.currency} has {minor_digits(plan.currency)} decimals; {plain(amount)} has more."
        raise AmountTooFine(rule, field="amount", remedy=f"Round it to {plain(payable)}.")
    if not 0 < assignment.share <= 1:
        rule = f"A share lies above 0 and is at most 1; this is {plain(assignment.share)}."
        raise ShareOutOfRange(rule, field="share", remedy="Write 0.5 for half time.")
    check_factor(assignment.factor, largest_factor, "factor")
    if assignment.ends is not None and assignment.ends < assignment.starts:
        rule = f"It ends on {assignment.ends} and starts on {assignment.starts}."
        raise EndsBeforeItStarts(rule, field="ends", remedy="Give a last day on or after the first.")


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

    def after(span: Span) -> Span:
        open_then = span.until is None or span.until > new.effective_from
        ends = span.code == new.code and span.effective_from < new.effective_from and open_then
        return replace(span, until=new.effective_from) if ends else span

    return [new, *(after(s) for s in spans if (s.code, s.effective_from) != (new.code, new.effective_from))]


def _meet(a: Span, b: Span) -> bool:
    in_force = (a.until is None or b.effective_from < a.until) and (b.until is None or a.effective_from < b.until)
    return in_force and (a.ends is None or b.starts <= a.ends) and (b.ends is None or a.starts <= b.ends)


def last_day(period: Period) -> date:
    """The day whose versions judge a period."""
    return period.end - timedelta(days=1)


def eligible_days(starts: date, ends: date | None, period: Period) -> int:
    """Days of the period that an assignment covers; both its days included [days]."""
    first, last = max(starts, period.start), min(ends or date.max, last_day(period))
    return max(0, (last - first).days + 1)
