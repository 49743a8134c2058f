"""Accruals over HTTP: of a person, of a unit, why, and what a change did."""

from collections.abc import Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import Query

from shared.configuration import latest, require
from shared.contracts.base import Code, PeriodLabel, Subject
from shared.contracts.goals import Person, Unit
from shared.errors import NotFound
from shared.http.context import Context, RequestContext
from shared.http.paging import Paging
from shared.http.routing import Router
from shared.numbers import add, multiply, subtract
from shared.organisation import subtree
from shared.periods import days

from ..access import require_drivers, require_visible
from ..assignments.rules import last_day
from ..drivers.routes import Kind, driver_view
from ..drivers.store import moved_by
from ..plans.rules import DriverKey, DriverSubject
from . import schemas
from .rules import OUT_OF_RANGE, Accrual, Part, payable, shown
from .store import Book, PlanInPeriod, book

router = Router(tags=["accruals"])
InPeriod = Annotated[PeriodLabel, Query(examples=["2025-Q1"])]


class NotInPlan(NotFound):
    """The person has no assignment in that plan and period, or the plan pays for another kind of period."""


def _visible_book(context: RequestContext, label: str, subject: str) -> Book:
    """The book of a period, where the caller may see the subject's amounts as on its last day, or today before."""
    context.require_reader()
    found = book(context.uow, context.company, label)
    require_visible(context, subject, last_day(found.period))
    return found


@router.get("/people/{code}/accruals", operation_id="listPersonAccruals", summary="What a person would be entitled to")
def list_person_accruals(context: Context, code: Code, period: InPeriod) -> schemas.PersonAccruals:
    """Every plan the person is assigned to that pays for this kind of period, as if the period closed now."""
    source = _visible_book(context, period, f"person:{code}")
    parts = source.parts(code)
    if not parts:
        require(context.uow, Person, context.company, code)
    plans = source.plans(parts.keys())
    views = [_view(context, code, plans[plan], parts[plan], plans[plan].accrual(parts[plan])) for plan in plans]
    return schemas.PersonAccruals(person=code, period=source.period.label, accruals=views)


@router.get("/people/{code}/accruals/explanation", operation_id="explainAccrual", summary="Why it is this amount")
def explain_accrual(
    context: Context, code: Code, period: InPeriod, plan: Annotated[Code, Query()]
) -> schemas.Explanation:
    """Every step from driver value to amount, with the versions used and links down to the scores and readings."""
    source = _visible_book(context, period, f"person:{code}")
    parts, found = source.parts(code).get(plan), source.plans([plan]).get(plan)
    if not parts or not found:
        rule = f"{code} has no part in a plan {plan!r} that pays for {period}."
        remedy = f"List what there is with GET /incentives/v1/people/{code}/accruals?period={period}."
        raise NotInPlan(rule, field="plan", remedy=remedy)
    result = found.accrual(parts)
    view = _view(context, code, found, parts, result)
    components = [
        schemas.ComponentSteps(
            component=line.component.code, steps=line.steps,
            links={"driver": shown.driver.links["explanation"]} if shown.driver else {},
        )
        for line, shown in zip(found.payout.lines, view.lines, strict=True)
    ]  # fmt: skip
    links = {f"assignment {p.assignment}": f"/incentives/v1/assignments/{quote(p.assignment)}/versions" for p in parts}
    return schemas.Explanation(
        accrual=view, components=components, plan=found.payout.steps, person=result.steps,
        links={"plan": f"/incentives/v1/plans/{quote(plan)}/versions"} | links,
    )  # fmt: skip


def _view(
    context: RequestContext, person: str, found: PlanInPeriod, parts: list[Part], result: Accrual
) -> schemas.AccrualView:
    known = latest(context.uow, Person, context.company, person)
    period_days = days(found.period)
    too_large = [OUT_OF_RANGE] if result.total is None and result.unrounded is not None else []
    return schemas.AccrualView(
        **_total(person, found, result.total), plan_name=found.plan.name, plan_version=found.version,
        period=found.period.label, missing=found.missing + too_large, waiting_for=[] if known else ["person"],
        lines=[_line(found, i, amount) for i, amount in enumerate(result.lines)],
        assignments=[schemas.PartView(**asdict(part), period_days=period_days, amount=amount)
                     for part, amount in zip(parts, result.parts, strict=True)],
        payout_factor=found.payout.factor, team_factor=found.plan.factor, unrounded=result.unrounded,
    )  # fmt: skip


def _total(person: str, found: PlanInPeriod, total: Decimal | None) -> dict[str, Any]:
    query = urlencode({"period": found.period.label, "plan": found.code})
    return {
        "person": person, "plan": found.code, "currency": found.plan.currency, "total": total,
        "complete": found.payout.complete and total is not None,
        "links": {"explanation": f"/incentives/v1/people/{quote(person)}/accruals/explanation?{query}"},
    }  # fmt: skip


