"""The shapes of readings and of what explains them."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.metrics.readings.store import Version
from shared.http.paging import Page
from shared.numbers import DecimalString, published

Published = Annotated[DecimalString, AfterValidator(published)]
"""A value as it is shown: at most 10 decimals, where an amount of money may be kept with more."""


class ReadingView(BaseModel):
    """What a metric says of a subject in a period."""

    model_config = ConfigDict(from_attributes=True)
    metric: str
    subject: str
    period: str
    version: int | None = Field(description="Null where it was folded on demand, for dimensions.")
    change: int | None = Field(description="The change that made it; see /metrics/v1/changes.")
    value: Published | None = Field(description="At most 10 decimals.")
    unit: str
    reason: str | None = Field(description="Why there is no value.")
    qualified: list[str] = Field(description="Guards that qualify the figure, in words.")
    recorded_at: datetime | None
    links: dict[str, str] = Field(default_factory=dict)


class Slice(BaseModel):
    """The value of one member of a dimension."""

    member: str | None = Field(description="Null for observations without that dimension.")
    observations: int
    value: Published | None
    unit: str
    reason: str | None


class Breakdown(BaseModel):
    """A base metric of a subject and period by the members of a dimension."""

    metric: str
    subject: str
    period: str
    by: str
    items: list[Slice]


class Input(BaseModel):
    """What a number was computed from, with the version that was used."""

    role: str = Field(description="`input`, `previous`, `same_period_last_year`, `parameter`, `benchmark`, `guard` …")
    code: str
    subject: str | None = None
    period: str | None = None
    version: int = Field(description="0 where there was none.")
    value: str | None = None
    link: str | None = None


class ObservationView(BaseModel):
    """One fact of one source event."""

    source: str
    id: str = Field(description="The event's id.")
    partition: int
    position: int
    event_time: datetime
    mapping: str
    mapping_version: int
    item: int
    rule: int
    metric: str
    effect: str
    subject: str
    at: datetime
    day: date
    value: Published | None = Field(description="In the metric's unit, at most 10 decimals.")
    member: str | None
    source_value: str | None
    source_unit: str | None
    key: str | None
    document: str | None
    dimensions: dict[str, str]
    state: str = Field(description="`counts`, `superseded`, `retraction`, or of a duration `matched`, `unmatched`.")
    mate: str | None = Field(description="Source and id of the event that makes the duration together with this one.")
    added: int = Field(description="The change since which it stands so.")
    removed: int | None = Field(description="The change that ended it.")
    link: str


class Explanation(BaseModel):
    """Why a reading is what it is."""

    reading: ReadingView
    kind: Literal["base", "derived"]
    rule: str = Field(description="How it is folded, or its formula.")
    definition: int = Field(description="The version of the metric's definition.")
    inputs: list[Input]
    count: int | None = Field(default=None, description="How many observations it is folded from.")
    observations: Page[ObservationView] | None = None
    links: dict[str, str] = Field(default_factory=dict)


class Effect(BaseModel):
    """A number that changed, with what it was before."""

    step: int
    what: Literal["cell", "reading", "node"]
    code: str
    subject: str | None = None
    period: str
    version: int | None = None
    change: int
    before: str | None = None
    after: str | None = None
    unit: str | None = None
    reason: str | None = None
    because: list[str] = Field(description="The cells, readings or nodes of earlier steps that moved it.")
    feeds: list[str] = Field(default_factory=list, description="Of a node: those that it feeds.")
    links: dict[str, str] = Field(default_factory=dict)


class EventEffects(BaseModel):
    """What one event changed."""

    source: str
    id: str
    link: str
    observations: list[ObservationView]
    effects: list[Effect]


def link(path: str, **query: Any) -> str:
    """A relative address with its query."""
    return f"{path}?{urlencode({name: value for name, value in query.items() if value is not None})}"


def explanation_link(metric: str, subject: str, period: str, version: int) -> str:
    return link("/metrics/v1/readings/explanation", metric=metric, subject=subject, period=period, version=version)


def event_link(source: str, event_id: str) -> str:
    return link("/metrics/v1/events", source=source, id=event_id)


def links_of(metric: str, subject: str, period: str, version: int) -> dict[str, str]:
    """Down to what a reading was made of, and up to what it moved among the goals."""
    place = {"metric": metric, "subject": subject, "period": period, "version": version}
    return {"explanation": explanation_link(**place), "goals": link("/goals/v1/effects", **place)}  # type: ignore[arg-type]


def shown(version: Version) -> ReadingView:
    """A reading as stored."""
    view = ReadingView.model_validate(version)
    links = links_of(version.metric, version.subject, version.period, version.version)
    view.links = {**links, "change": f"/metrics/v1/changes/{version.change}"}
    return view


def inputs_of(cited: list[dict[str, Any]]) -> list[Input]:
    """Citations as stored, each with the way to its own explanation."""
    return [_input(**each) for each in cited if each["role"] != "observations"]


def _input(role: str, version: int, value: str | None, **which: str) -> Input:
    if code := which.get("code"):
        path = {"parameter": "policies", "benchmark": "metrics", "guard_rule": "guards"}[role]
        address, place = f"/metrics/v1/{path}/{code}/versions", {}
    else:
        code, place = which["metric"], {"subject": which["subject"], "period": which["period"]}
        address = explanation_link(code, **place, version=version)
    return Input(role=role, code=code, version=version, value=value, link=address if version else None, **place)
