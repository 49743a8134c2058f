"""The outermost layers: request id and trace, access log, durations; and the last resort against a fault of ours."""

import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.http.context import request_id_of, traceparent_of
from shared.http.problems import internal_problem
from shared.telemetry import Telemetry

log = structlog.get_logger("valueloop.access")
_SEEN = "valueloop.observed"
ROUTE = "valueloop.route"
UNMATCHED = "unmatched"  # one label for all wrong addresses, else a scan fills the metrics
_QUIET = ("/livez", "/readyz", "/metrics")


class LastResort:
    """Answers where nothing else did; within each application, as the framework would answer in plain text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except ClientDisconnect:
            raise
        except Exception as error:
            if started or scope["type"] != "http":
                raise  # closing the connection is all that is left
            await internal_problem(Request(scope), error)(scope, receive, send)


class Observe:
    """Wraps an application; where one application is mounted in another, only the outer one acts."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry, service: str) -> None:
        self._app, self._telemetry, self._service = app, telemetry, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _SEEN in scope:
            return await self._app(scope, receive, send)
        scope[_SEEN] = True
        headers = Headers(scope=scope)
        request_id, trace = request_id_of(headers.get("x-request-id")), traceparent_of(headers.get("traceparent"))
        scope.setdefault("state", {}).update(request_id=request_id, traceparent=trace)
        started, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"], headers["traceparent"] = request_id, trace
                headers["X-Content-Type-Options"] = "nosniff"
                if "json" in headers.get("content-type", ""):
                    headers.setdefault("Cache-Control", "no-store")
                if status == 413:
                    headers["Connection"] = "close"  # the rest of the body is not ours to read
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id, trace_id=trace.split("-")[1]):
            try:
                await self._app(scope, receive, sending)
            except ClientDisconnect:
                status = 499
            finally:
                self._note(scope, status or 500, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        service, route = scope.get(ROUTE, (self._service, UNMATCHED))
        self._telemetry.http_seconds.labels(service, scope["method"], route, str(status)).observe(seconds)
        if not route.endswith(_QUIET):
            level = log.warning if status >= 500 else log.info
            milliseconds = round(seconds * 1000, 1)
            level("request", service=service, method=scope["method"], route=route, status=status, ms=milliseconds)
