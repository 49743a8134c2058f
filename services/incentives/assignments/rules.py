"""What holds for a person's part in a plan."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from services.incentives.plans.rules import amount_faults, check_factor
from shared.contracts.incentives import Assignment, Plan
from shared.errors import Conflict, Invalid
from shared.numbers import add, divide, multiply, plain
from shared.periods import Period


class UnknownPlan(Invalid):
    """There is no plan with that code."""


class ShareOutOfRange(Invalid):
    """A part-time share is not above 0 and at most 1."""


class EndsBeforeItStarts(Invalid):
    """The last day lies before the first."""


class AssignmentFixed(Invalid):
    """An assignment stays with its person and plan."""


class IndividualFactorOutOfRange(Invalid):
    """An individual factor lies outside the range of the policies."""


class MeanFactorTooHigh(Conflict):
    """The weighted mean of a plan's individual factors would exceed the calibration limit."""


class PersonAssignedTwice(Conflict):
    """A person is assigned to one plan twice on the same days."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Policies `lowest_individual_factor`, `highest_…`, and `highest_mean_factor` (None: no limit) [ratio]."""

    lowest: Decimal
    highest: Decimal
    mean: Decimal | None


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
    amounts: dict[str, Decimal | None] = {"amount": assignment.amount}
    for name, promised in (("guarantee", assignment.guarantee), ("draw", assignment.draw)):
        amounts[f"{name}.amount"] = promised.amount if promised else None
    for fault in amount_faults(plan.currency, amounts):
        raise fault
    if not 0 < assignment.share <= 1:
        rule = f"A share lies above 0 and is at most 1; this is {plain(assignment.share)}."
        raise ShareOutOfRange(rule, field="share", remedy="Write 0.5 for half time.")
    check_factor(assignment.factor, largest_factor, "factor")
    if assignment.ends is not None and assignment.ends < assignment.starts:
        rule = f"It ends on {assignment.ends} and starts on {assignment.starts}."
        raise EndsBeforeItStarts(rule, field="ends", remedy="Give a last day on or after the first.")


def check_calibrated(assignment: Assignment, limits: Calibration, others: tuple[Decimal, Decimal]) -> None:
    """Raises IndividualFactorOutOfRange, or MeanFactorTooHigh with the plan's other assignments.

    Args:
        others: sum of their target amounts, and of these times their individual factors [currency].
    """
    low, high, mean = limits.lowest, limits.highest, limits.mean
    if not low <= assignment.factor <= high:
        rule = f"An individual factor lies between {plain(low)} and {plain(high)}; this is {plain(assignment.factor)}."
        raise IndividualFactorOutOfRange(rule, field="factor", remedy="Correct it, or change the policies.")
    amounts = add(others[0], assignment.amount)
    weighted = add(others[1], multiply(assignment.amount, assignment.factor))
    if mean is not None and weighted > multiply(mean, amounts):
        found = plain(divide(weighted, amounts).quantize(Decimal("0.0001")))
        rule = f"The mean of the individual factors of {assignment.plan}, weighted by target amount, is at most "
        rule += f"{plain(mean)}; it would be {found}."
        raise MeanFactorTooHigh(rule, field="factor", remedy="Lower this factor, or others before.")


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
