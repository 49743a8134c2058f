"""Drivers over HTTP."""

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, Field

from services.incentives.drivers.rules import source_link
from services.incentives.drivers.store import citation, find
from shared.contracts.base import Citation, Code, PeriodLabel, Subject
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.numbers import DecimalString

router = Router(tags=["drivers"])
Kind = Literal["goal", "scorecard", "reading"]


class DriverView(BaseModel):
    """A version of what a component depends on."""

    kind: Kind
    code: str
    subject: str | None
    period: str
    version: int
    change: int = Field(description="The change of this service that made it.")
    value: DecimalString | None = Field(description="A score (0–120), or a reading in its metric's unit.")
    reason: str | None = Field(description="Why there is no value.")
    inputs: list[Citation]
    links: dict[str, str]


@router.get("/drivers", operation_id="listDrivers", summary="List what plans depend on, with values")
def list_drivers(
    context: Context,
    page: Paging,
    kind: Annotated[Kind | None, Query()] = None,
    code: Annotated[Code | None, Query()] = None,
    subject: Annotated[Subject | None, Query()] = None,
    period: Annotated[PeriodLabel | None, Query()] = None,
    versions: Annotated[
        Literal["latest", "all"], Query(description="Every version, or the latest of each.")
    ] = "latest",
) -> Page[DriverView]:
    context.require_reader()
    rows = find(
        context.uow, context.company, kind=kind, code=code, subject=subject, period=period, limit=page.fetch,
        after=tuple(page.after or ("", "", "", "", 0)), every_version=versions == "all",
    )  # fmt: skip
    return page.of([driver_view(row) for row in rows], lambda d: [d.kind, d.code, d.subject or "", d.period, d.version])


def driver_view(row: Any) -> DriverView:
    """A row of `driver` as the API shows it."""
    return DriverView(
        kind=row.kind, code=row.code, subject=row.subject or None, period=row.period, version=row.version,
        change=row.change, value=row.value, reason=row.reason, inputs=[citation(row, row.source_version)],
        links={"explanation": source_link(row.kind, row.code, row.subject, row.period, row.source_version)},
    )  # fmt: skip
