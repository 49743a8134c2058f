"""Units of measure."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.units import (
    MONEY,
    RATIO,
    UnitUnknown,
    accepts,
    convert,
    is_duration,
    is_money,
    parse_unit,
)

D = Decimal
units = st.lists(st.sampled_from(["*CNY", "/CNY", "*h", "/h", "*pcs", "/d", "/money"]), max_size=8).map(
    lambda parts: parse_unit("1" + "".join(parts))
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("CNY/h", "CNY/h"),
        ("h/d", "h/d"),
        ("pcs*h", "h*pcs"),
        ("m*m", "m^2"),
        ("1/d", "1/d"),
        ("1", "ratio"),
        ("ratio", "ratio"),
        ("CNY/CNY", "ratio"),
        ("EUR/h/d", "EUR/d/h"),
    ],
)
def test_a_unit_has_one_canonical_text(text: str, canonical: str) -> None:
    assert str(parse_unit(text)) == canonical
    assert parse_unit(canonical) == parse_unit(text)


@pytest.mark.parametrize("text", ["", "%", "EURO", "CNY/", "/h", "2h", "a b", "h^0", "x" * 81, "é", "CNY//h", "pcs\n"])
def test_what_is_not_a_unit_is_refused(text: str) -> None:
    with pytest.raises(UnitUnknown):
        parse_unit(text)


@given(units, units)
def test_multiplying_and_dividing_are_inverse(a, b) -> None:
    assert a * b / b == a
    assert a / a == RATIO
    assert a * b == b * a
    assert parse_unit(str(a)) == a


def test_money_and_durations_are_recognised() -> None:
    assert is_money(parse_unit("CNY")) and is_money(MONEY)
    assert not is_money(parse_unit("CNY/h")) and not is_money(RATIO) and not is_money(parse_unit("pcs"))
    assert is_duration(parse_unit("min")) and not is_duration(parse_unit("1/min"))
    assert accepts(MONEY, parse_unit("EUR")) and not accepts(parse_unit("EUR"), MONEY) and not accepts(MONEY, RATIO)


def test_conversion_uses_a_factor_both_ways_and_knows_time() -> None:
    carton = {("KAR", "ST"): D(12)}
    assert convert(D("2.5"), "KAR", "ST", carton) == 30
    assert convert(D(30), "ST", "KAR", carton) == D("2.5")
    assert convert(D(36), "h", "d", {}) == D("1.5")
    assert convert(D(1), "d", "s", {}) == 86400
    assert convert(D(7), "ST", "ST", {}) == 7
    assert convert(D(7), "ST", "KG", carton) is None
