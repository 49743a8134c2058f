"""Exact numbers and money, and the examples in the docstrings of all pure modules."""

import doctest
import importlib
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from shared.money import (
    CurrencyMismatch,
    Money,
    SplitImpossible,
    UnknownCurrency,
    is_currency,
    minor_digits,
    round_money,
    split,
)
from shared.numbers import (
    DecimalString,
    NumberOutOfRange,
    add,
    divide,
    multiply,
    parse_decimal,
    plain,
    published,
    total,
)

D = Decimal
in_range = st.decimals(min_value=D(-(10**18) + 1), max_value=D(10**18 - 1), places=10)


class Body(BaseModel):
    amount: DecimalString


@pytest.mark.parametrize("text", ["0", "-1", "007", "1.50", "9" * 18 + "." + "9" * 10])
def test_plain_decimal_text_is_a_number(text: str) -> None:
    assert parse_decimal(text) == D(text)


@pytest.mark.parametrize(
    "text",
    ["", "1e5", "NaN", "Infinity", "+1", ".5", "1.", "1" * 19, "0." + "1" * 11, " 1", "1\n", "１", "1,000", "--1"],
)
def test_anything_else_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(NumberOutOfRange, match="at most 18 before and 10 after"):
        parse_decimal(text)


@given(in_range)
def test_plain_text_and_parsing_are_inverse(d: Decimal) -> None:
    assert parse_decimal(plain(d)) == d
    assert plain(parse_decimal(plain(d))) == plain(d)


def test_plain_text_is_canonical() -> None:
    assert [plain(D(t)) for t in ("1E+2", "0.50", "-0", "-0.00", "1E-10", "100")] == [
        "100",
        "0.5",
        "0",
        "0",
        "0.0000000001",
        "100",
    ]


@given(in_range, in_range)
def test_sums_and_products_never_round(a: Decimal, b: Decimal) -> None:
    assert Fraction(add(a, b)) == Fraction(a) + Fraction(b)
    assert Fraction(multiply(a, b)) == Fraction(a) * Fraction(b)


def test_the_order_of_a_sum_does_not_matter() -> None:
    values = [D("999999999999999999.0000000001"), D("0.0000000001"), D("-999999999999999999")]
    assert total(values) == total(reversed(values)) == D("0.0000000002")


def test_division_keeps_34_digits_half_even() -> None:
    assert divide(D(2), D(3)) == D("0." + "6" * 33 + "7")


def test_a_published_number_has_ten_decimals_half_even() -> None:
    assert plain(published(D("0.00000000005"))) == "0"
    assert plain(published(D("0.00000000015"))) == "0.0000000002"
    assert plain(published(divide(D(2), D(3)))) == "0.6666666667"


def test_a_number_crosses_the_wire_as_a_string() -> None:
    body = Body.model_validate_json('{"amount": "1234567890123456.78"}')
    assert body.amount == D("1234567890123456.78")
    assert Body(amount=D("1E+2")).model_dump_json() == '{"amount":"100"}'


@pytest.mark.parametrize("wire", ["1234567890123456.78", "1", "true", "null", "1e400", '"1e400"', '"NaN"', '"\\u0000"'])
def test_a_json_number_is_refused_because_it_loses_digits(wire: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Body.model_validate_json(f'{{"amount": {wire}}}')
    if not wire.startswith('"') and wire not in ("true", "null"):
        assert "loses digits" in str(caught.value)


def test_a_float_is_refused_inside_python_too() -> None:
    with pytest.raises(ValidationError, match="loses digits"):
        Body.model_validate({"amount": 1.5})


def test_input_and_output_share_one_schema() -> None:
    assert Body.model_json_schema(mode="validation") == Body.model_json_schema(mode="serialization")
    schema = Body.model_json_schema()["properties"]["amount"]
    assert schema["type"] == "string"
    assert schema["examples"] == ["1234.50"]


def test_currencies_know_their_minor_units() -> None:
    assert [minor_digits(c) for c in ("CNY", "EUR", "JPY", "KWD", "CLF", "ITL", "DEM")] == [2, 2, 0, 3, 4, 0, 2]
    assert all(is_currency(c) for c in ("DEM", "PTE", "FRF", "ESP", "ITL", "ATS", "BEF", "NLG", "FIM", "IEP", "GRD"))
    assert not any(is_currency(c) for c in ("cny", "EURO", "XXX", "", "ZZZ"))


def test_an_unknown_currency_is_refused() -> None:
    with pytest.raises(UnknownCurrency, match="'RMB' is not a currency"):
        Money(D(1), "RMB")


def test_two_currencies_do_not_add() -> None:
    assert Money(D("0.1"), "EUR") + Money(D("0.2"), "EUR") == Money(D("0.3"), "EUR")
    with pytest.raises(CurrencyMismatch, match="EUR and USD"):
        Money(D(1), "EUR") - Money(D(1), "USD")


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [("2.345", "CNY", "2.35"), ("-2.345", "CNY", "-2.35"), ("0.5", "JPY", "1"), ("1.0005", "KWD", "1.001")],
)
def test_money_rounds_half_up_to_its_minor_unit(amount: str, currency: str, rounded: str) -> None:
    assert round_money(D(amount), currency) == D(rounded)


