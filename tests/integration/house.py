"""A company on the incentives service alone: over HTTP, with events as they come from the other services."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from shared.contracts.base import Configuration, Contract, Defined
from shared.contracts.goals import Company, Person, ScoreChanged, Unit
from shared.contracts.incentives import DriverChanged
from shared.contracts.metrics import ReadingChanged
from shared.database.unit_of_work import unit_of_work
from shared.http.application import create_app
from shared.identity import Identity, JwksFile, LocalIssuer
from shared.log import Record
from shared.log.worker import handle, types_of
from shared.service import Runtime
from shared.settings import Settings

NOW = datetime(2025, 4, 1, tzinfo=UTC)
LINEAR = {"kind": "linear", "slope": "0.01"}
PEOPLE = {  # person: (unit, manager)
    "ceo": ("hq", None), "boss": ("plant", "ceo"), "wang": ("line", "boss"), "li": ("line", "boss"),
    "chen": ("shop", "ceo"),
}  # fmt: skip
UNITS = {"hq": (None, "ceo"), "plant": ("hq", "boss"), "line": ("plant", None), "shop": ("hq", "chen")}


@dataclass
class House:
    """The service as its users and its upstream services meet it."""

    runtime: Runtime
    http: TestClient
    issuer: LocalIssuer
    positions: dict[str, int] = field(default_factory=dict)
    company: str = "acme"

    def call(self, method: str, path: str, who: str = "pay", *roles: str, **more: Any) -> Any:
        token = self.issuer.issue(who, self.company, roles or ("compensation",))
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return self.http.request(method, f"/incentives/v1/{path}", headers=headers, **more)

    def get(self, path: str, who: str = "pay", *roles: str, **query: Any) -> Any:
        response = self.call("GET", path, who, *roles, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def put(self, path: str, body: Any, *, expect: int = 201) -> Any:
        response = self.call("PUT", path, json=body)
        assert response.status_code == expect, response.text
        return response.json()

    def arrive(self, *events: Contract) -> None:
        """One batch of events from the other services, as a worker would apply it."""
        with unit_of_work(self.runtime, actor="incentives") as uow:
            records = [Record(e.TOPIC, 0, i, "k", e.TYPE, self.company, e.model_dump_json(), None, NOW)
                       for i, e in enumerate(events)]  # fmt: skip
            handle(uow, types_of(self.runtime.service), records)

    def define(self, code: str, content: Configuration, version: int = 1, at: datetime = NOW) -> None:
        said = content.model_dump(mode="json")
        data = Defined(code=code, version=version, recorded_by="x", recorded_at=at, content=said)
        with unit_of_work(self.runtime, actor="incentives") as uow:
            record = Record(content.TOPIC, 0, 0, code, content.TYPE, self.company, data.model_dump_json(), None, NOW)
            handle(uow, types_of(self.runtime.service), [record])

    def published(self, kind: type[Contract] = DriverChanged) -> list[Any]:
        with unit_of_work(self.runtime, actor="test", read_only=True) as uow:
            rows = uow.rows("SELECT data FROM log.record WHERE type = :type ORDER BY recorded_at, pos", type=kind.TYPE)
        return [kind.model_validate_json(row.data) for row in rows]

    def plan(self, code: str = "bonus", *components: dict[str, Any], expect: int = 201, **more: Any) -> Any:
        body = {"name": "Bonus", "period": "quarter", "currency": "CNY",
                "components": list(components or [component()])}  # fmt: skip
        return self.put(f"plans/{code}", body | more, expect=expect)

    def assign(self, person: str, amount: str = "10000", plan: str = "bonus", **more: Any) -> Any:
        expect = more.pop("expect", 201)
        body = {"person": person, "plan": plan, "amount": amount, "starts": "2025-01-01"} | more
        return self.put(f"assignments/{body.pop('code', f'{person}-{plan}')}", body, expect=expect)

    def total(self, person: str, period: str = "2025-Q1") -> str | None:
        [accrual] = self.get(f"people/{person}/accruals", period=period)["accruals"]
        return accrual["total"]  # type: ignore[no-any-return]


def component(code: str = "yield", weight: str = "1", **more: Any) -> dict[str, Any]:
    driver = more.pop("driver", {"kind": "goal", "code": code})
    return {"code": code, "name": code, "driver": driver, "weight": weight, "curve": LINEAR, **more}


def score(
    value: str | None, version: int = 1, code: str = "yield", period: str = "2025-Q1", **more: Any
) -> ScoreChanged:
    number = None if value is None else Decimal(value)
    return ScoreChanged(
        kind="goal", code=code, period=period, version=version, change=version, score=number, attainment=None, **more
    )


def reading(value: str, version: int = 1) -> ReadingChanged:
    return ReadingChanged(
        metric="sales", subject="unit:shop", period="2025-Q1", version=version, change=version, value=Decimal(value),
        unit="CNY", recorded_at=NOW, qualified=["complaints rising"],
    )  # fmt: skip


@pytest.fixture
def house(runtimes: Any, tmp_path: Path) -> Iterator[House]:
    runtime = runtimes("incentives")["incentives"]
    issuer = LocalIssuer(tmp_path)
    identity = Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop")
    with TestClient(create_app({"incentives": runtime}, Settings(), identity)) as http:
        yield House(runtime, http, issuer)


@pytest.fixture
def acme(house: House) -> House:
    """A company with a plant of three, a shop of one, and a plan on the plant's yield."""
    house.define("company", Company(name="Acme", labels={}, time_zone="Asia/Shanghai", currency="CNY"))
    for code, (parent, head) in UNITS.items():
        house.define(code, Unit(name=code, labels={}, kind="department", parent=parent, head=head))
    for code, (unit, manager) in PEOPLE.items():
        house.define(code, Person(name=code, unit=unit, manager=manager))
    house.plan()
    return house
