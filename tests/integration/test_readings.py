"""From facts to readings on a real PostgreSQL: any order of arrival, any batches, twice: the same, and explained."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from metrics_plant import NOW, Plant, Web, fact, metric, web

from services.metrics.mappings.rules import EventFacts, Fact
from shared.contracts.goals import Person, Unit
from shared.contracts.metrics import Conversion, Guard, MetricsPolicy, Rate, ReadingChanged
from shared.service import Runtime
from shared.settings import Settings


@pytest.fixture
def plant(runtimes: Any) -> Plant:
    return Plant(runtimes("metrics")["metrics"])


@pytest.fixture
def site(plant: Plant, tmp_path: Path) -> Iterator[Web]:
    yield from web(plant, tmp_path)


# --- what a unit is measured in ---


def test_an_observation_rolls_up_to_every_unit_above_and_every_grain(plant: Plant) -> None:
    plant.settings(sales=metric(grains=["day", "month", "year"]))
    assert plant.observe(fact("sales", "10.5")) == {}
    assert plant.observe(fact("sales", "4.5", subject="unit:west", day="2025-01-31")) == {}
    assert plant.value("sales") == 15 and plant.value("sales", period="2025") == 15
    assert plant.value("sales", "unit:east", "2025-01-10") == Decimal("10.5")
    assert plant.reading("sales", "unit:shop", "2025-02") is None


def test_what_is_not_known_waits_under_its_reference(plant: Plant) -> None:
    plant.settings(sales=metric(), billed=metric("money"), weight=metric("kg"))
    plant.define("wang", Person(name="Wang", unit="paris"))
    waits = plant.observe(
        fact("sales", 1, subject="unit:mars"), fact("unheard", 1), fact("sales", 1, unit="EUR"),
        fact("weight", 1, unit="lb"), fact("billed", 1, unit=""), fact("billed", 1), fact("sales", 1, unit=""),
        fact("sales", 1, subject="person:wang"),
    )  # fmt: skip
    assert list(waits.values()) == [
        ["unit:mars", "metric:unheard", "rate:EUR-CNY", "conversion:lb-kg", "currency:blank", "unit:paris"]
    ]
    assert plant.reading("sales") is None


def test_what_cannot_be_measured_is_a_fault_of_its_event(plant: Plant) -> None:
    plant.settings(sales=metric(), double=metric(formula="sales * 2"))
    event = plant.event(
        fact("sales", "x", text=True), fact("double", 1), fact("sales", 1, unit="XQX"),
        fact("sales", effect="open"), fact("sales", 1, day="0025-01-10"),
    )  # fmt: skip
    assert plant.fold(event) == {}
    assert [fault.field for fault in event.faults] == ["value", "metric", "unit", "effect", "time"]


def test_money_is_converted_unrounded_at_the_rate_of_its_day_and_again_when_a_rate_is_corrected(plant: Plant) -> None:
    plant.settings(sales=metric())
    rate = {"from_currency": "EUR", "to_currency": "CNY"}
    plant.define("EUR-CNY", Rate(**rate, rate=Decimal("7.1234567891")))
    plant.define("EUR-CNY", Rate(**rate, rate=Decimal(8), effective_from=date(2025, 1, 20)))
    plant.observe(fact("sales", "0.3333333333", unit="EUR"))
    plant.observe(fact("sales", 1, unit="EUR", day="2025-01-20"))
    assert plant.value("sales") == Decimal("0.3333333333") * Decimal("7.1234567891") + 8
    plant.define("EUR-CNY", Rate(**rate, rate=Decimal(9), effective_from=date(2025, 1, 15)))
    assert plant.value("sales") == Decimal("0.3333333333") * Decimal("7.1234567891") + 8
    plant.define("EUR-CNY", Rate(**rate, rate=Decimal(10), effective_from=date(2025, 1, 20)))
    assert plant.value("sales") == Decimal("0.3333333333") * Decimal("7.1234567891") + 10


def test_units_of_measure_convert_both_ways_and_change_with_their_factor(plant: Plant) -> None:
    plant.settings(shipped=metric("pcs"))
    plant.define("kar-pcs", Conversion(from_unit="kar", to_unit="pcs", factor=Decimal(12)))
    plant.observe(fact("shipped", 3, unit="kar"))
    plant.observe(fact("shipped", 1, unit="pcs"))
    assert plant.value("shipped") == 37
    plant.define("kar-pcs", Conversion(from_unit="kar", to_unit="pcs", factor=Decimal(10)))
    assert plant.value("shipped") == 31


def test_amounts_in_several_currencies_are_never_added(plant: Plant) -> None:
    plant.settings(billed=metric("money"), share=metric("ratio", formula="billed / billed"))
    plant.observe(fact("billed", 10, unit="EUR"))
    assert (plant.value("billed"), plant.reading("billed").unit) == (10, "EUR")
    plant.observe(fact("billed", 5, unit="USD", key="u"))
    found = plant.reading("billed")
    assert found.value is None and "EUR, USD are not added" in found.reason
    assert plant.value("share") is None
    plant.observe(fact("billed", key="u", effect="retract", revision=Decimal(1)))
    assert (plant.value("billed"), plant.reading("billed").unit, plant.value("share")) == (10, "EUR", 1)


# --- what counts ---


def test_a_replaced_document_loses_the_lines_that_its_revision_lacks(plant: Plant) -> None:
    plant.settings(sales=metric())
    first = [
        fact("sales", n, key=f"o/{n}", document="o", effect="replace", item=n, revision=Decimal(1)) for n in (1, 2, 4)
    ]
    plant.observe(*first)
    assert plant.value("sales") == 7
    plant.observe(fact("sales", 5, key="o/1", document="o", effect="replace", revision=Decimal(2)))
    assert plant.value("sales") == 5
    plant.observe(fact("sales", effect="retract", document="o", revision=Decimal(3)))
    found = plant.reading("sales")
    assert (found.value, found.reason) == (None, "no observations")


def test_an_event_mapped_again_changes_only_what_differs(plant: Plant) -> None:
    plant.settings(sales=metric())
    event = plant.event(fact("sales", 1), fact("sales", 2, item=1))
    plant.fold(event)
    plant.fold(event)
    assert plant.rows("SELECT count(*), max(added), count(removed) FROM observation")[0][0] == 2
    event.facts[1] = fact("sales", 7, item=1)
    plant.fold(event)
    assert plant.value("sales") == 8
    assert [row.value for row in plant.rows("SELECT value FROM observation WHERE removed IS NULL ORDER BY id")] == [
        1,
        7,
    ]
    event.facts.clear()
    plant.fold(event)
    assert plant.reading("sales").reason == "no observations"
    assert plant.rows("SELECT count(*) FROM cell")[0][0] == 0


def test_opens_and_closes_pair_earliest_with_earliest_and_the_rest_is_listed(plant: Plant) -> None:
    plant.settings(lead=metric("d", "average"), hours=metric("h"))
    plant.observe(fact("lead", effect="close", key="k", day="2025-02-03"))
    plant.observe(fact("lead", effect="open", key="k", day="2025-01-30"))
    plant.observe(fact("lead", effect="open", key="k", day="2025-01-20"))
    assert plant.value("lead", period="2025-02") == 14
    assert [
        row.day for row in plant.rows("SELECT day FROM observation WHERE removed IS NULL AND state = 'unmatched'")
    ] == [date(2025, 1, 30)]
    plant.observe(fact("lead", effect="close", key="k", day="2025-02-10"))
    assert plant.value("lead", period="2025-02") == Decimal("12.5")
    at = datetime(2025, 1, 1, tzinfo=UTC)
    plant.observe(
        fact("hours", effect="open", key="x", at=at),
        fact("hours", effect="close", key="x", at=at + timedelta(minutes=20), rule=1),
    )
    assert plant.value("hours") == Decimal("0.3333333333")


# --- folds ---


def test_a_stock_is_the_last_value_of_each_unit_added_up(plant: Plant) -> None:
    plant.settings(stock=metric("pcs", "last", grains=["month", "quarter"]))
    plant.observe(
        fact("stock", 5),
        fact("stock", 3, item=1, day="2025-01-20", key="late"),
        fact("stock", 9, item=2, subject="unit:west"),
    )
    assert plant.value("stock") == 12
    plant.observe(fact("stock", 4, day="2025-02-01", subject="unit:west"))
    assert (plant.value("stock"), plant.value("stock", period="2025-Q1")) == (12, 7)
    plant.observe(fact("stock", effect="retract", key="late", revision=Decimal(1)))
    assert (plant.value("stock"), plant.value("stock", "unit:east")) == (14, 5)


def test_distinct_members_are_counted_once_however_many_units_saw_them(plant: Plant) -> None:
    plant.settings(buyers=metric("ratio", "distinct", "distinct"), least=metric("pcs", "minimum", "minimum"))
    plant.observe(*[fact("buyers", name, text=True, item=i, subject=unit) for i, (name, unit) in enumerate(
        [("ann", "unit:shop"), ("bob", "unit:shop"), ("ann", "unit:west"), ("ann", "unit:shop")])])  # fmt: skip
    assert (plant.value("buyers"), plant.value("buyers", "unit:west")) == (2, 1)
    plant.observe(fact("least", 3, key="k"), fact("least", 5, item=1))
    plant.observe(fact("least", 8, key="k", revision=Decimal(1)))
    assert plant.value("least") == 5


def test_a_unit_that_moves_takes_its_days_along_and_nothing_else(plant: Plant) -> None:
    plant.settings(sales=metric(), least=metric("CNY", "minimum", "minimum"))
    for name in ("sales", "least"):
        plant.observe(fact(name, 1, day="2025-01-05"), fact(name, 2, item=1, day="2025-01-25"))
    before = plant.rows("SELECT count(*) FROM reading WHERE subject IN ('unit:hq', 'unit:shop')")
    plant.define("shop", Unit(name="shop", kind="team", parent="west", effective_from=date(2025, 1, 20)))
    assert [plant.value("sales", unit) for unit in ("unit:hq", "unit:east", "unit:west", "unit:shop")] == [3, 1, 2, 3]
    assert [plant.value("least", unit) for unit in ("unit:hq", "unit:east", "unit:west", "unit:shop")] == [1, 1, 2, 1]
    assert plant.rows("SELECT count(*) FROM reading WHERE subject IN ('unit:hq', 'unit:shop')") == before


def test_a_new_grain_is_folded_from_what_is_there(plant: Plant) -> None:
    plant.settings(sales=metric())
    plant.observe(fact("sales", 1), fact("sales", 2, item=1, day="2025-01-20"))
    plant.define("sales", metric(grains=["week", "month"]))
    assert (plant.value("sales", period="2025-W02"), plant.value("sales")) == (1, 3)


# --- derived readings ---


def test_delay_days_become_stop_hours_become_a_loss(plant: Plant) -> None:
    plant.settings(delay=metric("d"), stop_hours=metric("h", formula="delay * parameter(hours_per_day)"),
                   loss=metric(formula="stop_hours * parameter(loss_per_hour)"))  # fmt: skip
    plant.observe(fact("delay", 1))
    assert plant.reading("loss").reason == "stop_hours: parameter(hours_per_day) is not set on 2025-01-31"
    plant.define("hours_per_day", MetricsPolicy(value="2", meaning="m", unit="h/d"))
    plant.define("loss_per_hour", MetricsPolicy(value="250000", meaning="m", unit="CNY/h"))
    assert plant.value("loss") == 500_000
    plant.observe(fact("delay", 2))
    assert (plant.value("stop_hours"), plant.value("loss")) == (6, 1_500_000)
    plant.define(
        "loss_per_hour", MetricsPolicy(value="300000", meaning="m", unit="CNY/h", effective_from=date(2025, 2, 1))
    )
    plant.observe(fact("delay", 1, day="2025-02-02"))
    assert (plant.value("loss"), plant.value("loss", period="2025-02")) == (1_500_000, 600_000)


def test_a_formula_that_fails_on_data_is_null_with_its_reason(plant: Plant) -> None:
    plant.settings(won=metric("pcs"), lost=metric("pcs"), rate=metric("ratio", formula="won / (won + lost)"))
    plant.observe(fact("won", 0))
    assert plant.reading("rate").reason == "lost has no reading"
    plant.observe(fact("lost", 0))
    assert plant.reading("rate").reason == "division by zero"
    plant.observe(fact("lost", 3), fact("won", 2, item=1))
    assert plant.value("rate") == Decimal("0.4")
    plant.observe(fact("won", 2), fact("lost", 3, item=1))
    assert plant.value("rate") == Decimal("0.4")
    assert (
        plant.rows("SELECT count(*) FROM reading WHERE metric = 'rate' AND subject = 'unit:hq' AND kind = 'month'")[0][
            0
        ]
        == 3
    )


def test_what_looks_back_follows_when_the_past_changes_and_every_ripple_ends(plant: Plant) -> None:
    plant.settings(
        sales=metric(), growth=metric("ratio", formula="sales / previous(sales) - 1"),
        running=metric(formula="coalesce(previous(running), 0) + sales"),
        shadow=metric(formula="coalesce(previous(shadow), 0) + previous(sales)"),
        yearly=metric("ratio", formula="sales / same_period_last_year(sales)"),
    )  # fmt: skip
    for month, amount in (("01", 10), ("02", 20), ("03", 30)):
        plant.observe(fact("sales", amount, day=f"2025-{month}-05"))
    assert [plant.value("running", period=f"2025-0{month}") for month in (1, 2, 3, 4)] == [10, 30, 60, None]
    assert plant.value("growth", period="2025-02") == 1
    plant.observe(fact("sales", 10, day="2025-01-06"))
    assert [plant.value("running", period=f"2025-0{month}") for month in (1, 2, 3)] == [20, 40, 70]
    assert (plant.value("growth", period="2025-02"), plant.value("growth", period="2025-03")) == (0, Decimal("0.5"))
    assert plant.value("shadow", period="2025-04") == 70 and plant.reading("shadow", period="2025-05") is None
    plant.observe(fact("sales", 40, day="2026-01-06"))
    assert plant.value("yearly", period="2026-01") == 2
    plant.observe(fact("sales", 20, day="2025-01-06"))
    assert plant.value("yearly", period="2026-01") == 1


def test_a_formula_defined_late_or_changed_is_evaluated_for_what_is_there(plant: Plant) -> None:
    plant.settings(sales=metric(), cost=metric())
    plant.observe(fact("sales", 10), fact("cost", 4, item=1), fact("sales", 5, item=2, day="2025-02-01"))
    plant.define("margin", metric(formula="sales - cost"))
    assert (plant.value("margin"), plant.reading("margin", period="2025-02").reason) == (6, "cost has no reading")
    plant.define("margin", metric(formula="sales - coalesce(cost, 0)", effective_from=date(2025, 2, 1)))
    assert (plant.value("margin"), plant.value("margin", period="2025-02")) == (6, 5)


def test_a_good_figure_is_qualified_while_its_guard_gets_worse(plant: Plant) -> None:
    plant.settings(sales=metric(), complaints=metric("pcs", better="lower"), orders=metric("pcs"),
                   complaint_rate=metric("ratio", better="lower", formula="complaints / orders"))  # fmt: skip
    plant.define("quality", Guard(metric="sales", guard="complaint_rate", message="complaints rising"))
    for month, sales, complaints in (("01", 100, 20), ("02", 112, 26)):
        day = f"2025-{month}-10"
        plant.observe(
            fact("sales", sales, day=day),
            fact("complaints", complaints, day=day, item=1),
            fact("orders", 1000, day=day, item=2),
        )
    assert plant.reading("sales", period="2025-02").qualified == ("complaints rising",)
    assert plant.reading("sales").qualified == ()
    plant.define(
        "quality",
        Guard(metric="sales", guard="complaint_rate", message="complaints rising", tolerance=Decimal("0.006")),
    )
    assert plant.reading("sales", period="2025-02").qualified == ()
    plant.observe(fact("complaints", 1, day="2025-02-11"))
    assert plant.reading("sales", period="2025-02").qualified == ("complaints rising",)
    plant.observe(fact("sales", 20, day="2025-01-11"))
    assert plant.reading("sales", period="2025-02").qualified == ()


def test_only_what_changed_is_told_once_per_batch(plant: Plant) -> None:
    plant.settings(sales=metric(grains=["month"]))
    told = "SELECT data FROM log.record WHERE type = :type ORDER BY recorded_at, pos"
    plant.fold(*[plant.event(fact("sales", 1)) for _ in range(50)])
    assert len(plant.rows(told, type=ReadingChanged.TYPE)) == 3
    plant.observe(fact("sales", 1), fact("sales", -1, item=1))
    events = [ReadingChanged.model_validate_json(row.data) for row in plant.rows(told, type=ReadingChanged.TYPE)]
    assert {(event.subject, event.value, event.version) for event in events} == {
        ("unit:shop", 50, 1), ("unit:east", 50, 1), ("unit:hq", 50, 1)
    }  # fmt: skip


# --- over HTTP ---

SOLD = {
    "name": "Sales", "event_type": "sold", "revision": "data.revision", "observations": [
        {"metric": "sales", "value": "number(data.amount)", "subject": "concat('unit:', data.unit)",
         "key": "data.order", "dimensions": {"channel": "data.channel"}}],
}  # fmt: skip


def sold(number: int, amount: str, unit: str = "shop", channel: str = "web", revision: int = 0) -> dict[str, Any]:
    data = {"amount": amount, "unit": unit, "order": f"o{number}", "channel": channel, "revision": revision}
    return {"id": f"{number}.{revision}", "subject": f"o{number}", "data": data}


@pytest.fixture
def shop(site: Web) -> Web:
    site.plant.settings(sales=metric(), bonus=metric(formula="sales * parameter(share)"))
    site.plant.define("share", MetricsPolicy(value="0.1", meaning="m", unit="ratio"))
    assert site.put("mappings/sold", SOLD).status_code == 201
    return site


WHERE = {"subject": "unit:hq", "period": "2025-01"}


def test_a_reading_is_explained_down_to_its_events_version_by_version(shop: Web) -> None:
    shop.push(sold(1, "10"), sold(2, "5", unit="west"))
    shop.push(sold(1, "12", revision=1))
    reading = shop.get("readings", metric="bonus", **WHERE)
    assert (reading["value"], reading["version"]) == ("1.7", 2)
    derived = shop.get(reading["links"]["explanation"])
    assert (derived["kind"], derived["rule"], derived["definition"]) == ("derived", "sales * parameter(share)", 1)
    assert [(each["role"], each["code"], each["version"], each["value"]) for each in derived["inputs"]] == [
        ("input", "sales", 2, "17"), ("parameter", "share", 1, "0.1")
    ]  # fmt: skip
    now = shop.get(derived["inputs"][0]["link"])
    assert (now["reading"]["value"], now["count"]) == ("17", 2)
    assert sorted((each["id"], each["value"]) for each in now["observations"]["items"]) == [("1.1", "12"), ("2.0", "5")]
    before = shop.get("readings/explanation", metric="sales", version=1, **WHERE)
    assert sorted((each["id"], each["value"]) for each in before["observations"]["items"]) == [
        ("1.0", "10"),
        ("2.0", "5"),
    ]
    assert shop.get(now["observations"]["items"][0]["link"])["event"]["type"] == "sold"
    assert shop.get("policies/share/versions")[0]["content"]["value"] == "0.1"


def test_an_event_shows_what_it_changed_upward_with_the_values_before_and_after(shop: Web) -> None:
    shop.push(sold(1, "10"))
    shop.push(sold(1, "12", revision=1))
    found = shop.get("events/effects", source="erp", id="1.1")
    assert [each["state"] for each in found["observations"]] == ["counts"]
    months = [each for each in found["effects"] if each["period"] == "2025-01" and each["subject"] == "unit:hq"]
    assert [(each["code"], each["before"], each["after"]) for each in months] == [
        ("sales", "10", "12"),
        ("bonus", "1", "1.2"),
    ]
    assert months[0]["because"] == ["cell sales/unit:shop/2025-01-10"]
    assert months[1]["because"] == ["reading sales/unit:hq/2025-01 v2"]
    assert months[0]["links"]["goals"].startswith("/goals/v1/effects?metric=sales")
    first = shop.get("events/effects", source="erp", id="1.0")
    assert [each["state"] for each in first["observations"]] == ["counts", "superseded"]
    assert {each["version"] for each in first["effects"]} == {1, 2}
    assert shop.call("GET", "events/effects", params={"source": "erp", "id": "9"}).status_code == 404


def test_a_change_lists_what_it_moved_in_order(shop: Web) -> None:
    shop.push(sold(1, "10"))
    change = shop.get("readings", metric="sales", **WHERE)["change"]
    steps = shop.get(f"changes/{change}", limit=200)["items"]
    assert [each["step"] for each in steps] == list(range(1, len(steps) + 1))
    kinds = [(each["what"], each["code"]) for each in steps]
    assert kinds[0] == ("cell", "sales") and kinds.index(("reading", "bonus")) > kinds.index(("reading", "sales"))
    page = shop.get(f"changes/{change}", limit=2)
    assert shop.get(f"changes/{change}", limit=2, cursor=page["next_cursor"])["items"] == steps[2:4]


def test_dimensions_breakdowns_series_and_known_at(shop: Web) -> None:
    shop.push(sold(1, "10"), sold(2, "5", channel="store"), sold(3, "7", unit="west", channel="store"))
    stored = shop.get("readings", metric="sales", **WHERE)
    assert shop.get("readings", metric="sales", dimensions="channel:store", **WHERE)["value"] == "12"
    assert shop.get("readings", metric="sales", dimensions="channel:fair", **WHERE)["reason"] == "no observations"
    items = shop.get("readings/breakdown", metric="sales", by="channel", **WHERE)["items"]
    assert [(each["member"], each["value"], each["observations"]) for each in items] == [
        ("store", "12", 2),
        ("web", "10", 1),
    ]
    shop.push(sold(4, "1") | {"time": "2025-02-10T04:00:00Z"}, sold(5, "2"))
    series = shop.get(
        "readings/series", metric="sales", subject="unit:hq", kind="month", from_="2025-01-01", to="2025-12-31"
    )
    assert [(each["period"], each["value"]) for each in series] == [("2025-01", "24"), ("2025-02", "1")]
    old = shop.get("readings", metric="sales", known_at=stored["recorded_at"], **WHERE)
    assert (old["version"], old["value"]) == (1, "22")
    for query in ({"dimensions": "channel"}, {"metric": "bonus", "dimensions": "channel:web"}, {"period": "2025-13"}):
        assert shop.call("GET", "readings", params={"metric": "sales", **WHERE, **query}).status_code in (404, 422)
    assert (
        shop.call("GET", "readings", params={"metric": "sales", "subject": "unit:hq", "period": "2024"}).status_code
        == 404
    )


def test_a_personal_reading_is_for_that_person_and_those_above(shop: Web) -> None:
    for code, manager in (("ceo", None), ("lead", "ceo"), ("wang", "lead"), ("li", "lead")):
        shop.plant.define(code, Person(name=code, unit="shop", manager=manager))
    shop.plant.observe(fact("sales", 9, subject="person:wang"))
    query = {"metric": "sales", "subject": "person:wang", "period": "2025-01"}
    for who, role, status in (
        ("wang", "employee", 200), ("lead", "manager", 200), ("ceo", "manager", 200), ("x", "auditor", 200),
        ("li", "employee", 403), ("li", "manager", 403), ("x", "finance", 403), ("erp", "source", 403),
    ):  # fmt: skip
        for path in ("readings", "readings/explanation"):
            assert shop.call("GET", path, who, role, params=query).status_code == status, (who, path)
    seen = shop.get("readings/explanation", "li", "employee", metric="sales", **WHERE)
    assert (seen["count"], seen["observations"]["items"]) == (1, [])


def test_unmatched_durations_are_listed(shop: Web) -> None:
    shop.plant.define("lead", metric("d"))
    shop.plant.observe(fact("lead", effect="open", key="a"), fact("lead", effect="close", key="b", item=1))
    items = shop.get("durations/unmatched", metric="lead")["items"]
    assert [(each["effect"], each["key"]) for each in items] == [("open", "a"), ("close", "b")]


# --- any order, any batches, twice ---

NAMES = {"sales": ("CNY", "sum", "sum"), "stock": ("pcs", "last", "sum"), "least": ("pcs", "minimum", "maximum"),
         "buyers": ("ratio", "distinct", "distinct"), "mean": ("pcs", "average", "average"),
         "lead": ("d", "sum", "sum")}  # fmt: skip
PARENTS = {
    "unit:shop": ["unit:shop", "unit:east", "unit:hq"],
    "unit:west": ["unit:west", "unit:hq"],
    "unit:east": ["unit:east", "unit:hq"],
}
maybe = st.sampled_from


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[EventFacts], list[int], list[int]]:
    events = []
    for pos in range(draw(st.integers(1, 14))):
        facts = []
        for item in range(draw(st.integers(1, 3))):
            name = draw(maybe(sorted(NAMES)))
            effects = (
                ["open", "close", "open", "close", "retract"]
                if name == "lead"
                else ["add", "add", "replace", "retract"]
            )
            value = draw(maybe("abc")) if name == "buyers" else Decimal(draw(st.integers(-3, 9)))
            facts.append(
                fact(
                    name, value, subject=draw(maybe(sorted(PARENTS))), item=item, text=True,
                    effect=draw(maybe(effects)),
                    day=f"2025-0{draw(st.integers(1, 2))}-{draw(st.integers(10, 12))}",
                    key=draw(maybe([None, "k1", "k2"])), document=draw(maybe([None, None, "d1", "d2"])),
                    revision=Decimal(draw(st.integers(0, 2))),
                )
            )  # fmt: skip
        events.append(
            EventFacts(pos % 2, pos, "erp", f"e{pos:02}", NOW + timedelta(hours=draw(st.integers(0, 2))), facts)
        )
    order = draw(st.permutations([*range(len(events)), *draw(st.lists(st.integers(0, len(events) - 1), max_size=4))]))
    return events, order, draw(st.lists(st.integers(1, 5), min_size=len(order), max_size=len(order)))


Seen = tuple[tuple[Any, ...], Fact, str]


def oracle(events: Sequence[EventFacts]) -> dict[tuple[str, str, str], Decimal]:
    """The same numbers from the rules as the design has them, the slow way, over all facts at once."""
    every: list[Seen] = [((f.revision, e.time, e.source, e.id), f, e.id) for e in events for f in e.facts]

    def supersedes(g: Fact, f: Fact) -> bool:
        whole = g.effect == "replace" or (g.effect == "retract" and g.key is None)
        return g.document == f.document and (whole or (g.effect == f.effect and g.effect in ("open", "close")))

    alive = [
        (r, f, i) for r, f, i in every if f.document is None or not any(s > r and supersedes(g, f) for s, g, _ in every)
    ]
    counting: list[tuple[Fact, Any, tuple[Any, ...]]] = []
    for rank, f, _ in alive:
        rivals = [(s, g.effect != "retract", g.item) for s, g, _ in alive
                  if g.metric == f.metric and g.key == f.key and g.effect in ("add", "replace", "retract")]  # fmt: skip
        if f.effect in ("add", "replace") and (f.key is None or max(rivals) == (rank, True, f.item)):
            counting.append((f, f.value, (f.at, rank, f.item)))
    for key in ("k1", "k2"):
        mine = [each for each in alive if each[1].metric == "lead" and each[1].key == key]
        floor = max((rank for rank, f, _ in mine if f.effect == "retract"), default=None)
        sides = [sorted(((f.at, i, f.item, f) for r, f, i in mine
                         if f.effect == effect and (floor is None or r >= floor)),
                        key=lambda each: each[:3]) for effect in ("open", "close")]  # fmt: skip
        for opened, closed in zip(*sides, strict=False):
            counting.append((closed[3], Decimal((closed[3].day - opened[3].day).days), ()))
    found = {}
    for name in NAMES:
        for unit in ("unit:shop", "unit:east", "unit:west", "unit:hq"):
            for month in ("2025-01", "2025-02"):
                held = [each for each in counting if each[0].metric == name and unit in PARENTS[each[0].subject]
                        and f"{each[0].day:%Y-%m}" == month]  # fmt: skip
                if held:
                    found[name, unit, month] = folded(name, held)
    return found


def folded(name: str, held: list[tuple[Fact, Any, tuple[Any, ...]]]) -> Decimal:
    by_unit: dict[str, list[Any]] = {}
    for each in held:
        by_unit.setdefault(each[0].subject, []).append(each)
    values = [value for _, value, _ in held]
    if name == "buyers":
        return Decimal(len(set(values)))
    if name == "least":
        return max(min(value for _, value, _ in each) for each in by_unit.values())
    if name == "stock":
        return sum((max(each, key=lambda one: one[2])[1] for each in by_unit.values()), Decimal(0))
    return sum(values, Decimal(0)) / (len(values) if name == "mean" else 1)


@pytest.fixture(scope="module")
def shared_runtime(request: pytest.FixtureRequest, postgres_url: str, template: Any) -> Iterator[Runtime]:
    import psycopg

    from services.runtime import build_runtimes
    from shared.database.provision import make_database
    from shared.log.postgres import create_topics

    with psycopg.connect(postgres_url, autocommit=True) as administrator:
        urls = make_database(administrator, postgres_url, "metrics", "orders_metrics", template("metrics"))
        built = build_runtimes(Settings(), {"metrics": urls}, ("metrics",), purpose="worker")["metrics"]
        create_topics(built.engine, built.service, 2)
        yield built
        built.engine.dispose()
        built.logs["metrics"].engine.dispose()
        administrator.execute(b"DROP DATABASE orders_metrics WITH (FORCE)")


COMPANIES = count(1)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(stories())
def test_any_order_any_batches_and_twice_give_the_numbers_of_the_oracle(shared_runtime: Runtime, story: Any) -> None:
    events, order, cuts = story
    plant = Plant(shared_runtime, f"c{next(COMPANIES)}")
    plant.settings(**{name: metric(*shape, grains=["month"]) for name, shape in NAMES.items()})
    left, sizes = list(order), iter(cuts)
    while left:
        size = next(sizes)
        batch, left = left[:size], left[size:]
        plant.fold(*[events[index] for index in dict.fromkeys(batch)])
    rows = plant.rows("SELECT metric, subject, period, value FROM reading WHERE company = :c AND latest "
                      "AND value IS NOT NULL", c=plant.company)  # fmt: skip
    wanted = oracle(events)
    got = {(row.metric, row.subject, row.period): row.value for row in rows}
    assert got.keys() == wanted.keys()
    for key, value in wanted.items():
        assert abs(got[key] - value) < Decimal("1e-10") if key[0] == "mean" else got[key] == value, key
    nothing = plant.rows("SELECT count(*) FROM reading WHERE company = :c AND latest AND value IS NULL "
                         "AND reason <> 'no observations'", c=plant.company)  # fmt: skip
    assert nothing[0][0] == 0
    _every_version_is_what_its_observations_say(plant)


def _every_version_is_what_its_observations_say(plant: Plant) -> None:
    """For sums: version by version, the observations that stood after its change add up to it."""
    for row in plant.rows("SELECT subject, start, change, value FROM reading WHERE company = :c AND metric = 'sales'",
                          c=plant.company):  # fmt: skip
        below = [unit for unit, path in PARENTS.items() if row.subject in path]
        [held] = plant.rows(
            "SELECT sum(value) FROM observation WHERE company = :c AND metric = 'sales' AND state = 'counts' "
            "AND subject = ANY(:below) AND date_trunc('month', day) = :start AND added <= :change "
            "AND (removed IS NULL OR removed > :change)",
            c=plant.company, below=below, start=row.start, change=row.change,
        )  # fmt: skip
        assert held[0] == row.value
