"""The expression language: grammar, limits, exactness, nulls, units, functions, dependency graphs."""

import itertools
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.formula import (
    FORMULA,
    MAPPING,
    CycleFound,
    FormulaError,
    Null,
    Outcome,
    compile_formula,
    compile_mapping,
    find_cycle,
    infer_unit,
    parse,
    topological_order,
)
from shared.units import parse_unit

D = Decimal
EVENT: dict[str, Any] = {
    "type": "order",
    "data": {
        "qty": 3,
        "price": "12.50",
        "neg": "12.5-",
        "flag": True,
        "none": None,
        "blank": "  ",
        "Material-No": "M-1",
        "tags": ["a", 1, None],
        "lines": [{"qty": D("1.5"), "sku": "x"}, {"qty": "2", "sku": "y"}],
        "nested": {"in": {"not": "deep"}},
        "day": "20250314",
        "clock": "101500",
        "huge": D("1E+999999"),
        "tiny": D("1E-999999"),
        "nan": D("NaN"),
        "long": "9" * 40,
    },
}
READINGS = {
    (None, "revenue"): D(100),
    (None, "cost"): D(80),
    ("previous", "revenue"): D(50),
    ("parameter", "late-fee"): D(2),
}


def mapped(source: str, event: Any = EVENT) -> Outcome:
    return compile_mapping(parse(source, functions=MAPPING))(event)


def formula(source: str) -> Outcome:
    return compile_formula(parse(source, functions=FORMULA))(lambda function, name: READINGS.get((function, name)))


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 2 - 3", 5),
        ("12 / 2 / 3", 2),
        ("-2 * -3", 6),
        ("2 - -2", 4),
        ("0.1 + 0.2", D("0.3")),
        ("999999999999999999.9999999999 - 0.0000000001", D("999999999999999999.9999999998")),
        ("1 / 3", D("0." + "3" * 34)),
        ("revenue - cost", 20),
        ("(revenue - cost) / revenue", D("0.2")),
        ("revenue / previous(revenue) - 1", 1),
        ("parameter('late-fee') * 3", 6),
        ("sum(1, 2, 3)", 6),
        ("avg(1, 2)", D("1.5")),
        ("min(3, 1, 2) + max(3, 1, 2)", 4),
        ("abs(cost - revenue)", 20),
        ("round(2.345, 2)", D("2.35")),
        ("round(-2.5)", -3),
        ("if(revenue > cost, 1, 0)", 1),
        ("if(revenue > 0 and not cost == 80, 1, 0)", 0),
        ("coalesce(missing, 7)", 7),
        ("if(true, 1, 1 / 0)", 1),
    ],
)
def test_a_formula_yields_the_exact_value(source: str, value: Any) -> None:
    outcome = formula(source)
    assert outcome == Outcome(D(value)), outcome


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("missing + 1", "missing has no value"),
        ("1 / (cost - 80)", "division by zero"),
        ("null + 1", "null"),
        ("missing > 1", "missing has no value"),
        ("if(missing > 1, 1, 2)", "missing has no value"),
        ("previous(cost)", r"previous\(cost\) has no value"),
        ("coalesce(missing, null)", "missing has no value; null"),
        ("999999999999999999 * 10", "more than 18 digits"),
        ("sum(1, missing)", "missing has no value"),
        ("round(1, 11)", "0 to 10 decimals"),
        ("1 + 'a'", "'a' is not a number"),
        ("1 < 'a'", "cannot be compared"),
        ("true and 1", "true or false, not a number"),
    ],
)
def test_what_cannot_be_computed_is_null_with_its_reason(source: str, reason: str) -> None:
    outcome = formula(source)
    assert outcome.value is None
    assert outcome.reason is not None
    assert re.search(reason, outcome.reason), outcome


def test_a_large_intermediate_result_is_no_obstacle() -> None:
    assert formula("999999999999999999 * 999999999999999999 / 999999999999999999").value == 999999999999999999


