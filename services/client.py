"""A small client of the public HTTP API: what the command line, the demo and the tests talk through."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import httpx

from shared.errors import DomainError, Unavailable

SERVICES = ("metrics", "goals", "incentives", "reviews")  # in the order in which a change passes them
TRY_AGAIN = (429, 503)
_BATCH = "application/cloudevents-batch+json"


class ApiProblem(DomainError):
    """The API refused a request. `status` is 0 where it could not be reached.

    Args:
        status: the HTTP status.
        document: the problem document (RFC 9457), or what could be made of the answer.
    """

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        rule = str(document.get("detail") or document.get("title") or f"HTTP {status}")
        super().__init__(rule, field=document.get("field"), remedy=document.get("remedy"))
        self.status, self.document = status, document
        self.type = str(document.get("type", "about:blank")).rsplit(":", 1)[-1]

    def __str__(self) -> str:
        return " ".join(part for part in (self.rule, self.remedy) if part)


class NotSettled(Unavailable):
    """What was sent had not rippled through all services in the given time."""


class ValueLoopClient:
    """Calls the services at one address.

    Args:
        base_url: such as `http://127.0.0.1:8700`.
        token: a bearer token; several clients may share an `http` and carry different tokens.
        http: an httpx client, for tests; by default one of its own that keeps its connections open.
        patience: how long requests that may be repeated are tried again while the API is busy or away [s].
        wait: sleeps that many seconds; tests pass their own.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        http: httpx.Client | None = None,
        patience: float = 60,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url, self.token = base_url.rstrip("/"), token
        self.http = http or httpx.Client(timeout=120)
        self._patience, self._wait = patience, wait

    def as_(self, token: str) -> "ValueLoopClient":
        """The same connections with another token."""
        return ValueLoopClient(self.base_url, token, self.http, self._patience, self._wait)

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path, parameters that are None left out. Raises ApiProblem."""
        given = {name: value for name, value in query.items() if value is not None}
        return self.request(
            "GET", path, params=given or None
        ).json()  # httpx drops the path's own query for an empty one

    def put(self, path: str, body: Any, **headers: str) -> Any:
        """Puts a document and gives the answer. Raises ApiProblem."""
        return self.request("PUT", path, json=body, headers=headers).json()

    def post(self, path: str, body: Any, *, repeatable: bool = False, **headers: str) -> Any:
        """Posts a document; `repeatable` where repeating it changes nothing. Raises ApiProblem."""
        answer = self.request("POST", path, repeatable=repeatable, json=body, headers=headers)
        return answer.json() if answer.content else None

    def items(self, path: str, **query: Any) -> Iterator[Any]:
        """Every item of a paged list."""
        cursor = None
        while True:
            page = self.get(path, cursor=cursor, limit=200, **query)
            yield from page["items"]
            if not (cursor := page["next_cursor"]):
                return

    def push(self, events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Sends CloudEvents in one batch; a receipt for each, in order. Raises ApiProblem."""
        return self.push_encoded([json.dumps(event, separators=(",", ":")).encode() for event in events])

    def push_encoded(self, events: Iterable[bytes]) -> list[dict[str, Any]]:
        """The same for events that are JSON already."""
        body = b"[" + b",".join(events) + b"]"
        headers = {"content-type": _BATCH}
        answer = self.request("POST", "/metrics/v1/events", repeatable=True, content=body, headers=headers).json()
        receipts: list[dict[str, Any]] = answer["receipts"] if isinstance(answer, dict) else answer
        return receipts

    def request(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> httpx.Response:
        """One request; where it may be repeated, again while the API answers 429 or 503 or does not answer."""
        may_repeat = method in ("GET", "PUT", "DELETE") if repeatable is None else repeatable
        options["headers"] = {"authorization": f"Bearer {self.token}", **options.get("headers", {})}
        until = time.monotonic() + (self._patience if may_repeat else 0)
        while True:
            try:
                answer = self.http.request(method, self.base_url + path, **options)
            except httpx.TransportError as error:
                if time.monotonic() >= until:
                    raise _unreachable(self.base_url, error) from error
                self._wait(0.5)
                continue
            if answer.is_success:
                return answer
            if answer.status_code not in TRY_AGAIN or time.monotonic() >= until:
                raise _problem(answer)
            self._wait(_retry_after(answer))

    def positions(self) -> dict[str, dict[str, Any]]:
        """Log ends and reader positions of every service, asked in the order in which a change passes them."""
        return {service: self.get(f"/{service}/v1/positions") for service in SERVICES}

    def wait_until_settled(self, timeout: float = 60, interval: float = 0.02) -> None:
        """Returns once every reader stands at the end of what it reads, twice in a row with no log grown in between.

        Between two equal looks nothing can be on its way: a record's effect and what it publishes are one transaction.

        Raises:
            NotSettled: naming the readers that lag.
        """
        until, before = time.monotonic() + timeout, None
        while True:
            found = self.positions()
            ends, lagging = _ends(found), _lagging(found)
            if not lagging and ends == before:
                return
            before = None if lagging else ends
            if time.monotonic() >= until:
                raise NotSettled(f"Not settled after {timeout:g} s: {'; '.join(lagging) or 'the logs still grow'}.")
            self._wait(interval)

    def parked(self) -> int:
        """Records set aside, over all services."""
        return sum(found["parked"] for found in self.positions().values())


def _ends(found: dict[str, dict[str, Any]]) -> dict[tuple[str, int], int]:
    return {(e["topic"], e["partition"]): e["next_pos"] for service in found.values() for e in service["ends"]}


def _lagging(found: dict[str, dict[str, Any]]) -> list[str]:
    """Readers short of the ends, in words; a service none of whose readers has started yet lags as a whole."""
    ends = _ends(found)
    lagging = []
    for name, service in found.items():
        stands = {(r["topic"], r["partition"]): r["next_pos"] for r in service["readers"]}
        topics = {topic for topic, _ in stands}
        short = [place for place, end in ends.items() if place[0] in topics and stands.get(place, 0) < end]
        lagging += [f"{name} at {stands.get(place, 0)} of {ends[place]} in {place[0]}/{place[1]}" for place in short]
        if not stands:
            lagging.append(f"{name} has no reader yet")
    return lagging


def _retry_after(answer: httpx.Response) -> float:
    try:
        return min(max(float(answer.headers.get("retry-after", "1")), 0.05), 30)
    except ValueError:  # it may also be a date
        return 1


def _problem(answer: httpx.Response) -> ApiProblem:
    try:
        document = answer.json()
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    document.setdefault("detail", f"{answer.request.url.path} answered {answer.status_code}.")
    return ApiProblem(answer.status_code, document)


def _unreachable(url: str, error: Exception) -> ApiProblem:
    detail = f"ValueLoop does not answer at {url} ({type(error).__name__})."
    remedy = "Start it with `valueloop up`, or name another address with --url."
    return ApiProblem(0, {"type": "unreachable", "detail": detail, "remedy": remedy})
