"""Closing a period over HTTP, and where that is: one call, of which all services learn."""

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Response
from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Missing, PeriodLabel
from shared.http.context import Context, RequestContext
from shared.http.idempotency import idempotency_required
from shared.http.routing import Router

from . import handlers, store

router = Router(tags=["periods"])


class Close(BaseModel):
    """Closes a period."""

    model_config = ConfigDict(extra="forbid")
    override: Annotated[
        str | None,
        Field(min_length=1, max_length=2000, description="Why it is closed although something is missing."),
    ] = None


class ServiceClosed(BaseModel):
    """A service that has closed the period."""

    model_config = ConfigDict(from_attributes=True)
    service: str
    change: int = Field(description="The last change of that service that the closed figures include.")
    at: datetime = Field(description="The company's clock.")
    certificate: str = Field(description="SHA-256 of its certificate.")
    recorded_at: datetime


class PeriodView(BaseModel):
    """Where the close of a period is."""

    period: str
    state: str = Field(description="`open`, `closing`, `refused` (something is missing) or `closed` (by all).")
    by: str | None = Field(description="Who asked for it last.")
    override: str | None = Field(description="Why it was closed although something was missing.")
    asked_at: datetime | None = Field(description="The company's clock.")
    missing: list[Missing] = Field(description="While it is open, what is missing; then what was.")
    services: list[ServiceClosed]


@router.post("/periods/{period}/close", operation_id="closePeriod", summary="Close a period in all services",
             status_code=202, response_model=PeriodView, responses={200: {"model": PeriodView}},
             dependencies=[Depends(idempotency_required)])  # fmt: skip
def close_period(context: Context, period: PeriodLabel, body: Close, response: Response) -> PeriodView:
    """Refused while something is missing, unless somebody with the role overrides with a reason; there is no reopening.

    202: on its way, see GET. 200: it is closed already, and nothing was changed.
    """
    context.require("finance")
    handlers.ask(context.uow, context.company, period, body.override)
    found = _view(context, period)
    response.status_code = 200 if found.state == "closed" else 202
    return found


@router.get("/periods/{period}", operation_id="getPeriod", summary="Where the close of a period is")
def get_period(context: Context, period: PeriodLabel) -> PeriodView:
    context.require_reader()
    return _view(context, period)


def _view(context: RequestContext, label: str) -> PeriodView:
    uow, company = context.uow, context.company
    period = handlers.period_named(uow, company, label)
    last, state = store.asked(uow, company, period.label), store.state_of(uow, company, period.label)
    missing = last.missing if last and state != "open" else store.missing(uow, company, period)
    closed = [ServiceClosed.model_validate(row) for row in store.closed_by(uow, company, period.label)]
    said = {"by": last.by, "override": last.override, "asked_at": last.asked_at} if last else {}
    return PeriodView.model_validate(
        {"by": None, "override": None, "asked_at": None} | said
        | {"period": period.label, "state": state, "missing": missing, "services": closed}
    )  # fmt: skip