def _line(found: PlanInPeriod, number: int, amount: Decimal | None) -> schemas.LineView:
    line = found.payout.lines[number]
    component, driver = line.component, line.component.driver
    row = found.drivers.get(DriverKey.of(driver))
    too_large = OUT_OF_RANGE if amount is not None and None in (shown(line.factor), shown(amount)) else None
    return schemas.LineView(
        component=component.code, name=component.name, driver=driver_view(row) if row else None,
        driver_kind=driver.kind, driver_code=driver.code, driver_subject=driver.subject, weight=component.weight,
        payout_factor=line.factor, amount=amount, reason=line.reason or too_large,
        qualified=row.qualified if row else [],
    )  # fmt: skip


@router.get(
    "/units/{code}/accruals", operation_id="listUnitAccruals", summary="What a unit's people would be entitled to"
)
def list_unit_accruals(context: Context, page: Paging, code: Code, period: InPeriod) -> schemas.UnitAccruals:
    """The people of the unit and below as on the period's last day; the totals cover all pages."""
    uow, company = context.uow, context.company
    source = _visible_book(context, period, f"unit:{code}")
    day, plans = last_day(source.period), source.plans()
    require(uow, Unit, company, code, day)
    below = subtree(uow, company, code, day)
    people = [subject.removeprefix("person:") for subject in below if subject.startswith("person:")]
    rows = source.bases(people, list(plans), after=page.after or ("", ""), limit=page.fetch)
    lines = [schemas.PersonTotal(**_total(r.person, plans[r.plan], _payable(plans[r.plan], r.basis))) for r in rows]
    shown = page.of(lines, lambda item: [item.person, item.plan])
    totals = _totals(source.basis_counts(people, list(plans)), plans)
    return schemas.UnitAccruals(**dict(shown), unit=code, period=source.period.label, totals=totals)


def _payable(found: PlanInPeriod, basis: Decimal) -> Decimal | None:
    factor = found.payout.factor
    return None if factor is None else payable(basis, found.plan, factor, days(found.period))


def _totals(rows: Sequence[Any], plans: dict[str, PlanInPeriod]) -> list[schemas.PlanTotal]:
    totals: dict[str, schemas.PlanTotal] = {}
    for row in rows:
        found, each = plans[row.plan], _payable(plans[row.plan], row.basis)
        total = totals.setdefault(row.plan, schemas.PlanTotal(
            plan=row.plan, plan_version=found.version, currency=found.plan.currency, people=0,
            complete=found.payout.complete, missing=found.missing, total=None if each is None else Decimal(0),
        ))  # fmt: skip
        total.people += row.people
        before, total.total = total.total, None
        if each is not None and before is not None:
            total.total = add(before, multiply(each, Decimal(row.people)))
    for plan, total in totals.items():
        total.total = shown(total.total)
        if total.total is None and plans[plan].payout.factor is not None:
            total.complete, total.missing = False, [*total.missing, OUT_OF_RANGE]
    return list(totals.values())


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

    `before` and `after` are this one change with all other drivers as they are now. For strategist, analyst,
    compensation, finance and auditor; `person` is for those of them who may see personal amounts.
    """
    require_drivers(context)
    if kind == "reading" and subject is None:
        raise DriverSubject("A reading is about a subject.", field="subject", remedy="Add it, like unit:sales.")
    source = book(context.uow, context.company, period)
    if person is not None:
        require_visible(context, f"person:{person}", last_day(source.period))
    key = DriverKey(kind, code, subject or "" if kind == "reading" else "")
    row = moved_by(context.uow, context.company, key, source.period.label, version)
    if row is None:
        return schemas.Effects(driver=None, before=None, after=None, plans=[], person=[])
    before, after = (source.plans(instead={key: value}) for value in (row.before, row.value))
    people, parts = source.people_in(list(after)), source.parts(person) if person else {}
    plans, own = [], []
    for plan, now in after.items():
        was = before[plan]
        if components := [part.code for part in now.plan.components if DriverKey.of(part.driver) == key]:
            plans.append(schemas.PlanEffect(
                plan=plan, plan_version=now.version, components=components, people=people.get(plan, 0),
                before=was.payout.factor, after=now.payout.factor,
            ))  # fmt: skip
            if person and plan in parts:
                own.append(_person_effect(person, was, now, parts[plan]))
    return schemas.Effects(driver=driver_view(row), before=row.before, after=row.value, plans=plans, person=own)


def _person_effect(person: str, was: PlanInPeriod, now: PlanInPeriod, parts: list[Part]) -> schemas.PersonEffect:
    before, after = was.accrual(parts).total, now.accrual(parts).total
    difference = None if before is None or after is None else subtract(after, before)
    return schemas.PersonEffect(
        person=person, plan=now.code, currency=now.plan.currency, before=before, after=after, difference=difference
    )
