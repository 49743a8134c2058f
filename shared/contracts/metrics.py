"""What metrics publishes: sources, mappings, metrics, nodes, rates; accepted events and readings."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from shared.contracts.base import Citation, Code, Configuration, Contract, MetricCode, PeriodLabel, Policy, Subject
from shared.contracts.intake import CloudEvent
from shared.numbers import DecimalString

Expression = Annotated[
    str, Field(min_length=1, max_length=2000, description="An expression over the event; see docs/mappings.md.")
]
Name = Annotated[str, Field(min_length=1, max_length=200, examples=["Sales East"])]
Labels = Annotated[dict[str, str], Field(default_factory=dict, description="Names in other languages: `zh-CN` …")]
Kind = Literal["day", "week", "month", "quarter", "half_year", "year"]


class Source(Configuration):
    """A system that pushes events. CloudEvents name it in `source`."""

    KIND, OWNER, JUDGES = "sources", "metrics", False
    name: Name
    uri: str = Field(
        min_length=1,
        max_length=500,
        description="The CloudEvents `source` of its events.",
        examples=["urn:example:erp"],
    )
    delivers: Kind | None = Field(
        default=None, description="It sends something for each period of this kind; null: whenever something happens."
    )
    owner: Code | None = Field(default=None, description="The person who sees to it that its events come.")


class Metric(Configuration):
    """A metric: folded from observations, or derived by a formula from other metrics of the same subject and period."""

    KIND, OWNER = "metrics", "metrics"
    name: Name
    labels: Labels
    unit: str = Field(description="`CNY`, `money` (any currency), `ratio`, `h`, `pcs`, `CNY/h` …", examples=["CNY"])
    over_time: Literal["sum", "count", "average", "minimum", "maximum", "last", "distinct"] = Field(
        default="sum", description="How observations of one subject fold over time."
    )
    across_subjects: Literal["sum", "average", "minimum", "maximum", "distinct"] = Field(
        default="sum", description="How subjects fold into the unit above."
    )
    grains: list[Kind] = Field(
        default=["month", "quarter", "year"], min_length=1, max_length=6,
        description="The kinds of period for which readings are kept and published.",
    )  # fmt: skip
    better: Literal["higher", "lower"] = "higher"
    nature: Literal["result", "process"] = Field(
        default="result", description="Results are assessed, processes steered (mechanism V13)."
    )
    formula: Expression | None = Field(default=None, description="Null: a base metric, folded from observations.")
    benchmark: DecimalString | None = Field(default=None, description="What `benchmark(…)` yields for it.")


class ObservationRule(Contract):
    """One observation that an event yields."""

    TYPE, TOPIC = "", ""
    metric: MetricCode
    value: Expression | None = Field(default=None, description="Default: 1. For `distinct`, the member's text.")
    unit: Expression | None = Field(
        default=None, description="Unit of measure or currency of the value; default: the metric's. Converted to it."
    )
    subject: Expression = Field(
        description="Whom it is about, as text: `unit:CODE` or `person:CODE`.", examples=["concat('unit:', data.plant)"]
    )
    time: Expression | None = Field(default=None, description="Business time; default: the event's time.")
    key: Expression | None = Field(
        default=None, description="Business key: of several observations of one key the latest revision counts."
    )
    document: Expression | None = Field(
        default=None, description="Document key: the latest revision of a document supersedes all its observations."
    )
    dimensions: dict[MetricCode, Expression] = Field(default_factory=dict, max_length=10)
    when: Expression | None = Field(default=None, description="Yields the observation only where this is true.")
    effect: Literal["add", "replace", "retract", "open", "close"] = Field(
        default="add",
        description="`add` counts; `replace` supersedes its document; `retract` takes key or document out; `open` and "
        "`close` make a duration by key.",
    )


class Mapping(Configuration):
    """What events of a type mean. The version in force at the event's own time counts."""

    KIND, OWNER = "mappings", "metrics"
    name: Name
    event_type: str = Field(
        min_length=1, max_length=300, description="The CloudEvents `type` it takes.", examples=["invoice-posted"]
    )
    source: str | None = Field(default=None, description="Takes only events of this CloudEvents `source`.")
    when: Expression | None = Field(default=None, description="Takes only events for which this is true.")
    for_each: Expression | None = Field(default=None, description="A list in the event; its members are named `item`.")
    revision: Expression | None = Field(
        default=None, description="A number that grows with each revision of a document or key; default: time decides."
    )
    observations: list[ObservationRule] = Field(min_length=1, max_length=50)