def test_a_lookup_may_give_its_own_reason() -> None:
    def lookup(function: str | None, name: str) -> Decimal | None:
        raise Null("no readings before 2025-03")

    assert compile_formula(parse("x + 1", functions=FORMULA))(lookup).reason == "no readings before 2025-03"


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("data.missing > 1 and false", False),
        ("false and data.missing > 1", False),
        ("data.missing > 1 or true", True),
        ("data.missing > 1 or false", None),
        ("data.missing > 1 and true", None),
        ("not data.missing", None),
        ("data.none == null", None),
    ],
)
def test_logic_has_three_values(source: str, value: bool | None) -> None:
    assert mapped(source).value is value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("data.qty", D(3)),
        ("data.flag", True),
        ("data['Material-No']", "M-1"),
        ('data["nested"].in.not', "deep"),
        ("data.lines[1].sku", "y"),
        ("number(data.price) * data.qty", D("37.5")),
        ("number(data.neg)", D("-12.5")),
        ("type == 'order' and data.qty >= 3", True),
        ("data.qty != 3", False),
        ("data.qty in [1, 2, 3]", True),
        ("data.flag in [1, 'true']", False),
        ("'a' in data.tags and 1 in data.tags", True),
        ("text(type, data.qty, data.flag)", "order/3/true"),
        ("concat(upper(type), '-', lower('AB'), trim(' x '))", "ORDER-abx"),
        ("substring('abcdef', 1, 3)", "bcd"),
        ("starts_with(type, 'or')", True),
        ("sum(data.lines, qty)", D("3.5")),
        ("sum(data.lines, 'qty')", D("3.5")),
        ("count(data.lines)", D(2)),
        ("exists(data.none)", False),
        ("exists(data.qty)", True),
        ("is_blank(data.blank) and is_blank(data.none) and not is_blank(type)", True),
        ("coalesce(data.none, data.nope, type)", "order"),
        ("date(data.day)", date(2025, 3, 14)),
        ("date('2025-03-14T23:00:00Z')", date(2025, 3, 14)),
        ("date('14.03.2025', 'DD.MM.YYYY')", date(2025, 3, 14)),
        ("date('/Date(1741910400000)/')", date(2025, 3, 14)),
        ("date(data.day) > date('2025-03-13')", True),
        ("max(date(data.day), date('2025-03-13'))", date(2025, 3, 14)),
        ("timestamp('2025-03-14T10:15:00Z')", datetime(2025, 3, 14, 10, 15, tzinfo=UTC)),
        ("timestamp('/Date(1741947300000+0000)/')", datetime(2025, 3, 14, 10, 15, tzinfo=UTC)),
        ("timestamp(data.day, data.clock)", datetime(2025, 3, 14, 10, 15)),  # noqa: DTZ001
        ("timestamp(data.day, data.clock, '', 'UTC')", datetime(2025, 3, 14, 10, 15, tzinfo=UTC)),
        ("timestamp('/Date(1741910400000)/', 'PT10H15M00S', '', 'UTC')", datetime(2025, 3, 14, 10, 15, tzinfo=UTC)),
        ("timestamp(data.day, '240000', '', 'UTC')", datetime(2025, 3, 15, tzinfo=UTC)),
        ("duration_hours('PT12H30M00S')", D("12.5")),
        ("duration_hours('P1DT0.9S') * 3600", D("86400.9")),
        ("days_between(date(data.day), '2025-03-20')", D(6)),
        ("hours_between('2025-03-14T10:00:00+08:00', '2025-03-14T03:30:00Z')", D("1.5")),
    ],
)
def test_an_expression_reads_event_data(source: str, value: Any) -> None:
    assert mapped(source) == Outcome(value)


@pytest.mark.parametrize(
    "source",
    [
        "data.nope.deeper",
        "data.lines[2].qty",
        "data.lines.qty",
        "type[0]",
        "data.qty.x",
        "data.none",
        "data.huge",
        "data.tiny",
        "data.nan + 1",
        "number(data.long)",
        "number('1e5')",
        "number('-1-')",
        "number(data.flag)",
        "number('')",
        "text(type, data.none)",
        "date('20251301')",
        "date('00000000')",
        "date('99991231')",
        "date('')",
        "date(type, 'YYYY')",
        "timestamp('x')",
        "timestamp(data.day, '250000')",
        "timestamp(data.day, '', '', 'Mars')",
        "date('/Date(-99999999999999)/')",
        "duration_hours('P')",
        "duration_hours('PT')",
        "sum(data.lines, nope)",
        "sum(type, x)",
        "substring(type, -1, 2)",
        "data == data",
        "data in ['a']",
        "data.flag < true",
        "upper(1)",
        "timestamp('2025-01-01T00:00:00Z') > timestamp('2025-01-01T00:00:00')",
        "if(type, 1, 2)",
        "-type",
        "hours_between('2025-01-01T00:00:00Z', '2025-01-01T00:00:00')",
        "min(1, 'a')",
        "date('２０２５-01-01')",
    ],
)
def test_impossible_data_are_null_with_a_reason_never_an_error(source: str) -> None:
    outcome = mapped(source)
    assert outcome.value is None and outcome.reason


def test_a_text_cannot_be_multiplied_into_a_huge_one() -> None:
    assert mapped("concat(" + ",".join(["x"] * 900) + ")", {"x": "x" * 1000}).reason is not None


def test_a_float_in_the_data_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="parse_float=Decimal"):
        mapped("data.x", {"data": {"x": 1.5}})


