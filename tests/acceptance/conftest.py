"""The whole of ValueLoop, started once per run, and a short way to say "company X, events Y, then reading Z".

Everything a test says here goes through the public HTTP API.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn

from services.client import ValueLoopClient
from services.runtime import build_runtimes, database_urls, prepare
from shared.http.application import create_app
from shared.identity import LocalIssuer, identity_of
from shared.log.worker import run_workers
from shared.settings import Settings
from shared.telemetry import configure_logging
from tests.checked import verified

EVERY_ROLE = ("admin", "strategist", "analyst", "compensation", "finance", "auditor")


@dataclass
class Loop:
    """A company on a running ValueLoop, and somebody who speaks for it."""

    client: ValueLoopClient
    issuer: LocalIssuer
    company: str
    _ids: Any = field(default_factory=lambda: count(1))

    # --- who speaks ---

    def token(self, person: str, *roles: str) -> str:
        return self.issuer.issue(person, self.company, roles)

    def speaking_as(self, person: str, *roles: str) -> ValueLoopClient:
        """A client with the rights of that person alone."""
        return self.client.as_(self.token(person, *roles))

    # --- what is set up ---

    def set_up(self, currency: str = "CNY", time_zone: str = "Asia/Shanghai", **more: Any) -> "Loop":
        """The company with its calendar, and its top unit `company`."""
        self.put("goals/companies/company", name=self.company, currency=currency, time_zone=time_zone, **more)
        self.unit("company", kind="company")
        return self

    def put(self, path: str, /, **content: Any) -> Any:
        """Defines a setting, such as `put("metrics/nodes/production", name=…)`."""
        service, rest = path.split("/", 1)
        return self.client.put(f"/{service}/v1/{rest}", content)

    def get(self, path: str, **query: Any) -> Any:
        service, rest = path.split("/", 1)
        return self.client.get(f"/{service}/v1/{rest}", **query)

    def post(self, path: str, /, **content: Any) -> Any:
        service, rest = path.split("/", 1)
        return self.client.post(f"/{service}/v1/{rest}", content)

    def unit(self, code: str, parent: str | None = None, kind: str = "department", **more: Any) -> None:
        parent = parent or (None if code == "company" else "company")
        self.put(f"goals/units/{code}", name=code, kind=kind, parent=parent, **more)

    def person(self, code: str, unit: str, manager: str | None = None, **more: Any) -> None:
        self.put(f"goals/people/{code}", name=code, unit=unit, manager=manager, **more)

    def metric(self, code: str, unit: str, **more: Any) -> None:
        self.put(f"metrics/metrics/{code}", name=code, unit=unit, **more)

    def measured(self, code: str, unit: str, **more: Any) -> None:
        """A base metric, and a mapping by which an event of type `<code>` yields one observation of it."""
        self.metric(code, unit, **more)
        rule = {"metric": code, "value": "number(data.value)", "subject": "data.subject"}
        rule |= {"unit": "data.unit"} if unit == "money" else {}
        self.put(f"metrics/mappings/{code}", name=code, event_type=code, observations=[rule])

    def goal(self, code: str, target: str | int | None = None, **more: Any) -> None:
        """An active goal for 2025 by quarter, unless said otherwise, with a target from the beginning."""
        more.setdefault("owner_unit", None if "owner_person" in more else "company")
        defaults = {"name": code, "period": "quarter", "starts": "2025-01-01", "due": "2025-12-31", "status": "active"}
        self.put(f"goals/goals/{code}", **(defaults | more))
        if target is not None:
            self.put(f"goals/goals/{code}/targets", value=str(target))

    # --- what happens ---

    def happened(self, type_: str, when: str, id: str | None = None, **data: Any) -> dict[str, Any]:
        """One business event on a day or at an instant; its receipt."""
        return self.push([self.event(type_, when, id, **data)])[0]

    def event(self, type_: str, when: str, id: str | None = None, **data: Any) -> dict[str, Any]:
        instant = when if "T" in when else f"{when}T12:00:00+08:00"
        made = id or f"{type_}-{next(self._ids)}"
        return {"specversion": "1.0", "id": made, "source": "erp", "type": type_, "time": instant, "data": data}

    def push(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.client.push(events)

    def observed(
        self, code: str, value: str | int, when: str = "2025-02-15", subject: str = "unit:company", **more: Any
    ) -> dict[str, Any]:
        """An event of a metric made with `measured`."""
        return self.happened(code, when, value=str(value), subject=subject, **more)

    def settle(self) -> "Loop":
        """Waits until everything sent has rippled through all services."""
        self.client.wait_until_settled(timeout=180)
        return self

    def time_reaches(self, instant: str) -> "Loop":
        """Advances the company's clock, and waits for what that brings about."""
        self.settle()
        self.post("metrics/ticks", at=instant if "T" in instant else f"{instant}T00:00:00+08:00")
        return self.settle()

    # --- what can be seen ---

    def reading(self, metric: str, period: str = "2025-Q1", subject: str = "unit:company", **more: Any) -> Any:
        return self.settle().get("metrics/readings", metric=metric, subject=subject, period=period, **more)

    def value(self, metric: str, period: str = "2025-Q1", subject: str = "unit:company") -> str | None:
        value: str | None = self.reading(metric, period, subject)["value"]
        return value

    def score(self, goal: str, period: str = "2025-Q1", **query: Any) -> Any:
        """The latest score of a goal in a period."""
        found = self.settle().get("goals/scores", **({"goal": goal, "period": period} | query))
        assert found["items"], f"no score of {goal} in {period}"
        return found["items"][0]

    def cases(self, **query: Any) -> list[Any]:
        items: list[Any] = self.settle().get("reviews/cases", **query)["items"]
        return items


