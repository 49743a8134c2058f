"""What accruals are made from. Nothing here is stored per person: an accrual is derived when it is read."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from services.incentives.accruals.rules import Part, Payout, payout
from services.incentives.assignments.rules import eligible_days
from services.incentives.drivers.rules import why_missing
from services.incentives.drivers.store import latest_drivers
from services.incentives.plans.rules import DriverKey
from services.incentives.plans.store import plans_in_force
from services.incentives.policies import policy
from shared.configuration import in_force
from shared.contracts.goals import Company
from shared.contracts.incentives import Plan
from shared.database.unit_of_work import UnitOfWork
from shared.errors import NotFound
from shared.periods import Calendar, Period, days, parse_period

# The assignments that count in a period: in force on its last day, and covering at least one of its days.
_COUNTS = (
    "company = :company AND effective_from <= :last AND (until IS NULL OR until > :last) "
    "AND starts <= :last AND (ends IS NULL OR ends >= :first)"
)
_BASIS = "sum(amount * factor * share * (least(coalesce(ends, :last), :last) - greatest(starts, :first) + 1)) AS basis"


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
    def days(self) -> int:
        return days(self.period)


def period_named(uow: UnitOfWork, company: str, label: str) -> Period:
    """The period in the company's calendar. Raises CalendarUnknown, PeriodInvalid."""
    found = in_force(uow, Company, company, "company", date.max)
    if found is None:
        raise CalendarUnknown(
            "The company's calendar is not known here yet.", remedy="Define it with PUT /goals/v1/companies/company."
        )
    setting = found.content
    return parse_period(Calendar(setting.time_zone, setting.fiscal_year_start_month), label)


def last_day(period: Period) -> date:
    """The day whose versions judge a period."""
    return period.end - timedelta(days=1)


def plans_of(
    uow: UnitOfWork,
    company: str,
    period: Period,
    codes: Collection[str] | None = None,
    instead: Mapping[DriverKey, Decimal | None] | None = None,
) -> dict[str, PlanInPeriod]:
    """Plans in force on the period's last day, with their payout factors; each curve is evaluated once.

    Args:
        instead: driver values to take in place of the latest, to see what a change did.
    """
    plans = plans_in_force(uow, company, period.kind, last_day(period), codes)
    keys = {DriverKey.of(component.driver) for _, plan in plans.values() for component in plan.components}
    drivers = latest_drivers(uow, company, sorted(keys), period.label)
    partial = policy(uow, company, "incomplete_total", last_day(period)) == "partial"
    values = {key: _value(key, drivers.get(key), period.label) for key in keys}
    values |= {key: (value, "There was no value before.") for key, value in (instead or {}).items()}
    return {
        code: PlanInPeriod(code, version, plan, period, drivers, payout(plan, values, partial=partial))
        for code, (version, plan) in plans.items()
    }


def _value(key: DriverKey, row: Any, period: str) -> tuple[Decimal | None, str | None]:
    if row is None:
        return None, why_missing(key.kind, key.code, key.subject, period)
    return row.value, row.reason


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
    after: tuple[str, str], limit: int,
) -> Sequence[Any]:  # fmt: skip
    """Person, plan and basis [currency × days] of some people; SQL multiplies and adds, never divides."""
    return uow.rows(
        f"SELECT person, plan, {_BASIS} FROM assignment WHERE {_COUNTS} AND person = ANY(:people) "
        "AND plan = ANY(:plans) AND (person, plan) > (:person, :plan) GROUP BY person, plan ORDER BY person, plan "
        "LIMIT :limit",
        company=company, people=people, plans=plans, first=period.start, last=last_day(period), person=after[0],
        plan=after[1], limit=limit,
    )  # fmt: skip


def basis_counts(
    uow: UnitOfWork, company: str, people: Sequence[str], plans: Sequence[str], period: Period
) -> Sequence[Any]:
    """How many people have each basis in each plan: the total needs one rounding per distinct basis, not per person."""
    return uow.rows(
        f"SELECT plan, basis, count(*) AS people FROM (SELECT person, plan, {_BASIS} FROM assignment WHERE {_COUNTS} "
        "AND person = ANY(:people) AND plan = ANY(:plans) GROUP BY person, plan) AS each GROUP BY plan, basis",
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


def is_known(uow: UnitOfWork, company: str, person: str) -> bool:
    """Whether goals has told of the person."""
    return bool(
        uow.value(
            "SELECT EXISTS (SELECT 1 FROM configuration "
            "WHERE company = :company AND kind = 'people' AND code = :person)",
            company=company, person=person,
        )
    )  # fmt: skip
