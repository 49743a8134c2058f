"""One request = one transaction: opened before the endpoint runs, committed before the response is sent."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import BoundedSemaphore
from typing import Any, ClassVar

import httpx
from anyio import CapacityLimiter
from fastapi import APIRouter, Depends
from fastapi.concurrency import contextmanager_in_threadpool
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.requests import Request
from starlette.responses import Response

from shared.database.unit_of_work import UnitOfWork, unit_of_work
from shared.errors import Unavailable
from shared.http.context import RequestContext
from shared.http.idempotency import Claim, claim_of
from shared.http.limits import RateLimit
from shared.http.observe import ROUTE
from shared.http.problems import Malformed
from shared.http.strict_json import StrictRequest
from shared.identity import Identity
from shared.service import Runtime
from shared.settings import Settings

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]
MOST_WAITING = 200
PREVIEWS, PATIENCE = 4, 60  # at once in one process; and how long one waits for another service [s]
BEARER = HTTPBearer(scheme_name="bearer", bearerFormat="JWT", auto_error=False)
READS = {"GET", "HEAD", "OPTIONS"}


class MalformedAddress(Malformed):
    """The address contains a character that no text here may."""


class Overloaded(Unavailable):
    """More requests wait for a transaction than can be served soon."""


@dataclass
class Wiring:
    """What the routes of one service need at run time; `create_service_app` makes it.

    `slots` bounds the transactions under way. Each needs a worker thread several times (to open, for the endpoint),
    while others may wait inside a thread for its locks: with as many transactions as threads nothing could go on.
    `previews` bounds the requests that wait in a thread for other services, which `peers` makes a client for.
    """

    runtime: Runtime
    settings: Settings
    identity: Identity
    rate: RateLimit
    slots: CapacityLimiter
    previews: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(PREVIEWS))
    peers: Callable[[], httpx.Client] = lambda: httpx.Client(timeout=PATIENCE, trust_env=False)


class _Refused(Exception):
    """Carries an answer of 400 or more out of the transaction, so that the transaction rolls back."""

    def __init__(self, response: Response) -> None:
        self.response = response


class ServiceRoute(APIRoute):
    """A route that authenticates, reads the body strictly, and runs in a transaction."""

    transactional: ClassVar[bool] = True
    authenticated: ClassVar[bool] = True

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        if self.authenticated:  # for the documentation; `handle` does the work
            options["dependencies"] = [Depends(BEARER), *(options.get("dependencies") or ())]
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Endpoint:
        endpoint = super().get_route_handler()

        async def handle(request: Request) -> Response:
            wiring: Wiring = request.app.state.wiring
            _note_route(request, wiring.runtime.service.name)
            if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
                raise MalformedAddress("The address contains the character NUL.", remedy="Leave out %00.")
            strict = StrictRequest(request.scope, request.receive, request._send)
            context = RequestContext(request.state.request_id, request.state.traceparent, request=strict)
            request.state.context = context
            caller = request.client.host if request.client else ""
            if self.authenticated:
                context.caller = await wiring.identity.authenticate(request.headers.get("authorization"))
                caller = f"{context.caller.company}\x1f{context.caller.subject}"
            wiring.rate.spend(caller)
            await self._read_body(strict)
            return await (_transact(strict, wiring, context, endpoint) if self.transactional else endpoint(strict))

        return handle

    async def _read_body(self, request: StrictRequest) -> None:
        """Before the transaction opens: a slow sender must not hold one."""
        if self.body_field is not None and await request.body():
            request.require_json()
            await request.json()
        elif self.transactional:
            await request.body()


async def _transact(request: Request, wiring: Wiring, context: RequestContext, endpoint: Endpoint) -> Response:
    if wiring.slots.statistics().tasks_waiting >= MOST_WAITING:
        raise Overloaded("Too many requests wait at the moment.", remedy="Send the same request again later.")
    actor = context.caller.subject if context.caller else "anonymous"
    read_only = request.method in READS
    claim = None if read_only or context.caller is None else claim_of(
        request, context.company, actor, await request.body()
    )  # fmt: skip
    opening = partial(unit_of_work, wiring.runtime, actor=actor, traceparent=context.traceparent, read_only=read_only)
    try:
        async with wiring.slots, contextmanager_in_threadpool(_exchange(opening, claim)) as exchange:
            context.transaction = exchange.uow
            exchange.response = exchange.response or await endpoint(request)
            if exchange.response.status_code >= 400:
                raise _Refused(exchange.response)
            return exchange.response
    except _Refused as refused:
        return refused.response


@dataclass
class _Exchange:
    uow: UnitOfWork
    response: Response | None


@contextmanager
def _exchange(opening: Callable[[], AbstractContextManager[UnitOfWork]], claim: Claim | None) -> Iterator[_Exchange]:
    """The transaction with what idempotency does at its two ends, so that each end is one visit to a thread."""
    with opening() as uow:
        known = claim.recall(uow) if claim else None
        exchange = _Exchange(uow, known)
        yield exchange
        if claim and known is None and exchange.response is not None:
            claim.remember(uow, exchange.response)


def _note_route(request: Request, service: str) -> None:
    effective = request.scope.get("fastapi", {}).get("effective_route_context") or request.scope["route"]
    request.scope[ROUTE] = (service, f"/{service}{effective.path}")


class Router(APIRouter):
    """An APIRouter whose endpoints take `context: Context` and run in one transaction each; GET reads only.

    Paths start after `/{service}/v1`. The operation id, where none is given, is the function's name in camel case.

    Args:
        transactional: False for endpoints that open units of work themselves, such as the intake.
        authenticated: False for endpoints that check signatures themselves; there is no principal then.

    `settings` are the kinds of dated settings that it, or a router in it, lets people define.
    """

    def __init__(self, *, transactional: bool = True, authenticated: bool = True, **options: Any) -> None:
        kind = type("Route", (ServiceRoute,), {"transactional": transactional, "authenticated": authenticated})
        super().__init__(route_class=kind, redirect_slashes=False, **options)
        self.settings: dict[str, Any] = {}

    def include_router(self, router: APIRouter, **options: Any) -> None:
        super().include_router(router, **options)
        self.settings |= getattr(router, "settings", {})
