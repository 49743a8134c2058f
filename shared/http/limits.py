"""Bounds that hold before anything is parsed: the size of a body, and how often a caller may ask."""

import re
import time
from collections.abc import Callable

from starlette._utils import get_route_path
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import Busy, TooLarge
from shared.http.problems import domain_problem

INTAKE = re.compile(r"/v1/(events|sources/.+|previews|rehearsals)")
DRAINED = 32 * 1024 * 1024  # [bytes] read and dropped after a limit, so that the sender gets to read the answer
MOST_CALLERS = 10_000


class BodyTooLarge(TooLarge):
    """The body has more bytes than this operation takes."""


class TooManyRequests(Busy):
    """The caller asks more often than agreed."""


class BodyLimit:
    """Counts the bytes of a body as they arrive; a chunked one too, which announces no length.

    Args:
        usual: largest body [bytes].
        intake: largest body of a request that brings events [bytes].
    """

    def __init__(self, app: ASGIApp, usual: int, intake: int) -> None:
        self._app, self._usual, self._intake = app, usual, intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = self._intake if INTAKE.fullmatch(get_route_path(scope)) else self._usual
        headers = Headers(scope=scope)
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or len(announced) > 19 or int(announced) <= limit:
            return await self._app(scope, _counting(receive, limit), send)
        if "expect" not in headers:
            await _drain(receive)
        await domain_problem(Request(scope), _too_large(limit))(scope, receive, send)


def _counting(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            if message.get("more_body"):
                await _drain(receive)
            raise _too_large(limit)
        return message

    return counted


async def _drain(receive: Receive) -> None:
    dropped = 0
    while dropped < DRAINED:
        message = await receive()
        dropped += len(message.get("body", b""))
        if not message.get("more_body"):
            return


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limit} bytes.", remedy="Send less at once.", limit=limit)


class RateLimit:
    """A token bucket per caller, in this process: room for one second's worth at once, refilled steadily.

    Args:
        per_second: requests a caller may make [requests/s]; 0 sets no limit.
    """

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._clock = per_second, clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def spend(self, caller: str) -> None:
        """Takes a token.

        Raises:
            TooManyRequests: there is none; `Retry-After` says when there will be [s].
        """
        if not self._rate:
            return
        now = self._clock()
        tokens, since = self._buckets.pop(caller, (float(self._rate), now))
        tokens = min(float(self._rate), tokens + (now - since) * self._rate)
        self._buckets[caller] = (max(tokens - 1, 0.0) if tokens >= 1 else tokens, now)
        if len(self._buckets) > MOST_CALLERS:
            self._buckets.pop(next(iter(self._buckets)))  # the one that has been quiet longest
        if tokens < 1:
            raise TooManyRequests(
                f"A caller may make {self._rate} requests per second.", remedy="Wait, then go on.", retry_after=1
            )
