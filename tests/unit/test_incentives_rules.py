"""The rules of incentives: what a plan and an assignment must be, and how a score becomes money."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.incentives.accruals.rules import OUT_OF_RANGE, Part, accrual, amount_of, basis_of, payable, payout, shown
from services.incentives.assignments.rules import (
    AssignmentFixed,
    EndsBeforeItStarts,
    PersonAssignedTwice,
    ShareOutOfRange,
    Span,
    UnknownPlan,
    check_alone,
    check_assignment,
    check_same,
    eligible_days,
    span_of,
    with_span,
)
from services.incentives.drivers.rules import period_kind, source_link
from services.incentives.plans.rules import (
    AmountNegative,
    AmountTooFine,
    CapNegative,
    ComponentTwice,
    DriverKey,
    DriverSubject,
    FactorOutOfRange,
    PlanFixed,
    WeightNotPositive,
    WeightsDoNotAddUp,
    check_fixed,
    check_plan,
)
from shared.contracts.incentives import Assignment, Plan
from shared.curves import CurveInvalid
from shared.money import UnknownCurrency
from shared.periods import Calendar, parse_period

TEN = Decimal(10)
LINEAR = {"kind": "linear", "slope": "0.01"}
YEAR_START, YEAR_END = date(2025, 1, 1), date(2025, 12, 31)
Q1 = parse_period(Calendar("Asia/Shanghai"), "2025-Q1")


def component(code: str = "yield", weight: str = "1", **more: Any) -> dict[str, Any]:
    driver = more.pop("driver", {"kind": "goal", "code": code})
    return {"code": code, "name": code, "driver": driver, "weight": weight, "curve": LINEAR, **more}


def plan(*components: dict[str, Any], **more: Any) -> Plan:
    body = {"name": "Bonus", "period": "quarter", "currency": "CNY", "components": list(components or [component()])}
    return Plan.model_validate(body | more)


def assignment(**more: Any) -> Assignment:
    body = {"person": "wang", "plan": "bonus", "amount": "20000", "starts": "2025-01-01"}
    return Assignment.model_validate(body | more)


def part(amount: str = "20000", days: int = 90, share: str = "1", factor: str = "1") -> Part:
    return Part("wang-bonus", 1, Decimal(amount), Decimal(share), Decimal(factor), days)


def values(**scores: str | None) -> dict[DriverKey, tuple[Decimal | None, str | None]]:
    return {
        DriverKey("goal", code, ""): (Decimal(score), None) if score is not None else (None, f"no score of {code}")
        for code, score in scores.items()
    }


def span(code: str, starts: date, ends: date | None = None, **more: Any) -> Span:
    fields = {"person": "wang", "plan": "bonus", "effective_from": date.min, "until": None} | more
    return Span(code=code, starts=starts, ends=ends, **fields)


# Plans ----------------------------------------------------------------------------------------------------------------


def test_weights_of_99_99_percent_are_refused_and_the_missing_part_is_named() -> None:
    with pytest.raises(WeightsDoNotAddUp) as caught:
        check_plan(plan(component("a", "0.6"), component("b", "0.3999")), TEN)
    assert "99.99 %" in caught.value.rule
    assert caught.value.remedy == "Raise one weight by 0.01 %."


def test_weights_that_add_up_are_accepted() -> None:
    check_plan(plan(component("a", "0.3333333333"), component("b", "0.6666666667")), TEN)


@pytest.mark.parametrize(
    ("bands", "what"),
    [
        ([("0", "0.8"), ("0.7", None)], "overlap"),
        ([("0", "0.8"), ("0.9", None)], "no band applies"),
    ],
)
def test_overlapping_and_gapped_bands_are_refused_with_their_place(bands: Any, what: str) -> None:
    curve = {"kind": "step", "bands": [{"from": a, "to": b, "value": "1"} for a, b in bands]}
    with pytest.raises(CurveInvalid) as caught:
        check_plan(plan(component("a", "0.5"), component("b", "0.5", curve=curve)), TEN)
    assert what in caught.value.rule
    assert caught.value.field == "components.1.curve.bands.1"


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (plan(currency="XXQ"), UnknownCurrency),
        (plan(component("a", "0.5"), component("a", "0.5")), ComponentTwice),
        (plan(component("a", "1"), component("b", "0")), WeightNotPositive),
        (plan(component(driver={"kind": "reading", "code": "sales"})), DriverSubject),
        (plan(component(driver={"kind": "goal", "code": "sales", "subject": "unit:a"})), DriverSubject),
        (plan(component(factor="-1")), FactorOutOfRange),
        (plan(factor="10.01"), FactorOutOfRange),
        (plan(component(cap="-0.1")), CapNegative),
        (plan(cap="-1"), CapNegative),
    ],
)
def test_other_broken_plans_are_refused(broken: Plan, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_plan(broken, TEN)


def test_a_plan_with_people_keeps_its_currency_and_kind_of_period() -> None:
    check_fixed(plan(), [("CNY", "quarter")])
    with pytest.raises(PlanFixed, match="EUR"):
        check_fixed(plan(), [("EUR", "quarter")])
    with pytest.raises(PlanFixed, match="month"):
        check_fixed(plan(), [("CNY", "month")])


# Assignments ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (assignment(amount="-1"), AmountNegative),
        (assignment(amount="100.123"), AmountTooFine),
        (assignment(share="0"), ShareOutOfRange),
        (assignment(share="1.1"), ShareOutOfRange),
        (assignment(factor="11"), FactorOutOfRange),
        (assignment(ends="2024-12-31"), EndsBeforeItStarts),
    ],
)
def test_broken_assignments_are_refused(broken: Assignment, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_assignment(broken, plan(), TEN)


def test_an_amount_of_nothing_and_one_day_are_accepted() -> None:
    check_assignment(assignment(amount="0", ends="2025-01-01"), plan(), TEN)


def test_three_decimals_are_fine_where_the_currency_has_them() -> None:
    check_assignment(assignment(amount="100.123"), plan(currency="KWD"), TEN)


def test_an_assignment_to_no_plan_is_refused() -> None:
    with pytest.raises(UnknownPlan):
        check_assignment(assignment(), None, TEN)


def test_a_person_is_assigned_once_a_day_and_the_other_assignment_is_named() -> None:
    old = span("old", YEAR_START, date(2025, 3, 31))
    with pytest.raises(PersonAssignedTwice, match="by old"):
        check_alone(span("new", date(2025, 3, 31)), [old])
    check_alone(span("new", date(2025, 4, 1)), [old])
    check_alone(span("new", YEAR_START, plan="other"), [old])
    check_alone(span("old", YEAR_START), [old])


def test_overlapping_days_do_not_matter_where_no_day_sees_both_in_force() -> None:
    old = span("old", YEAR_START, effective_from=date.min, until=date(2025, 6, 1))
    check_alone(span("new", YEAR_START, effective_from=date(2025, 6, 1)), [old])
    with pytest.raises(PersonAssignedTwice):
        check_alone(span("new", YEAR_START, effective_from=date(2025, 5, 31)), [old])


def test_a_new_version_ends_the_one_before_and_replaces_one_of_the_same_day() -> None:
    first = span("a", YEAR_START)
    second = span_of("a", assignment(effective_from="2025-04-01"), [first])
    spans = with_span([first], second)
    assert spans == [second, replace(first, until=date(2025, 4, 1))]
    earlier = span_of("a", assignment(effective_from="2025-02-01"), spans)
    assert earlier.until == date(2025, 4, 1)
    assert with_span(spans, second) == [second, replace(first, until=date(2025, 4, 1))]


def test_an_assignment_stays_with_its_person_and_plan() -> None:
    with pytest.raises(AssignmentFixed):
        check_same(assignment(person="li"), [span("a", YEAR_START)], "a")
    check_same(assignment(), [span("a", YEAR_START)], "a")


@pytest.mark.parametrize(
    ("starts", "ends", "expected"),
    [
        (YEAR_START, None, 90),
        (date(2024, 1, 1), YEAR_END, 90),
        (date(2025, 2, 15), None, 45),
        (YEAR_START, date(2025, 1, 1), 1),
        (date(2025, 3, 31), date(2025, 3, 31), 1),
        (date(2025, 4, 1), None, 0),
        (date(2024, 1, 1), date(2024, 12, 31), 0),
    ],
)
def test_days_count_from_first_to_last_included(starts: date, ends: date | None, expected: int) -> None:
    assert eligible_days(starts, ends, Q1) == expected


# Accruals -------------------------------------------------------------------------------------------------------------


def test_the_ripple_of_a_yield_of_93_percent_costs_842_11() -> None:
    """93 / 95 as goals publishes it, with ten decimals (mechanism L2)."""
    pool = plan(component("yield", "0.4"), component("rest", "0.6"))
    before = payout(pool, values(**{"yield": "100", "rest": "100"}))
    after = payout(pool, values(**{"yield": "97.8947368421", "rest": "100"}))
    parts = [part("100000")]
    was, now = accrual(pool, before, parts, 90), accrual(pool, after, parts, 90)
    assert now.lines[0] == Decimal("391.578947368400") * 100
    assert (was.total, now.total) == (Decimal("100000.00"), Decimal("99157.89"))
    assert now.total is not None and was.total is not None and now.total - was.total == Decimal("-842.11")


def test_every_step_of_m11_in_order_gives_10_800() -> None:
    curve = {"kind": "interpolated", "points": [["80", "0"], ["92", "1"]]}
    found = payout(plan(component(curve=curve), factor="1.2"), values(**{"yield": "90.8"}))
    result = accrual(plan(component(curve=curve), factor="1.2"), found, [part(days=45)], 90)
    assert result.total == Decimal("10800.00")
    assert [step.step for step in found.lines[0].steps] == ["driver", "curve", "weight"]
    assert [step.step for step in result.steps] == [
        "target amount", "team factor", "individual factor", "share", "eligible days", "sum", "rounded",
    ]  # fmt: skip
    assert [step.value for step in result.steps[:5]] == [18000, 21600, 21600, 21600, 10800]


def test_half_the_days_pay_half() -> None:
    found = payout(plan(), values(**{"yield": "100"}))
    assert accrual(plan(), found, [part(days=45)], 90).total == Decimal("10000.00")


def test_a_gate_pays_at_its_bound_and_not_below() -> None:
    gated = plan(component(gate="80"))
    assert payout(gated, values(**{"yield": "80"})).factor == Decimal("0.80")
    below = payout(gated, values(**{"yield": "79.9999999999"}))
    assert below.factor == 0 and below.complete
    assert "below the gate of 80" in below.lines[0].steps[-1].how


def test_component_factor_comes_before_its_cap_and_the_plan_cap_after_the_sum() -> None:
    capped = plan(component("a", "0.5", factor="2", cap="1.5"), component("b", "0.5"), cap="1.2")
    found = payout(capped, values(a="100", b="100"))
    assert [line.factor for line in found.lines] == [Decimal("0.75"), Decimal("0.5")]
    assert (found.steps[0].value, found.factor) == (Decimal("1.25"), Decimal("1.2"))


def test_a_component_below_zero_pays_nothing_and_takes_nothing_from_the_others() -> None:
    two = plan(component("a", "0.5", factor="2"), component("b", "0.5"))
    found = payout(two, values(a="-99", b="100"))
    assert [line.factor for line in found.lines] == [0, Decimal("0.5")]
    steps = [(step.step, step.value) for step in found.lines[0].steps]
    assert steps == [("driver", -99), ("curve", Decimal("-0.99")), ("component factor", Decimal("-1.98")),
                     ("not below zero", 0), ("weight", 0)]  # fmt: skip
    assert accrual(two, found, [part()], 90).total == Decimal(10000)
    assert "not below zero" not in [step.step for step in payout(plan(), values(**{"yield": "0"})).lines[0].steps]


def test_what_no_answer_can_carry_is_none_and_says_that_it_is_out_of_range() -> None:
    """18 digits before the point fit, 19 do not; what a cap brings back into range is paid."""
    assert shown(Decimal("-999999999999999999.99")) == Decimal("-999999999999999999.99")
    assert shown(Decimal(10**18)) is shown(Decimal("999999999999999999.99999999999")) is None
    steep = {"kind": "linear", "slope": "999999999999999999"}
    found = payout(plan(component(curve=steep)), values(**{"yield": "100"}))
    result = accrual(plan(), found, [part()], 90)
    assert (result.total, result.steps[-1].value) == (None, None)
    assert found.lines[0].steps[1].value is None and OUT_OF_RANGE in found.lines[0].steps[1].how
    assert payable(basis_of(part()), plan(), Decimal(10**18), 90) is None
    capped = plan(component(curve=steep), cap="1")
    assert accrual(capped, payout(capped, values(**{"yield": "100"})), [part()], 90).total == Decimal(20000)


def test_a_missing_driver_is_never_a_silent_zero() -> None:
    two = plan(component("a", "0.4"), component("b", "0.6"))
    found = payout(two, values(a="100", b=None))
    result = accrual(two, found, [part()], 90)
    assert not found.complete
    assert (result.lines[1], found.lines[1].reason) == (None, "no score of b")
    assert result.total == Decimal("8000.00")
    nothing = payout(two, values(a="100", b=None), partial=False)
    assert accrual(two, nothing, [part()], 90).total is None
    assert payout(two, values(a=None, b=None)).factor is None


def test_two_assignments_in_a_period_add_up_before_the_one_rounding() -> None:
    third = [part("0.01", days=30), part("0.01", days=30), part("0.01", days=30)]
    found = payout(plan(), values(**{"yield": "100"}))
    result = accrual(plan(), found, third, 90)
    assert result.total == Decimal("0.01")
    assert all(amount is not None and amount < Decimal("0.005") for amount in result.parts)


def test_half_a_cent_rounds_up() -> None:
    assert payable(basis_of(part("0.05")), plan(), Decimal("0.1"), 90) == Decimal("0.01")
    assert payable(basis_of(part("1")), plan(currency="JPY"), Decimal("0.5"), 90) == Decimal(1)


@given(
    st.decimals("0", "999999999", places=2), st.decimals("0.01", "1", places=2), st.decimals("0", "3", places=3),
    st.integers(1, 90), st.decimals("0", "120", places=10),
)  # fmt: skip
def test_an_accrual_never_exceeds_what_its_exact_factors_say(
    amount: Decimal, share: Decimal, factor: Decimal, days: int, score: Decimal
) -> None:
    given_plan = plan(factor="1.5")
    found = payout(given_plan, values(**{"yield": str(score)}))
    one = Part("a", 1, amount, share, factor, days)
    result = accrual(given_plan, found, [one], 90)
    exact = amount_of(basis_of(one), given_plan, score.scaleb(-2), 90)
    assert result.unrounded == exact
    assert result.total is not None and abs(result.total - exact) <= Decimal("0.005")


@pytest.mark.parametrize("kind", ["month", "quarter", "half_year", "year", "week", "day"])
def test_labels_tell_their_kind(kind: Any) -> None:
    from shared.periods import periods_between

    for period in periods_between(Calendar("UTC", 4), kind, YEAR_START, YEAR_START + timedelta(days=400)):
        assert period_kind(period.label) == kind


def test_links_lead_to_the_owner_of_the_number() -> None:
    assert source_link("scorecard", "hq", "", "2025", 1) == "/goals/v1/scores/scorecard/hq/2025/explanation?version=1"
    reading = source_link("reading", "sales", "unit:hq", "2025-Q1", 4)
    assert reading == "/metrics/v1/readings/explanation?metric=sales&subject=unit%3Ahq&period=2025-Q1&version=4"
