"""What would change if: the answer is what happens when the same is committed, and asking changes nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from services.client import ApiProblem
from services.runtime import database_urls
from tests.acceptance.conftest import Installation, Loop
from tests.acceptance.paying import close, entitled, recalculate
from tests.acceptance.supposing import command, commit, differences, preview

QUARTER = "2025-Q1"
LOWER = command("targets", "sales", value="90", effective_from="2025-01-01", reason="Price war")
CORRECTED = command("targets", "sales", **LOWER["content"], correction=True)
_ROWS = (
    "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables "
    "WHERE table_schema IN ('public', 'log') AND table_type = 'BASE TABLE' "
    "AND table_name NOT IN ('lease', 'worker', 'reader')"
)


def paying(goal: str) -> dict[str, Any]:
    """A plan that pays the score of a goal in percent."""
    component = {"code": "c", "name": "C", "weight": "1", "driver": {"kind": "goal", "code": goal},
                 "curve": {"kind": "linear", "slope": "0.01"}}  # fmt: skip
    return {"name": "Bonus", "period": "quarter", "currency": "CNY", "components": [component]}


def assignment(person: str, amount: str) -> dict[str, Any]:
    return command("assignments", person, person=person, plan="bonus", amount=amount, starts="2025-01-01")


def pay(loop: Loop, *commands: Any, events: Any = (), **query: Any) -> Any:
    return preview(loop, "incentives", commands, events, **({"period": QUARTER} | query))


def refused(loop: Loop, *commands: Any, events: Any = (), service: str = "incentives") -> tuple[int, str, str | None]:
    with pytest.raises(ApiProblem) as caught:
        preview(loop, service, commands, events, period=QUARTER)
    return caught.value.status, caught.value.type, caught.value.field


@pytest.fixture
def maker(loop: Loop) -> Loop:
    """Cars sold for 72 against 100, which pay ann and bob 72 % of their target amounts."""
    loop.measured("sales", "CNY")
    loop.goal("sales", 100, metric="sales")
    loop.observed("sales", 72)
    loop.put("incentives/plans/bonus", **paying("sales"))
    commit(loop, [assignment("ann", "10000"), assignment("bob", "5000.01")])
    return loop


@contextmanager
def untouched(installation: Installation, postgres_url: str) -> Iterator[None]:
    """Every row of every table of all services is the same afterwards."""

    def content() -> dict[str, Any]:
        found = {}
        for name, urls in database_urls(installation.settings, postgres_url).items():
            engine = create_engine(urls.owner)
            with engine.connect() as connection:
                for table in connection.execute(text(_ROWS)).scalars().all():
                    sql = f"SELECT count(*), sum(hashtext(t::text)) FROM {table} t"
                    found[f"{name} {table}"] = tuple(connection.execute(text(sql)).one())
            engine.dispose()
        return found

    before = content()
    yield
    assert content() == before


def test_a_lower_target_pays_what_its_preview_told(maker: Loop) -> None:
    told = pay(maker, LOWER)
    assert differences(told) == {("person:ann", "bonus"): "800", ("person:bob", "bonus"): "400"}
    [total] = told["totals"]
    sums = [total[name] for name in ("before", "after", "difference", "up", "same")]
    assert sums == ["10800.01", "12000.01", "1200", 2, 0]
    assert (total["differences"]["0"], total["relative"]["100"]) == ("400", "0.1111111111")
    [score] = told["goals"]
    assert (score["before"], score["after"], score["target_before"], score["target_after"]) == ("72", "80", "100", "90")
    assert maker.score("sales")["score"] == "72"
    commit(maker, [LOWER])
    assert maker.score("sales")["score"] == "80"
    close(maker, QUARTER)
    assert [entitled(maker, person)[0]["amount"] for person in ("ann", "bob")] == ["8000", "4000.01"]
    # Of a closed period a preview tells what the next run would adjust, and only a correction may.
    raised = command("targets", "sales", **{**CORRECTED["content"], "value": "96"})
    assert refused(maker, LOWER | {"content": {**LOWER["content"], "value": "96"}}) == (
        409, "date-closed", "commands.0.effective_from",
    )  # fmt: skip
    assert differences(pay(maker, raised)) == {("person:ann", "bonus"): "-500", ("person:bob", "bonus"): "-250"}
    commit(maker, [raised])
    recalculate(maker)
    assert [entitled(maker, person)[-1]["amount"] for person in ("ann", "bob")] == ["7500", "3750.01"]


def test_nothing_stays_of_a_preview(maker: Loop, installation: Installation, postgres_url: str) -> None:
    everything = [
        command("units", "east", name="East", kind="department", parent="company"),
        command("people", "ann", name="Ann", unit="east"),
        command("metrics", "margin", name="Margin", unit="CNY", formula="sales / 2"),
        command("mappings", "sales", **maker.get("metrics/mappings/sales")["content"] | {"event_type": "sold"}),
        LOWER, command("plans", "bonus", **paying("sales"), factor="2"), assignment("cai", "100"),
    ]  # fmt: skip
    sold = maker.event("sold", "2025-02-01", value="8", subject="unit:east")
    maker.settle()
    with untouched(installation, postgres_url):
        told = pay(maker, *everything, events=[sold])
        assert [one["after"] for one in told["goals"]] == ["8.8888888889"]  # the mapping lets go of what was sold
        assert differences(told)["person:cai", "bonus"] == "17.78"
        preview(maker, "goals", everything[:5], [sold])
        refused(maker, *everything, LOWER | {"code": "unknown"})


def test_events_are_told_what_would_become_of_them(maker: Loop) -> None:
    first = maker.event("sales", "2025-03-01", id="first", value="10", subject="unit:company")
    maker.push([first])
    events = [
        first, first | {"data": {"value": "11", "subject": "unit:company"}},
        first | {"id": "second"}, first | {"id": "second"}, first | {"id": "third", "type": "unheard-of"},
        first | {"id": "fourth", "data": {"value": "ten", "subject": "unit:company"}},
    ]  # fmt: skip
    told = preview(maker, "goals", events=events)
    fates = [(one["status"], one["waits_for"], len(one["faults"])) for one in told["events"]]
    assert fates == [
        ("duplicate", [], 0), ("quarantined", [], 0), ("accepted", [], 0), ("duplicate", [], 0),
        ("accepted", ["mapping:unheard-of"], 0), ("accepted", [], 1),
    ]  # fmt: skip
    assert [(one["before"], one["after"]) for one in told["scores"]] == [("82", "92")]
    assert (told["up"], told["down"], told["total"], told["quantiles"]["50"]) == (1, 0, "10", "10")


def test_what_committing_would_refuse_is_refused_with_the_number_of_the_command(maker: Loop) -> None:
    good = maker.event("sales", "2025-03-01", value="10", subject="unit:company")
    assert refused(maker, LOWER, command("wishes", "x")) == (422, "unknown-setting", "commands.1.setting")
    assert refused(maker, command("reviews-policies", "x"))[1] == "unknown-setting"
    assert refused(maker, assignment("ann", "1"), service="goals")[1] == "unknown-setting"
    assert refused(maker, LOWER, LOWER | {"code": "unknown"}) == (404, "setting-not-found", "commands.1.code")
    wrong = command("plans", "bonus", **paying("sales"), factor="high")
    assert refused(maker, LOWER, wrong) == (422, "request-not-valid", "commands.1.content.factor")
    assert refused(maker, command("targets", "sales", value=90)) == (
        422,
        "request-not-valid",
        "commands.0.content.value",
    )
    assert refused(maker, assignment("ann", "1.001"))[2] == "commands.0.amount"
    assert refused(maker, command("targets", "sales", value="90"))[1] == "target-change-unexplained"
    assert refused(maker, events=[good, good | {"specversion": "2"}]) == (422, "envelope-fault", "events.1.specversion")
    assert refused(maker, *[LOWER] * 1001)[:2] == refused(maker)[:2] == (422, "request-not-valid")


def test_who_may_not_see_amounts_sees_totals(maker: Loop) -> None:
    planner = Loop(maker.speaking_as("planner", "strategist"), maker.issuer, maker.company)
    body = {"commands": [LOWER]}
    told = planner.client.post(f"/incentives/v1/previews?period={QUARTER}", body)
    assert (told["people"], told["changed"], told["totals"][0]["difference"]) == (None, 2, "1200")
    for roles, query in ((("strategist",), "&person=ann"), (("employee",), "")):
        with pytest.raises(ApiProblem) as caught:
            maker.speaking_as("ann", *roles).post(f"/incentives/v1/previews?period={QUARTER}{query}", body)
        assert caught.value.status == 403
    assert [one["payee"] for one in pay(maker, LOWER, person="bob")["people"]] == ["person:bob"]
    assert [one["payee"] for one in pay(maker, LOWER, limit=1)["people"]] == ["person:ann"]


def test_previews_at_once_and_during_an_intake_tell_the_same(maker: Loop) -> None:
    maker.measured("noise", "CNY")
    stop, found = threading.Event(), list[Any]()

    def rain() -> None:
        while not stop.is_set():
            maker.push([maker.event("noise", "2025-02-01", value="1", subject="unit:company") for _ in range(20)])

    def ask() -> None:
        for _ in range(5):
            told = maker.client.request(
                "POST", f"/incentives/v1/previews?period={QUARTER}", repeatable=True, json={"commands": [LOWER]}
            )
            found.append(differences(told.json()))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    raining = threading.Thread(target=rain)
    for thread in (raining, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    raining.join()
    assert found == [{("person:ann", "bonus"): "800", ("person:bob", "bonus"): "400"}] * 15
