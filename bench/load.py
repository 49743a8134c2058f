"""Many clients at once, lean enough to leave the machine to what is measured."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import uvloop


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it: seconds in all, and the milliseconds of each request."""

    seconds: float
    times: Sequence[float]


class Refused(Exception):
    """An answer that is not 202, or a receipt that is not `accepted`."""


def post(host: str, port: int, token: str, kind: str, bodies: Iterable[bytes], clients: int) -> Load:
    """Posts every body to the intake from that many connections, each waiting for its answer. Raises Refused."""
    head = (
        f"POST /metrics/v1/events HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: "
    ).encode()
    requests = deque(head + str(len(body)).encode() + b"\r\n\r\n" + body for body in bodies)
    times: list[float] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        while requests:
            request = requests.popleft()
            started = time.perf_counter()
            writer.write(request)
            await _answer(reader)
            times.append((time.perf_counter() - started) * 1000)
        writer.close()

    async def everybody() -> float:
        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        return time.perf_counter() - started

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return Load(runner.run(everybody()), times)


async def _answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    if b" 202 " not in head[:20] or b'"duplicate":0,"quarantined":0,"rejected":0' not in body:
        raise Refused(body[:500].decode(errors="replace"))
