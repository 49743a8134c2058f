"""Rehearsals: commands and events run through the code that commits them, in a transaction that is rolled back.

Each service rehearses its own part and tells what it would publish; whoever asked hands that on to the next
(`shared.preview`). Nothing is appended, so nobody is woken and no position is used.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.configuration import Setting, define
from shared.contracts.base import Code, Configuration
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.errors import DomainError, Invalid, Unavailable
from shared.http.context import Context
from shared.http.routing import Router
from shared.log import Record
from shared.log.append import Outgoing
from shared.log.worker import handle, types_of
from shared.numbers import DecimalString
from shared.service import Service

MOST_COMMANDS, MOST_EVENTS = 1_000, 5_000
PREVIEWERS = ("strategist", "analyst", "compensation", "finance")
PATIENCE = 5  # [s] for this service's workers to apply what was published before the rehearsal
_LOCKS = "SET LOCAL lock_timeout = '15s'"  # a rehearsal waits for others of the company, and not for ever
_SETTING_OVERTAKEN = (
    "SELECT EXISTS (SELECT 1 FROM jsonb_to_recordset(:rows) AS told(code text, version int) JOIN configuration c "
    "USING (code) WHERE c.company = :company AND c.kind = :kind AND c.version >= told.version)"
)


class Overtaken(Unavailable):
    """What another service told in a rehearsal became out of date before it was used."""


class BehindOthers(Unavailable):
    """The workers have not applied yet what the rehearsal starts from."""


class UnknownSetting(Invalid):
    """No setting of that kind moves what is previewed."""


class ToldWrong(Invalid):
    """A record that another service is said to have told does not fit its contract."""


class Command(BaseModel):
    """A setting as it would be put."""

    model_config = ConfigDict(extra="forbid")
    setting: str = Field(max_length=40, description="Its kind, as in the configuration events.", examples=["targets"])
    code: Code
    content: dict[str, Any] = Field(
        description="The body of its PUT.", examples=[{"value": "90", "reason": "Price war"}]
    )


class Numbered(Command):
    """A command with its place in the preview, from 0."""

    number: int = Field(ge=0, le=MOST_COMMANDS)


class Told(BaseModel):
    """A record that a service would append to its log."""

    topic: str
    key: str
    type: str
    data: str


class Asked(BaseModel):
    """What a service rehearses."""

    model_config = ConfigDict(extra="forbid")
    commands: list[Numbered] = Field(default=[], max_length=MOST_COMMANDS)
    events: list[dict[str, Any]] = Field(default=[], max_length=MOST_EVENTS, description="CloudEvents, for metrics.")
    records: list[Told] = Field(default=[], description="What the services before would tell.")
    reached: dict[str, int] = Field(
        default={}, description="By `topic/partition`, up to where it must have applied what others published."
    )


class EventFate(BaseModel):
    """What would become of an event. One that is a duplicate or quarantined moves nothing."""

    index: int = Field(description="Its place in the preview, from 0.")
    status: Literal["accepted", "duplicate", "quarantined"]
    waits_for: list[str] = Field(default=[], description="Such as `mapping:TYPE`: until it is there, nothing moves.")
    faults: list[dict[str, Any]] = Field(default=[], description="Where a mapping found no usable value, and why.")


class ScoreDifference(BaseModel):
    """The score of a goal or scorecard in a period, before and after; `null`: none."""

    model_config = ConfigDict(from_attributes=True)
    kind: Literal["goal", "scorecard"]
    code: str
    period: str
    before: DecimalString | None = Field(description="Score [0 to 120].")
    after: DecimalString | None
    difference: DecimalString | None = Field(description="[points]; null where one of the two is.")
    actual_before: DecimalString | None
    actual_after: DecimalString | None
    target_before: DecimalString | None
    target_after: DecimalString | None


class Rehearsed(BaseModel):
    """What a service would publish and what would change in it; nothing of it was kept."""

    records: list[Told] = []
    ends: dict[str, int] = Field(default={}, description="Ends of its log, by `topic/partition`.")
    events: list[EventFate] = []
    goals: list[ScoreDifference] = []


Rehearse = Callable[[UnitOfWork, str, Asked], Rehearsed]


@contextmanager
def rolled_back(uow: UnitOfWork) -> Iterator[UnitOfWork]:
    """A unit of work within another, of which nothing stays."""
    savepoint = uow.connection.begin_nested()
    try:
        yield UnitOfWork(uow.connection, uow.service, uow.actor, uow.traceparent)
    finally:
        savepoint.rollback()


def begin(uow: UnitOfWork, company: str, reached: Mapping[str, int]) -> None:
    """Waits for the service's workers, then takes the company's lock. Raises BehindOthers."""
    own = [topic for topic in uow.service.inputs if topic in uow.service.topics and topic not in uow.service.derived]
    wanted = {place: pos for place, pos in reached.items() if place.rpartition("/")[0] in uow.service.inputs}
    wanted |= ends(uow, own)
    until = time.monotonic() + PATIENCE
    while behind := _behind(uow, wanted):
        if time.monotonic() >= until:
            raise BehindOthers(
                f"The workers of {uow.service.name} have not applied all of {behind} yet.",
                remedy="Send the same again in a moment; if it stays so, look at `valueloop status`.",
            )
        time.sleep(0.02)
    uow.run(_LOCKS)
    uow.lock_company(company)


def _behind(uow: UnitOfWork, wanted: Mapping[str, int]) -> str | None:
    rows = uow.rows("SELECT topic || '/' || partition AS place, next_pos FROM log.position")
    stands = {row.place: row.next_pos for row in rows}
    return next((place for place, pos in sorted(wanted.items()) if stands.get(place, 0) < pos), None)


def ends(uow: UnitOfWork, topics: Iterable[str]) -> dict[str, int]:
    """Where the next record of each partition will stand, by `topic/partition`."""
    rows = uow.rows("SELECT topic, partition, next_pos FROM log.partition WHERE topic = ANY(:t)", t=list(topics))
    return {f"{row.topic}/{row.partition}": row.next_pos for row in rows}


def play(uow: UnitOfWork, company: str, asked: Asked) -> None:
    """Defines the settings, and applies them and what others tell as a worker would; `finish` settles.

    Raises:
        What committing would raise, with the number of the command in `field`. Overtaken, UnknownSetting, ToldWrong.
    """
    settings = settings_of(uow.service)
    for command in asked.commands:
        _define(uow, company, settings, command)
    kinds = types_of(uow.service)
    records = [_record(company, told) for told in asked.records if told.type in kinds]
    _refuse_overtaken(uow, company, records)
    own = [_record(company, told) for told in told_by(uow) if told.topic in uow.service.inputs]
    try:
        handle(uow, kinds, own + records)
    except ValidationError as error:
        raise ToldWrong(f"A record does not fit its contract: {error.errors()[0]['msg']}.", field="records") from error


def finish(uow: UnitOfWork) -> Rehearsed:
    """Settles, and collects what would be published."""
    uow.service.settle(uow)
    return Rehearsed(records=told_by(uow), ends=ends(uow, uow.service.topics))


def settings_of(service: Service) -> dict[str, Setting]:
    """Every kind of setting that a service lets people define."""
    return {kind: found for router in service.routers for kind, found in router.settings.items()}


def told_by(uow: UnitOfWork) -> list[Told]:
    return [Told(topic=each.topic, key=_key(each), type=each.type, data=each.data) for each in uow.outgoing]


def _key(event: Outgoing) -> str:
    return event.key or ""


def _define(uow: UnitOfWork, company: str, settings: Mapping[str, Setting], command: Numbered) -> None:
    at = f"commands.{command.number}"
    if command.setting not in settings:
        rule = f"{uow.service.name} has no settings of the kind {command.setting!r}."
        raise UnknownSetting(rule, field=f"{at}.setting", remedy=f"The kinds are {', '.join(sorted(settings))}.")
    setting = settings[command.setting]
    try:
        define(uow, company, command.code, setting.kind.model_validate(command.content), check=setting.check)
    except ValidationError as error:
        where = ("body", "commands", command.number, "content")
        raise RequestValidationError([{**each, "loc": (*where, *each["loc"])} for each in error.errors()]) from error
    except DomainError as error:
        error.field = f"{at}.{error.field}" if error.field else at
        raise


def _record(company: str, told: Told) -> Record:
    return Record(told.topic, 0, 0, told.key, told.type, company, told.data, None, datetime.now(UTC))


def _refuse_overtaken(uow: UnitOfWork, company: str, records: Sequence[Record]) -> None:
    """A version that is known already was published by the real run meanwhile: then what was told is out of date."""
    by_type: dict[str, list[Any]] = {}
    for record in records:
        by_type.setdefault(record.type, []).append(json.loads(record.data))
    kinds = types_of(uow.service)
    for name, rows in by_type.items():
        kind = kinds[name]
        more = {"kind": kind.KIND} if issubclass(kind, Configuration) else {}
        sql = _SETTING_OVERTAKEN if more else uow.service.overtaken.get(kind)
        if sql and uow.value(sql, company=company, rows=Jsonb(rows), **more):
            rule = "The numbers moved while they were previewed."
            raise Overtaken(rule, remedy="Send the same again in a moment.", retry_after=1)


def rehearsal_router(rehearse: Rehearse) -> Router:
    """The route by which a preview asks a service."""
    router = Router(tags=["previews"])

    @router.post("/rehearsals", operation_id="postRehearsal", summary="What would happen here; nothing is kept")
    def post_rehearsal(context: Context, body: Asked) -> Rehearsed:
        """For previews of other services, which forward their caller's token. Use `previews`."""
        context.require(*PREVIEWERS)
        with rolled_back(context.uow) as uow:
            begin(uow, context.company, body.reached)
            return rehearse(uow, context.company, body)

    return router
