"""Previews where something is missing: another service, its workers, room; and from within another endpoint."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request

from services.incentives.previews.routes import amount_if
from shared import rehearsal
from shared.contracts.base import Contract, Defined
from shared.contracts.goals import Company, ScoreChanged
from shared.contracts.metrics import ReadingChanged
from shared.database.unit_of_work import unit_of_work
from shared.http.application import create_app
from shared.http.context import RequestContext
from shared.identity import Identity, JwksFile, LocalIssuer, Principal
from shared.log import Record
from shared.log.worker import handle, types_of
from shared.preview import Change
from shared.service import Runtime
from shared.settings import Settings

NOW = datetime(2025, 4, 1, tzinfo=UTC)
COMPANY = Company(name="Acme", labels={}, time_zone="Asia/Shanghai", currency="CNY")
UNIT = {"setting": "units", "code": "east", "content": {"name": "East", "kind": "company"}}
COMPONENT = {"code": "c", "name": "C", "weight": "1", "driver": {"kind": "goal", "code": "g"},
             "curve": {"kind": "linear", "slope": "0.01"}}  # fmt: skip
PLAN = {"name": "Bonus", "period": "quarter", "currency": "CNY", "components": [COMPONENT]}


@dataclass
class House:
    """Goals and incentives in one process, and no worker; metrics is away."""

    runtimes: dict[str, Runtime]
    app: Starlette
    http: TestClient
    issuer: LocalIssuer

    def ask(self, method: str, path: str, body: Any) -> httpx.Response:
        token = self.issuer.issue("li", "acme", ("strategist", "compensation"))
        headers = {"Authorization": f"Bearer {token}"}
        return self.http.request(method, path, json=body, headers=headers)  # type: ignore[return-value]

    def told(self, path: str, body: Any) -> tuple[int, str, str | None]:
        answer = self.ask("POST", path, body)
        assert answer.status_code != 503 or int(answer.headers["Retry-After"]) > 0
        return answer.status_code, answer.json()["type"].rpartition(":")[2], answer.json().get("field")

    def arrive(self, service: str, *events: Contract) -> None:
        data = Defined(
            code="company", version=1, recorded_by="x", recorded_at=NOW, content=COMPANY.model_dump(mode="json")
        )
        records = [_record(Company, data.model_dump_json())] if service == "incentives" else []
        records += [_record(type(each), each.model_dump_json()) for each in events]
        with unit_of_work(self.runtimes[service], actor=service) as uow:
            handle(uow, types_of(self.runtimes[service].service), records)

    def context(self, service: str) -> RequestContext:
        token = self.issuer.issue("li", "acme", ("finance",))
        scope = {"type": "http", "app": self.app.state.services[service], "server": ("testserver", 80),
                 "headers": [(b"authorization", f"Bearer {token}".encode())]}  # fmt: skip
        principal = Principal("li", "acme", frozenset({"finance"}))
        return RequestContext("r", f"00-{1:032x}-{1:016x}-01", principal, request=Request(scope))


def _record(kind: type[Contract], data: str) -> Record:
    return Record(kind.TOPIC, 0, 0, "k", kind.TYPE, "acme", data, None, NOW)


def reading(value: str, version: int) -> ReadingChanged:
    return ReadingChanged(metric="m", subject="unit:east", period="2025-Q1", version=version, change=version,
                          value=Decimal(value), unit="CNY", recorded_at=NOW)  # fmt: skip


@pytest.fixture
def house(runtimes: Any, tmp_path: Path) -> Iterator[House]:
    made = runtimes("goals", "incentives")
    issuer = LocalIssuer(tmp_path)
    identity = Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop")
    app = create_app(made, Settings(), identity)
    for service in app.state.services.values():
        service.state.wiring.peers = lambda: TestClient(app)
    with TestClient(app) as http:
        found = House(made, app, http, issuer)
        found.ask("PUT", "/goals/v1/companies/company", COMPANY.model_dump(mode="json"))
        found.arrive("incentives")
        yield found


def test_a_service_that_is_away_is_named_and_asked_again_later(house: House) -> None:
    preview = {"commands": [UNIT]}
    assert house.told("/goals/v1/previews", preview)[:2] == (503, "peer-away")
    wiring = house.app.state.services["goals"].state.wiring
    wiring.peers = httpx.Client
    wiring.settings = Settings(peers="http://127.0.0.1:9/{service}")
    assert house.told("/goals/v1/previews", preview)[:2] == (503, "peer-away")
    while wiring.previews.acquire(blocking=False):
        pass
    assert house.told("/goals/v1/previews", preview)[:2] == (503, "overloaded")


def test_a_rehearsal_waits_for_the_workers_and_refuses_what_is_out_of_date(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "PATIENCE", 0)
    policy = {"setting": "goals-policies", "code": "target_change", "content": {"value": "prorated"}}
    assert house.told("/incentives/v1/previews?period=2025-Q1", {"commands": [policy]})[:2] == (503, "behind-others")
    house.arrive("goals", reading("5", 3))
    for version, status in ((3, 503), (4, 200)):
        told = {"topic": "metrics.readings", "key": "k", "type": ReadingChanged.TYPE,
                "data": reading("6", version).model_dump_json()}  # fmt: skip
        answer = house.ask("POST", "/goals/v1/rehearsals", {"records": [told]})
        assert answer.status_code == status, answer.text
    wrong = told | {"data": "{}"}
    assert house.told("/goals/v1/rehearsals", {"records": [wrong]}) == (422, "told-wrong", "records")


def test_an_endpoint_can_ask_what_one_amount_would_be(house: House) -> None:
    house.ask("PUT", "/incentives/v1/plans/bonus", PLAN)
    for person in ("ann", "bob"):
        part = {"person": person, "plan": "bonus", "amount": "10000", "starts": "2025-01-01"}
        house.ask("PUT", f"/incentives/v1/assignments/{person}", part)
    score = ScoreChanged(
        kind="goal", code="g", period="2025-Q1", version=1, change=1, score=Decimal(72), attainment=None
    )
    house.arrive("incentives", score)
    more = {"person": "ann", "plan": "bonus", "amount": "12000", "starts": "2025-01-01"}
    change = Change.model_validate({"commands": [{"setting": "assignments", "code": "ann", "content": more}]})
    found = {payee: amount_if(house.context("incentives"), change, "2025-Q1", "bonus", f"person:{payee}")
             for payee in ("ann", "bob", "cai")}  # fmt: skip
    assert found == {
        "ann": (Decimal(7200), Decimal(8640)), "bob": (Decimal(7200), Decimal(7200)), "cai": (None, None),
    }  # fmt: skip
