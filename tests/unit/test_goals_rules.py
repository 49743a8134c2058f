"""Rules of goals: attainment and gap, changed targets, roll-up, scorecards, ceilings, coverage and padding."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from services.goals.goals.rules import (
    CeilingExceeded,
    OneOwner,
    StatusNotPossible,
    check_ceilings,
    check_owner,
    check_status,
    coverage,
    padding,
)
from services.goals.policies import POLICIES, read_curve
from services.goals.scorecards.rules import GoalTwice, WeightNotPositive, WeightsDoNotAddUp, check_lines
from services.goals.scores.rules import (
    Member,
    TargetInForce,
    TargetVersion,
    attainment,
    counts_in,
    gap,
    in_range,
    milestone,
    minimum,
    score_measured,
    scorecard,
    shortfall,
    sum_of_actuals,
    target_of,
    target_to_date,
    tellable,
    weighted_average,
    wholes_of,
)
from shared.contracts.goals import ScorecardLine
from shared.curves import CurveInvalid
from shared.numbers import published
from shared.periods import Calendar, parse_period
from shared.policy import BadPolicyValue

D = Decimal
CALENDAR = Calendar("Asia/Shanghai")
CURVE = read_curve(POLICIES[0].default)
YEAR = parse_period(CALENDAR, "2025")
Q1 = parse_period(CALENDAR, "2025-Q1")


def target(value: str, **more: Any) -> TargetInForce:
    return TargetInForce(D(value), TargetVersion(1, date.min, D(value), **more))


# --- attainment and gap ---


@pytest.mark.parametrize(
    ("actual", "goal", "direction", "expected"),
    [
        ("7", "10", "higher", "0.7"),
        ("12", "15", "lower", "1.25"),
        ("0", "15", "lower", None),
        ("99.5", "99.5", "at_least", "1"),
        ("99.4", "99.5", "at_least", "0"),
        ("8", "8", "at_most", "1"),
        ("8.1", "8", "at_most", "0"),
        ("0", "0", "lower", "1"),
        ("1", "0", "lower", "0"),
        ("0", "0", "higher", "1"),
        ("-1", "0", "higher", "0"),
        ("-5", "-10", "higher", "1.5"),
        ("-12", "-10", "higher", "0.8"),
        ("-12", "-10", "lower", "1.2"),
        ("-1", "10", "higher", "-0.1"),
    ],
)
def test_attainment(actual: str, goal: str, direction: Any, expected: str | None) -> None:
    assert attainment(D(actual), D(goal), direction).value == (expected and D(expected))


def test_a_maintain_goal_shows_its_margin_and_scores_100_or_0() -> None:
    scored = score_measured(D("99.8"), target("99.5"), "at_least", CURVE)
    assert (scored.score, [p.value for p in scored.parts if p.name == "margin"]) == (D(100), [D("0.3")])
    assert score_measured(D("99.4"), target("99.5"), "at_least", CURVE).score == 0


def test_nothing_where_less_is_better_scores_the_top_of_the_curve() -> None:
    scored = score_measured(D(0), target("3"), "lower", CURVE)
    assert (scored.score, scored.attainment) == (D(120), None)


def test_a_missing_actual_is_null_with_its_reason_never_zero() -> None:
    scored = score_measured(None, target("3"), "higher", CURVE, reason="no output")
    assert (scored.score, scored.attainment, scored.reason) == (None, None, "no output")
    assert score_measured(D(3), None, "higher", CURVE).reason == "No target is in force."


@pytest.mark.parametrize(
    ("figure", "told"),
    [
        ("999999999999999999.9999999999", "999999999999999999.9999999999"),
        ("999999999999999999.99999999999", None),  # rounds to 19 digits
        ("-1000000000000000000", None),
        ("-0.00000000005", "0"),
    ],
)
def test_a_figure_beyond_18_digits_is_not_told(figure: str, told: str | None) -> None:
    assert tellable(D(figure)) == (told and D(told))


def test_figures_beyond_18_digits_are_left_out_and_the_score_stays_with_the_reason() -> None:
    scored = in_range(score_measured(D(10**18 - 1), target("0.0000000001"), "higher", CURVE))
    assert (scored.score, scored.attainment, scored.actual, scored.reason) == (120, None, 10**18 - 1, "out of range")
    steep = read_curve('{"kind": "linear", "slope": "100000000000000000", "cap": "120"}')
    scored = in_range(score_measured(D(-100), target("1"), "higher", steep))
    assert (scored.score, scored.attainment, scored.reason) == (None, -100, "out of range")


def test_a_sum_over_a_child_whose_actual_is_out_of_range_is_none() -> None:
    huge = Member("huge", D(1), D(120), reason="out of range")
    scored = sum_of_actuals([EAST, huge], target("100"), "higher", CURVE)
    assert (scored.score, scored.actual, scored.reason) == (None, None, "out of range")
    steep = Member("steep", D(1), D(120), actual=D(24), reason="out of range")
    assert sum_of_actuals([EAST, steep], target("42"), "higher", CURVE).actual == 42


@pytest.mark.mechanism("M2")
@pytest.mark.parametrize(
    ("goal", "actual", "direction", "expected", "alert"),
    [
        ("10000000", "7000000", "higher", "0.3", True),
        ("90", "85", "higher", "0.0555555556", False),
        ("15", "12", "lower", "-0.2", False),
        ("10", "9", "higher", "0.1", False),
        ("10", "8.9999999999", "higher", "0.1", True),  # compared unrounded
        ("-10", "-12", "higher", "0.2", True),
        ("0", "1", "lower", "1", True),
        ("0", "0", "lower", "0", False),
    ],
)
def test_gap(goal: str, actual: str, direction: Any, expected: str, alert: bool) -> None:
    found = gap(D(actual), D(goal), direction)
    assert published(found) == D(expected)
    assert (found > D("0.10")) is alert


def test_shortfall_is_in_the_metrics_unit() -> None:
    assert shortfall(D(7), D(10), "higher") == 3
    assert shortfall(D(12), D(15), "lower") == -3


@pytest.mark.mechanism("M2")
def test_the_target_to_date_grows_with_the_days_where_it_is_phased() -> None:
    assert target_to_date(D(90), Q1, date(2025, 2, 14), phased=True) == 45
    assert target_to_date(D(90), Q1, date(2025, 2, 14), phased=False) == 90
    assert target_to_date(D(90), Q1, date(2025, 3, 31), phased=True) == 90
    assert target_to_date(D(90), Q1, date(2024, 12, 31), phased=True) == 0


# --- targets that change ---

HALF, THIRTY = TargetVersion(1, date.min, D(50)), TargetVersion(2, date(2025, 7, 1), D(30))


@pytest.mark.mechanism("G5")
def test_a_target_lowered_on_1_july_is_39_92_percent_by_days() -> None:
    found = target_of([HALF, THIRTY], YEAR, "prorated", date.max)
    assert found is not None
    assert round(found.value, 2) == D("39.92")
    assert [part.note for part in found.parts] == ["in force for 181 days", "in force for 184 days"]
    assert found.version is THIRTY


@pytest.mark.mechanism("G5")
@pytest.mark.parametrize(
    ("change", "on", "expected"),
    [
        ("whole_period", date(2025, 3, 1), 30),
        ("from_its_date", date(2025, 6, 30), 50),
        ("from_its_date", date(2025, 7, 1), 30),
        ("from_its_date", date.max, 30),
    ],
)
def test_by_policy_a_changed_target_counts_for_the_whole_period_or_from_its_date(
    change: str, on: date, expected: int
) -> None:
    found = target_of([HALF, THIRTY], YEAR, change, on)
    assert found is not None
    assert found.value == expected


def test_a_version_recorded_later_for_the_same_day_replaces_the_earlier() -> None:
    corrected = TargetVersion(3, date(2025, 7, 1), D(40))
    found = target_of([HALF, THIRTY, corrected], YEAR, "prorated", date.max)
    assert found is not None
    assert [part.value for part in found.parts] == [D(50), D(40)]


def test_before_its_first_version_there_is_no_target() -> None:
    assert target_of([THIRTY], Q1, "whole_period", date.max) is None
    assert target_of([THIRTY], Q1, "prorated", date.max) is None
    assert target_of([], Q1, "prorated", date.max) is None


# --- roll-up ---

EAST, WEST, NORTH = (
    Member("east", D(2), D(90), D("0.9"), D(18), qualified=("complaints rising",)),
    Member("west", D(1), D(120), D("1.2"), D(24)),
    Member("north", D(1), None, reason="no data"),
)


def test_an_average_leaves_out_what_has_no_data_and_shows_it() -> None:
    scored = weighted_average([EAST, WEST, NORTH])
    assert scored.score == 100
    assert [part.effective_weight and published(part.effective_weight) for part in scored.parts] == [
        D("0.6666666667"),
        D("0.3333333333"),
        None,
    ]
    assert scored.parts[2].note == "no data"
    assert scored.qualified == ("complaints rising",)


def test_the_minimum_is_the_lowest_score_that_is_known() -> None:
    assert (minimum([WEST, EAST, NORTH]).score, minimum([WEST, EAST]).attainment) == (D(90), D("0.9"))
    assert minimum([NORTH]).reason == "No child has a score."


def test_a_milestone_is_the_share_that_reached_its_target_and_no_data_has_not() -> None:
    scored = milestone([EAST, WEST, NORTH, Member("south", D(1), D(120))], CURVE)
    assert (scored.attainment, scored.score) == (D("0.5"), D(50))
    assert milestone([NORTH], CURVE).score is None


@pytest.mark.mechanism("G1")
def test_actuals_add_up_against_the_goals_own_target() -> None:
    regions = [Member(f"region-{n}", D(1), None, None, D(20)) for n in range(4)]
    scored = sum_of_actuals(regions, target("100"), "higher", CURVE)
    assert (scored.actual, scored.target, scored.score) == (D(80), D(100), D(80))
    assert sum_of_actuals([NORTH], target("100"), "higher", CURVE).reason == "No child has an actual."
    assert sum_of_actuals(regions, None, "higher", CURVE).reason == "No target is in force."


@pytest.mark.parametrize(("missing", "expected"), [("skip", "100"), ("worst", "75"), ("block", None)])
def test_a_scorecard_treats_a_line_without_data_by_its_policy(missing: Any, expected: str | None) -> None:
    lines = [
        Member("a", D("0.5"), D(90)),
        Member("b", D("0.25"), D(120)),
        Member("c", D("0.25"), None, reason="no data"),
    ]
    scored = scorecard(lines, missing)
    assert scored.score == (expected and D(expected))
    if missing == "block":
        assert scored.reason == "Blocked: there is no score for c."
    if missing == "worst":
        assert scored.parts[2].note == "counts 0: no data"


@pytest.mark.parametrize("missing", ["skip", "worst", "block"])
def test_a_scorecard_without_any_data_has_no_score(missing: Any) -> None:
    scored = scorecard([NORTH], missing)
    assert scored.score is None
    assert scored.reason


@pytest.mark.parametrize(
    ("part", "whole", "counts"),
    [
        ("2025-03", "2025-Q1", True),
        ("2025-04", "2025-Q1", False),
        ("2025-W01", "2025-01", True),  # 30 December to 5 January: where its last day lies
        ("2025-W01", "2024-12", False),
        ("2025", "2025-Q4", True),  # a longer one where its last day is held
        ("2025", "2025-Q3", True),
        ("2025-Q1", "2025-Q1", True),
        ("2025-Q1", "2025-Q2", False),
    ],
)
def test_in_which_period_of_the_parent_a_childs_score_counts(part: str, whole: str, counts: bool) -> None:
    parts, wholes = parse_period(CALENDAR, part), parse_period(CALENDAR, whole)
    assert counts_in(parts, wholes) is counts
    assert (wholes in wholes_of(CALENDAR, parts, wholes.kind)) is counts


# --- what may be set ---


@pytest.mark.mechanism("T1")
def test_exactly_one_owner() -> None:
    check_owner("sales", None)
    for owners in ((None, None), ("sales", "li")):
        with pytest.raises(OneOwner):
            check_owner(*owners)


@pytest.mark.mechanism("T1")
def test_ceilings_may_be_used_up_and_not_exceeded() -> None:
    check_ceilings("revenue", D(300), [D(200), D(100)])
    with pytest.raises(CeilingExceeded, match="100 remains") as refused:
        check_ceilings("revenue", D(300), [D(200), D("100.01")])
    assert refused.value.more["remaining"] == "100"
    check_ceilings("revenue", None, [D(10**15)])


@pytest.mark.parametrize(
    ("before", "after", "possible"),
    [
        (None, "draft", True), (None, "active", True), (None, "closed", False),
        ("draft", "active", True), ("active", "closed", True), ("active", "draft", False),
        ("draft", "closed", False), ("closed", "active", False), ("closed", "closed", True),
    ],
)  # fmt: skip
def test_a_goal_never_goes_back(before: str | None, after: str, possible: bool) -> None:
    if possible:
        check_status(before, after)
    else:
        with pytest.raises(StatusNotPossible):
            check_status(before, after)


@pytest.mark.mechanism("G1")
def test_four_regions_of_20_leave_20_of_100_uncovered() -> None:
    assert coverage(D(100), [D(20)] * 5, D(0)).gap == 0
    assert coverage(D(100), [D(20)] * 4, D(0)).gap == 20


def test_each_levels_padding_is_shown() -> None:
    levels, whole = padding([D(10), D(12), D(15), D(20)])
    assert [level.padding and round(level.padding, 3) for level in levels] == [None, D("0.2"), D("0.25"), D("0.333")]
    assert whole == 1
    assert coverage(D(10), [D(6), D(6)], D("0.2")).over_reserve is False
    assert coverage(D(10), [D(6), D("6.01")], D("0.2")).over_reserve is True


def lines(*weights: str) -> list[ScorecardLine]:
    return [ScorecardLine(goal=f"g{n}", weight=D(weight), perspective="financial") for n, weight in enumerate(weights)]


@pytest.mark.parametrize(
    ("weights", "says", "remedy", "missing"),
    [
        (("0.5", "0.4999"), "99.99 %", "Raise one weight by 0.01 %.", "0.0001"),
        (("0.5", "0.6"), "110 %", "Lower one weight by 10 %.", "-0.1"),
    ],
)
def test_weights_add_up_to_exactly_100_percent(weights: Any, says: str, remedy: str, missing: str) -> None:
    with pytest.raises(WeightsDoNotAddUp, match=says) as refused:
        check_lines(lines(*weights))
    assert (refused.value.remedy, refused.value.more["missing"]) == (remedy, missing)
    check_lines(lines("0.3", "0.3", "0.4"))


def test_a_line_counts_for_something_and_a_goal_stands_once() -> None:
    with pytest.raises(WeightNotPositive):
        check_lines(lines("0", "1"))
    with pytest.raises(GoalTwice):
        check_lines([*lines("0.5"), *lines("0.5")])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": "linear", "slope": "1"}', "[" * 1900])
def test_a_curve_of_scores_is_a_bounded_json_object(text: str) -> None:
    with pytest.raises(BadPolicyValue):
        read_curve(text)


def test_a_curve_with_a_gap_is_refused() -> None:
    bands = '[{"from": "0", "to": "0.8", "value": "0"}, {"from": "0.9", "to": null, "value": "100"}]'
    with pytest.raises(CurveInvalid):
        read_curve('{"kind": "step", "bands": ' + bands + "}")


def test_every_default_is_one_of_its_own_values() -> None:
    for definition in POLICIES:
        definition.read(definition.default)
