"""Accruals over HTTP: of a person, of a unit, why, and what a change did."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from urllib.parse import quote

from fastapi import Query

from shared.configuration import require
from shared.contracts.base import Code, PeriodLabel, Subject
from shared.contracts.goals import Person as PersonSetting
from shared.contracts.goals import Unit
from shared.contracts.incentives import Component
from shared.errors import NotFound
from shared.http.context import Context, RequestContext
from shared.http.paging import Paging
from shared.http.routing import Router
from shared.http.times import AskedPeriod, KnownAt
from shared.numbers import add, subtract
from shared.organisation import subtree

from ..access import require_drivers, require_visible
from ..assignments.rules import last_day
from ..drivers.routes import Kind, driver_view
from ..drivers.store import moved_by
from ..plans.rules import OWN, DriverKey, DriverSubject
from . import schemas
from .definitions import OUT_OF_RANGE, Person, Shape, Value, shown
from .rules import calculation
from .store import Book, CalendarUnknown, PlanInPeriod, book, calendar_of
from .views import accrual, explained, factor_of, person_view, total_view

router = Router(tags=["accruals"])
InPeriod = Annotated[PeriodLabel, Query(examples=["2025-Q1"])]


class NotInPlan(NotFound):
    """The person has no assignment in that plan and period, or the plan pays for another kind of period."""


def _visible_book(context: RequestContext, asked: AskedPeriod, known_at: datetime | None, subject: str) -> Book:
    """The book of a period, where the caller may see the subject's amounts as on its last day, or today before.

    Rights are about now, whatever was known at the instant asked for.
    """
    context.require_reader()
    label = asked.label(lambda: calendar_of(context.uow, context.company))
    found = book(context.uow, context.company, label)
    require_visible(context, subject, last_day(found.period))
    try:
        return found if known_at is None else book(context.uow, context.company, label, known_at)
    except CalendarUnknown as error:
        rule = f"At {known_at} nothing was known of the company here yet."
        raise CalendarUnknown(rule, field="known_at", remedy="Name a later instant.") from error


@router.get("/people/{code}/accruals", operation_id="listPersonAccruals", summary="What a person would be entitled to")
def list_person_accruals(
    context: Context, code: Code, asked: AskedPeriod, known_at: KnownAt = None
) -> schemas.PersonAccruals:
    """Every plan the person is assigned to that pays for this kind of period, as if the period closed now, or had
    closed at an instant. What closed periods were closed with is listed under entitlements."""
    source = _visible_book(context, asked, known_at, f"person:{code}")
    codes = source.plans_of(code)
    if not codes:
        require(context.uow, PersonSetting, context.company, code)
    plans = source.plans(codes).values()
    views = [person_view(context, accrual(plan, one)) for plan in plans for one in plan.people([code])]
    return schemas.PersonAccruals(person=code, period=source.period.label, accruals=views)


@router.get("/people/{code}/accruals/explanation", operation_id="explainAccrual", summary="Why it is this amount")
def explain_accrual(
    context: Context, code: Code, asked: AskedPeriod, plan: Annotated[Code, Query()], known_at: KnownAt = None
) -> schemas.Explanation:
    """Every step from driver value to amount, with the versions used and links down to the scores and readings."""
    source = _visible_book(context, asked, known_at, f"person:{code}")
    found = source.plans([plan]).get(plan)
    person = next(found.people([code]), None) if found else None
    if not found or not person:
        rule = f"{code} has no part in a plan {plan!r} that pays for {source.period.label}."
        remedy = f"List what there is with GET /incentives/v1/people/{code}/accruals?period={source.period.label}."
        raise NotInPlan(rule, field="plan", remedy=remedy)
    accrued = accrual(found, person)
    components, of_plan, of_person = explained(accrued)
    codes = {part.assignment for part in person.parts}
    links = {f"assignment {one}": f"/incentives/v1/assignments/{quote(one)}/versions" for one in sorted(codes)}
    return schemas.Explanation(
        accrual=person_view(context, accrued), components=components, plan=of_plan, person=of_person,
        links={"plan": f"/incentives/v1/plans/{quote(plan)}/versions"} | links,
    )  # fmt: skip


@router.get(
    "/units/{code}/accruals", operation_id="listUnitAccruals", summary="What a unit's people would be entitled to"
)
def list_unit_accruals(
    context: Context, page: Paging, code: Code, asked: AskedPeriod, known_at: KnownAt = None
) -> schemas.UnitAccruals:
    """The people of the unit and below as on the period's last day; the totals cover all pages."""
    uow, company = context.uow, context.company
    source = _visible_book(context, asked, known_at, f"unit:{code}")
    day, plans = last_day(source.period), source.plans()
    require(uow, Unit, company, code, day)
    below = subtree(uow, company, code, day)
    people = [subject.removeprefix("person:") for subject in below if subject.startswith("person:")]
    pairs = source.pairs(people, list(plans), after=page.after or ("", ""), limit=page.fetch)
    lines = [
        schemas.PersonTotal(**total_view(accrual(plan, one)))
        for plan in plans.values() for one in plan.people([person for person, code in pairs if code == plan.code])
    ]  # fmt: skip
    lines.sort(key=lambda item: (item.person, item.plan))
    shown = page.of(lines, lambda item: [item.person, item.plan])
    totals = [total for plan in plans.values() if (total := _plan_total(plan, people))]
    return schemas.UnitAccruals(**dict(shown), unit=code, period=source.period.label, totals=totals)


