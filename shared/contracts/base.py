"""What every event and every dated setting has in common."""

import re
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Code = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"),
    Field(description="A short, stable name: letters, digits, dot, dash and underscore.", examples=["sales-east"]),
]
MetricCode = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,79}$"),
    Field(
        description="A metric's code, usable as a name in formulas: lower-case letters, digits, underscore.",
        examples=["revenue"],
    ),
]
Subject = Annotated[
    str,
    StringConstraints(pattern=r"^(unit|person):[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"),
    Field(description="Whom a number is about: `unit:CODE` or `person:CODE`.", examples=["unit:sales-east"]),
]
PeriodLabel = Annotated[
    str,
    StringConstraints(pattern=r"^\d{4}(-(\d{2}(-\d{2}(-S[1-3])?)?|W\d{2}|Q[1-4]|H[12]))?$"),
    Field(description="A period: `2025`, `2025-H1`, `2025-Q1`, `2025-03`, `2025-W07` or `2025-03-14`."),
]
ALWAYS = date.min


class Contract(BaseModel):
    """One kind of event. `TYPE` is its name on the wire, `TOPIC` the log it is published in."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    TYPE: ClassVar[str]
    TOPIC: ClassVar[str]


class Configuration(Contract):
    """A dated setting: in force from `effective_from` until the next one with a later date.

    Its content is at the same time the body of the PUT that defines it. `KIND` is its name in paths and files.
    """

    KIND: ClassVar[str]
    OWNER: ClassVar[str]
    JUDGES: ClassVar[bool] = True
    """Whether figures of a day hang on the version in force on it: if so, a closed day is not changed but corrected."""

    effective_from: date = Field(
        default=ALWAYS,
        description="First day in force, in the company's time zone; `0001-01-01` means from the beginning.",
    )
    reason: str | None = Field(default=None, max_length=2000, description="Why it was set so; shown in its history.")
    correction: bool = Field(
        default=False,
        description="It may change what was in force on a day of a closed period, which is restated; needs a reason.",
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "KIND" in cls.__dict__:
            name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()
            cls.TYPE = f"valueloop.{cls.OWNER}.{name}-defined.v1"
            cls.TOPIC = f"{cls.OWNER}.configuration"


class Policy(Configuration):
    """A dated value of a parameter. Each service has its own subclass."""

    value: str = Field(
        max_length=2000, description="Decimal text, one of its words, or JSON, as the policy says.", examples=["0.1"]
    )
    meaning: str | None = Field(default=None, max_length=500, description="For a parameter of the company's own.")
    unit: str | None = Field(default=None, max_length=40, description="For a parameter of the company's own.")
    source: str | None = Field(default=None, max_length=500, description="Where the value comes from.")


class Defined(BaseModel):
    """The payload of a configuration event: the whole new version of one setting."""

    model_config = ConfigDict(frozen=True)
    code: str
    version: int = Field(description="Counts from 1 for each code.")
    recorded_by: str = Field(description="Who set it: a person's code, or a decision.")
    recorded_at: datetime
    content: Any


class Closing(Contract):
    """The period that a tick closes."""

    TYPE, TOPIC = "", ""
    period: PeriodLabel
    kind: Literal["day", "week", "month", "quarter", "half_year", "year"]
    start: date = Field(description="Its first day.")
    end: date = Field(description="The day after its last.")
    by: str = Field(description="Who asked for it.", examples=["li-na"])
    override: str | None = Field(
        default=None, max_length=2000, description="Why it is closed although something is missing.",
        examples=["The shop's till burnt down."],
    )  # fmt: skip


class Missing(Contract):
    """Something without which a period is not complete."""

    TYPE, TOPIC = "", ""
    kind: Literal["source", "waiting", "parked"] = Field(
        description="A source that sent nothing, events that wait for a setting, or records set aside."
    )
    what: str = Field(description="The source's code, the reference waited for, or the topic.", examples=["erp-east"])
    count: int = Field(description="How many periods of its own, events or records.")
    owner: str | None = Field(default=None, description="Who owes it; null where nobody is named.", examples=["li-na"])


class Tick(Contract):
    """Time has reached `at`. It stands on every partition of a topic, so a reader that has met it on all of them
    has handled everything accepted before it, and nothing accepted after."""

    TYPE = "valueloop.tick.v1"
    TOPIC = "metrics.source-events"
    at: datetime = Field(description="The instant reached; aware.")
    id: str = Field(description="Unique within the installation.")
    closes: Closing | None = Field(
        default=None, description="The period that whoever meets it closes; null for most ticks."
    )


class PeriodClosed(Contract):
    """A service has closed a period; each says so among its own settings. Key: periods/period."""

    TYPE, TOPIC = "valueloop.period-closed.v1", "metrics.configuration"
    service: Literal["goals", "metrics", "incentives", "reviews"] = Field(description="Which service closed it.")
    period: PeriodLabel
    change: int = Field(description="The last change of this service that the closed figures include.")
    at: datetime = Field(description="The instant of the tick that closed it.")
    certificate: str = Field(description="SHA-256 of its certificate.", examples=["9f2c64b1"])
    previous: str | None = Field(
        description="SHA-256 of the certificate before; null for the first.", examples=["41d07ae8"]
    )
    missing: list[Missing] = Field(default_factory=list, description="What it was closed without.")


class Citation(BaseModel):
    """One input of a derived number, with the version that was used."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    what: str = Field(description="What was read: `reading`, `score`, `scorecard`, `target`, `policy` …")
    code: str
    subject: str | None = None
    period: str | None = None
    version: int
    value: str | None = Field(default=None, description="Plain decimal text, or null where there was none.")
