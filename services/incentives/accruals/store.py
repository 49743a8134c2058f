"""What accruals are made from. Nothing here is stored per person: an accrual is derived when it is read."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from shared.configuration import Recorded, history, in_force
from shared.contracts.base import Citation
from shared.contracts.goals import Company
from shared.contracts.incentives import Driver, Plan, Pool
from shared.contracts.metrics import Rate as RateSetting
from shared.database.unit_of_work import UnitOfWork
from shared.errors import NotFound
from shared.money import is_currency, minor_digits
from shared.numbers import total
from shared.periods import Calendar, Period, days, parse_period

from ..assignments.rules import last_day
from ..drivers.store import latest_drivers
from ..entitlements.steps import Given
from ..plans.definitions import is_tiers
from ..plans.rules import OWN, DriverKey, drivers_of
from ..plans.store import plans_paying
from ..policies import policy
from ..pools.rules import Shared, pool_shared
from .definitions import ONE, Person, Rate, Scale, Segment, Terms, Value, no_value
from .people import COUNTS, overrides_of, people
from .rules import Calculator, left_over


class CalendarUnknown(NotFound):
    """The company's calendar has not come from goals yet."""


@dataclass
class PlanInPeriod:
    """A plan with its terms in a period. `drivers` are rows of the table `driver`; `extra` the units of its budget."""

    book: "Book"
    version: int
    terms: Terms
    drivers: Mapping[DriverKey, Any]
    extra: Collection[str] = ()
    calculator: Calculator = field(init=False)

    def __post_init__(self) -> None:
        self.calculator = Calculator(self.terms)

    @property
    def code(self) -> str:
        return self.terms.code

    @property
    def plan(self) -> Plan:
        return self.terms.plan

    def people(self, persons: Sequence[str] | None = None) -> Iterator[Person]:
        """Everybody assigned in the period, or of `persons` those who are, by code."""
        book = self.book
        overrides = book.overrides.get(self.code, {})
        for person in people(book.uow, book.company, book.period, self.terms, persons, overrides, book.instead):
            yield person.with_(book.times, person.payee in self.extra)


