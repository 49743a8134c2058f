"""A company in the metrics service, for tests: settings arrive, facts are folded, readings are looked at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from services.metrics.mappings.rules import EventFacts, Fact
from services.metrics.observations.handlers import fold
from services.metrics.readings.store import readings
from shared.configuration import Recorded, define, history, store
from shared.contracts.base import Configuration
from shared.contracts.goals import Company, Unit
from shared.contracts.metrics import Metric
from shared.database.unit_of_work import UnitOfWork, unit_of_work
from shared.http.application import create_app
from shared.identity import Identity, JwksFile, LocalIssuer
from shared.log import Record
from shared.log.worker import handle, types_of
from shared.service import Received, Runtime
from shared.settings import Settings

NOW = datetime(2025, 4, 1, tzinfo=UTC)
UNITS = {"hq": None, "east": "hq", "shop": "east", "west": "hq"}


@dataclass
class Plant:
    """A company in the service: its settings arrive, its facts are folded, its readings are looked at."""

    runtime: Runtime
    company: str = "acme"
    positions: Iterator[int] = field(default_factory=lambda: count(0))

    def work(self) -> Any:
        return unit_of_work(self.runtime, actor="tester")

    def define(self, code: str, content: Configuration, uow: UnitOfWork | None = None) -> None:
        """Records a setting and lets it have its effect, as the worker would."""
        if uow is None:
            with self.work() as uow:
                return self.define(code, content, uow)
        kind = type(content)
        if kind.OWNER == "metrics":
            recorded, _ = define(uow, self.company, code, content)
        else:
            version = len(history(uow, kind, self.company, code)) + 1
            recorded = Recorded(code, version, content, "tester", NOW)
            store(uow, self.company, recorded)
        event = Received(self.company, code, kind.TOPIC, 0, 0, NOW, recorded)
        self.runtime.service.handlers[kind](uow, [event])

    def settings(self, **metrics: Metric) -> "Plant":
        with self.work() as uow:
            self.define("company", Company(name="Acme", time_zone="Asia/Shanghai", currency="CNY"), uow)
            for code, parent in UNITS.items():
                self.define(code, Unit(name=code, kind="team" if parent else "company", parent=parent), uow)
            for code, metric in metrics.items():
                self.define(code, metric, uow)
        return self

    def fold(self, *events: EventFacts) -> dict[Any, list[str]]:
        with self.work() as uow:
            return fold(uow, self.company, list(events))

    def event(self, *facts: Fact, id: str | None = None, time: datetime = NOW) -> EventFacts:
        pos = next(self.positions)
        return EventFacts(0, pos, "erp", id or f"e{pos}", time, list(facts))

    def observe(self, *facts: Fact) -> dict[Any, list[str]]:
        return self.fold(self.event(*facts))

    def reading(self, metric: str, subject: str = "unit:hq", period: str = "2025-01") -> Any:
        with unit_of_work(self.runtime, actor="tester", read_only=True) as uow:
            version = readings.one(uow, company=self.company, metric=metric, subject=subject, period=period)
        return version.finding if version else None

    def value(self, metric: str, subject: str = "unit:hq", period: str = "2025-01") -> Decimal | None:
        found = self.reading(metric, subject, period)
        return found.value if found else None

    def rows(self, sql: str, **params: Any) -> Sequence[Any]:
        with unit_of_work(self.runtime, actor="tester", read_only=True) as uow:
            return uow.rows(sql, **params)


def metric(unit: str = "CNY", over_time: str = "sum", across: str = "sum", **more: Any) -> Metric:
    return Metric(name="m", unit=unit, over_time=over_time, across_subjects=across, **more)  # type: ignore[arg-type]


def fact(metric: str, value: Any = None, subject: str = "unit:shop", day: str = "2025-01-10", *, text: bool = False,
         **more: Any) -> Fact:  # fmt: skip
    at = datetime.fromisoformat(f"{day}T04:00:00+00:00")
    value = Decimal(value) if isinstance(value, str | int) and not text else value
    given = {
        "mapping": "m", "mapping_version": 1, "item": 0, "rule": 0, "metric": metric, "effect": "add", "value": value,
        "unit": None, "subject": subject, "at": at, "day": date.fromisoformat(day), "key": None, "document": None,
        "dimensions": {}, "revision": Decimal(0),
    }  # fmt: skip
    return Fact(**(given | more))


@dataclass
class Web:
    """The same over HTTP: requests with a token, and a worker that has done all there is to do."""

    plant: Plant
    http: TestClient
    issuer: LocalIssuer
    done: dict[tuple[str, int], int] = field(default_factory=dict)

    def call(self, method: str, path: str, who: str = "boss", role: str = "analyst", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.issuer.issue(who, self.plant.company, [role])}"} | more.pop(
            "headers", {}
        )
        path = path if path.startswith("/") else f"/metrics/v1/{path}"
        return self.http.request(method, path, headers=headers, **more)

    def get(self, path: str, who: str = "boss", role: str = "analyst", **query: Any) -> Any:
        response = self.call(
            "GET", path, who, role, params={key.rstrip("_"): value for key, value in query.items()} or None
        )
        assert response.status_code == 200, response.text
        return response.json()

    def put(self, path: str, body: Any) -> Any:
        response = self.call("PUT", path, json=body)
        self.drain()
        return response

    def push(self, *events: dict[str, Any]) -> None:
        common = {"specversion": "1.0", "source": "erp", "type": "sold", "time": "2025-01-10T04:00:00Z"}
        response = self.call("POST", "events", "erp", "source", json=[common | event for event in events],
                             headers={"Content-Type": "application/cloudevents-batch+json"})  # fmt: skip
        assert response.status_code == 202, response.text
        self.drain()

    def drain(self) -> None:
        """Handles what its own log holds, as its workers do."""
        with self.plant.work() as uow:
            rows = uow.rows(
                "SELECT topic, partition, pos, key, type, company, data, traceparent, recorded_at FROM log.record "
                "WHERE topic IN ('metrics.configuration', 'metrics.source-events') ORDER BY topic, partition, pos"
            )
            records = [Record(*row) for row in rows]
            new = [each for each in records if each.pos >= self.done.get((each.topic, each.partition), 0)]
            handle(uow, types_of(self.plant.runtime.service), new)
        self.done |= {(each.topic, each.partition): each.pos + 1 for each in new}


def web(plant: Plant, directory: Path) -> Iterator[Web]:
    """Serves the plant's service for the time of a test."""
    issuer = LocalIssuer(directory)
    identity = Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop")
    with TestClient(create_app({"metrics": plant.runtime}, Settings(), identity)) as http:
        yield Web(plant, http, issuer)
