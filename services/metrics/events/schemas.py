"""What comes in and goes out over HTTP at the intake."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.metrics.events.accept import TOPIC
from services.metrics.events.cloudevents import BATCH, LONGEST, REQUIRED, STRUCTURED
from services.metrics.mappings.rules import Fault
from shared.numbers import DecimalString
from shared.periods import FIRST_YEAR, LAST_YEAR


@dataclass(frozen=True, slots=True)
class Position:
    """Where an event stands; `GET /metrics/v1/positions` tells when readers have passed it."""

    partition: int
    pos: int
    topic: str = TOPIC


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of one event of a request; `index` is its place there, from 0.

    `duplicate`: the same event was accepted before. `quarantined`: another content was accepted under its source and
    id; this one is kept aside and does not count. `rejected`: it is not a CloudEvent. The position is that of the first
    event with this source and id. The problem is as in a problem document.
    """

    index: int
    id: str | None
    source: str | None
    status: Literal["accepted", "duplicate", "quarantined", "rejected"]
    position: Position | None = None
    problem: dict[str, Any] | None = None


class Receipts(BaseModel):
    """A receipt for each event, in the order of the request."""

    receipts: list[Receipt]
    counts: dict[str, int] = Field(description="How many events of each status.")


class EventObservation(BaseModel):
    """An observation that stands for an event; its state is as in readings."""

    mapping: str
    mapping_version: int
    item: int
    rule: int
    metric: str
    effect: str
    subject: str
    day: date
    value: DecimalString | None
    source_unit: str | None
    key: str | None
    document: str | None
    state: str


class EventView(BaseModel):
    """An accepted event and what became of it."""

    event: dict[str, Any] = Field(description="The event in structured mode, canonical.")
    position: Position
    accepted_at: datetime
    status: Literal["accepted", "processed", "waiting", "no_mapping", "parked"]
    error: str | None = Field(description="Why it is parked.")
    waits_for: list[str] = Field(description="References such as `metric:revenue` or `rate:EUR-CNY`.")
    faults: list[Fault]
    observations: list[EventObservation]


class Listed(BaseModel):
    """An event in a list."""

    source: str
    id: str
    type: str
    position: Position


class Waiting(Listed):
    """An event that waits under a reference."""

    reference: str
    time: datetime


class Faulty(Listed):
    """A fault with its event."""

    mapping: str
    item: int
    rule: int
    field: str
    reason: str


class WaitingCount(BaseModel):
    """How many events wait under a reference."""

    reference: str
    events: int


class Quarantined(BaseModel):
    """An event that came under a known source and id with another content; `first` is what counts."""

    source: str
    id: str
    event: dict[str, Any]
    first: dict[str, Any]
    first_position: Position
    recorded_at: datetime


class Secret(BaseModel):
    """The secret that a source signs its webhooks with."""

    model_config = ConfigDict(extra="forbid")
    secret: str = Field(min_length=16, max_length=200, pattern=r"^[!-~]+$", examples=["q8Vt0GvXr3mJ5nE7"])


class Clock(BaseModel):
    """The company's clock: the instant of its last tick."""

    at: datetime | None


class SetClock(BaseModel):
    """Lets time reach an instant, given with its offset."""

    model_config = ConfigDict(extra="forbid")
    at: Annotated[
        AwareDatetime,
        Field(gt=datetime(FIRST_YEAR + 1, 1, 1, tzinfo=UTC), lt=datetime(LAST_YEAR, 1, 1, tzinfo=UTC)),
    ] = Field(examples=["2025-04-01T00:00:00+08:00"])


_EVENT: dict[str, Any] = {
    "type": "object",
    "required": ["specversion", *REQUIRED],
    "properties": {
        "specversion": {"const": "1.0"},
        **{name: {"type": "string", "minLength": 1, "maxLength": most} for name, most in LONGEST.items()},
        "time": {"type": "string", "format": "date-time", "description": "Without it the accept time counts."},
        "data": {},
    },
    "examples": [
        {
            "specversion": "1.0", "id": "SO-1001/2", "source": "erp", "type": "sales-order",
            "time": "2025-03-14T10:15:00+08:00", "data": {"amount": "125000.00", "currency": "CNY", "unit": "sales"},
        }
    ],
}  # fmt: skip
_EVENTS = {"type": "array", "items": _EVENT}
EVENTS_BODY = {
    "requestBody": {
        "required": True,
        "description": "CloudEvents 1.0: structured, batch, or binary mode with `ce-` headers and the data as body.",
        "content": {
            STRUCTURED: {"schema": _EVENT},
            BATCH: {"schema": _EVENTS},
            "application/json": {"schema": {"oneOf": [_EVENT, _EVENTS]}},
        },
    }
}
WEBHOOK_BODY = {
    "requestBody": {
        "required": True,
        "description": "The document as JSON, with doctype, name, modified and docstatus; the content type is ignored.",
        "content": {"*/*": {"schema": {}}},
    },
    "responses": {"401": {"$ref": "#/components/responses/Problem401"}},
}
