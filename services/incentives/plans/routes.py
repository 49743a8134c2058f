"""What a plan would do, before it is defined: its faults, what looks wrong, and what it would cost."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, Field

from shared.configuration import Recorded, newest_version
from shared.contracts.base import Code, PeriodLabel
from shared.contracts.incentives import Component, Plan
from shared.curves import evaluate, parse_curve, top
from shared.errors import DomainError, Invalid
from shared.http.context import Context
from shared.http.problems import words_of
from shared.http.routing import Router
from shared.numbers import DecimalString, add, plain

from ..accruals.definitions import Value, shown
from ..accruals.store import Book, book
from ..assignments.schemas import Refusal
from ..entitlements.compute import DuePlan
from .definitions import is_tiers
from .rules import HIGHEST_SCORE, LOWEST_SCORE, DriverKey, drivers_of, faults
from .store import limits

router = Router(tags=["plans"])
ATTAINMENTS = (Decimal("0.8"), Decimal(1), Decimal("1.2"))


class WrongKindOfPeriod(Invalid):
    """A plan's cost is asked for in a period of the kind that it pays for."""


class Cost(BaseModel):
    """What the people assigned would get at an attainment."""

    attainment: DecimalString = Field(description="Scores are 100 times this; readings the latest ones times this.")
    people: int
    total: DecimalString | None = Field(description="In the plan's currency; null where a driver has no value.")
    missing: list[str]


class Validation(BaseModel):
    """What a plan would be refused for, what looks wrong in it, and what it would cost. Nothing is stored."""

    errors: list[Refusal] = Field(description="Each would refuse the plan.")
    warnings: list[str]
    costs: list[Cost] = Field(description="For the people assigned in the period; empty where there are errors.")


@router.post("/plans/{code}/validations", operation_id="validatePlan", summary="What a plan would do; stores nothing")
def validate_plan(
    context: Context, code: Code, plan: Plan, period: Annotated[PeriodLabel, Query(examples=["2025-Q1"])]
) -> Validation:
    """Faults, warnings, and the cost at 80, 100 and 120 % attainment for the people assigned in a period."""
    context.require("compensation")
    found = [refusal(fault) for fault in faults(plan, limits(context.uow, context.company, plan.effective_from))]
    if found:
        return Validation(errors=found, warnings=[], costs=[])
    source = book(context.uow, context.company, period)
    if source.period.kind != plan.period:
        rule = f"The plan pays for a {plan.period}; {period} is a {source.period.kind}."
        raise WrongKindOfPeriod(rule, field="period", remedy=f"Name a {plan.period}.")
    version = (newest_version(context.uow, Plan, context.company, code) or 0) + 1
    new = Recorded(code, version, plan, context.principal.subject, datetime.now(UTC))
    return Validation(errors=[], warnings=list(warnings(plan)), costs=[_cost(source, new, at) for at in ATTAINMENTS])


def refusal(error: DomainError) -> Refusal:
    """A broken rule, as one of many."""
    kind = "urn:valueloop:problem:" + "-".join(words_of(type(error).__name__))
    return Refusal(type=kind, detail=error.rule, field=error.field, remedy=error.remedy)


def warnings(plan: Plan) -> Iterator[str]:
    """What is allowed and yet looks like a mistake."""
    for component in plan.components:
        score, name = component.driver.kind != "reading", component.name
        if score and component.gate is not None and component.gate > HIGHEST_SCORE:
            yield f"{name} never pays: no score reaches its gate of {plain(component.gate)}."
        if component.factor == 0 or component.cap == 0 or _never_pays(component):
            yield f"{name} never pays anything."
        if score and not is_tiers(component.curve) and component.gate is None:
            paid = evaluate(parse_curve(component.curve), LOWEST_SCORE)
            if paid.clamped and paid.value > 0:
                yield f"{name} pays {plain(paid.value)} even at a score of 0: its curve begins later."
    shares = [component for component in plan.components if not is_tiers(component.curve)]
    if plan.cap is not None and plan.floor is not None and plan.cap == plan.floor and shares:
        yield "The plan always pays the same: its cap is its floor."


def _never_pays(component: Component) -> bool:
    if is_tiers(component.curve):
        return all(Decimal(tier["rate"]) <= 0 for tier in component.curve["tiers"])
    highest = top(parse_curve(component.curve))
    return highest is not None and highest <= 0 and component.floor == 0


def _cost(source: Book, new: Recorded[Plan], attainment: Decimal) -> Cost:
    """The code that pays computes it, with other driver values in place of the latest."""
    scores = {
        DriverKey.of(one): Value(attainment.scaleb(2)) for one in drivers_of(new.content) if one.kind != "reading"
    }
    paying = Book(source.uow, source.company, source.calendar, source.period, scores, attainment)
    total, count, missing = Decimal(0), 0, dict[str, None]()
    for one in DuePlan(paying, new).compute(None, None):
        total, count = add(total, one.amount), count + 1
        missing |= dict.fromkeys(one.program.missing)
    return Cost(attainment=attainment, people=count, total=None if missing else shown(total), missing=list(missing))