@dataclass
class Book:
    """What a company's accruals in a period are made from.

    Args:
        instead: driver values to take in place of the latest, to see what a change did.
        times: multiplies every reading, to see what more or less of it would do [ratio].
        known_at: as of when everything is read, where not as of now.
    """

    uow: UnitOfWork
    company: str
    calendar: Calendar
    period: Period
    instead: Mapping[DriverKey, Value] = field(default_factory=dict)
    times: Decimal = ONE
    known_at: datetime | None = None

    def plans(self, codes: Collection[str] | None = None) -> dict[str, PlanInPeriod]:
        """The plans that pay for the period, by code, with their terms."""
        return {code: self.plan(code, found) for code, found in self.paying(codes).items()}

    def paying(self, codes: Collection[str] | None = None) -> dict[str, Recorded[Plan]]:
        """The plans that pay for the period, as on its last day, by code."""
        return plans_paying(self.uow, self.company, self.period, codes)

    def plan(self, code: str, found: Recorded[Plan]) -> PlanInPeriod:
        """A plan as a version of it would pay; a budget is distributed among all its people."""
        segments = self.segments(code, found)
        drivers = [driver for segment in segments for driver in drivers_of(segment.plan)]
        rows = latest_drivers(
            self.uow, self.company, sorted({DriverKey.of(driver) for driver in drivers}), self.period.label
        )
        values = self.values(drivers, rows)
        terms = Terms(
            code, self.period.label, days(self.period), segments, values, self._rates(segments, values),
            self._policy("incomplete_total") == "partial", self._policy("highest_score"),
        )  # fmt: skip
        return self._budgeted(PlanInPeriod(self, found.version, terms, rows))

    @cached_property
    def overrides(self) -> dict[str, dict[str, Given]]:
        """The overrides that hold in the period, by plan and payee."""
        return overrides_of(self.uow, self.company, self.calendar, self.period)

    def values(self, drivers: Sequence[Driver], rows: Mapping[DriverKey, Any] | None = None) -> dict[DriverKey, Value]:
        """The value of each driver; of people's own readings only the unit."""
        by_key = {DriverKey.of(driver): driver for driver in drivers}
        if rows is None:
            rows = latest_drivers(self.uow, self.company, sorted(by_key), self.period.label)
        found = {key: self._value(key, driver, rows.get(key)) for key, driver in by_key.items()}
        return found | {key: value for key, value in self.instead.items() if key in found}

    def pool(self, code: str) -> tuple[Recorded[Pool], Shared] | None:
        """A pool of the period, and what its result brings into it; None where there is no such pool."""
        if not (found := self.pool_setting(code)):
            return None
        pool = found.content
        drivers = [pool.driver, *([pool.condition.driver] if pool.condition else [])]
        return found, pool_shared(code, found.version, pool, self.values(drivers), self.period.label)

    def pool_setting(self, code: str) -> Recorded[Pool] | None:
        """A pool of this kind of period, as on the last day."""
        found = in_force(self.uow, Pool, self.company, code, last_day(self.period))
        return found if found and found.content.period == self.period.kind else None

    def pairs(
        self, people: Sequence[str], plans: Sequence[str], *, after: Sequence[str], limit: int
    ) -> list[tuple[str, str]]:  # fmt: skip
        """Person and plan of some people, in that order."""
        rows = self._rows(
            f"SELECT DISTINCT person, plan FROM assignment WHERE {COUNTS} AND person = ANY(:people) "
            "AND plan = ANY(:plans) AND (person, plan) > (:person, :plan) ORDER BY person, plan LIMIT :limit",
            people=people, plans=plans, person=after[0], plan=after[1], limit=limit,
        )  # fmt: skip
        return [(row.person, row.plan) for row in rows]

    def plans_of(self, person: str) -> list[str]:
        """The plans that a person is assigned to in the period."""
        sql = f"SELECT DISTINCT plan FROM assignment WHERE {COUNTS} AND person = :person ORDER BY plan"
        return [row.plan for row in self._rows(sql, person=person)]

    def people_in(self, plans: Sequence[str]) -> dict[str, int]:
        """How many people each plan has."""
        sql = f"SELECT plan, count(DISTINCT person) AS people FROM assignment WHERE {COUNTS} AND plan = ANY(:plans)"
        return {row.plan: row.people for row in self._rows(f"{sql} GROUP BY plan", plans=plans)}

    def _policy(self, code: str) -> Any:
        return policy(self.uow, self.company, code, last_day(self.period))

    def segments(self, code: str, found: Recorded[Plan]) -> tuple[Segment, ...]:
        """One version for the whole period, or each that was in force for its days."""
        period, plan = self.period, found.content
        if plan.on_change == "last_day":
            return (Segment(found.version, plan, days(period), period.start),)
        versions = {one.content.effective_from: one for one in history(self.uow, Plan, self.company, code)}
        versions[plan.effective_from] = found
        begun = [day for day in sorted(versions) if day < period.end]
        ends = [*begun[1:], period.end]
        spans = [(max(day, period.start), end, versions[day]) for day, end in zip(begun, ends, strict=True)]
        inside = [(day, end, one) for day, end, one in spans if end > period.start]
        return tuple(
            Segment(one.version, one.content, (end - day).days, day, f"v{one.version}." if len(inside) > 1 else "")
            for day, end, one in inside
        )

    def _value(self, key: DriverKey, driver: Driver, row: Any) -> Value:
        if key.subject == OWN:
            return Value(None, unit=self._unit_of_own(key))
        if row is None:
            return Value(None, no_value(driver, self.period.label))
        found = Value(row.value, row.reason, row.version, row.unit)
        return found.times(self.times) if key.kind == "reading" else found

    def _unit_of_own(self, key: DriverKey) -> str | None:
        unit: str | None = self.uow.value(
            "SELECT unit FROM arrived WHERE company = :company AND kind = :kind AND code = :code "
            "AND subject LIKE 'person:%' AND period = :period AND unit IS NOT NULL LIMIT 1",
            company=self.company, kind=key.kind, code=key.code, period=self.period.label,
        )  # fmt: skip
        return unit

    def _rates(self, segments: Sequence[Segment], values: Mapping[DriverKey, Value]) -> dict[str, Rate]:
        """The rates that tables of rates need, as on the period's last day."""
        pairs = {
            f"{unit}-{segment.plan.currency}"
            for segment in segments for component in segment.plan.components
            if is_tiers(component.curve) and (unit := values[DriverKey.of(component.driver)].unit) is not None
            and is_currency(unit) and unit != segment.plan.currency
        }  # fmt: skip
        found = {pair: in_force(self.uow, RateSetting, self.company, pair, last_day(self.period)) for pair in pairs}
        return {pair: Rate(rate.content.rate, rate.version) for pair, rate in found.items() if rate}

    def _budgeted(self, found: PlanInPeriod) -> PlanInPeriod:
        if not (budget := found.plan.budget):
            return found
        whole, reason, cite = budget.amount, None, Citation(what="plan", code=found.code, version=found.version)
        if budget.pool is not None:
            whole, reason, cite = self._from_pool(budget.pool, found.plan)
        if whole is None:
            return PlanInPeriod(self, found.version, found.terms.with_(blocked=reason), found.drivers)
        earned, paid = self._earned(found)
        if budget.distribute == "at_most" and paid <= whole:
            return found
        scale = Scale(whole, total(earned.values()), cite)
        extra = left_over(whole, earned, minor_digits(found.plan.currency))
        return PlanInPeriod(self, found.version, found.terms.with_(scale=scale), found.drivers, extra)

    def _from_pool(self, code: str, plan: Plan) -> tuple[Decimal | None, str | None, Citation]:
        cite, pool = Citation(what="pool", code=code, version=0), self.pool(code)
        if pool is None or pool[0].content.currency != plan.currency:
            return None, f"There is no pool {code} in {plan.currency} for {self.period.label}.", cite
        reason = "; ".join(pool[1].draft.missing) or None
        return pool[1].whole, reason, cite.model_copy(update={"version": pool[0].version})

    def _earned(self, found: PlanInPeriod) -> tuple[dict[str, Decimal], Decimal]:
        """What each person earned before the budget, unrounded, and the sum of what that would pay."""
        earned, paid, at = {}, Decimal(0), "highest" if found.plan.amount_cap is not None else "unrounded"
        for person in found.people():
            program, _, _ = found.calculator.compute(person)
            if program.payable and (amount := program.of(at)) is not None:
                earned[person.payee] = amount
                paid += program.of("rounded") or 0
        return earned, paid

    def _rows(self, sql: str, **more: Any) -> Sequence[Any]:
        return self.uow.rows(sql, company=self.company, first=self.period.start, last=last_day(self.period), **more)


def book(uow: UnitOfWork, company: str, label: str, known_at: datetime | None = None) -> Book:
    """The book of a period in the company's calendar; with an instant, as it was known then.

    From here on the transaction then reads settings, assignments and drivers through the views of the schema `known`,
    which have the names of the tables: so what was known is computed by the code that computes what is known.

    Raises:
        CalendarUnknown, PeriodInvalid.
    """
    if known_at is not None:
        uow.run(
            "SELECT set_config('search_path', 'known, public', true), set_config('valueloop.known_at', :at, true)",
            at=known_at.isoformat(),
        )  # fmt: skip
    calendar = calendar_of(uow, company)
    return Book(uow, company, calendar, parse_period(calendar, label), known_at=known_at)


def calendar_of(uow: UnitOfWork, company: str) -> Calendar:
    """The company's calendar. Raises CalendarUnknown."""
    found = in_force(uow, Company, company, "company", date.max)
    if found is None:
        rule = "The company's calendar is not known here yet."
        raise CalendarUnknown(rule, remedy="Define it with PUT /goals/v1/companies/company.")
    return Calendar(found.content.time_zone, found.content.fiscal_year_start_month)
