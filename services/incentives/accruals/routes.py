"""Accruals over HTTP: of a person, of a unit, why, and what a change did."""

from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query

from services.incentives.access import require_person, require_unit
from services.incentives.accruals import schemas
from services.incentives.accruals.rules import Accrual, Part, accrual, payable
from services.incentives.accruals.store import (
    PlanInPeriod,
    bases,
    basis_counts,
    is_known,
    last_day,
    parts_of,
    people_in,
    period_named,
    plans_of,
)
from services.incentives.drivers.routes import Kind, driver_view
from services.incentives.drivers.store import moved_by
from services.incentives.plans.rules import DriverKey
from shared.configuration import in_force
from shared.contracts.base import Code, PeriodLabel, Subject
from shared.contracts.goals import Unit
from shared.errors import Invalid, NotFound
from shared.http.context import Context, RequestContext
from shared.http.paging import Paging
from shared.http.routing import Router
from shared.numbers import add, multiply, subtract
from shared.organisation import subtree
from shared.periods import Period

router = Router(tags=["accruals"])
InPeriod = Annotated[PeriodLabel, Query(examples=["2025-Q1"])]


class PersonUnknown(NotFound):
    """Nobody has that code, and nothing is assigned to it."""


class NotInPlan(NotFound):
    """The person has no assignment in that plan and period, or the plan pays for another kind of period."""


class UnitUnknown(NotFound):
    """No unit has that code on the period's last day."""


class SubjectMissing(Invalid):
    """A reading is named by metric and subject."""


@router.get("/people/{code}/accruals", operation_id="listPersonAccruals", summary="What a person would be entitled to")
def list_person_accruals(context: Context, code: Code, period: InPeriod) -> schemas.PersonAccruals:
    """Every plan the person is assigned to that pays for this kind of period, as if the period closed now."""
    context.require_reader()
    when = period_named(context.uow, context.company, period)
    require_person(context, code, last_day(when))
    parts, known = parts_of(context.uow, context.company, code, when), is_known(context.uow, context.company, code)
    if not known and not parts:
        raise PersonUnknown(f"Nobody has the code {code!r}.", remedy="List people with GET /goals/v1/people.")
    plans = plans_of(context.uow, context.company, when, parts.keys())
    views = [_view(code, plans[plan], parts[plan], known)[0] for plan in sorted(plans)]
    return schemas.PersonAccruals(person=code, period=when.label, accruals=views)


def _view(person: str, found: PlanInPeriod, parts: list[Part], known: bool) -> tuple[schemas.AccrualView, Accrual]:
    result = accrual(found.plan, found.payout, parts, found.days)
    return schemas.accrual_view(person, found, parts, result, known), result


@router.get("/people/{code}/accruals/explanation", operation_id="explainAccrual", summary="Why it is this amount")
def explain_accrual(
    context: Context, code: Code, period: InPeriod, plan: Annotated[Code, Query()]
) -> schemas.Explanation:
    """Every step from driver value to amount, with the versions used and links down to the scores and readings."""
    context.require_reader()
    when = period_named(context.uow, context.company, period)
    require_person(context, code, last_day(when))
    parts = parts_of(context.uow, context.company, code, when).get(plan)
    found = plans_of(context.uow, context.company, when, [plan]).get(plan)
    if not parts or not found:
        raise NotInPlan(
            f"{code} has no part in a plan {plan!r} that pays for {when.label}.", field="plan",
            remedy=f"List what there is with GET /incentives/v1/people/{code}/accruals?period={when.label}.",
        )  # fmt: skip
    view, result = _view(code, found, parts, is_known(context.uow, context.company, code))
    return schemas.Explanation(
        accrual=view, components=_components(found), plan=schemas.steps(found.payout.steps),
        person=schemas.steps(result.steps), links=_versions(found, parts),
    )  # fmt: skip


def _components(found: PlanInPeriod) -> list[schemas.ComponentSteps]:
    views = []
    for line in found.payout.lines:
        row = schemas.driver_row(found, line)
        links = {"driver": driver_view(row).links["explanation"]} if row else {}
        views.append(
            schemas.ComponentSteps(component=line.component.code, steps=schemas.steps(line.steps), links=links)
        )
    return views


def _versions(found: PlanInPeriod, parts: list[Part]) -> dict[str, str]:
    links = {"plan": f"/incentives/v1/plans/{quote(found.code)}/versions"}
    return links | {
        f"assignment {part.assignment}": f"/incentives/v1/assignments/{quote(part.assignment)}/versions"
        for part in parts
    }


