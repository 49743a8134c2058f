"""Mappings, and what one would make of an example event."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from services.metrics.events.cloudevents import CloudEvent, from_json
from services.metrics.events.schemas import FaultView
from services.metrics.mappings.rules import Compiled, Fact, compile_version, facts_of
from services.metrics.mappings.store import calendar
from shared.configuration import configuration_router
from shared.contracts.metrics import Mapping
from shared.database.unit_of_work import UnitOfWork
from shared.http.context import Context
from shared.http.routing import Router
from shared.numbers import DecimalString, plain
from shared.periods import Calendar

DRAFT = "draft"
_ENCODE = msgspec.json.Encoder(decimal_format="number", enc_hook=Decimal).encode


class DryRun(BaseModel):
    """A mapping and an example event."""

    model_config = ConfigDict(extra="forbid")
    mapping: Mapping
    event: dict[str, Any] = Field(description="A CloudEvent in structured mode.")


class FactView(BaseModel):
    """An observation that the event would yield; whether metric, subject and unit are known is not looked at."""

    item: int
    rule: int
    metric: str
    effect: str
    value: str | None = Field(description="A number as plain text, or the member's text.")
    unit: str | None = Field(description="Null: the metric's own. Empty: blank in the event, which then waits.")
    subject: str
    at: datetime
    day: date = Field(description="The business day, in the company's time zone.")
    key: str | None
    document: str | None
    dimensions: dict[str, str]
    revision: DecimalString


class DryRunResult(BaseModel):
    """What the mapping would make of the event."""

    taken: bool = Field(description="Whether type, source and date are those of the mapping.")
    observations: list[FactView]
    faults: list[FaultView]


def check(_uow: UnitOfWork, _company: str, code: str, new: Mapping, _before: Mapping | None) -> None:
    """Expressions are read when the mapping is defined; metrics may be unknown, their events then wait."""
    compile_version(code, 0, new)


router = Router(tags=["mappings"])


@router.post("/mappings/dry-run", operation_id="dryRunMapping", summary="What a mapping would make of an event")
def dry_run(context: Context, body: DryRun) -> DryRunResult:
    """Stores nothing. Without a company, days are judged in UTC."""
    context.require("analyst", "strategist")
    mapping = compile_version(DRAFT, 0, body.mapping)
    compiled = Compiled(calendar(context.uow, context.company) or Calendar("UTC"), [mapping])
    mapped = facts_of(_example(body.event), compiled)
    return DryRunResult(
        taken=mapped.known,
        observations=[_view(fact) for fact in mapped.facts],
        faults=[
            FaultView(mapping=DRAFT, item=each.item, rule=each.rule, field=each.field, reason=each.reason)
            for each in mapped.faults
        ],
    )


def _example(event: dict[str, Any]) -> CloudEvent:
    """Through the same door as a real one; the strict reading of the request has kept its numbers exact."""
    return from_json(_ENCODE(event), datetime.now(UTC))


def _view(fact: Fact) -> FactView:
    shown = {name: getattr(fact, name) for name in FactView.model_fields}
    return FactView(**shown | {"value": plain(fact.value) if isinstance(fact.value, Decimal) else fact.value})


router.include_router(configuration_router(Mapping, write_roles=("analyst", "strategist"), check=check))
