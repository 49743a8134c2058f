"""How a person's accrual is shown: its lines, its assignments, its steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from shared.configuration import latest
from shared.contracts.goals import Person as PersonSetting
from shared.contracts.incentives import Component
from shared.http.context import RequestContext
from shared.numbers import divide, multiply, total

from ..drivers.routes import driver_view
from ..entitlements.steps import Program, Step
from ..plans.definitions import is_tiers
from ..plans.rules import OWN, DriverKey
from . import schemas
from .definitions import OUT_OF_RANGE, Part, Person, Segment, shown
from .store import PlanInPeriod


@dataclass(frozen=True)
class Accrual:
    """A person's accrual in one plan: the values of the program's last run, kept before the next one."""

    found: PlanInPeriod
    person: Person
    program: Program
    total: Decimal | None
    values: dict[str, Any]

    def of(self, id: str) -> Decimal | None:
        value: Decimal | None = self.values.get(f"@{id}")
        return value

    @property
    def missing(self) -> list[str]:
        too_large = [OUT_OF_RANGE] if self.total is None and self.of("unrounded") is not None else []
        return [*self.program.missing, *too_large]


def accrual(found: PlanInPeriod, person: Person) -> Accrual:
    """What a person would be entitled to if the period closed now; the total is None where unknown or out of range."""
    program, _, amount = found.calculator.compute(person)
    return Accrual(found, person, program, shown(amount), dict(program.values))


def payout_factor(accrued: Accrual) -> Decimal | None:
    """Of the last version of the plan that counts, after its cap and floor [ratio]."""
    return factor_of(accrued.program, accrued.found.terms.segments[-1]) if accrued.program.payable else None


def factor_of(program: Program, segment: Segment) -> Decimal | None:
    """A version's payout factor, after its cap and floor; None where nothing is known."""
    at = segment.prefix
    return next((value for id in ("floor", "cap", "factor") if (value := program.of(f"{at}{id}")) is not None), None)


def person_view(context: RequestContext, accrued: Accrual) -> schemas.AccrualView:
    """The whole view of one accrual."""
    found, person, code = accrued.found, accrued.person, accrued.person.payee.removeprefix("person:")
    known = latest(context.uow, PersonSetting, context.company, code)
    return schemas.AccrualView(
        **total_view(accrued), plan_name=found.plan.name, plan_version=found.version, period=found.terms.period,
        missing=accrued.missing, waiting_for=[] if known else ["person"],
        lines=[_line(accrued, segment, component)
               for segment in found.terms.segments for component in segment.plan.components],
        assignments=[_part(accrued, k, part) for k, part in enumerate(person.parts)],
        payout_factor=payout_factor(accrued), team_factor=found.plan.factor, unrounded=accrued.of("unrounded"),
    )  # fmt: skip


def total_view(accrued: Accrual) -> dict[str, Any]:
    """The members of `PersonTotal`."""
    found, person = accrued.found, accrued.person.payee.removeprefix("person:")
    at = {"known_at": known.isoformat()} if (known := found.book.known_at) else {}
    query = urlencode({"period": found.terms.period, "plan": found.code} | at)
    return {
        "person": person, "plan": found.code, "currency": found.plan.currency, "total": accrued.total,
        "complete": not accrued.missing,
        "links": {"explanation": f"/incentives/v1/people/{quote(person)}/accruals/explanation?{query}"},
    }  # fmt: skip


def _part(accrued: Accrual, k: int, part: Part) -> schemas.PartView:
    days, paid = accrued.found.terms.days, accrued.of(f"part.{k + 1}")
    return schemas.PartView(
        assignment=part.assignment, version=part.version, target_amount=part.target_amount, share=part.share,
        individual_factor=part.individual_factor, family_factor=part.family_factor, guarantee=part.guarantee,
        eligible_days=int(part.eligible_days), period_days=days,
        plan_version=accrued.found.terms.segments[part.segment].version,
        amount=None if paid is None or not accrued.program.payable else divide(paid, Decimal(days)),
    )  # fmt: skip


def _line(accrued: Accrual, segment: Segment, component: Component) -> schemas.LineView:
    found, driver = accrued.found, component.driver
    key, at = DriverKey.of(driver), f"{segment.prefix}{component.code}"
    row = found.drivers.get(key)
    pays = accrued.of(f"{at}.pays")
    amount = None if pays is None else _amount(accrued, segment, component, pays, accrued.of(f"{at}.paid"))
    tiers = is_tiers(component.curve)
    too_large = OUT_OF_RANGE if amount is not None and None in (shown(pays), shown(amount)) else None
    lacking = [step for step in accrued.program.steps if step.op == "missing" and step.id.startswith(f"{at}.")]
    own = accrued.person.drivers[key] if key.subject == OWN else None
    return schemas.LineView(
        component=component.code, name=component.name, plan_version=segment.version,
        driver=driver_view(row) if row else None, driver_kind=driver.kind, driver_code=driver.code,
        driver_subject=accrued.person.payee if own else driver.subject,
        driver_value=own.value if own else row and row.value,
        weight=component.weight, payout_factor=None if tiers else pays, amount=amount,
        reason="; ".join(step.how for step in lacking) or too_large, qualified=row.qualified if row else [],
    )  # fmt: skip


def _amount(accrued: Accrual, segment: Segment, component: Component, pays: Decimal, paid: Decimal | None) -> Decimal:
    """What a line brings, unrounded, before the plan's caps."""
    terms = accrued.found.terms
    if is_tiers(component.curve):
        return divide(paid or Decimal(0), Decimal(terms.days))
    number = terms.segments.index(segment)
    bases = [_basis(part, segment) for part in accrued.person.parts if part.segment == number]
    return divide(multiply(total(bases), pays), Decimal(terms.days))


def _basis(part: Part, segment: Segment) -> Decimal:
    """Everything of an assignment but the payout factor [currency × days]."""
    basis = part.target_amount
    for factor in (segment.plan.factor, part.family_factor, part.individual_factor, part.share, part.eligible_days):
        basis = multiply(basis, factor)
    return basis


def explained(accrued: Accrual) -> tuple[list[schemas.ComponentSteps], list[schemas.StepView], list[schemas.StepView]]:
    """The steps of each component, from there to the plan's payout factor, and from there to the amount."""
    steps = accrued.found.calculator.steps(accrued.person)
    components = []
    for segment in accrued.found.terms.segments:
        for component in segment.plan.components:
            at = f"{segment.prefix}{component.code}."
            mine = [step for step in steps if step.id.startswith(at)]
            steps = [step for step in steps if step not in mine]
            row = accrued.found.drivers.get(DriverKey.of(component.driver))
            links = {"driver": driver_view(row).links["explanation"]} if row else {}
            components.append(
                schemas.ComponentSteps(component=component.code, plan_version=segment.version,
                                       steps=step_views(mine), links=links)
            )  # fmt: skip
    plan = {f"{s.prefix}{id}" for s in accrued.found.terms.segments for id in ("factor", "cap", "floor")}
    return (
        components,
        step_views([s for s in steps if s.id in plan]),
        step_views([s for s in steps if s.id not in plan]),
    )


def step_views(steps: Sequence[Step]) -> list[schemas.StepView]:
    return [schemas.StepView.model_validate(step.as_json()) for step in steps]