class Conversion(Configuration):
    """A factor between units of measure. Its code is `FROM-TO`."""

    KIND, OWNER = "conversions", "metrics"
    from_unit: str = Field(min_length=1, max_length=40, examples=["KAR"])
    to_unit: str = Field(min_length=1, max_length=40, examples=["ST"])
    factor: DecimalString = Field(description="One `from_unit` is this many `to_unit`.")


class Rate(Configuration):
    """An exchange rate from a day until the next. Its code is `FROM-TO`."""

    KIND, OWNER = "rates", "metrics"
    from_currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["CNY"])
    to_currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["CNY"])
    rate: DecimalString = Field(description="One unit of `from_currency` in `to_currency`.")
    source: str | None = Field(default=None, max_length=200)


class Feed(Contract):
    """An edge of the value chain."""

    TYPE, TOPIC = "", ""
    node: Code
    next_period: bool = Field(default=False, description="Takes effect in the next period: may close a loop.")


class Node(Configuration):
    """A step of the value chain marked as value node (mechanisms T2, L1)."""

    KIND, OWNER = "nodes", "metrics"
    name: Name
    labels: Labels
    kind: Literal["primary", "support"] = "primary"
    subject: Subject = Field(description="Whose readings it has.")
    input: MetricCode | None = Field(default=None, description="What goes in.")
    output: MetricCode | None = Field(default=None, description="What comes out.")
    quality: list[MetricCode] = Field(default_factory=list, max_length=10)
    feeds: list[Feed] = Field(default_factory=list, max_length=20)
    goal: Code | None = Field(default=None, description="The goal it carries.")
    hand_over: str | None = Field(default=None, max_length=1000, description="Its hand-over standard to the next.")
    period: Kind = Field(default="month", description="The kind of period of its readings.")


class Linkage(Configuration):
    """A named rule that ties a non-financial metric to a financial one, as a chain of metrics (mechanism T3).

    Each metric after the first is derived, and its formula uses the one before; the last is money.
    """

    KIND, OWNER = "linkages", "metrics"
    name: Name
    metrics: list[MetricCode] = Field(min_length=2, max_length=6)
    from_node: Code
    to_node: Code


class Guard(Configuration):
    """Qualifies a good figure by another that got worse over the same comparison period (mechanism T3)."""

    KIND, OWNER = "guards", "metrics"
    metric: MetricCode = Field(description="The figure that is qualified.")
    guard: MetricCode = Field(description="The figure that must not get worse by more than the tolerance.")
    tolerance: DecimalString = Field(default=Decimal(0), description="In the guard metric's unit.")
    message: str = Field(max_length=200, examples=["complaints rising"])


class MetricsPolicy(Policy):
    """A dated parameter of metrics, or one of the company's own for use in formulas: `parameter(code)`."""

    KIND, OWNER = "metrics-policies", "metrics"


class EventAccepted(CloudEvent, Contract):
    """A source event was accepted. The payload is the CloudEvent itself, structured. Key: source and subject."""

    model_config = ConfigDict(extra="allow")
    TYPE, TOPIC = "valueloop.metrics.event-accepted.v1", "metrics.source-events"
    time: AwareDatetime = Field(description="When it happened; the accept time where `timeaccepted` is true.")

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **_: Any) -> Any:
        """The text itself: it was checked when it was accepted, and is read once, by the mapping."""
        return json_data


class ReadingChanged(Contract):
    """A reading has a new version; carries its whole state. Key: metric/subject."""

    TYPE, TOPIC = "valueloop.metrics.reading-changed.v1", "metrics.readings"
    metric: MetricCode
    subject: Subject
    period: PeriodLabel
    version: int
    change: int = Field(description="The change of this service that made it.")
    value: DecimalString | None
    unit: str
    reason: str | None = Field(default=None, description="Why there is no value.")
    qualified: list[str] = Field(default_factory=list, description="Guards that qualify the figure, in words.")
    recorded_at: datetime


class NodeReadingChanged(Contract):
    """A value node's reading has a new version. Key: node."""

    TYPE, TOPIC = "valueloop.metrics.node-reading-changed.v1", "metrics.readings"
    node: Code
    period: PeriodLabel
    version: int
    change: int
    ratio: DecimalString | None = Field(description="Output per input; null where the input is zero or missing.")
    trend: DecimalString | None = Field(description="Ratio less the ratio of the previous period.")
    effect: DecimalString | None = Field(description="In money, by the linkage rules that start here.")
    currency: str | None = None
    reason: str | None = None
    inputs: list[Citation] = Field(default_factory=list)


EVENTS: tuple[type[Contract], ...] = (
    Source, Metric, Mapping, Conversion, Rate, Node, Linkage, Guard, MetricsPolicy,
    EventAccepted, ReadingChanged, NodeReadingChanged,
)  # fmt: skip
