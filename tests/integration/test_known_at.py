"""What an accrual was at an instant: whatever was answered then is answered again, however much has changed since."""

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from services.incentives.entitlements.store import freeze
from shared.contracts.goals import Person, Unit
from shared.contracts.incentives import DriverChanged
from shared.contracts.metrics import Rate, ReadingChanged
from shared.database import migrations
from shared.database.unit_of_work import unit_of_work
from shared.periods import Calendar, parse_period
from tests.integration.house import NOW, PEOPLE, UNITS, House, acme, component, house, score

__all__ = ["acme", "house"]
Q1 = {"period": "2025-Q1"}
OWN = {"kind": "reading", "code": "sales", "own": True}
TABLE = {
    "kind": "tiers",
    "mode": "whole",
    "tiers": [{"from": "0", "to": "500", "rate": "0.01"}, {"from": "500", "rate": "0.02"}],
}
SHOP = {"kind": "reading", "code": "sales", "subject": "unit:shop"}


def now(house: House) -> datetime:
    with unit_of_work(house.runtime, actor="test", read_only=True) as uow:
        at: datetime = uow.value("SELECT clock_timestamp()")
    return at


def comparable(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {name: comparable(each) for name, each in answer.items() if name not in ("qualified", "instance")}
    if isinstance(answer, list):
        return [comparable(each) for each in answer]
    return re.sub("&known_at=[^&]*", "", answer) if isinstance(answer, str) else answer


def answers(house: House, at: datetime | None = None) -> dict[str, Any]:
    """Everything the service says of accruals, but for guards, which are not kept, and the instant in its links."""
    more = {"known_at": at.isoformat()} if at else {}
    asked: list[tuple[str, dict[str, str]]] = [(f"people/{person}/accruals", {}) for person in PEOPLE]
    asked += [(f"people/{p}/accruals/explanation", {"plan": plan}) for p in PEOPLE for plan in ("bonus", "sales")]
    asked += [(f"units/{unit}/accruals", {}) for unit in UNITS]
    found = {}
    for path, query in asked:
        response = house.call("GET", path, params=Q1 | query | more)
        found[f"{path}{query}"] = (response.status_code, comparable(response.json()))
    return found


class Changing:
    """Makes changes that move accruals, one after another."""

    def __init__(self, house: House, random: Random) -> None:
        self.house, self.random, self.versions = house, random, dict[str, int]()

    def version(self, what: str) -> int:
        self.versions[what] = self.versions.get(what, 1) + 1
        return self.versions[what]

    def of(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def put(self, path: str, body: Any) -> None:
        response = self.house.call("PUT", path, json=body)
        assert response.status_code < 500, response.text  # a refusal changes nothing, and that is a step too

    def score(self) -> None:
        value = self.of(None, str(self.random.randrange(120)))
        self.house.arrive(score(value, self.version("score"), code=self.of("yield", "safety")))

    def sales(self) -> None:
        whose = self.of("unit:shop", "person:wang", "person:chen", "person:li")
        version = self.version(whose)
        self.house.arrive(ReadingChanged(
            metric="sales", subject=whose, period="2025-Q1", version=version, change=version, unit="USD",
            value=Decimal(self.random.randrange(1_000)), recorded_at=NOW, qualified=self.of([], ["complaints rising"]),
        ))  # fmt: skip

    def rate(self) -> None:
        set_to = Decimal(self.random.randrange(60_000, 80_000)).scaleb(-4)
        begins = self.of(date(2025, 1, 1), date(2025, 2, 1))
        said = Rate(from_currency="USD", to_currency="CNY", rate=set_to, reason="Set.", effective_from=begins)
        self.house.define("USD-CNY", said, self.version("rate"), datetime.now(UTC))

    def bonus(self) -> None:
        shares = [component("yield", "0.6"), component("safety", "0.4")]
        plan = {"name": "Bonus", "period": "quarter", "currency": "CNY", "components": self.of(shares, shares[:1])}
        plan["components"][0]["weight"] = "0.6" if len(plan["components"]) == 2 else "1"
        plan |= {"on_change": self.of("last_day", "by_days"), "factor": self.of("1", "1.1"), "reason": "Changed."}
        plan |= self.of({}, {"budget": {"amount": "9000"}}, {"budget": {"pool": "savings", "distribute": "whole"}})
        self.put("plans/bonus", plan | self.of({}, {"effective_from": "2025-02-10"}, {"families": {"core": "2"}}))

    def commission(self) -> None:
        lines = [component("shop", driver=SHOP, curve=TABLE), component("own", driver=OWN, curve=TABLE)]
        for line in lines:
            line["weight"] = "0"
        name = self.of("Sales", "Commission")
        self.put("plans/sales", {"name": name, "period": "quarter", "currency": "CNY", "components": lines})

    def pool(self) -> None:
        pool = {"name": "Savings", "period": "quarter", "currency": "CNY", "driver": SHOP}
        self.put("pools/savings", pool | {"share": self.of("0.2", "0.5")})

    def assignment(self) -> None:
        person, plan = self.of(*PEOPLE), self.of("bonus", "sales")
        body = {"person": person, "plan": plan, "starts": self.of("2025-01-01", "2025-02-01")}
        body |= {"amount": str(self.random.randrange(10_000)), "share": self.of("1", "0.5"), "job_family": "core"}
        body |= self.of({}, {"guarantee": {"amount": "500", "until": "2025-12-31"}}, {"ends": "2025-03-15"})
        self.put(f"assignments/{person}-{plan}", body | self.of({}, {"effective_from": "2025-03-01"}))

    def override(self) -> None:
        body = {"payee": f"person:{self.of('wang', 'li')}", "plan": "bonus", **Q1, "reason": "Decided."}
        self.put(f"overrides/{body['payee'][7:]}", body | {"amount": self.of(None, "123.45")})

    def policy(self) -> None:
        body = {"value": self.of("partial", "null"), "reason": "Changed."}
        self.put("policies/incomplete_total", body)

    def move(self) -> None:
        person = self.of("wang", "li")
        moved = Person(name=person, unit=self.of("line", "shop"), manager=self.of("boss", "chen"))
        self.house.define(person, moved, self.version(person), datetime.now(UTC))

    def unit(self) -> None:
        moved = Unit(name="line", labels={}, kind="department", parent=self.of("plant", "hq", "shop"), head=None)
        self.house.define("line", moved, self.version("line"), datetime.now(UTC))

    @property
    def steps(self) -> list[Callable[[], None]]:
        return [self.score, self.sales, self.rate, self.bonus, self.commission, self.pool, self.assignment,
                self.override, self.policy, self.move, self.unit]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_what_was_answered_is_answered_again_with_its_instant(acme: House, seed: int) -> None:
    random = Random(seed)
    changing = Changing(acme, random)
    for person in PEOPLE:
        acme.assign(person)
    for step in changing.steps:
        step()
    told: list[tuple[datetime, dict[str, Any]]] = []
    for _ in range(14):
        told.append((now(acme), answers(acme)))
        for _ in range(2):
            random.choice(changing.steps)()
    assert len({json.dumps(said, sort_keys=True) for _, said in told}) > 6, "too little has changed to show anything"
    random.shuffle(told)
    for at, said in told:
        assert answers(acme, at) == said
    assert answers(acme, now(acme)) == answers(acme)


def test_what_a_period_was_closed_with_is_what_was_known_then(acme: House) -> None:
    acme.assign("wang")
    acme.arrive(score("80"))
    with unit_of_work(acme.runtime, actor="test") as uow:
        freeze(uow, "acme", parse_period(Calendar("Asia/Shanghai"), "2025-Q1"))
    closed = now(acme)
    acme.arrive(score("90", 2))
    [entitled] = acme.get("people/wang/entitlements", known_at=closed.isoformat())
    [known] = acme.get("people/wang/accruals", **Q1, known_at=closed.isoformat())["accruals"]
    assert (entitled["amount"], known["total"], acme.total("wang")) == ("8000", "8000", "9000")
    link = known["links"]["explanation"].removeprefix("/incentives/v1/")
    explained = acme.call("GET", link).json()
    assert explained["accrual"]["total"] == "8000"
    assert explained["person"][-1]["value"] == "8000"


def test_a_day_names_the_period_that_holds_it(acme: House) -> None:
    acme.assign("wang")
    acme.arrive(score("80"))
    for path in ("people/wang/accruals", "units/line/accruals"):
        by_day = acme.get(path, as_of="2025-02-14", kind="quarter")
        assert by_day == acme.get(path, **Q1)
        assert acme.get(path, as_of="2025-02-14")["period"] == "2025-02", "a month, where nothing else is said"


@pytest.mark.parametrize(
    ("query", "status", "problem"),
    [
        ({}, 422, "period-unclear period"),
        ({**Q1, "as_of": "2025-02-14"}, 422, "period-unclear period"),
        ({"as_of": "2025-02-14", "kind": "shift"}, 422, "period-invalid as_of"),
        ({"as_of": "9999-12-31"}, 422, "period-invalid as_of"),
        ({"as_of": "2025-02-14", "kind": "decade"}, 422, "request-not-valid kind"),
        ({"period": "2025-Q5"}, 422, "request-not-valid period"),
        ({**Q1, "known_at": "yesterday"}, 422, "request-not-valid known_at"),
        ({**Q1, "known_at": "2025-02-14T00:00:00"}, 422, "request-not-valid known_at"),  # its offset is not said
        ({**Q1, "known_at": "0001-01-01T00:00:00+23:59"}, 422, "request-not-valid known_at"),
        ({**Q1, "known_at": "2020-02-14T00:00:00+23:59"}, 404, "calendar-unknown known_at"),
        ({**Q1, "known_at": "9999-12-31T23:59:59Z"}, 200, ""),
    ],
)
def test_times_that_name_nothing_are_refused(acme: House, query: dict[str, str], status: int, problem: str) -> None:
    acme.assign("wang")
    for path in ("people/wang/accruals", "people/wang/accruals/explanation?plan=bonus", "units/line/accruals"):
        response = acme.call("GET", path, params={"plan": "bonus"} | query)
        assert response.status_code == status, response.text
        told = response.json()
        assert f"{told.get('type', '').rpartition(':')[2]} {told.get('field', '')}".strip() == problem
        assert status == 200 or told["remedy"]


def test_who_may_see_an_amount_is_judged_by_now(acme: House) -> None:
    acme.assign("wang")
    before = now(acme).isoformat()
    assert acme.get("people/wang/accruals", "boss", "manager", **Q1, known_at=before)["accruals"]
    acme.define("wang", Person(name="wang", unit="shop", manager="chen"), 2, datetime.now(UTC))
    path = "people/wang/accruals"
    for who, status in (("boss", 403), ("chen", 200), ("li", 403)):
        assert acme.call("GET", path, who, "manager", params=Q1 | {"known_at": before}).status_code == status


def test_nothing_can_be_written_to_what_was_known(acme: House) -> None:
    may = "SELECT has_table_privilege(:table, 'SELECT'), has_table_privilege(:table, 'INSERT, UPDATE, DELETE')"
    with acme.runtime.engine.connect() as connection:
        for view in ("configuration", "driver", "arrived", "assignment"):
            assert tuple(connection.execute(text(may), {"table": f"known.{view}"}).one()) == (True, False)


def test_what_was_there_before_instants_were_kept_counts_from_when_it_was_told(database: Any) -> None:
    told = datetime(2025, 5, 5, 5, tzinfo=UTC)
    named = {"kind": "goal", "code": "yield", "subject": None, "period": "2025-Q1"}
    event = DriverChanged(**named, version=2, change=2, value=None, reason="Gone.", inputs=[])
    old = "INSERT INTO driver (company, kind, code, subject, period, version, change, source_from, source_version) "
    urls = database("incentives")
    with psycopg.connect(urls.owner.replace("+psycopg", ""), autocommit=True) as owner:
        for undone in (
            "DROP SCHEMA known CASCADE", "DROP INDEX ix_configuration_assigned", "ALTER TABLE objection DROP amount",
            "ALTER TABLE driver DROP recorded_at", "UPDATE alembic_version SET version_num = '0009'",
        ):  # fmt: skip
            owner.execute(undone)
        for version in (1, 2):
            owner.execute(f"{old} VALUES ('acme', 'goal', 'yield', '', '2025-Q1', {version}, {version}, 1, 1)".encode())
        owner.execute(
            "INSERT INTO log.record (topic, partition, pos, key, type, company, data, recorded_at) "
            "VALUES (%s, 0, 0, 'goal/yield', %s, 'acme', %s, %s)",
            [event.TOPIC, event.TYPE, event.model_dump_json(), told],
        )  # fmt: skip
        migrations.upgrade("incentives", urls.owner)
        found = owner.execute("SELECT recorded_at FROM driver ORDER BY version").fetchall()
        assert found == [(datetime(1970, 1, 1, tzinfo=UTC),), (told,)]
    assert migrations.check("incentives", urls.owner) == []
