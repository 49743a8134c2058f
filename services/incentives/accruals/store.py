"""What accruals are made from. Nothing here is stored per person: an accrual is derived when it is read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from shared.configuration import in_force
from shared.contracts.goals import Company
from shared.contracts.incentives import Plan
from shared.database.unit_of_work import UnitOfWork
from shared.errors import NotFound
from shared.periods import Calendar, Period, days, parse_period

from ..assignments.rules import eligible_days, last_day
from ..drivers.store import latest_drivers
from ..plans.rules import DriverKey
from ..plans.store import plans_paying
from ..policies import policy
from .rules import Accrual, Part, Payout, accrual, payout

# The assignments that count in a period: in force on its last day, and covering at least one of its days.
_COUNTS = (
    "company = :company AND effective_from <= :last AND (until IS NULL OR until > :last) "
    "AND starts <= :last AND (ends IS NULL OR ends >= :first)"
)
# The basis [currency × days] of people in plans; SQL multiplies and adds, never divides.
_BASES = (
    "SELECT person, plan, sum(amount * factor * share * (least(coalesce(ends, :last), :last) - greatest(starts, :first)"
    f" + 1)) AS basis FROM assignment WHERE {_COUNTS} AND person = ANY(:people) AND plan = ANY(:plans)"
)


class CalendarUnknown(NotFound):
    """The company's calendar has not come from goals yet."""


@dataclass(frozen=True)
class PlanInPeriod:
    """A plan with its payout factor in a period. `drivers` are rows of the table `driver`."""

    code: str
    version: int
    plan: Plan
    period: Period
    drivers: Mapping[DriverKey, Any]
    payout: Payout

    @property
    def missing(self) -> list[str]:
        """Why accruals are incomplete."""
        return [line.reason for line in self.payout.lines if line.reason]

    def accrual(self, parts: Sequence[Part]) -> Accrual:
        return accrual(self.plan, self.payout, parts, days(self.period))


def period_named(uow: UnitOfWork, company: str, label: str) -> Period:
    """The period in the company's calendar. Raises CalendarUnknown, PeriodInvalid."""
    found = in_force(uow, Company, company, "company", date.max)
    if found is None:
        rule = "The company's calendar is not known here yet."
        raise CalendarUnknown(rule, remedy="Define it with PUT /goals/v1/companies/company.")
    return parse_period(Calendar(found.content.time_zone, found.content.fiscal_year_start_month), label)


def plans_of(
    uow: UnitOfWork,
    company: str,
    period: Period,
    codes: Collection[str] | None = None,
    instead: Mapping[DriverKey, Decimal | None] | None = None,
) -> dict[str, PlanInPeriod]:
    """The plans that pay for a period, by code, with their payout factors; each curve is evaluated once.

    Args:
        instead: driver values to take in place of the latest, to see what a change did.
    """
    plans = plans_paying(uow, company, period, codes)
    keys = {DriverKey.of(component.driver) for found in plans.values() for component in found.content.components}
    drivers = latest_drivers(uow, company, sorted(keys), period.label)
    values = {key: _value(key, drivers.get(key), period.label) for key in keys}
    values |= {key: (value, "There was no value before.") for key, value in (instead or {}).items()}
    partial = policy(uow, company, "incomplete_total", last_day(period)) == "partial"
    return {
        code: PlanInPeriod(
            code, found.version, found.content, period, drivers, payout(found.content, values, partial=partial)
        )
        for code, found in plans.items()
    }


def _value(key: DriverKey, row: Any, period: str) -> tuple[Decimal | None, str | None]:
    if row:
        return row.value, row.reason
    if key.kind == "reading":
        return None, f"No reading of {key.code} for {key.subject} in {period} has come."
    return None, f"No score of the {key.kind} {key.code} for {period} has come."


def parts_of(uow: UnitOfWork, company: str, person: str, period: Period) -> dict[str, list[Part]]:
    """A person's assignments that count in a period, by plan."""
    rows = uow.rows(
        f"SELECT plan, code, version, amount, share, factor, starts, ends FROM assignment WHERE {_COUNTS} "
        "AND person = :person ORDER BY plan, starts, code",
        company=company, person=person, first=period.start, last=last_day(period),
    )  # fmt: skip
    found: dict[str, list[Part]] = {}
    for row in rows:
        eligible = eligible_days(row.starts, row.ends, period)
        found.setdefault(row.plan, []).append(Part(row.code, row.version, row.amount, row.share, row.factor, eligible))
    return found


def bases(
    uow: UnitOfWork, company: str, people: Sequence[str], plans: Sequence[str], period: Period,
    after: Sequence[str], limit: int,
) -> Sequence[Any]:  # fmt: skip
    """Person, plan and basis of some people, by person and plan."""
    return uow.rows(
        f"{_BASES} AND (person, plan) > (:person, :plan) GROUP BY person, plan ORDER BY person, plan LIMIT :limit",
        company=company, people=people, plans=plans, first=period.start, last=last_day(period), person=after[0],
        plan=after[1], limit=limit,
    )  # fmt: skip


def basis_counts(
    uow: UnitOfWork, company: str, people: Sequence[str], plans: Sequence[str], period: Period
) -> Sequence[Any]:
    """How many people have each basis in each plan: the total needs one rounding per distinct basis, not per person."""
    return uow.rows(
        f"SELECT plan, basis, count(*) AS people FROM ({_BASES} GROUP BY person, plan) AS each GROUP BY plan, basis",
        company=company, people=people, plans=plans, first=period.start, last=last_day(period),
    )  # fmt: skip


def people_in(uow: UnitOfWork, company: str, plans: Sequence[str], period: Period) -> dict[str, int]:
    """How many people each plan has in a period."""
    rows = uow.rows(
        f"SELECT plan, count(DISTINCT person) AS people FROM assignment WHERE {_COUNTS} AND plan = ANY(:plans) "
        "GROUP BY plan",
        company=company, plans=plans, first=period.start, last=last_day(period),
    )  # fmt: skip
    return {row.plan: row.people for row in rows}
