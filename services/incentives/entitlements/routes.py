"""Entitlements over HTTP: every version of what somebody is entitled to in closed periods, and why."""

from datetime import date, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import Query
from pydantic import BaseModel, Field

from shared.contracts.base import Citation, Code, PeriodLabel
from shared.errors import NotFound
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.http.times import KnownAt
from shared.numbers import DecimalString

from ..access import require_pay_role, require_visible
from ..accruals.schemas import StepView
from .versions import Which, content, find, versions

router = Router(tags=["entitlements"])
Payee = Annotated[str, Query(pattern=r"^(person|partner):[A-Za-z0-9][A-Za-z0-9._-]{0,79}$", examples=["person:wang"])]
Closed = Annotated[bool, Query(description="The versions that periods were closed with.")]


class NotEntitled(NotFound):
    """There is no such version of an entitlement; the period may not be closed yet."""


class EntitlementView(BaseModel):
    """A version of what somebody is entitled to from a plan, pool or award in a closed period."""

    payee: str
    period: str
    plan: str = Field(description="Code of the plan, pool or award.")
    version: int = Field(description="1 was made when the period closed; later ones restate it.")
    amount: DecimalString = Field(description="Rounded once, in `currency`.")
    currency: str
    latest: bool
    change: int = Field(description="The change of this service that made it.")
    recorded_at: datetime
    links: dict[str, str]


class EntitlementExplained(BaseModel):
    """The whole calculation of a version, as it was made."""

    entitlement: EntitlementView
    steps: list[StepView] = Field(description="docs/plans.md says what each does; the last one's value is the amount.")
    inputs: list[Citation] = Field(description="The versions of everything used.")
    missing: list[str] = Field(description="What was not known, in words.")


@router.get(
    "/people/{code}/entitlements", operation_id="listPersonEntitlements", summary="What a person is entitled to"
)
def list_person_entitlements(
    context: Context,
    code: Code,
    period: Annotated[PeriodLabel | None, Query()] = None,
    as_of: Annotated[date | None, Query(description="Of closed periods that hold this day.")] = None,
    known_at: KnownAt = None,
    closed: Closed = False,
) -> list[EntitlementView]:
    """All versions, or those asked for, by period, plan and version; nothing where no period is closed."""
    require_visible(context, f"person:{code}")
    rows = versions(context.uow, context.company, f"person:{code}", period=period, as_of=as_of,
                    which=Which(known_at, closed))  # fmt: skip
    return [_view(row) for row in rows]


@router.get("/entitlements", operation_id="listEntitlements", summary="What everybody is entitled to from a plan")
def list_entitlements(
    context: Context,
    page: Paging,
    period: Annotated[PeriodLabel, Query()],
    plan: Annotated[Code | None, Query()] = None,
    known_at: KnownAt = None,
    closed: Closed = False,
) -> Page[EntitlementView]:
    """The latest versions of a closed period, unless others are asked for, by plan and payee. For compensation,
    finance, auditor and admin."""
    require_pay_role(context)
    rows = find(
        context.uow, context.company, period=period, plan=plan, which=Which(known_at, closed),
        after=page.after or ("", ""), limit=page.fetch,
    )  # fmt: skip
    return page.of([_view(row) for row in rows], lambda item: [item.plan, item.payee])


@router.get("/entitlements/explanation", operation_id="explainEntitlement", summary="Why it is this amount")
def explain_entitlement(
    context: Context, payee: Payee, period: Annotated[PeriodLabel, Query()], plan: Annotated[Code, Query()],
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Default: the latest.")] = None,
) -> EntitlementExplained:  # fmt: skip
    """Every step and every input of one version; a partner's is shown to compensation, finance, auditor and admin."""
    if payee.startswith("person:"):
        require_visible(context, payee)
    else:
        require_pay_role(context)
    rows = versions(context.uow, context.company, payee, period=period, plan=plan, version=version)
    if not rows:
        rule = f"{payee} has no such entitlement from {plan} in {period}."
        raise NotEntitled(rule, remedy="What an open period would pay is shown under accruals.")
    return EntitlementExplained(entitlement=_view(rows[-1]), **content(context.uow, context.company, rows[-1]))


def _view(row: Any) -> EntitlementView:
    query = urlencode({"payee": row.payee, "period": row.period, "plan": row.plan, "version": row.version})
    links = {"explanation": f"/incentives/v1/entitlements/explanation?{query}"}
    if row.payee.startswith("person:"):
        links["versions"] = f"/incentives/v1/people/{quote(row.payee[7:])}/entitlements?period={row.period}"
    return EntitlementView(**{name: getattr(row, name, links) for name in EntitlementView.model_fields})
