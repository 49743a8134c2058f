"""Previews: what commands and events would change, asked of the services in the order in which a change passes them."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import httpx
import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

from shared.contracts.base import Configuration
from shared.contracts.catalogue import catalogue
from shared.database.unit_of_work import UnitOfWork, unit_of_work
from shared.errors import DomainError, Unavailable
from shared.http.context import RequestContext
from shared.http.problems import MEDIA_TYPE, STATUS
from shared.http.routing import Overloaded, Wiring
from shared.rehearsal import (
    MOST_COMMANDS,
    MOST_EVENTS,
    Asked,
    Command,
    Numbered,
    Overtaken,
    Rehearsed,
    Told,
    UnknownSetting,
    begin,
    rolled_back,
)

T = TypeVar("T")
ORDER = ("metrics", "goals", "incentives")
ORGANISATION = {"companies", "units", "people"}  # settings of goals that metrics reads
ATTEMPTS = 3
NO_ADDRESS = "NotFound"  # what is refused where a process does not serve the service
_ENCODE = msgspec.json.Encoder(decimal_format="number", enc_hook=Decimal).encode
_OWN = ("type", "title", "status", "detail", "instance", "field", "remedy")


class PeerAway(Unavailable):
    """Another service did not answer a preview."""


class Change(BaseModel):
    """What is supposed to happen: settings put in this order, then events pushed."""

    model_config = ConfigDict(extra="forbid")
    commands: list[Command] = Field(default=[], max_length=MOST_COMMANDS)
    events: list[dict[str, Any]] = Field(
        default=[], max_length=MOST_EVENTS, description="CloudEvents in structured mode, as pushed to metrics."
    )

    @model_validator(mode="after")
    def _something(self) -> "Change":
        if not self.commands and not self.events:
            raise ValueError("a preview names at least one command or event")
        return self


def previewed(
    context: RequestContext, change: Change, own: str, run: Callable[[UnitOfWork, Asked], T]
) -> tuple[T, Rehearsed]:
    """What `run` finds in the service `own`, once those before it have told what they would; and what they found.

    The other services are asked over HTTP as the same caller. A transaction is open only while its own service runs;
    where `run` raises or ends, nothing of it stays. Call it from a thread, before the caller's own transaction, if it
    has one, has locked the company.

    Raises:
        What committing would raise, with the number of the command in `field`. PeerAway, BehindOthers, Overtaken;
        Overloaded: this process previews as much as it can.
    """
    wiring = _wiring(context)
    if not wiring.previews.acquire(blocking=False):
        raise Overloaded("Too many previews run at the moment.", remedy="Send the same request again later.")
    try:
        return _previewed(context, change, own, run)
    finally:
        wiring.previews.release()


def _previewed(
    context: RequestContext, change: Change, own: str, run: Callable[[UnitOfWork, Asked], T]
) -> tuple[T, Rehearsed]:
    attempts = ATTEMPTS
    while True:
        try:
            asked, found = _upstream(context, change, own)
            actor, trace = context.principal.subject, context.traceparent
            with (
                unit_of_work(_wiring(context).runtime, actor=actor, traceparent=trace) as outer,
                rolled_back(outer) as uow,
            ):
                begin(uow, context.company, asked.reached)
                return run(uow, asked), found
        except Unavailable as error:
            attempts -= 1
            if type(error).__name__ != Overtaken.__name__ or not attempts:
                raise


def _upstream(context: RequestContext, change: Change, own: str) -> tuple[Asked, Rehearsed]:
    """Asks the services before `own`; returns what `own` is to rehearse, and what the others found."""
    services = ORDER[: ORDER.index(own) + 1]
    commands = _by_owner(change.commands, services)
    told: dict[str, list[Told]] = {}
    found = Rehearsed()
    first = ["goals"] if any(each.setting in ORGANISATION for each in change.commands) else []
    with _wiring(context).peers() as client:
        for service in (*first, *services):
            records = [record for owner, theirs in told.items() if owner != service for record in theirs]
            asked = Asked(commands=commands[service], records=records, reached=found.ends)
            asked.events = change.events if service == "metrics" else []
            if service == own and (told or not first):
                break
            if asked.commands or asked.events or asked.records:
                answer = _ask(context, client, service, asked)
                told[service] = answer.records
                found.ends |= answer.ends
                found.events, found.goals = answer.events or found.events, answer.goals or found.goals
    return asked, found


def _by_owner(commands: Sequence[Command], services: Sequence[str]) -> dict[str, list[Numbered]]:
    """Raises UnknownSetting for one that none of these services has."""
    owners = {kind.KIND: name for name in services for kind in catalogue()[name] if issubclass(kind, Configuration)}
    found: dict[str, list[Numbered]] = {name: [] for name in services}
    for number, command in enumerate(commands):
        if command.setting not in owners:
            rule = f"No setting of the kind {command.setting!r} moves what {services[-1]} previews."
            remedy = f"The kinds are {', '.join(sorted(owners))}."
            raise UnknownSetting(rule, field=f"commands.{number}.setting", remedy=remedy)
        found[owners[command.setting]].append(Numbered(number=number, **dict(command)))
    return found


def _ask(context: RequestContext, client: httpx.Client, service: str, asked: Asked) -> Rehearsed:
    request = _request(context)
    headers = {"authorization": request.headers["authorization"], "traceparent": context.traceparent,
               "x-request-id": context.request_id, "content-type": "application/json"}  # fmt: skip
    address = f"{_base(request, service)}/{service}/v1/rehearsals"
    try:
        answer = client.post(address, content=_ENCODE(asked.model_dump()), headers=headers)
    except httpx.TransportError as error:
        raise _away(service, type(error).__name__) from error
    if answer.status_code == 200:
        return Rehearsed.model_validate_json(answer.content)
    raise _refusal(service, answer)


def _request(context: RequestContext) -> Request:
    assert context.request is not None, "every route gives its context the request"
    return context.request


def _wiring(context: RequestContext) -> Wiring:
    found: Wiring = _request(context).app.state.wiring
    return found


def _base(request: Request, service: str) -> str:
    settings = request.app.state.wiring.settings
    host, port = request.scope.get("server") or (settings.host, settings.port)
    here = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return str(settings.peers or here).replace("{service}", service).rstrip("/")


def _refusal(service: str, answer: httpx.Response) -> DomainError:
    """The other service's refusal as if it had been raised here: same name, same words."""
    category = next((category for category, status in STATUS if status == answer.status_code), None)
    if category is None or answer.headers.get("content-type") != MEDIA_TYPE:
        return _away(service, f"HTTP {answer.status_code}")
    told = answer.json()
    name = "".join(word.capitalize() for word in told["type"].rpartition(":")[2].split("-"))
    if name == NO_ADDRESS:
        return _away(service, "there is no such address")
    more = {member: value for member, value in told.items() if member not in _OWN}
    refusal: DomainError = type(name, (category,), {})(
        told["detail"], field=told.get("field"), remedy=told.get("remedy"), **more
    )
    return refusal


def _away(service: str, why: str) -> PeerAway:
    rule = f"The service {service} does not answer ({why}), and the preview needs it."
    return PeerAway(rule, remedy="Send the same again later; an operator names its address in VALUELOOP_PEERS.")


# --- distributions ---

SHARES = (0, 10, 25, 50, 75, 90, 100)


def quantiles(values: Sequence[Decimal]) -> dict[str, Decimal]:
    """The values at some percents of a sorted list, by nearest rank: each is one of them; nothing of nothing."""
    if not values:
        return {}
    ordered = sorted(values)
    return {str(share): ordered[max(-(-share * len(ordered) // 100), 1) - 1] for share in SHARES}
