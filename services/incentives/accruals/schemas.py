"""What an accrual looks like over HTTP."""

from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote, urlencode

from pydantic import BaseModel, Field

from services.incentives.accruals.rules import Accrual, Line, Part, Step
from services.incentives.accruals.store import PlanInPeriod
from services.incentives.drivers.routes import DriverView, Kind, driver_view
from services.incentives.plans.rules import DriverKey
from shared.http.paging import Page
from shared.numbers import DecimalString, published


class StepView(BaseModel):
    """One step: its name, the value after it, and how it came about."""

    step: str
    value: DecimalString
    how: str


class LineView(BaseModel):
    """One component. Without a value, `amount` is null and `reason` says why: never a silent zero."""

    component: str
    name: str
    driver: DriverView | None = Field(description="Null where nothing has come for it.")
    driver_kind: Kind
    driver_code: str
    driver_subject: str | None
    weight: DecimalString
    payout_factor: DecimalString | None = Field(description="Share of the target amount, weight included [ratio].")
    amount: DecimalString | None = Field(description="Unrounded, before the plan's cap.")
    reason: str | None
    qualified: list[str] = Field(description="Guards that qualify the figure, in words.")


class PartView(BaseModel):
    """One assignment."""

    assignment: str
    version: int
    target_amount: DecimalString = Field(description="For a whole period.")
    share: DecimalString
    individual_factor: DecimalString
    eligible_days: int
    period_days: int
    amount: DecimalString | None = Field(description="Unrounded.")


class AccrualView(BaseModel):
    """What a person would be entitled to if the period closed now."""

    person: str
    plan: str
    plan_name: str
    plan_version: int
    period: str
    currency: str
    complete: bool = Field(description="False: a driver is missing, and the total is not final.")
    missing: list[str] = Field(description="Why it is incomplete.")
    waiting_for: list[Literal["person"]] = Field(description="`person`: nobody with that code is known yet.")
    lines: list[LineView]
    assignments: list[PartView]
    payout_factor: DecimalString | None = Field(description="After the plan's cap [ratio].")
    team_factor: DecimalString
    unrounded: DecimalString | None
    total: DecimalString | None = Field(description="Rounded half-up once; null where nothing is known.")
    links: dict[str, str]


class PersonAccruals(BaseModel):
    """All accruals of a person in a period."""

    person: str
    period: str
    accruals: list[AccrualView]


class ComponentSteps(BaseModel):
    """The steps of one component."""

    component: str
    steps: list[StepView]
    links: dict[str, str] = Field(description="`driver`: the explanation of the score or reading behind it.")


class Explanation(BaseModel):
    """Why an accrual is this amount, step by step, with what to ask next."""

    accrual: AccrualView
    components: list[ComponentSteps]
    plan: list[StepView] = Field(description="From the components to the plan's payout factor.")
    person: list[StepView] = Field(description="From the payout factor to the amount.")
    links: dict[str, str]


class UnitLine(BaseModel):
    """One person's total in one plan."""

    person: str
    plan: str
    currency: str
    complete: bool
    total: DecimalString | None
    links: dict[str, str]


class PlanTotal(BaseModel):
    """One plan's total over the people of a unit."""

    plan: str
    plan_version: int
    currency: str
    people: int
    complete: bool
    missing: list[str]
    total: DecimalString | None = Field(description="Sum of the people's rounded totals.")


class UnitAccruals(Page[UnitLine]):
    """The people of a unit and below, as on the period's last day, with the totals over all pages."""

    unit: str
    period: str
    totals: list[PlanTotal]


class PlanEffect(BaseModel):
    """A plan that hangs on a driver."""

    plan: str
    plan_version: int
    components: list[str]
    people: int = Field(description="People assigned in the period.")
    before: DecimalString | None = Field(description="Payout factor with the driver as it was [ratio].")
    after: DecimalString | None = Field(description="Payout factor with the driver as it became [ratio].")


class PersonEffect(BaseModel):
    """What it did to one person's accrual in one plan."""

    person: str
    plan: str
    currency: str
    before: DecimalString | None
    after: DecimalString | None
    difference: DecimalString | None


class Effects(BaseModel):
    """What a version of a score or reading moved."""

    driver: DriverView | None = Field(description="The driver version that took it in; null where it moved none.")
    before: DecimalString | None = Field(description="The driver's value before.")
    after: DecimalString | None
    plans: list[PlanEffect]
    person: list[PersonEffect] = Field(description="For the person asked for.")


def rounded(value: Decimal | None) -> Decimal | None:
    """At most 10 decimals, as every published number that is not payable money."""
    return None if value is None else published(value)


def steps(found: tuple[Step, ...]) -> list[StepView]:
    return [StepView(step=step.name, value=published(step.value), how=step.how) for step in found]


def accrual_view(person: str, found: PlanInPeriod, parts: list[Part], result: Accrual, known: bool) -> AccrualView:
    plan = found.plan
    return AccrualView(
        person=person, plan=found.code, plan_name=plan.name, plan_version=found.version, period=found.period.label,
        currency=plan.currency, complete=found.payout.complete, missing=missing(found),
        waiting_for=[] if known else ["person"],
        lines=[_line(found, line, amount) for line, amount in zip(found.payout.lines, result.lines, strict=True)],
        assignments=[_part(found, part, amount) for part, amount in zip(parts, result.parts, strict=True)],
        payout_factor=rounded(found.payout.factor), team_factor=plan.factor, unrounded=rounded(result.unrounded),
        total=result.total, links=links(person, found),
    )  # fmt: skip


def missing(found: PlanInPeriod) -> list[str]:
    """Why a plan's accruals are incomplete."""
    return [line.reason for line in found.payout.lines if line.reason]


def links(person: str, found: PlanInPeriod) -> dict[str, str]:
    query = urlencode({"period": found.period.label, "plan": found.code})
    return {"explanation": f"/incentives/v1/people/{quote(person)}/accruals/explanation?{query}"}


def _line(found: PlanInPeriod, line: Line, amount: Decimal | None) -> LineView:
    driver, row = line.component.driver, driver_row(found, line)
    return LineView(
        component=line.component.code, name=line.component.name, driver=driver_view(row) if row else None,
        driver_kind=driver.kind, driver_code=driver.code, driver_subject=driver.subject, weight=line.component.weight,
        payout_factor=rounded(line.factor), amount=rounded(amount), reason=line.reason,
        qualified=row.qualified if row else [],
    )  # fmt: skip


def driver_row(found: PlanInPeriod, line: Line) -> Any:
    return found.drivers.get(DriverKey.of(line.component.driver))


def _part(found: PlanInPeriod, part: Part, amount: Decimal | None) -> PartView:
    return PartView(
        assignment=part.assignment, version=part.version, target_amount=part.amount, share=part.share,
        individual_factor=part.factor, eligible_days=part.days, period_days=found.days, amount=rounded(amount),
    )  # fmt: skip
