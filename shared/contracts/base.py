"""What every event and every dated setting has in common."""

import re
from datetime import date, datetime
from typing import Annotated, Any, ClassVar

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

    effective_from: date = Field(
        default=ALWAYS,
        description="First day in force, in the company's time zone; `0001-01-01` means from the beginning.",
    )
    reason: str | None = Field(default=None, max_length=2000, description="Why it was set so; shown in its history.")

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


class Tick(Contract):
    """Time has reached `at`. It stands on every partition of a topic, so a reader that has met it on all of them
    has handled everything accepted before it, and nothing accepted after."""

    TYPE = "valueloop.tick.v1"
    TOPIC = "metrics.source-events"
    at: datetime = Field(description="The instant reached; aware.")
    id: str = Field(description="Unique within the installation.")


class Citation(BaseModel):
    """One input of a derived number, with the version that was used."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    what: str = Field(description="What was read: `reading`, `score`, `scorecard`, `target`, `policy` …")
    code: str
    subject: str | None = None
    period: str | None = None
    version: int
    value: str | None = Field(default=None, description="Plain decimal text, or null where there was none.")