@pytest.mark.parametrize(
    ("source", "position", "rule"),
    [
        ("", 1, "expected a value, found the end"),
        ("1 +", 4, "expected a value"),
        ("1 2", 3, "expected an operator or the end"),
        ("(1", 3, r"expected '\)'"),
        ("2 ** 3", 3, "no power operator"),
        ("10**10**10", 3, "no power operator"),
        ("a = 1", 3, "not part of the language"),
        ("a < b < c", 7, "do not chain"),
        ("1e5", 1, "is not a number of the language"),
        ("1.", 1, "is not a number of the language"),
        ("1234567890123456789", 1, "is not a number of the language"),
        ("0.12345678901", 1, "is not a number of the language"),
        ("'abc", 1, "not part of the language"),
        ("'a\nb'", 1, "printable"),
        ("'\ud800'", 1, "printable"),
        ("'" + "x" * 201 + "'", 1, "at most 200"),
        ("\0", 1, "not part of the language"),
        ("a.", 3, "a name after the point"),
        ("a[b]", 3, "an index"),
        ("a[1.5]", 3, "an index"),
        ("eval(1)", 1, "no function 'eval'"),
        ("__import__('os')", 1, "no function"),
        ("a.b(1)", 4, "expected an operator"),
        ("if(1, 2)", 1, "takes 3 arguments, not 2"),
        ("round(1, 2, 3)", 1, "takes 1 to 2 arguments"),
        ("sum()", 1, "takes 1 or more"),
        ("sum(1,)", 7, "expected a value"),
        ("previous(1)", 10, "a bare name|a name or a quoted code"),
        ("previous(a + b)", 12, r"'\)'|','"),
        ("1 + not a", 5, "expected a value"),
        ("and", 1, "expected a value"),
        ("(" * 41 + "1" + ")" * 41, 41, "nest at most 40"),
        ("-" * 41 + "1", 41, "nest at most 40"),
        ("1+" * 1000 + "1", 2001, "at most 2,000 characters"),
    ],
)
def test_a_malformed_expression_is_refused_with_its_place(source: str, position: int, rule: str) -> None:
    with pytest.raises(FormulaError, match=rule) as caught:
        parse(source, functions=FORMULA)
    assert caught.value.more["position"] == position


def test_an_indexed_name_is_refused_in_a_formula() -> None:
    with pytest.raises(FormulaError, match="whole readings"):
        compile_formula(parse("a[0]", functions=FORMULA))


def test_the_longest_and_the_deepest_expression_work() -> None:
    assert formula("+".join(["1"] * 1000)).value == 1000
    assert formula("(" * 39 + "1" + ")" * 39).value == 1
    deep = "if(true or false and 1 < 2 + 3 * -" + "(" * 30 + "1" + ")" * 30 + ", 1, 0)"
    assert formula(deep).value == 1
    product = mapped("*".join(["d.x"] * 500), {"d": {"x": D("0." + "7" * 90)}}).value
    assert Fraction(product) == Fraction(D("0." + "7" * 90)) ** 500


def test_numbers_too_long_to_compute_with_are_null() -> None:
    assert mapped("1+" + "*".join(["x"] * 900), {"x": D("1E-150")}).reason == "a number has too many digits"
    assert mapped("d.x + 1", {"d": {"x": D("1." + "7" * 250)}}).reason == "d.x has too many digits"


def test_names_and_calls_are_found_without_evaluating() -> None:
    found = parse("if(a.b > 0, previous(c), parameter('late-fee')) + data.lines[0].qty", functions=FORMULA)
    assert found.names == {"a.b", "data.lines"}
    assert found.calls == {("previous", "c"), ("parameter", "late-fee")}


UNITS = {"revenue": "CNY", "cost": "CNY", "paid": "EUR", "hours": "h", "orders": "order", "share": "ratio", "days": "d"}


def unit_of(source: str) -> str:
    def unit(name: str) -> Any:
        return parse_unit(UNITS[name]) if name in UNITS else None

    return str(infer_unit(parse(source, functions=FORMULA), unit, lambda _, name: unit(name)))


