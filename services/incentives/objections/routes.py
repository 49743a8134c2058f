"""Objections over HTTP: raised by who is paid, answered with what the amount would be if they were right."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Path, Query
from fastapi.exceptions import RequestValidationError

from shared.configuration import define
from shared.contracts.base import Code
from shared.contracts.incentives import Override
from shared.contracts.objections import ObjectionAnswered, ObjectionRaised
from shared.errors import Conflict, Invalid, NotFound
from shared.http.context import Context, RequestContext
from shared.http.idempotency import idempotency_required
from shared.http.paging import Page, Paging
from shared.http.problems import Malformed
from shared.http.routing import Router
from shared.numbers import subtract
from shared.periods import business_day
from shared.rehearsal import PREVIEWERS

from ..access import PersonalAmount, require_pay_role, require_visible
from ..accruals.definitions import Value
from ..accruals.store import book, calendar_of
from ..drivers.store import latest_drivers
from ..entitlements.compute import Due, due_of
from ..entitlements.versions import versions
from ..overrides.routes import check as check_override
from ..plans.rules import OWN, DriverKey
from ..policies import policy
from ..previews.routes import amount_if
from ..statements.routes import NoSuchStatement
from ..statements.store import of_payee, whole_of
from . import schemas, store
from .rules import ClaimBeside, NothingToObject, ObjectionUnclear, check_answer, decided, due_at

router = Router(tags=["objections"])
Id = Annotated[Code, Path(examples=["2025-Q1.1"])]
once = [Depends(idempotency_required)]


@router.post("/people/{code}/objections", operation_id="raisePersonObjection", summary="Object to an amount",
             status_code=201, dependencies=once)  # fmt: skip
def raise_person_objection(context: Context, code: Code, new: schemas.NewObjection) -> schemas.ObjectionView:
    """By the person, or by compensation for them. It is answered by the policy `objection_due_hours`."""
    if context.principal.subject != code:
        context.require("compensation")
    return _raise(context, f"person:{code}", new)


@router.post("/partners/{code}/objections", operation_id="raisePartnerObjection",
             summary="Object to an amount for a partner", status_code=201, dependencies=once)  # fmt: skip
def raise_partner_objection(context: Context, code: Code, new: schemas.NewObjection) -> schemas.ObjectionView:
    """By compensation, for the partner."""
    context.require("compensation")
    return _raise(context, f"partner:{code}", new)


@router.get("/people/{code}/objections", operation_id="listPersonObjections", summary="List a person's objections")
def list_person_objections(context: Context, page: Paging, code: Code) -> Page[schemas.ObjectionView]:
    """For the person, those above them, and the roles that pay and check."""
    require_visible(context, f"person:{code}")
    return _list(context, page, payee=f"person:{code}")


@router.get("/objections", operation_id="listObjections", summary="List all objections")
def list_objections(
    context: Context,
    page: Paging,
    status: Annotated[schemas.Status | None, Query()] = None,
    overdue: Annotated[bool | None, Query()] = None,
) -> Page[schemas.ObjectionView]:
    """By period and number. For compensation, finance, auditor and admin."""
    require_pay_role(context)
    return _list(context, page, status=status, overdue=overdue)


@router.get("/objections/{id}", operation_id="getObjection", summary="Get an objection and its answer")
def get_objection(context: Context, id: Id) -> schemas.ObjectionView:
    return _view(_visible(context, id))


@router.get("/objections/{id}/counterfactual", operation_id="getCounterfactual",
            summary="What the amount would be if the objection were right")  # fmt: skip
def get_counterfactual(context: Context, id: Id) -> schemas.Counterfactual:
    """Computed now by the code that pays: with the claimed values in place of what is there, or after a preview of the
    claimed events and settings, which takes a role that may preview."""
    return _counterfactual(context, _visible(context, id))


@router.post("/objections/{id}/answers", operation_id="answerObjection", summary="Answer an objection",
             status_code=201, dependencies=once)  # fmt: skip
def answer_objection(context: Context, id: Id, answer: schemas.NewAnswer) -> schemas.ObjectionView:
    """By compensation, but not by whom it concerns. An adjustment is an override: the next run pays the difference."""
    context.require("compensation")
    uow, company, me = context.uow, context.company, context.principal.subject
    check_answer(store.get(uow, company, id), me, answer.outcome, answer.amount)
    before, after = _what_is_known(context, store.get(uow, company, id), answer.outcome)
    uow.lock_company(company)
    row = store.get(uow, company, id)
    check_answer(row, me, answer.outcome, answer.amount)
    amount = None
    if answer.outcome == "adjusted":
        amount = decided(answer.amount, after)
        _adjust(context, row, amount, answer.reason)
    answered = ObjectionAnswered(
        objection=id, outcome=answer.outcome, reason=answer.reason, by=me, at=store.now(uow, company),
        before=before, after=after, amount=amount,
    )  # fmt: skip
    store.answered(uow, company, answered)
    return _view(store.get(uow, company, id))


def _raise(context: RequestContext, payee: str, new: schemas.NewObjection) -> schemas.ObjectionView:
    uow, company = context.uow, context.company
    plan, period = _line(context, payee, new) if new.statement else (new.plan, new.period)
    if plan is None or period is None:
        rule = "An objection names a line of a statement, or a plan and a period."
        raise ObjectionUnclear(rule, field="plan", remedy="Send statement and line, or plan and period.")
    entitled = versions(uow, company, payee, period=period, plan=plan)
    if not entitled:
        rule = f"{payee} was paid nothing from {plan} for {period}: there is no such entitlement, or it is not closed."
        raise NothingToObject(
            rule, field="plan", remedy="Ask whoever keeps plans and assignments, or wait for the close."
        )
    _check_claim(_due(context, period, plan), new.claim)
    uow.lock_company(company)
    at = store.now(uow, company)
    hours = policy(uow, company, "objection_due_hours", business_day(calendar_of(uow, company), at))
    id = f"{period}.{store.next_number(uow, company, period)}"
    raised = ObjectionRaised(
        objection=id, payee=payee, plan=plan, period=period, text=new.text, claim=store.written(new.claim),
        by=context.principal.subject, at=at, due=due_at(at, hours), amount=entitled[-1].amount,
    )  # fmt: skip
    store.raised(uow, company, raised)
    return _view(store.get(uow, company, id))


def _line(context: RequestContext, payee: str, new: schemas.NewObjection) -> tuple[str, str]:
    """The plan and period of a line of a statement. Raises NoSuchStatement, NothingToObject."""
    number = new.statement or 0
    rows = of_payee(context.uow, context.company, payee, after=number - 1, limit=1)
    if not rows or rows[0].number != number:
        raise NoSuchStatement(f"{payee} has no statement {number}.", field="statement", remedy="List them.")
    [content] = whole_of(context.uow.rows, rows)
    period = new.period or content["period"]
    for line in content["lines"]:
        if line["line"] == new.line and any(part["period"] == period for part in line["parts"]):
            return line["plan"], period
    rule = f"Statement {number} has no line {new.line} about {period}."
    raise NothingToObject(rule, field="line", remedy="Name a line of it, and a period that it pays.")


def _counterfactual(context: RequestContext, row: Any) -> schemas.Counterfactual:
    claim, now = store.read(row.claim), _due(context, row.period, row.plan)
    if claim.change:
        context.require(*PREVIEWERS)
        before, after = amount_if(context, claim.change, row.period, row.plan, row.payee)
    else:
        then = _due(context, row.period, row.plan, _claimed(context, row, claim))
        before, after = _amount(now, row.payee), _amount(then, row.payee)
    difference = None if before is None or after is None else subtract(after, before)
    return schemas.Counterfactual(before=before, after=after, difference=difference, currency=now.currency)


def _what_is_known(context: RequestContext, row: Any, outcome: str) -> tuple[Decimal | None, Decimal | None]:
    """Before and after; nothing of a claim that cannot be computed: that must not keep an objection from its answer."""
    try:
        if outcome == "corrected":
            return row.amount, _amount(_due(context, row.period, row.plan), row.payee)
        found = _counterfactual(context, row)
    except (Invalid, Conflict, NotFound, Malformed, RequestValidationError):
        return None, None
    return found.before, found.after


def _due(context: RequestContext, period: str, plan: str, instead: Mapping[DriverKey, Value] | None = None) -> Due:
    """What pays under that code in a period. Raises NothingToObject."""
    source = replace(book(context.uow, context.company, period), instead=instead or {})
    for due in due_of(source):
        if due.code == plan:
            return due
    raise NothingToObject(f"{plan} pays nothing for {period} any more.", field="plan", remedy="Answer in words.")


def _check_claim(due: Due, claim: schemas.Claim) -> None:
    for index, one in enumerate(claim.values):
        if DriverKey.of(one.driver) not in due.keys:
            rule = f"{due.code} does not depend on the {one.driver.kind} {one.driver.code}."
            raise ClaimBeside(
                rule, field=f"claim.values.{index}.driver", remedy="Its explanation says on what it does."
            )


def _amount(due: Due, payee: str) -> Decimal:
    return next((one.amount for one in due.compute([payee], None) if one.payee == payee), Decimal(0))


def _claimed(context: RequestContext, row: Any, claim: schemas.Claim) -> dict[DriverKey, Value]:
    keys = {DriverKey.of(one.driver): one.value for one in claim.values}
    own = {key: replace(key, subject=row.payee) if key.subject == OWN else key for key in keys}
    rows = latest_drivers(context.uow, context.company, list(own.values()), row.period)
    return {
        own[key]: Value(value, version=row.version if row else 0, unit=row.unit if row else None)
        for key, value in keys.items() for row in (rows.get(own[key]),)
    }  # fmt: skip


def _adjust(context: RequestContext, row: Any, amount: Decimal, reason: str) -> None:
    override = Override(
        payee=row.payee, plan=row.plan, period=row.period, amount=amount, correction=True,
        reason=f"Objection {row.id}: {reason}"[:2000],
    )  # fmt: skip
    define(context.uow, context.company, f"objection-{row.id}", override, check=check_override)


def _visible(context: RequestContext, id: str) -> Any:
    """Raises ObjectionNotFound, whether there is none or it is not for the caller's eyes."""
    row = store.get(context.uow, context.company, id)
    try:
        require_visible(context, row.payee) if row.payee.startswith("person:") else require_pay_role(context)
    except PersonalAmount:
        raise store.not_found(id) from None
    return row


def _list(context: RequestContext, page: Paging, **filters: Any) -> Page[schemas.ObjectionView]:
    rows = store.find(context.uow, context.company, after=page.after or ("", 0), limit=page.fetch, **filters)
    numbers = {row.id: row.number for row in rows}
    return page.of([_view(row) for row in rows], lambda one: [one.period, numbers[one.id]])


def _view(row: Any) -> schemas.ObjectionView:
    base = f"/incentives/v1/objections/{quote(row.id)}"
    links = {"self": base, "counterfactual": f"{base}/counterfactual"}
    return schemas.ObjectionView.model_validate(row._asdict() | {"claim": store.read(row.claim), "links": links})
