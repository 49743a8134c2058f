"""The rules of the fold: measuring, what counts, folding cells, deriving, qualifying."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.metrics.observations.rules import (
    COUNTS,
    Observation,
    Standing,
    differences,
    duration,
    floors,
    measure,
    standings,
)
from services.metrics.readings.definitions import Dated, Definitions, Key, Tree
from services.metrics.readings.rules import Cell, Finding, Rollup, base_finding, derive, folded, qualifications
from shared.contracts.metrics import Conversion, Guard, Metric, MetricsPolicy, Rate
from shared.periods import Calendar, Period

DAY, START = date(2025, 1, 10), date(2025, 1, 1)
NOON = datetime(2025, 1, 10, 12, tzinfo=UTC)


def dated(**settings: Any) -> Dated[Any]:
    listed = {code: found if isinstance(found, list) else [found] for code, found in settings.items()}
    return Dated({code: [(s.effective_from, i, s) for i, s in enumerate(found, 1)] for code, found in listed.items()})


def definitions(**given: Any) -> Definitions:
    names = ("metrics", "rates", "conversions", "policies", "guards", "nodes", "linkages")
    parts = {name: given.get(name, Dated({})) for name in names}
    return Definitions(calendar=Calendar("Asia/Shanghai"), tree=Tree({}), **parts)


def metric(unit: str = "CNY", over_time: str = "sum", across: str = "sum", **more: Any) -> Metric:
    return Metric(name="m", unit=unit, over_time=over_time, across_subjects=across, **more)  # type: ignore[arg-type]


def observed(n: int, **more: Any) -> Observation:
    given = {
        "partition": 0, "pos": n, "source": "erp", "event_id": f"e{n}", "event_time": NOON, "mapping": "m",
        "mapping_version": 1, "item": 0, "rule": 0, "metric": "sales", "effect": "add", "subject": "unit:a", "at": NOON,
        "day": DAY, "value": Decimal(n), "member": "", "source_value": str(n), "source_unit": None, "key": None,
        "document": None, "dims": "{}", "revision": Decimal(0),
    }  # fmt: skip
    return Observation(**(given | more))


def states(*observations: Observation, unit: str = "d") -> list[str]:
    return [each.state for each in standings(observations, floors(observations), {"sales": unit})]


# --- settings and organisation ---


def test_of_two_versions_with_one_beginning_the_later_recorded_holds() -> None:
    policies = dated(
        p=[MetricsPolicy(value="1"), MetricsPolicy(value="2"), MetricsPolicy(value="3", effective_from=DAY)]
    )
    assert [policies.on("p", day)[1].value for day in (date.min, DAY - timedelta(days=1), DAY)] == ["2", "2", "3"]  # type: ignore[index]
    assert policies.on("unknown", DAY) is None


def test_a_subject_rolls_up_along_the_organisation_of_that_day() -> None:
    tree = Tree({
        "unit:hq": [(date.min, None)], "unit:east": [(date.min, "unit:hq")], "unit:west": [(DAY, "unit:hq")],
        "person:li": [(date.min, "unit:east"), (DAY, "unit:west")],
    })  # fmt: skip
    assert tree.path("person:li", START) == (("person:li", "unit:east", "unit:hq"), None)
    assert tree.path("person:li", DAY) == (("person:li", "unit:west", "unit:hq"), None)
    assert tree.path("unit:west", START) == ((), "unit:west")
    assert tree.ever_below(["unit:east"]) == {"unit:east", "person:li"}
    january = Period("month", START, date(2025, 2, 1), "2025-01")
    assert tree.members("unit:east", ["person:li"], january) == [("person:li", START, DAY)]


# --- measuring ---


@pytest.mark.parametrize(
    ("unit", "given_unit", "value", "waits"),
    [
        ("CNY", None, "2", None),
        ("CNY", "EUR", "15.0000000002", None),
        ("EUR", "CNY", None, "rate:CNY-EUR"),  # an inverse rate is not invented
        ("CNY", "", None, "currency:blank"),
        ("money", None, None, "currency:blank"),
        ("pcs", "kar", "24", None),
        ("h", "min", "0.03333333333333333333333333333333333", None),
        ("pcs", "box", None, "conversion:box-pcs"),
        ("pcs", "", "2", None),
    ],
)
def test_a_value_is_brought_to_its_metrics_unit(
    unit: str, given_unit: str | None, value: str | None, waits: str | None
) -> None:
    found = definitions(
        rates=dated(**{"EUR-CNY": [
            Rate(from_currency="EUR", to_currency="CNY", rate=Decimal("7.5000000001")),
            Rate(from_currency="EUR", to_currency="CNY", rate=Decimal(9), effective_from=DAY + timedelta(days=1)),
        ]}),
        conversions=dated(**{"kar-pcs": Conversion(from_unit="kar", to_unit="pcs", factor=Decimal(12))}),
    )  # fmt: skip
    measured = measure(found, metric(unit), "add", Decimal(2), given_unit, DAY)
    assert (measured.value, measured.waits) == (value and Decimal(value), waits)


def test_money_in_any_currency_keeps_the_currency_it_came_in() -> None:
    assert measure(definitions(), metric("money"), "add", Decimal(5), "DEM", DAY)[:3] == (Decimal(5), "", "DEM")


def test_what_is_counted_needs_neither_number_nor_unit() -> None:
    assert measure(definitions(), metric("pcs", "count"), "add", "text", "box", DAY).value == 1
    assert measure(definitions(), metric("ratio", "distinct"), "add", Decimal("1.50"), None, DAY).member == "1.5"
    assert measure(definitions(), metric("pcs"), "add", None, None, DAY).value == 1


# --- what counts ---


def test_the_greatest_revision_of_a_key_counts_and_then_time_decides() -> None:
    late = NOON + timedelta(seconds=1)
    assert states(observed(1, key="k", revision=Decimal(2)), observed(2, key="k", event_time=late)) == [
        "counts",
        "superseded",
    ]
    assert states(observed(1, key="k"), observed(2, key="k", event_time=late)) == ["superseded", "counts"]
    assert states(observed(1, key="k"), observed(2, key="k")) == ["superseded", "counts"]
    assert states(observed(1, key="k"), observed(2, key="other"), observed(3)) == ["counts"] * 3


def test_a_retraction_takes_its_key_out_until_a_later_revision() -> None:
    gone = observed(2, key="k", effect="retract", revision=Decimal(2), value=None)
    assert states(observed(1, key="k"), gone) == ["superseded", "retraction"]
    assert states(observed(1, key="k"), gone, observed(3, key="k", revision=Decimal(3))) == [
        "superseded",
        "retraction",
        "counts",
    ]


def test_a_retraction_by_key_leaves_the_rest_of_its_document() -> None:
    lines = [observed(n, key=f"k{n}", document="d", effect="replace", event_id="e0", item=n) for n in (1, 2)]
    gone = observed(3, key="k1", document="d", effect="retract", revision=Decimal(1))
    assert states(*lines, gone) == ["superseded", "counts", "retraction"]
    whole = observed(3, document="d", effect="retract", revision=Decimal(1))
    assert states(*lines, whole) == ["superseded", "superseded", "retraction"]


def test_what_is_added_to_a_document_later_stays_until_it_is_replaced() -> None:
    first = observed(1, document="d", effect="replace", revision=Decimal(1))
    added = observed(2, document="d", revision=Decimal(2))
    assert states(first, added) == ["counts", "counts"]
    assert states(first, added, observed(3, document="d", effect="replace", revision=Decimal(3))) == [
        "superseded", "superseded", "counts"
    ]  # fmt: skip


def test_a_retraction_ends_the_durations_of_its_key_that_came_before() -> None:
    opened, closed = observed(1, effect="open", key="k", value=None), observed(2, effect="close", key="k", value=None)
    assert states(opened, closed) == ["matched", "counts"]
    gone = observed(3, effect="retract", key="k", revision=Decimal(1))
    assert states(opened, closed, gone) == ["superseded", "superseded", "retraction"]


def test_days_are_business_days_and_hours_elapsed_time() -> None:
    opened = observed(1, effect="open", at=datetime(2025, 1, 9, 15, 59, tzinfo=UTC), day=date(2025, 1, 9))
    closed = observed(2, effect="close", at=datetime(2025, 1, 9, 16, 9, tzinfo=UTC), day=date(2025, 1, 10))
    assert [duration(unit, opened, closed) for unit in ("d", "h", "min", "s")] == [1, Decimal("0.1666666667"), 10, 600]


@given(
    st.permutations(range(6)),
    st.lists(st.sampled_from(["add", "replace", "retract", "open", "close"]), min_size=6, max_size=6),
)
def test_standing_does_not_depend_on_the_order_of_arrival(order: list[int], effects: list[str]) -> None:
    every = [
        observed(n, key="k", document="d" if n % 2 else None, effect=e, revision=Decimal(n % 3))
        for n, e in enumerate(effects)
    ]
    shuffled = [every[i] for i in order]
    wanted = standings(every, floors(every), {"sales": "d"})
    assert standings(shuffled, floors(shuffled), {"sales": "d"}) == [wanted[i] for i in order]


def test_a_cell_changes_by_what_began_and_ceased_to_count() -> None:
    one, two = observed(1), observed(2)
    found = differences(
        [(one, Standing(COUNTS, Decimal(1)))], [(two, Standing(COUNTS, Decimal(2))), (one, Standing("superseded"))]
    )
    assert found == {("sales", "unit:a", DAY, "{}", ""): (0, Decimal(1))}


# --- folding ---


def cell(subject: str, value: str, day: int = 1, dims: str = "{}", member: str = "") -> Cell:
    number = Decimal(value)
    return Cell("m", subject, date(2025, 1, day), dims, member, 1, number, number, number, number)


@pytest.mark.parametrize(
    ("over_time", "across", "value"),
    [
        ("sum", "sum", "15"), ("count", "sum", "4"), ("average", "average", "3.75"), ("sum", "average", "7.5"),
        ("sum", "maximum", "11"), ("minimum", "minimum", "1"), ("minimum", "sum", "3"), ("maximum", "maximum", "7"),
        ("last", "sum", "12"), ("last", "average", "4"),
    ],
)  # fmt: skip
def test_folds_over_time_and_across_subjects(over_time: str, across: str, value: str) -> None:
    cells = [cell("a", "3", 1), cell("a", "7", 2), cell("a", "1", 1, '{"x":"y"}'), cell("b", "4", 1)]
    rule = metric("pcs", over_time, across)
    if over_time == "count":
        cells = [each._replace(total=Decimal(1)) for each in cells]
    if over_time == "minimum":
        cells[3] = cell("b", "2", 1)
    finding = base_finding(rule, [Rollup("", *folded(rule, cells))])
    assert finding.value == Decimal(value)


def test_a_metric_without_observations_is_null_and_never_zero() -> None:
    assert base_finding(metric(), [Rollup("", 0, Decimal(0))]) == Finding(None, "CNY", "no observations")


def test_a_value_of_more_than_eighteen_digits_is_null_with_its_reason() -> None:
    found = base_finding(metric(), [Rollup("", 2, Decimal(10) ** 18)])
    assert found.value is None and "18 digits" in (found.reason or "")


# --- deriving and qualifying ---


def looked_up(**values: str | None) -> Any:
    """Readings by `metric` (January) or `metric_before` (December)."""

    def reading(key: Key) -> Finding | None:
        name = key[0] if key[3] == START else f"{key[0]}_before"
        text = values.get(name, "absent")
        return None if text == "absent" else Finding(text and Decimal(text), "CNY", None if text else "no observations")  # type: ignore[arg-type]

    return reading


JANUARY = ("x", "unit:a", "month", START)


def derived(formula: str, reading: Any, **more: Any) -> Any:
    found = definitions(metrics=dated(x=metric(formula=formula), a=metric(), b=metric(benchmark=Decimal(4))), **more)
    return derive(found, JANUARY, reading)


def test_a_derived_reading_names_what_it_read() -> None:
    policies = dated(rate=[MetricsPolicy(value="3"), MetricsPolicy(value="9", effective_from=date(2025, 2, 1))])
    found = derived("a * parameter(rate) + benchmark(b)", looked_up(a="2"), policies=policies)
    assert found.finding == Finding(Decimal(10), "CNY")
    assert found.readings == (("input", ("a", "unit:a", "month", START)),)
    assert found.settings == (("parameter", "rate", 1, "3"), ("benchmark", "b", 1, "4"))


@pytest.mark.parametrize(
    ("formula", "values", "reason"),
    [
        ("a + b", {"a": "1"}, "b has no reading"),
        ("a + b", {"a": "1", "b": None}, "b: no observations"),
        ("a / (a - a)", {"a": "1"}, "division by zero"),
        ("a + previous(a)", {"a": "1"}, "a has no reading in 2024-12"),
        ("a + parameter(none)", {"a": "1"}, "parameter(none) is not set on 2025-01-31"),
        ("a > 0", {"a": "1"}, "the formula does not yield a number"),
    ],
)
def test_what_is_missing_is_null_with_its_reason(formula: str, values: dict[str, str | None], reason: str) -> None:
    assert derived(formula, looked_up(**values)).finding == Finding(None, "CNY", reason)


def test_a_derived_reading_exists_only_where_an_input_of_its_period_does() -> None:
    assert derived("a + b", looked_up()) is None
    assert derived("a + previous(a)", looked_up(a_before="1")) is None
    assert derived("previous(a)", looked_up(a_before="1")).finding.value == 1
    assert derived("coalesce(previous(x), 0) + previous(a)", looked_up(x_before="1")) is None


def qualified(better: str = "lower", tolerance: str = "0", **values: str | None) -> tuple[str, ...]:
    found = definitions(
        metrics=dated(x=metric(), g=metric(better=better)),
        guards=dated(g=Guard(metric="x", guard="g", tolerance=Decimal(tolerance), message="complaints rising")),
    )
    return qualifications(found, JANUARY, looked_up(**values))


def test_sales_up_twelve_percent_while_complaints_rise_is_qualified() -> None:
    figures = {"x": "112", "x_before": "100", "g": "0.026", "g_before": "0.020"}
    assert qualified(**figures) == ("complaints rising",)
    assert qualified(tolerance="0.006", **figures) == ()
    assert qualified(tolerance="0.0059", **figures) == ("complaints rising",)
    assert qualified(better="higher", **figures) == ()
    assert qualified(**(figures | {"x": "100"})) == ()
    assert qualified(**(figures | {"g_before": None})) == ()
