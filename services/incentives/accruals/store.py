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


@dataclass(frozen=True)
class Book:
    """What a company's accruals in a period are made from."""

    uow: UnitOfWork
    company: str
    period: Period

    def plans(
        self, codes: Collection[str] | None = None, instead: Mapping[DriverKey, Decimal | None] | None = None
    ) -> dict[str, PlanInPeriod]:
        """The plans that pay for the period, by code, with their payout factors; each curve is evaluated once.

        Args:
            instead: driver values to take in place of the latest, to see what a change did.
        """
        uow, company, period = self.uow, self.company, self.period
        plans = plans_paying(uow, company, period, codes)
        keys = {DriverKey.of(component.driver) for found in plans.values() for component in found.content.components}
        drivers = latest_drivers(uow, company, sorted(keys), period.label)
        values = {key: _value(key, drivers.get(key), period.label) for key in keys}
        values |= {key: (value, "There was no value before.") for key, value in (instead or {}).items()}
        partial = policy(uow, company, "incomplete_total", last_day(period)) == "partial"
        return {
            code: PlanInPeriod(code, p.version, p.content, period, drivers, payout(p.content, values, partial=partial))
            for code, p in plans.items()
        }

    def parts(self, person: str) -> dict[str, list[Part]]:
        """A person's assignments that count, by plan."""
        found: dict[str, list[Part]] = {}
        for row in self._rows(
            "SELECT plan, code, version, amount, share, factor, starts, ends FROM assignment "
            f"WHERE {_COUNTS} AND person = :person ORDER BY plan, starts, code", person=person
        ):  # fmt: skip
            eligible = eligible_days(row.starts, row.ends, self.period)
            part = Part(row.code, row.version, row.amount, row.share, row.factor, eligible)
            found.setdefault(row.plan, []).append(part)
        return found

    def bases(
        self, people: Sequence[str], plans: Sequence[str], *, after: Sequence[str], limit: int
    ) -> Sequence[Any]:  # fmt: skip
        """Person, plan and basis of some people, by person and plan."""
        return self._rows(
            f"{_BASES} AND (person, plan) > (:person, :plan) GROUP BY person, plan ORDER BY person, plan LIMIT :limit",
            people=people, plans=plans, person=after[0], plan=after[1], limit=limit,
        )  # fmt: skip

    def basis_counts(self, people: Sequence[str], plans: Sequence[str]) -> Sequence[Any]:
        """How many people have each basis in each plan: a total needs one rounding per basis, not per person."""
        each = f"({_BASES} GROUP BY person, plan) AS each"
        sql = f"SELECT plan, basis, count(*) AS people FROM {each} GROUP BY plan, basis ORDER BY plan"
        return self._rows(sql, people=people, plans=plans)

    def people_in(self, plans: Sequence[str]) -> dict[str, int]:
        """How many people each plan has."""
        sql = f"SELECT plan, count(DISTINCT person) AS people FROM assignment WHERE {_COUNTS} AND plan = ANY(:plans)"
        return {row.plan: row.people for row in self._rows(f"{sql} GROUP BY plan", plans=plans)}

    def _rows(self, sql: str, **more: Any) -> Sequence[Any]:
        return self.uow.rows(sql, company=self.company, first=self.period.start, last=last_day(self.period), **more)


def book(uow: UnitOfWork, company: str, label: str) -> Book:
    """The book of a period in the company's calendar. Raises CalendarUnknown, PeriodInvalid."""
    found = in_force(uow, Company, company, "company", date.max)
    if found is None:
        rule = "The company's calendar is not known here yet."
        raise CalendarUnknown(rule, remedy="Define it with PUT /goals/v1/companies/company.")
    calendar = Calendar(found.content.time_zone, found.content.fiscal_year_start_month)
    return Book(uow, company, parse_period(calendar, label))


def _value(key: DriverKey, row: Any, period: str) -> tuple[Decimal | None, str | None]:
    if row:
        return row.value, row.reason
    if key.kind == "reading":
        return None, f"No reading of {key.code} for {key.subject} in {period} has come."
    return None, f"No score of the {key.kind} {key.code} for {period} has come."