@dataclass
class Installation:
    """One running ValueLoop for a whole test run."""

    address: str
    http: httpx.Client
    issuer: LocalIssuer
    settings: Settings

    def company(self, name: str | None = None) -> Loop:
        name = name or f"company-{uuid4().hex[:12]}"
        token = self.issuer.issue("tester", name, EVERY_ROLE)
        return Loop(ValueLoopClient(self.address, token, self.http), self.issuer, name)


@contextmanager
def running(settings: Settings, admin_url: str) -> Iterator[Installation]:
    """Everything in this process: the API behind a real socket, and two workers per service, as everywhere."""
    issuer = LocalIssuer(settings.data_directory, settings.issuer, settings.audience)
    urls = prepare(settings, admin_url)
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(build_runtimes(settings, urls), settings, identity_of(settings))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
    stop = threading.Event()
    threads = [threading.Thread(target=server.run, kwargs={"sockets": [listener]})]
    for _ in range(2):
        runtimes = build_runtimes(settings, urls, purpose="worker")
        threads.append(threading.Thread(target=run_workers, args=(runtimes, stop)))
    for thread in threads:
        thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        with httpx.Client(timeout=60, trust_env=False) as http:
            yield Installation(f"http://127.0.0.1:{listener.getsockname()[1]}", http, issuer, settings)
    finally:
        stop.set()
        server.should_exit = True
        for thread in threads:
            thread.join(30)


@pytest.fixture(scope="session")
def installation(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("valueloop")
    settings = Settings(
        data_directory=directory, settable_clock=True, partitions=2, poll_seconds=0.5, log_level="warning"
    )  # fmt: skip
    configure_logging(settings.log_level, json=False)
    with running(settings, postgres_url) as made:
        yield made
    verified(build_runtimes(settings, database_urls(settings, postgres_url))["incentives"].engine)


@pytest.fixture
def loop(installation: Installation) -> Loop:
    """A company of the test's own, with Chinese time and money and one unit, `company`."""
    return installation.company().set_up()


EXAMPLES = Path(__file__).parents[2] / "examples"