def _plan_total(found: PlanInPeriod, people: list[str]) -> schemas.PlanTotal | None:
    """The sum of the people's rounded amounts; null as soon as one of them is."""
    count, sum_, missing = 0, Decimal(0), dict[str, None]()
    unknown = False
    for person in found.people(people):
        program, _, amount = found.calculator.compute(person)
        count += 1
        fits = shown(amount)
        missing |= dict.fromkeys([*program.missing, *([OUT_OF_RANGE] if amount is not None and fits is None else [])])
        unknown = unknown or fits is None
        sum_ = add(sum_, fits or Decimal(0))
    if count == 0:
        return None
    total = None if unknown else shown(sum_)
    if total is None and not unknown:
        missing[OUT_OF_RANGE] = None
    return schemas.PlanTotal(
        plan=found.code, plan_version=found.version, currency=found.plan.currency, people=count,
        complete=not missing, missing=list(missing), total=total,
    )  # fmt: skip


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
    before, after = (
        replace(source, instead={key: Value(value, "There was no value before.", version)}).plans()
        for value, version in ((row.before, row.version - 1), (row.value, row.version))
    )
    people, plans, own = source.people_in(list(after)), [], []
    for plan, now in after.items():
        if components := [one.code for one in now.plan.components if _hangs_on(one, key)]:
            was = before[plan]
            plans.append(schemas.PlanEffect(
                plan=plan, plan_version=now.version, components=components, people=people.get(plan, 0),
                before=_shared_factor(was), after=_shared_factor(now),
            ))  # fmt: skip
            own += [_person_effect(one, was, now) for one in now.people([person])] if person else []
    return schemas.Effects(driver=driver_view(row), before=row.before, after=row.value, plans=plans, person=own)


def _hangs_on(component: Component, key: DriverKey) -> bool:
    """Whether a component moves with a driver: one of its own, or a reading of whoever is paid."""
    own = DriverKey(key.kind, key.code, OWN) if key.subject.startswith("person:") else key
    return any(DriverKey.of(d) in (key, own) for d in (component.driver, *(p.driver for p in component.points)))


def _shared_factor(found: PlanInPeriod) -> Decimal | None:
    """The payout factor that is the same for all people; None where it is not, or not known."""
    lacking = frozenset(key for key in found.terms.values if key.subject == OWN)
    last = len(found.terms.segments) - 1
    program = calculation(found.terms, Shape(((last, False),), lacking, False, False, found.terms.scale is not None))
    return factor_of(program, found.terms.segments[-1]) if program.payable and not lacking else None


def _person_effect(person: Person, was: PlanInPeriod, now: PlanInPeriod) -> schemas.PersonEffect:
    code = person.payee.removeprefix("person:")
    before, after = (shown(found.calculator.compute(one)[2]) for found in (was, now) for one in found.people([code]))
    difference = None if before is None or after is None else subtract(after, before)
    return schemas.PersonEffect(
        person=code, plan=now.code, currency=now.plan.currency, before=before, after=after, difference=difference
    )
