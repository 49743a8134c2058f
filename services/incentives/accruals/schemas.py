"""What an accrual looks like over HTTP."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from shared.contracts.base import Citation
from shared.http.paging import Page
from shared.numbers import DecimalString

from ..drivers.routes import DriverView, Kind
from .definitions import shown

Rounded = Annotated[DecimalString | None, AfterValidator(shown)]
"""At most 10 decimals, as every published number that is not payable money; null where it is out of range."""


class StepView(BaseModel):
    """One step of a calculation; docs/plans.md says what each operation does, so that anybody can compute it again."""

    id: str
    name: str
    op: str
    of: list[str] = Field(description="`@id` of an earlier step, or a literal.")
    value: str | None = Field(description="Exact plain decimal text of any length; null where nothing is known.")
    how: str = Field(description="For people.")
    cites: list[Citation] = Field(default_factory=list, description="The versions an input comes from.")


class LineView(BaseModel):
    """One component. Without a value, or out of range, `amount` is null and `reason` says why: never a silent zero."""

    component: str
    name: str
    plan_version: int
    driver: DriverView | None = Field(description="Null where nothing has come for it, or it is the person's own.")
    driver_kind: Kind
    driver_code: str
    driver_subject: str | None
    driver_value: DecimalString | None
    weight: DecimalString
    payout_factor: Rounded = Field(
        description="Share of the target amount, weight included [ratio]; null for an amount."
    )
    amount: Rounded = Field(description="Unrounded, before the plan's cap.")
    reason: str | None
    qualified: list[str] = Field(description="Guards that qualify the figure, in words; none with `known_at`.")


class PartView(BaseModel):
    """One assignment."""

    assignment: str
    version: int
    target_amount: DecimalString = Field(description="For a whole period.")
    share: DecimalString
    individual_factor: DecimalString
    family_factor: DecimalString
    guarantee: DecimalString | None = Field(description="Paid at least, for a whole period.")
    plan_version: int
    eligible_days: int
    period_days: int
    amount: Rounded = Field(description="Unrounded.")


class PersonTotal(BaseModel):
    """What a person would be entitled to in one plan if the period closed now."""

    person: str
    plan: str
    currency: str
    complete: bool = Field(description="False: a driver is missing or the total out of range; it is not final.")
    total: DecimalString | None = Field(description="Rounded half-up once; null where unknown or out of range.")
    links: dict[str, str]


class AccrualView(PersonTotal):
    """The same with the components and assignments it is made of."""

    plan_name: str
    plan_version: int
    period: str
    missing: list[str] = Field(description="Why it is incomplete.")
    waiting_for: list[Literal["person"]] = Field(description="`person`: nobody with that code is known yet.")
    lines: list[LineView]
    assignments: list[PartView]
    payout_factor: Rounded = Field(description="After the plan's cap [ratio].")
    team_factor: DecimalString
    unrounded: Rounded


class PersonAccruals(BaseModel):
    """All accruals of a person in a period."""

    person: str
    period: str
    accruals: list[AccrualView]


class ComponentSteps(BaseModel):
    """The steps of one component."""

    component: str
    plan_version: int
    steps: list[StepView]
    links: dict[str, str] = Field(description="`driver`: the explanation of the score or reading behind it.")


class Explanation(BaseModel):
    """Why an accrual is this amount, step by step, with what to ask next."""

    accrual: AccrualView
    components: list[ComponentSteps]
    plan: list[StepView] = Field(description="From the components to the plan's payout factor.")
    person: list[StepView] = Field(description="From the payout factor to the amount.")
    links: dict[str, str]


class PlanTotal(BaseModel):
    """One plan's total over the people of a unit."""

    plan: str
    plan_version: int
    currency: str
    people: int
    complete: bool
    missing: list[str]
    total: DecimalString | None = Field(description="Sum of the people's rounded totals; null like theirs.")


class UnitAccruals(Page[PersonTotal]):
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
    before: Rounded = Field(description="Payout factor with the driver as it was [ratio].")
    after: Rounded = Field(description="Payout factor with the driver as it became [ratio].")


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
