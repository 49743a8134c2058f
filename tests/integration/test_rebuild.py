"""Databases rebuilt from what was accepted equal the live ones, wherever the story is cut; and a change is found."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from services.client import ApiProblem, ValueLoopClient
from services.metrics.mappings.rules import facts_of
from services.rebuild import NotEmpty, copy_secrets, rebuild, refuse_unless_empty, settling
from services.replay import Replay
from shared.contracts import base as contracts
from shared.contracts.base import Closing
from shared.database.unit_of_work import unit_of_work
from shared.http.application import create_app
from shared.identity import LocalIssuer, identity_of
from shared.log import Record
from shared.log.position import NotYet
from shared.log.postgres import PostgresLog
from shared.service import Runtime
from shared.state import Difference, Place, difference, digests
from shared.telemetry import configure_logging
from tests.acceptance.conftest import Loop
from tests.conftest import disconnect
from tests.simulation.story import Act, Configure, Decide, Push, Settle, Tick, story

SEEDS, CUTS, LENGTH = range(4), 5, 90
EVERY_ROLE = ("admin", "strategist", "analyst", "compensation", "finance", "auditor")
Runtimes = dict[str, Runtime]
SMALL = {"poll_seconds": 0.2, "parked_limit": 1_000_000, "log_level": "error"}


@dataclass
class Live:
    """A running ValueLoop, and what is said to it."""

    runtimes: Runtimes
    http: TestClient
    issuer: LocalIssuer
    settle: Callable[[], None]

    def client(self, company: str) -> ValueLoopClient:
        return ValueLoopClient("http://testserver", self.issuer.issue("tester", company, EVERY_ROLE), self.http)

    def play(self, act: Act) -> None:
        if isinstance(act, Settle):
            return self.settle()
        client = self.client(act.company)
        try:
            self._say(client, act)
        except ApiProblem:  # a story may say what is refused
            return None

    def _say(self, client: ValueLoopClient, act: Act) -> None:
        match act:
            case Configure():
                client.put(f"/{act.service}/v1/{act.path}", dict(act.body))
            case Push():
                client.push([dict(event) for event in act.events])
            case Tick():
                client.post("/metrics/v1/ticks", {"at": act.at})
            case Decide():
                self.settle()
                self._decide(client, act)

    def _decide(self, client: ValueLoopClient, act: Decide) -> None:
        for case in client.items("/reviews/v1/cases", goal=act.goal, period=act.period):
            if case["status"] != "closed":
                client.post(f"/reviews/v1/cases/{case['id']}/{act.what}", dict(act.body))


@pytest.fixture
def idle(runtimes: Any, tmp_path: Path) -> Iterator[Live]:
    """Without workers."""
    made = runtimes(settable_clock=True, partitions=3, data_directory=tmp_path, **SMALL)
    settings = made["goals"].settings
    configure_logging("error", json=False)
    with TestClient(create_app(made, settings, identity_of(settings))) as http:
        yield Live(made, http, LocalIssuer(tmp_path), lambda: None)


@pytest.fixture
def live(idle: Live) -> Iterator[Live]:
    with settling(idle.runtimes, workers=1) as idle.settle:
        yield idle


@pytest.fixture
def loop(live: Live) -> Loop:
    """A company with a goal that reality will miss."""
    made = Loop(live.client("acme"), live.issuer, "acme").set_up()
    made.person("boss", "company")
    made.measured("sales", "CNY")
    made.goal("sales", 1_000, metric="sales", owner_person="boss", subject="unit:company")
    return made


def logs(live: Runtimes) -> dict[str, PostgresLog]:
    return {name: log for name, log in live["goals"].logs.items() if isinstance(log, PostgresLog)}


def states(name: str) -> Any:
    return import_module(f"services.{name}.state").STATE


def differences(one: Runtimes, other: Runtimes) -> dict[str, Difference | None]:
    found = {}
    for name in one:
        with one[name].engine.connect() as here, other[name].engine.connect() as there:
            found[name] = difference(here, there, states(name))
    return {name: each for name, each in found.items() if each}


def rebuilt(live: Live, runtimes: Any) -> Runtimes:
    live.settle()
    again: Runtimes = runtimes(**SMALL)
    rebuild(logs(live.runtimes), again, workers=1)
    copy_secrets(live.runtimes["metrics"], again["metrics"])
    return again


def rows(runtime: Runtime, sql: str) -> list[Any]:
    with runtime.engine.begin() as connection:
        return list(connection.execute(text(sql)))


class Doubled(Replay):
    """Pushes every event twice."""

    def apply(self, owner: str, records: Sequence[Record]) -> None:
        super().apply(owner, records)
        if records[0].topic == "metrics.source-events":
            super().apply(owner, records)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_rebuild_equals_live_at_random_cuts_in_other_orders_and_doubled(
    live: Live, runtimes: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice, acts = Random(f"cuts {seed}"), story(seed, LENGTH)
    cuts = [*sorted(dice.sample(range(len(acts) // 3, len(acts)), CUTS - 1)), len(acts)]
    done = 0
    for cut in cuts:
        for act in acts[done:cut]:
            live.play(act)
        done = cut
        live.settle()
        monkeypatch.setattr("services.rebuild.Replay", dice.choice([Replay, Doubled]))
        how = {"partitions": dice.randint(1, 5), "batch_size": dice.choice([1, 7, 5_000])}
        again = runtimes(**how, **SMALL)
        rebuild(logs(live.runtimes), again, workers=dice.randint(1, 3))
        assert differences(live.runtimes, again) == {}, f"seed {seed}, {cut} acts, {how}"
        disconnect(again.values())


def test_the_changed_reading_is_named(loop: Loop, live: Live, runtimes: Any) -> None:
    loop.observed("sales", 700)
    again = rebuilt(live, runtimes)
    assert differences(live.runtimes, again) == {}
    change = "UPDATE reading SET value = value + 0.01 WHERE latest AND period = '2025-02' RETURNING 1"
    assert len(rows(again["metrics"], change)) == 1
    assert differences(live.runtimes, again) == {
        "metrics": Difference(
            Place("acme", "2025-02"), "reading", "sales unit:company", '[700, "CNY", []]', '[700.01, "CNY", []]'
        )
    }
    with live.runtimes["metrics"].engine.connect() as one, again["metrics"].engine.connect() as other:
        here, there = digests(one, states("metrics")), digests(other, states("metrics"))
    assert {place for place in here if here[place] != there[place]} == {Place("acme", "2025-02")}


def test_a_setting_or_case_that_is_missing_is_named(loop: Loop, live: Live, runtimes: Any) -> None:
    loop.observed("sales", 700)
    loop.time_reaches("2025-04-01")
    again = rebuilt(live, runtimes)
    assert rows(again["reviews"], "DELETE FROM review_case RETURNING 1")
    assert rows(again["incentives"], "DELETE FROM configuration WHERE kind = 'people' RETURNING 1")
    found = differences(live.runtimes, again)
    assert {name: (each.what, each.there) for name, each in found.items() if each} == {
        "reviews": ("case", None), "incentives": ("setting", None),
    }  # fmt: skip


def test_a_decision_that_was_carried_out_keeps_its_target_version_and_time(
    loop: Loop, live: Live, runtimes: Any
) -> None:
    loop.observed("sales", 700)
    loop.time_reaches("2025-04-01")
    (case,) = loop.cases()
    decision = {"kind": "change_target", "reason": "Price war", "value": "600", "effective_from": "2025-04-01"}
    loop.client.post(f"/reviews/v1/cases/{case['id']}/decisions", decision)
    again = rebuilt(live, runtimes)
    assert differences(live.runtimes, again) == {}
    targets = (
        "SELECT code, version, content, recorded_by, recorded_at FROM configuration WHERE kind = 'targets' ORDER BY 2"
    )
    assert rows(live.runtimes["goals"], targets) == rows(again["goals"], targets)
    assert [row[0] for row in rows(again["reviews"], "SELECT fate FROM decision")] == ["applied"]
    accepted = "SELECT recorded_at, data FROM log.record WHERE topic = 'metrics.source-events' AND key <> '' ORDER BY 1"
    assert rows(live.runtimes["metrics"], accepted) == rows(again["metrics"], accepted)


def test_a_refused_decision_is_refused_again(loop: Loop, live: Live, runtimes: Any) -> None:
    loop.observed("sales", 700)
    loop.time_reaches("2025-04-01")
    (case,) = loop.cases()
    decision = {"kind": "change_target", "reason": "Too late", "value": "600", "effective_from": "2025-01-01"}
    loop.client.post(f"/reviews/v1/cases/{case['id']}/decisions", decision)
    again = rebuilt(live, runtimes)
    assert [row[0] for row in rows(again["reviews"], "SELECT fate FROM decision")] == ["refused"]
    assert differences(live.runtimes, again) == {}


def test_a_closed_goal_keeps_the_score_it_had(loop: Loop, live: Live, runtimes: Any) -> None:
    loop.observed("sales", 700)
    loop.settle()
    loop.goal("sales", metric="sales", owner_person="boss", subject="unit:company", status="closed")
    loop.observed("sales", 200)
    again = rebuilt(live, runtimes)
    assert [row[0] for row in rows(again["goals"], "SELECT actual FROM score WHERE latest AND period = '2025-Q1'")] == [
        700
    ]
    assert differences(live.runtimes, again) == {}


def test_a_command_accepted_while_a_tick_was_on_its_way_is_judged_alike(idle: Live, runtimes: Any) -> None:
    loop = Loop(idle.client("acme"), idle.issuer, "acme").set_up()
    loop.person("boss", "company")
    loop.measured("sales", "CNY")
    loop.goal("sales", 1_000, metric="sales", owner_person="boss", subject="unit:company")
    loop.observed("sales", 700)
    loop.post("metrics/ticks", at="2025-04-01T00:00:00+08:00")
    loop.put("goals/goals/sales/targets", value="700", reason="Price war")  # goals has not met the tick yet
    with settling(idle.runtimes, workers=1) as idle.settle:
        again = rebuilt(idle, runtimes)
    assert rows(idle.runtimes["goals"], "SELECT 1 FROM judged") and not rows(again["goals"], "SELECT 1 FROM deviation")
    assert differences(idle.runtimes, again) == {}


def test_what_an_operator_repaired_or_discarded_is_so_again(
    loop: Loop, live: Live, runtimes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fragile(event: Any, compiled: Any) -> Any:
        if event.data.get("value") == "13":
            raise ValueError("a bug")
        return facts_of(event, compiled)

    monkeypatch.setattr("services.metrics.events.handlers.facts_of", fragile)
    loop.observed("sales", 13, id="repaired")
    loop.observed("sales", 13, id="discarded")
    loop.observed("sales", 500)
    live.settle()
    for record in list(loop.client.items("/metrics/v1/parked")):
        place = f"/metrics/v1/parked/{record['topic']}/{record['partition']}/{record['pos']}"
        data = loop.client.get(place)["data"]
        if '"discarded"' in data:
            loop.client.request("DELETE", place)
        else:
            loop.client.post(f"{place}/retry", {"data": data.replace('"13"', '"14"')})
    assert loop.value("sales") == "514"
    again = rebuilt(live, runtimes)
    assert differences(live.runtimes, again) == {}
    twice = runtimes(**SMALL)
    rebuild(logs(again), twice, workers=1)  # what was rebuilt can be rebuilt from
    assert differences(live.runtimes, twice) == {}


def test_a_repair_counts_where_it_was_made_and_not_where_nothing_is_broken(
    loop: Loop, live: Live, runtimes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("services.metrics.events.handlers.facts_of", lambda *_: 1 / 0)
        loop.observed("sales", 13)
        live.settle()
    (record,) = loop.client.items("/metrics/v1/parked")
    loop.client.post(f"/metrics/v1/parked/{record['topic']}/{record['partition']}/{record['pos']}/retry", {})
    assert differences(live.runtimes, rebuilt(live, runtimes)) == {}


def test_secrets_of_sources_are_copied_and_full_databases_refused(loop: Loop, live: Live, runtimes: Any) -> None:
    loop.put("metrics/sources/erp", name="ERP", uri="erp")
    loop.client.request("PUT", "/metrics/v1/sources/erp/secret", json={"secret": "s" * 32})
    again = rebuilt(live, runtimes)
    assert [row[0] for row in rows(again["metrics"], "SELECT secret FROM source_secret")] == ["s" * 32]
    with pytest.raises(NotEmpty, match="holds records already"):
        refuse_unless_empty(again)


def ask_to_close(loop: Loop, period: str, **body: Any) -> None:
    path = f"/metrics/v1/periods/{period}/close"
    loop.client.post(path, body, **{"Idempotency-Key": f"{period}-{len(body)}"})


CERTIFICATES = "SELECT company, period, content - CAST('{positions,marks}' AS text[]) FROM certificate ORDER BY change"


def assert_closed_alike(one: Runtimes, other: Runtimes, periods: int) -> None:
    """In every service, and not only as far as states are compared."""
    assert differences(one, other) == {}
    for name in one:
        assert len(rows(one[name], CERTIFICATES)) == periods
        assert rows(one[name], CERTIFICATES) == rows(other[name], CERTIFICATES)


def bonus(loop: Loop) -> None:
    """The boss has 1,000 a quarter for the goal."""
    curve = {"kind": "linear", "slope": "0.01", "floor": "0", "cap": "1.2"}
    component = {"code": "c", "name": "c", "driver": {"kind": "goal", "code": "sales"}, "weight": "1", "curve": curve}
    loop.put("incentives/plans/p", name="p", period="quarter", currency="CNY", components=[component])
    loop.put("incentives/assignments/a", person="boss", plan="p", amount="1000", starts="2025-01-01")


def test_periods_are_closed_again_on_what_they_were_closed_on(loop: Loop, live: Live, runtimes: Any) -> None:
    bonus(loop)
    loop.put("metrics/sources/till", name="Till", uri="urn:till", delivers="month")
    loop.observed("sales", 700)
    loop.time_reaches("2025-04-01")
    ask_to_close(loop, "2025-02", override="No till")
    ask_to_close(loop.settle(), "2025-Q1", override="No till")
    loop.settle()
    loop.observed("sales", 50, "2025-02-20")
    loop.put("goals/goals/sales/targets", value="500", effective_from="2025-01-01", correction=True, reason="A slip")
    loop.time_reaches("2025-05-01")
    again = rebuilt(live, runtimes)
    assert_closed_alike(live.runtimes, again, 2)
    frozen = "SELECT payee, amount FROM entitlement WHERE version = 1 AND period = '2025-Q1'"
    assert [tuple(row) for row in rows(again["incentives"], frozen)] == [("person:boss", 700)]


def test_what_was_accepted_while_a_close_was_on_its_way_comes_after_it_again(idle: Live, runtimes: Any) -> None:
    loop = Loop(idle.client("acme"), idle.issuer, "acme").set_up()
    loop.person("boss", "company")
    loop.measured("sales", "CNY")
    loop.goal("sales", 1_000, metric="sales", owner_person="boss", subject="unit:company")
    loop.observed("sales", 700)
    loop.post("metrics/ticks", at="2025-04-01T00:00:00+08:00")
    with settling(idle.runtimes, workers=1) as settle:
        settle()
    ask_to_close(loop, "2025-Q1")
    loop.observed("sales", 200)
    loop.put("goals/goals/sales/targets", value="700", reason="Price war", effective_from="2025-04-01")
    loop.put("metrics/metrics/margin", name="Margin", unit="CNY", formula="sales")
    with settling(idle.runtimes, workers=1) as idle.settle:
        again = rebuilt(idle, runtimes)
    assert_closed_alike(idle.runtimes, again, 1)
    closed = "SELECT value FROM reading r JOIN certificate c USING (company, period) WHERE r.change <= c.change"
    assert [row[0] for row in rows(again["metrics"], f"{closed} AND metric = 'sales'")] == [700]


def test_a_close_that_was_refused_on_its_way_is_refused_again(idle: Live, runtimes: Any) -> None:
    loop = Loop(idle.client("acme"), idle.issuer, "acme").set_up()
    loop.measured("sales", "CNY")
    loop.observed("sales", 700)
    loop.post("metrics/ticks", at="2025-04-01T00:00:00+08:00")
    with settling(idle.runtimes, workers=1) as settle:
        settle()
    loop.happened("inventory", "2025-03-31", count="5")  # nobody has looked at it when the close is asked for
    ask_to_close(loop, "2025-Q1")
    with settling(idle.runtimes, workers=1) as idle.settle:
        idle.settle()
        found = loop.get("metrics/periods/2025-Q1")
        assert (found["state"], found["missing"][0]["what"]) == ("refused", "mapping:inventory")
        loop.put("metrics/mappings/inventory", name="Inventory", event_type="inventory", observations=[
            {"metric": "sales", "value": "0", "subject": "'unit:company'"}
        ])  # fmt: skip
        idle.settle()
        ask_to_close(loop, "2025-Q1", override="Asked again")
        idle.settle()
        assert loop.get("metrics/periods/2025-Q1")["state"] == "closed"
        again = rebuilt(idle, runtimes)
    assert_closed_alike(idle.runtimes, again, 1)
    attempts = "SELECT attempt, state FROM period_close"
    assert [tuple(row) for row in rows(again["metrics"], attempts)] == [(2, "closed")]


def test_a_close_waits_where_settings_were_accepted_and_not_handled(idle: Live) -> None:
    Loop(idle.client("acme"), idle.issuer, "acme").metric("sales", "CNY")
    closing = Closing(period="2025-01", kind="month", start=date(2025, 1, 1), end=date(2025, 2, 1), by="li-na")
    tick = contracts.Tick(at=datetime(2025, 2, 1, tzinfo=UTC), id="closes", closes=closing)
    metrics = idle.runtimes["metrics"]
    assert metrics.service.on_tick
    with pytest.raises(NotYet), unit_of_work(metrics, actor="metrics") as uow:
        metrics.service.on_tick(uow, "acme", tick)


def test_settings_accepted_before_a_close_have_their_effect_in_it(idle: Live, runtimes: Any) -> None:
    loop = Loop(idle.client("acme"), idle.issuer, "acme").set_up()
    loop.measured("sales", "CNY")
    loop.observed("sales", 700)
    loop.post("metrics/ticks", at="2025-04-01T00:00:00+08:00")
    with settling(idle.runtimes, workers=1) as settle:
        settle()
    rule = {"metric": "sales", "value": "2 * number(data.value)", "subject": "data.subject"}
    loop.put("metrics/mappings/sales", name="sales", event_type="sales", observations=[rule])
    ask_to_close(loop, "2025-Q1")  # no worker has seen either
    with settling(idle.runtimes, workers=2) as idle.settle:
        again = rebuilt(idle, runtimes)
    closed = "SELECT value FROM reading r JOIN certificate c USING (company, period) WHERE r.change <= c.change"
    for made in (idle.runtimes, again):
        assert [row[0] for row in rows(made["metrics"], f"{closed} ORDER BY version DESC LIMIT 1")] == [1400]
    assert_closed_alike(idle.runtimes, again, 1)
