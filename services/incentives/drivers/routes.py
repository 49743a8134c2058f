"""Drivers over HTTP."""

from typing import Annotated, Any, Literal

from fastapi import Query

from shared.contracts.base import Code, PeriodLabel, Subject
from shared.contracts.incentives import DriverChanged
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router

from ..access import require_drivers
from .rules import source_link
from .store import as_event, find

router = Router(tags=["drivers"])
Kind = Literal["goal", "scorecard", "reading"]


class DriverView(DriverChanged):
    """A version of what a component depends on: a score (0–120), or a reading in its metric's unit."""

    links: dict[str, str]


@router.get("/drivers", operation_id="listDrivers", summary="List what plans depend on, with the latest values")
def list_drivers(
    context: Context,
    page: Paging,
    kind: Annotated[Kind | None, Query()] = None,
    code: Annotated[Code | None, Query()] = None,
    subject: Annotated[Subject | None, Query()] = None,
    period: Annotated[PeriodLabel | None, Query()] = None,
) -> Page[DriverView]:
    """For strategist, analyst, compensation, finance and auditor; others see theirs where an accrual is explained."""
    require_drivers(context)
    rows = find(
        context.uow, context.company, kind=kind, code=code, subject=subject, period=period, limit=page.fetch,
        after=page.after or ("", "", "", ""),
    )  # fmt: skip
    return page.of([driver_view(row) for row in rows], lambda d: [d.kind, d.code, d.subject or "", d.period])


def driver_view(row: Any) -> DriverView:
    """A row of `driver` as the API shows it."""
    link = source_link(row.kind, row.code, row.subject, row.period, row.source_version)
    return DriverView(**dict(as_event(row)), links={"explanation": link})
