"""What comes from outside over Kafka, and what is answered there: CloudEvents 1.0, and receipts for those refused."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.contracts.base import Contract

SOURCE_EVENTS = "source-events"
REJECTED = "source-events.rejected"


class CloudEvent(BaseModel):
    """A business event as a CloudEvent 1.0 in structured mode; further attributes are extensions."""

    model_config = ConfigDict(frozen=True, extra="allow")
    specversion: Literal["1.0"] = Field(description="The version of CloudEvents.")
    id: str = Field(min_length=1, max_length=300, description="Unique within `source`.", examples=["SO-1001/2"])
    source: str = Field(min_length=1, max_length=500, description="The system it comes from.", examples=["erp"])
    type: str = Field(
        min_length=1, max_length=300, description="What happened; mappings go by it.", examples=["sales-order"]
    )
    subject: str | None = Field(
        default=None, min_length=1, max_length=300, description="What it is about: events of one keep their order.",
        examples=["SO-1001"],
    )  # fmt: skip
    time: AwareDatetime | None = Field(default=None, description="When it happened; without it the accept time counts.")
    datacontenttype: str | None = Field(
        default=None, min_length=1, max_length=200, description="Of what type `data` is.", examples=["application/json"]
    )
    dataschema: str | None = Field(
        default=None, min_length=1, max_length=1000, description="URI of the schema of `data`.",
        examples=["urn:example:sales-order"],
    )  # fmt: skip
    data: Any = Field(
        default=None,
        description="What the event says.",
        examples=[{"amount": "125000.00", "currency": "CNY", "unit": "sales"}],
    )


class EventRejected(Contract):
    """The receipt of a record that did not become an event. Repaired it is taken again. Key: that of its record."""

    TYPE, TOPIC = "valueloop.metrics.event-rejected.v1", REJECTED
    status: Literal["rejected", "quarantined"] = Field(
        default="rejected", description="Quarantined: another content was accepted under its source and id."
    )
    id: str | None = Field(description="Its id, where it could be read.", examples=["SO-1001/2"])
    source: str | None = Field(description="Its source, where it could be read.", examples=["erp"])
    partition: int = Field(description="Where its record stands in the topic of source events.", examples=[3])
    offset: int = Field(description="Where its record stands in that partition.", examples=[10421])
    problem: dict[str, Any] = Field(description="Why it was refused, as in an answer over HTTP (RFC 9457).")
    key: str | None = Field(description="Key of its record.", examples=["SO-1001"])
    headers: list[list[str]] = Field(
        description="Headers of its record: name and value of each.",
        examples=[[["content-type", "application/cloudevents+json"]]],
    )
    value: str | None = Field(default=None, description="Value of its record, where that is text.", examples=["{"])
    value_base64: str | None = Field(default=None, description="Its value, where it is no text.", examples=["/w=="])
    cut: bool = Field(default=False, description="Whether key, headers or value were longer than what is here.")
