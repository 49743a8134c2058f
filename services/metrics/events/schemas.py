"""What the intake's HTTP answers look like."""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from services.metrics.events.cloudevents import BATCH, STRUCTURED
from shared.numbers import DecimalString


class Position(BaseModel):
    """Where an event stands; `GET /metrics/v1/positions` tells when readers have passed it."""

    topic: str
    partition: int
    pos: int


class ReceiptProblem(BaseModel):
    """Why an event was rejected, as in a problem document."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    remedy: str | None = None


class Receipt(BaseModel):
    """What became of one event of a request."""

    index: int = Field(description="Its place in the request, from 0.")
    id: str | None
    source: str | None
    status: Literal["accepted", "duplicate", "quarantined", "rejected"] = Field(
        description="`duplicate`: the same event was accepted before. `quarantined`: another content was accepted "
        "under its source and id; this one is kept aside and does not count. `rejected`: it is not a CloudEvent."
    )
    position: Position | None = Field(description="Of the first event with this source and id; null when rejected.")
    problem: ReceiptProblem | None


class Receipts(BaseModel):
    """A receipt for each event, in the order of the request."""

    receipts: list[Receipt]
    counts: dict[str, int] = Field(description="How many events of each status.")


class FaultView(BaseModel):
    """Why a mapping's rule yielded no observation for an event."""

    mapping: str
    item: int = Field(description="Index in the mapping's list; -1: the mapping as a whole.")
    rule: int = Field(description="Index of the observation rule; -1: the mapping as a whole.")
    field: str
    reason: str


class ObservationView(BaseModel):
    """An observation that stands for an event."""

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
    state: str = Field(description="`counts`, `superseded`, `retraction`, `matched` or `unmatched`.")


class EventView(BaseModel):
    """An accepted event and what became of it."""

    event: dict[str, Any] = Field(description="The event in structured mode, canonical.")
    position: Position
    accepted_at: datetime
    status: Literal["accepted", "processed", "waiting", "no_mapping", "parked"]
    error: str | None = Field(description="Why it is parked.")
    waits_for: list[str] = Field(description="References such as `metric:revenue` or `rate:EUR-CNY`.")
    faults: list[FaultView]
    observations: list[ObservationView]


class Waiting(BaseModel):
    """An event that waits under a reference."""

    reference: str
    source: str
    id: str
    type: str
    time: datetime
    position: Position


class WaitingCount(BaseModel):
    """How many events wait under a reference."""

    reference: str
    events: int


class Faulty(FaultView):
    """A fault with its event."""

    source: str
    id: str
    type: str
    position: Position


class Quarantined(BaseModel):
    """An event that came under a known source and id with another content."""

    source: str
    id: str
    event: dict[str, Any] = Field(description="What came.")
    first: dict[str, Any] = Field(description="What counts.")
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
    """Lets time reach an instant."""

    model_config = ConfigDict(extra="forbid")
    at: AwareDatetime = Field(description="With its offset.", examples=["2025-04-01T00:00:00+08:00"])


_EVENT = {
    "type": "object",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1, "maxLength": 300},
        "source": {"type": "string", "minLength": 1, "maxLength": 500},
        "type": {"type": "string", "minLength": 1, "maxLength": 300},
        "subject": {"type": "string", "minLength": 1, "maxLength": 300},
        "time": {"type": "string", "format": "date-time", "description": "Without it the accept time counts."},
        "dataschema": {"type": "string"},
        "data": {},
    },
    "examples": [
        {
            "specversion": "1.0", "id": "SO-1001/2", "source": "erp", "type": "sales-order",
            "time": "2025-03-14T10:15:00+08:00", "data": {"amount": "125000.00", "currency": "CNY", "unit": "sales"},
        }
    ],
}  # fmt: skip
EVENTS_BODY = {
    "requestBody": {
        "required": True,
        "description": "CloudEvents 1.0: structured, batch, or binary mode with `ce-` headers and the data as body.",
        "content": {
            STRUCTURED: {"schema": _EVENT},
            BATCH: {"schema": {"type": "array", "items": _EVENT}},
            "application/json": {"schema": {"oneOf": [_EVENT, {"type": "array", "items": _EVENT}]}},
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