@router.get(
    "/units/{code}/accruals", operation_id="listUnitAccruals", summary="What a unit's people would be entitled to"
)
def list_unit_accruals(context: Context, page: Paging, code: Code, period: InPeriod) -> schemas.UnitAccruals:
    """The people of the unit and below as on the period's last day; the totals cover all pages."""
    context.require_reader()
    uow, company = context.uow, context.company
    when = period_named(uow, company, period)
    require_unit(context, code, last_day(when))
    if in_force(uow, Unit, company, code, last_day(when)) is None:
        raise UnitUnknown(
            f"There is no unit {code!r} on {last_day(when)}.", remedy="List them with GET /goals/v1/units."
        )
    subjects = subtree(uow, company, code, last_day(when))
    people = [subject.removeprefix("person:") for subject in subjects if subject.startswith("person:")]
    plans = plans_of(uow, company, when)
    rows = bases(uow, company, people, list(plans), when, tuple(page.after or ("", "")), page.fetch)
    shown = page.of([_unit_line(row, plans[row.plan]) for row in rows], lambda item: [item.person, item.plan])
    totals = _totals(basis_counts(uow, company, people, list(plans), when), plans)
    return schemas.UnitAccruals(
        items=shown.items, next_cursor=shown.next_cursor, unit=code, period=when.label, totals=totals
    )


def _unit_line(row: Any, found: PlanInPeriod) -> schemas.UnitLine:
    factor = found.payout.factor
    return schemas.UnitLine(
        person=row.person, plan=row.plan, currency=found.plan.currency, complete=found.payout.complete,
        total=None if factor is None else payable(row.basis, found.plan, factor, found.days),
        links=schemas.links(row.person, found),
    )  # fmt: skip


def _totals(rows: Any, plans: dict[str, PlanInPeriod]) -> list[schemas.PlanTotal]:
    sums: dict[str, Decimal] = {}
    people: dict[str, int] = {}
    for row in rows:
        found = plans[row.plan]
        people[row.plan] = people.get(row.plan, 0) + row.people
        if found.payout.factor is not None:
            each = payable(row.basis, found.plan, found.payout.factor, found.days)
            sums[row.plan] = add(sums.get(row.plan, Decimal(0)), multiply(each, Decimal(row.people)))
    return [
        schemas.PlanTotal(
            plan=code, plan_version=plans[code].version, currency=plans[code].plan.currency, people=people[code],
            complete=plans[code].payout.complete, missing=schemas.missing(plans[code]), total=sums.get(code),
        )
        for code in sorted(people)
    ]  # fmt: skip


@router.get("/effects", operation_id="listEffects", summary="What a version of a score or reading moved")
def list_effects(
    context: Context,
    kind: Annotated[Kind, Query()],
    code: Annotated[Code, Query()],
    period: InPeriod,
    version: Annotated[int, Query(ge=1, le=2**31 - 1)],
    subject: Annotated[Subject | None, Query(description="For a reading: whose.")] = None,
    person: Annotated[Code | None, Query(description="Adds what it did to one person's accruals.")] = None,
) -> schemas.Effects:
    """Upward: the driver version that took it in, the plans that hang on it, and how many people they have.

    `before` and `after` are this one change with all other drivers as they are now.
    """
    context.require_reader()
    if kind == "reading" and subject is None:
        raise SubjectMissing("A reading is about a subject.", field="subject", remedy="Add it, like unit:sales.")
    when = period_named(context.uow, context.company, period)
    if person is not None:
        require_person(context, person, last_day(when))
    key = DriverKey(kind, code, subject or "" if kind == "reading" else "")
    row = moved_by(context.uow, context.company, key, when.label, version)
    if row is None:
        return schemas.Effects(driver=None, before=None, after=None, plans=[], person=[])
    before, after = (_plans_with(context, when, key, value) for value in (row.before, row.value))
    people = people_in(context.uow, context.company, list(after), when)
    return schemas.Effects(
        driver=driver_view(row), before=row.before, after=row.value,
        plans=[_plan_effect(key, before[plan], after[plan], people.get(plan, 0)) for plan in sorted(after)],
        person=_person_effects(context, person, when, before, after) if person else [],
    )  # fmt: skip


def _plans_with(
    context: RequestContext, when: Period, key: DriverKey, value: Decimal | None
) -> dict[str, PlanInPeriod]:
    plans = plans_of(context.uow, context.company, when, instead={key: value})
    return {code: found for code, found in plans.items() if _hanging(found, key)}


def _hanging(found: PlanInPeriod, key: DriverKey) -> list[str]:
    return [component.code for component in found.plan.components if DriverKey.of(component.driver) == key]


def _plan_effect(key: DriverKey, before: PlanInPeriod, after: PlanInPeriod, people: int) -> schemas.PlanEffect:
    return schemas.PlanEffect(
        plan=after.code, plan_version=after.version, components=_hanging(after, key), people=people,
        before=schemas.rounded(before.payout.factor), after=schemas.rounded(after.payout.factor),
    )  # fmt: skip


def _person_effects(
    context: RequestContext, person: str, when: Period, before: dict[str, PlanInPeriod], after: dict[str, PlanInPeriod]
) -> list[schemas.PersonEffect]:
    parts = parts_of(context.uow, context.company, person, when)
    effects = []
    for code in sorted(parts.keys() & after.keys()):
        plan = after[code].plan
        was, now = (accrual(plan, p[code].payout, parts[code], p[code].days).total for p in (before, after))
        difference = None if was is None or now is None else subtract(now, was)
        effects.append(
            schemas.PersonEffect(
                person=person, plan=code, currency=plan.currency, before=was, after=now, difference=difference
            )
        )
    return effects
