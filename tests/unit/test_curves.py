"""Curves."""

import itertools
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.curves import CurveInvalid, evaluate, parse_curve, top

D = Decimal
SCORE = parse_curve({"kind": "linear", "slope": "100", "floor": "0", "cap": "120"})
PAYOUT = parse_curve({"kind": "interpolated", "points": [["80", "0"], ["100", "1"], ["120", "1.5"]]})
BANDS = parse_curve(
    {
        "kind": "step",
        "bands": [
            {"from": None, "to": "0.8", "value": "0"},
            {"from": "0.8", "to": "1", "value": "0.5"},
            {"from": "1", "to": "1.2", "value": "1"},
        ],
    }
)
numbers = st.decimals(-1000, 1000, places=4)


@pytest.mark.parametrize(
    ("x", "value", "clamped"),
    [("0.979", "97.9", False), ("1.3", "120", True), ("-1", "0", True), ("1.2", "120", False)],
)
def test_a_linear_curve_is_the_attainment_within_floor_and_cap(x: str, value: str, clamped: bool) -> None:
    result = evaluate(SCORE, D(x))
    assert (result.value, result.clamped) == (D(value), clamped)


def test_interpolation_is_exact_and_clamped_at_its_ends() -> None:
    assert evaluate(PAYOUT, D("90.8")).value == D("0.54")
    assert evaluate(PAYOUT, D("90.8")).segment == "80 to 100"
    assert [evaluate(PAYOUT, D(x)).value for x in ("80", "100", "120", "79", "121")] == [0, 1, D("1.5"), 0, D("1.5")]
    assert [evaluate(PAYOUT, D(x)).clamped for x in ("80", "100", "120", "79", "121")] == [
        False,
        False,
        False,
        True,
        True,
    ]


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=6, unique_by=lambda p: p[0]), numbers)
def test_interpolation_rounds_once_at_34_digits(points, x) -> None:
    points = sorted(points)
    curve = parse_curve({"kind": "interpolated", "points": [list(p) for p in points]})
    value = Fraction(evaluate(curve, x).value)
    x = min(max(x, points[0][0]), points[-1][0])
    (x0, y0), (x1, y1) = next(pair for pair in itertools.pairwise(points) if pair[0][0] <= x <= pair[1][0])
    exact = Fraction(y0) + Fraction(x - x0) * Fraction(y1 - y0) / Fraction(x1 - x0)
    assert abs(value - exact) <= abs(exact) * Fraction(1, 2 * 10**33)


def test_a_bound_belongs_to_the_band_it_opens_and_the_last_bound_to_the_last_band() -> None:
    results = [evaluate(BANDS, D(x)) for x in ("-5", "0.7999999999", "0.8", "1", "1.2", "1.3")]
    assert [r.value for r in results] == [0, 0, D("0.5"), 1, 1, 1]
    assert [r.clamped for r in results] == [False, False, False, False, False, True]
    assert results[2].segment == "band 2: from 0.8 to 1"


def test_below_a_bounded_first_band_the_nearest_counts() -> None:
    curve = parse_curve({"kind": "step", "bands": [{"from": "0", "to": None, "value": "7"}]})
    result = evaluate(curve, D(-1))
    assert (result.value, result.clamped) == (7, True)


@pytest.mark.parametrize(
    ("curve", "rule"),
    [
        ({"kind": "cubic"}, "linear, interpolated or step"),
        ({}, "linear, interpolated or step"),
        ({"kind": ["step"]}, "linear, interpolated or step"),
        ({"kind": "linear", "points": []}, "no member 'points'"),
        ({"kind": "linear", "slope": 1.5}, "as a string"),
        ({"kind": "linear", "slope": True}, "as a string"),
        ({"kind": "linear", "cap": "1e9"}, "plain digits"),
        ({"kind": "linear", "cap": D("NaN")}, "NaN"),
        ({"kind": "linear", "floor": "2", "cap": "1"}, "floor 2 lies above the cap 1"),
        ({"kind": "interpolated"}, "at least two points"),
        ({"kind": "interpolated", "points": [["1", "1"], ["1", "2"]]}, "1 comes twice"),
        ({"kind": "interpolated", "points": [["2", "1"], ["1", "2"]]}, "1 comes after 2"),
        ({"kind": "interpolated", "points": [["2"], ["1", "2"]]}, "pair"),
        ({"kind": "interpolated", "points": "12"}, "is a list"),
        ({"kind": "interpolated", "points": [[str(i), "1"] for i in range(201)]}, "at most 200"),
        ({"kind": "step", "bands": []}, "at least one band"),
        ({"kind": "step", "bands": [{"from": "1", "to": "1", "value": "1"}]}, "is empty"),
        ({"kind": "step", "bands": [{"from": "0"}]}, "from, to and value"),
    ],
)
def test_a_malformed_curve_is_refused(curve: dict[str, object], rule: str) -> None:
    with pytest.raises(CurveInvalid, match=rule):
        parse_curve(curve)


@pytest.mark.parametrize(
    ("end", "start", "rule"),
    [
        ("0.9", "0.8", "overlap"),
        ("0.8", "0.9", "Between 0.8 and 0.9 no band"),
        (None, "0.9", "overlap"),
        ("1", None, "overlap"),
    ],
)
def test_overlapping_and_gapped_bands_are_refused(end: str | None, start: str | None, rule: str) -> None:
    bands = [{"from": "0", "to": end, "value": "1"}, {"from": start, "to": "2", "value": "2"}]
    with pytest.raises(CurveInvalid, match=rule):
        parse_curve({"kind": "step", "bands": bands})


def test_the_top_is_the_highest_value_a_curve_can_give() -> None:
    assert (top(SCORE), top(PAYOUT), top(BANDS)) == (120, D("1.5"), 1)
    assert top(parse_curve({"kind": "linear"})) is None
    assert top(replace(PAYOUT, cap=D("1.2"))) == D("1.2")