@pytest.mark.parametrize(
    ("source", "unit"),
    [
        ("revenue - cost", "CNY"),
        ("(revenue - cost) / revenue", "ratio"),
        ("revenue / hours", "CNY/h"),
        ("revenue / hours / days", "CNY/d/h"),
        ("revenue * share * 0.5", "CNY"),
        ("revenue / orders * orders", "CNY"),
        ("if(revenue > 0, revenue, 0)", "CNY"),
        ("if(share >= 0.95 and not hours == 0, 0, cost)", "CNY"),
        ("max(0, revenue, cost)", "CNY"),
        ("coalesce(null, hours)", "h"),
        ("previous(hours) - hours", "h"),
        ("round(revenue, 2)", "CNY"),
        ("-abs(hours)", "h"),
        ("1 + share", "ratio"),
        ("0", "ratio"),
        ("if(orders in [0], 1, 2)", "ratio"),
        ("hours * hours", "h^2"),
    ],
)
def test_the_unit_of_a_formula_is_inferred(source: str, unit: str) -> None:
    assert unit_of(source) == unit


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("revenue + orders", "CNY and order"),
        ("revenue + paid", "CNY and EUR"),
        ("revenue + 1", "CNY and ratio"),
        ("hours > days", "h and d"),
        ("if(share > 0, revenue, hours)", "CNY and h"),
        ("min(revenue, hours)", "CNY and h"),
        ("sum(revenue, 5)", "CNY and ratio"),
        ("unknown + 1", "unit of unknown is not known"),
        ("previous(unknown)", "is not known"),
        ("revenue > 0", "true or false"),
        ("'a'", "text"),
        ("if(revenue, 1, 2)", "expected true or false, found CNY"),
        ("(revenue > 0) + 1", "expected a number"),
        ("[1]", "list"),
        ("round(revenue, hours)", "ratio and h"),
    ],
)
def test_units_that_do_not_fit_are_refused_and_named(source: str, rule: str) -> None:
    with pytest.raises(FormulaError, match=rule):
        unit_of(source)


def test_a_cycle_is_named_by_its_path() -> None:
    graph = {"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}
    assert find_cycle(graph) == ["a", "b", "c", "a"]
    with pytest.raises(CycleFound, match="a -> b -> c -> a"):
        topological_order(graph)
    assert find_cycle({"a": ["a"]}) == ["a", "a"]
    assert find_cycle({"a": ["b", "c"], "b": ["d"], "c": ["d"]}) is None


def test_a_very_long_chain_does_not_exhaust_the_stack() -> None:
    chain = {f"n{i:06}": [f"n{i + 1:06}"] for i in range(50_000)}
    assert topological_order(chain)[0] == "n050000"


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sets(st.sampled_from("abcdefgh"), max_size=3)))
def test_an_order_puts_dependencies_first_or_a_real_cycle_is_found(graph: dict[str, set[str]]) -> None:
    cycle = find_cycle(graph)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(after in graph[node] for node, after in itertools.pairwise(cycle))
    else:
        order = topological_order(graph)
        assert sorted(order) == sorted(set(graph) | set().union(*graph.values()))
        assert all(order.index(need) < order.index(node) for node, needs in graph.items() for need in needs)


tokens = st.sampled_from(
    [
        *"+-*/()[],.<>",
        "==",
        "!=",
        "<=",
        ">=",
        "**",
        "=",
        "and",
        "or",
        "not",
        "in",
        "true",
        "null",
        "1",
        "0",
        "0.5",
        "9" * 18,
        "data",
        "data.qty",
        "data.lines",
        "data.huge",
        "data.tiny",
        "'a'",
        '"',
        "if(",
        "sum(",
        "number(",
        "round(",
        "min(",
        "text(",
        "date(",
        "substring(",
        "previous(",
        "exists(",
        " ",
        "\n",
        "é",
        "\x00",
        "1e5",
    ]
)
soup = st.one_of(st.text(max_size=200), st.lists(tokens, max_size=60).map("".join), st.lists(tokens).map(" ".join))


@settings(max_examples=500)
@given(soup)
def test_hostile_text_only_ever_raises_a_formula_error(source: str) -> None:
    for functions in (FORMULA, MAPPING):
        try:
            expression = parse(source, functions=functions)
            evaluate = compile_formula(expression) if functions is FORMULA else compile_mapping(expression)
        except FormulaError as error:
            assert 1 <= error.more["position"] <= len(source) + 1
            continue
        scope: Any = EVENT if functions is MAPPING else lambda function, name: READINGS.get((function, name))
        outcome = evaluate(scope)
        assert (outcome.value is None) == (outcome.reason is not None)
        if functions is FORMULA:
            try:
                infer_unit(expression, lambda _: parse_unit("h"), lambda _, __: None)
            except FormulaError as error:
                assert error.rule


trees = st.recursive(
    st.decimals(0, 10**4, places=3).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    max_leaves=12,
)


@given(trees)
def test_arithmetic_agrees_with_fractions(source: str) -> None:
    outcome = formula(source)
    exact = eval(re.sub(r"[0-9.]+", r"Fraction('\g<0>')", source), {"Fraction": Fraction})
    assert abs(exact) >= 10**18 if outcome.value is None else Fraction(outcome.value) == exact
