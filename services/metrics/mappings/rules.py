"""What events mean: mapping versions compiled once, and the facts they find in an event."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Fact:
    """One observation that an event yields, not yet judged against the catalogue.

    Args:
        item: index in the mapping's `for_each`, 0 without one; with `rule`, the index of the observation rule, it names
            the fact within the event and mapping.
        value: a number in `unit`; the member's text for a `distinct` metric; 1 where the rule has no value.
        unit: as the event says; None where the rule has none (the metric's own), "" where the event's is blank.
        at: business time, aware. `day`: the same in the company's zone.
    """

    mapping: str
    mapping_version: int
    item: int
    rule: int
    metric: str
    effect: str
    value: Decimal | str | None
    unit: str | None
    subject: str
    at: datetime
    day: date
    key: str | None
    document: str | None
    dimensions: dict[str, str]
    revision: Decimal


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a rule yielded nothing for an event; `item` and `rule` are -1 where the mapping as a whole failed."""

    mapping: str
    item: int
    rule: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class EventFacts:
    """An event with all that the mappings found in it; the unit that `observations.handlers.fold` takes.

    `waits` holds references found here (`mapping:TYPE`, `company`). `fold` returns, by (partition, pos), the references
    that it adds (`metric:CODE`, `rate:FROM-TO`, `unit:CODE` …); the caller writes the tables `waiting` and `event_fault`.
    """

    partition: int
    pos: int
    source: str
    id: str
    time: datetime
    facts: list[Fact] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