def test_a_split_gives_the_odd_cent_to_the_largest_remainder_then_the_smallest_id() -> None:
    shares = split(Money(D(100), "CNY"), [("c", D(1)), ("b", D(1)), ("a", D(1))])
    assert {who: str(part.amount) for who, part in shares.items()} == {"c": "33.33", "b": "33.33", "a": "33.34"}
    shares = split(Money(D("0.10"), "CNY"), [("a", D("0.33")), ("b", D("0.67"))])
    assert (shares["a"].amount, shares["b"].amount) == (D("0.03"), D("0.07"))


def test_a_negative_split_mirrors_the_positive_one() -> None:
    weights = [("a", D(1)), ("b", D(2)), ("c", D(4))]
    gain, loss = split(Money(D("9.99"), "EUR"), weights), split(Money(D("-9.99"), "EUR"), weights)
    assert {who: -part for who, part in gain.items()} == loss


weights_of_participants = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.decimals(0, 1000, places=6), min_size=1, max_size=12
).filter(lambda weights: any(weights.values()))


@given(st.integers(-(10**15), 10**15), st.sampled_from(["CNY", "JPY", "KWD"]), weights_of_participants, st.randoms())
def test_a_split_always_adds_up_and_ignores_the_order(minor, currency, weights, random) -> None:
    whole = Money(D(minor).scaleb(-minor_digits(currency)), currency)
    shares = split(whole, list(weights.items()))
    assert total(part.amount for part in shares.values()) == whole.amount
    shuffled = list(weights.items())
    random.shuffle(shuffled)
    assert split(whole, shuffled) == shares
    unit, weight_sum = D(1).scaleb(-minor_digits(currency)), total(weights.values())
    for who, part in shares.items():
        fair = divide(multiply(whole.amount, weights[who]), weight_sum)
        assert abs(part.amount - fair) < unit + D("1e-12")
        assert weights[who] or part.amount == 0


@pytest.mark.slow
def test_a_million_random_splits_lose_nothing() -> None:
    dice = Random("splits")
    for _ in range(1_000_000):
        whole = D(dice.randint(-(10**9), 10**9)).scaleb(-2)
        parts = split(Money(whole, "CNY"), [(who, D(dice.randint(1, 999))) for who in "abc"[: dice.randint(2, 3)]])
        assert sum(part.amount for part in parts.values()) == whole


@pytest.mark.parametrize(
    ("amount", "weights"),
    [
        ("1.001", [("a", D(1))]),
        ("1", []),
        ("1", [("a", D(0))]),
        ("1", [("a", D(-1)), ("b", D(2))]),
        ("1", [("a", D(1)), ("a", D(1))]),
        ("1", [("a", D("NaN"))]),
    ],
)
def test_an_impossible_split_is_refused(amount: str, weights: list[tuple[str, Decimal]]) -> None:
    with pytest.raises(SplitImpossible):
        split(Money(D(amount), "EUR"), weights)


@pytest.mark.parametrize(
    "module", ["numbers", "money", "units", "periods", "curves", "formula.values", "formula.graph"]
)
def test_the_examples_in_the_docstrings_hold(module: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(f"shared.{module}"))
    assert tried and not failed
