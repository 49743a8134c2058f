"""Mappings, and what one would make of an example event."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from services.metrics.events.cloudevents import from_json
from services.metrics.mappings.rules import Compiled, Fact, Fault, compile_version, facts_of
from services.metrics.mappings.store import calendar
from shared.configuration import configuration_router
from shared.contracts.metrics import Mapping
from shared.database.unit_of_work import UnitOfWork
from shared.http.context import Context
from shared.http.routing import Router
from shared.periods import Calendar

_ENCODE = msgspec.json.Encoder(decimal_format="number", enc_hook=Decimal).encode


class DryRun(BaseModel):
    """A mapping and an example event."""

    model_config = ConfigDict(extra="forbid")
    mapping: Mapping
    event: dict[str, Any] = Field(description="A CloudEvent in structured mode.")


class DryRunResult(BaseModel):
    """What the mapping would make of the event; whether metric, subject and unit are known is not looked at."""

    taken: bool = Field(description="Whether type, source and date are those of the mapping.")
    observations: list[Fact]
    faults: list[Fault]


def check(_uow: UnitOfWork, _company: str, code: str, new: Mapping, _before: Mapping | None) -> None:
    """Expressions are read when the mapping is defined; metrics may be unknown, their events then wait."""
    compile_version(code, 0, new)


router = Router(tags=["mappings"])


@router.post("/mappings/dry-run", operation_id="dryRunMapping", summary="What a mapping would make of an event")
def dry_run(context: Context, body: DryRun) -> DryRunResult:
    """Stores nothing. Without a company, days are judged in UTC."""
    context.require("analyst", "strategist")
    mapping = compile_version("draft", 0, body.mapping)
    # Through the same door as a real event; the strict reading of the request has kept its numbers exact.
    event = from_json(_ENCODE(body.event), datetime.now(UTC))
    found = facts_of(event, Compiled(calendar(context.uow, context.company) or Calendar("UTC"), [mapping]))
    return DryRunResult(taken=found.known, observations=found.facts, faults=found.faults)


router.include_router(configuration_router(Mapping, write_roles=("analyst", "strategist"), check=check))
