"""The rules of incentives: what a plan and an assignment must be, and how a score becomes money."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.incentives.accruals.definitions import Part, Person, Rate, Scale, Segment, Terms, Value, shown
from services.incentives.accruals.rules import Calculator, left_over
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
from services.incentives.entitlements.steps import Program, Step
from services.incentives.plans.routes import warnings
from services.incentives.plans.rules import (
    AmountNegative,
    AmountTooFine,
    CapNegative,
    ComponentTwice,
    DriverKey,
    DriverSubject,
    FactorOutOfRange,
    FloorAboveCap,
    Limits,
    ParticipantTwice,
    PlanFixed,
    ShareNegative,
    SharesDoNotAddUp,
    WeightNotPositive,
    WeightsDoNotAddUp,
    check_fixed,
    check_plan,
    check_shares,
    faults,
)
from shared.contracts.base import Citation
from shared.contracts.incentives import Assignment, Participant, Plan
from shared.curves import CurveInvalid
from shared.money import UnknownCurrency
from shared.periods import Calendar, parse_period

TEN = Decimal(10)
LIMITS = Limits(TEN)
SALES = {"kind": "reading", "code": "sales", "subject": "unit:shop"}
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
    return Part("wang-bonus", 1, Decimal(amount), Decimal(share), Decimal(factor), Decimal(days))


def values(unit: str | None = None, **found: str | None) -> dict[DriverKey, Value]:
    """Scores of goals, and the reading `sales` of the shop."""
    return {
        DriverKey("reading", code, "unit:shop") if code == "sales" else DriverKey("goal", code, ""):
        Value(None if value is None else Decimal(value), f"no score of {code}" if value is None else None, 1, unit)
        for code, value in found.items()
    }  # fmt: skip


def terms(
    one: Plan, *, partial: bool = True, unit: str | None = None, rates: Any = None, segments: Any = None,
    **found: str | None,
) -> Terms:  # fmt: skip
    whole = (Segment(1, one, 90, YEAR_START),)
    return Terms("bonus", "2025-Q1", 90, segments or whole, values(unit, **found), rates or {}, partial)


@dataclass(frozen=True)
class Paid:
    """A calculation, run and expanded; the two ways are held together."""

    program: Program
    amount: Decimal | None
    steps: list[Step]

    @property
    def ids(self) -> list[str]:
        return [step.id for step in self.steps]

    def of(self, id: str) -> Decimal | None:
        return next((step.value for step in self.steps if step.id == id), None)

    def how(self, id: str) -> str:
        return next(step.how for step in self.steps if step.id == id)


def paid(one: Plan, parts: list[Part], override: Any = None, **more: Any) -> Paid:
    person = Person("person:wang", tuple(parts), {}, override)
    calculator = Calculator(terms(one, **more))
    program, _, amount = calculator.compute(person)
    steps = calculator.steps(person)
    assert amount is None or steps[-1].value == amount
    return Paid(program, amount, steps)


def span(code: str, starts: date, ends: date | None = None, **more: Any) -> Span:
    fields = {"person": "wang", "plan": "bonus", "effective_from": date.min, "until": None} | more
    return Span(code=code, starts=starts, ends=ends, **fields)


# Plans ----------------------------------------------------------------------------------------------------------------


def test_weights_of_99_99_percent_are_refused_and_the_missing_part_is_named() -> None:
    with pytest.raises(WeightsDoNotAddUp) as caught:
        check_plan(plan(component("a", "0.6"), component("b", "0.3999")), LIMITS)
    assert "99.99 %" in caught.value.rule
    assert caught.value.remedy == "Raise one weight by 0.01 %."


def test_weights_that_add_up_are_accepted() -> None:
    check_plan(plan(component("a", "0.3333333333"), component("b", "0.6666666667")), LIMITS)


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
        check_plan(plan(component("a", "0.5"), component("b", "0.5", curve=curve)), LIMITS)
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
        check_plan(broken, LIMITS)


def tiers(*bounds: tuple[str, str | None], mode: str = "whole") -> dict[str, Any]:
    return {"kind": "tiers", "mode": mode, "tiers": [{"from": a, "to": b, "rate": "0.1"} for a, b in bounds]}


def bands(*bounds: tuple[str | None, str | None]) -> dict[str, Any]:
    return {"kind": "step", "bands": [{"from": a, "to": b, "value": "1"} for a, b in bounds]}


@pytest.mark.parametrize(
    ("broken", "field"),
    [
        (plan(component("a", "0", driver=SALES, curve=tiers(("10", None)))), "components.0.curve.tiers.0.from"),
        (plan(component("a", "0", driver=SALES, curve=tiers(("0", "9")))), "components.0.curve.tiers.0.to"),
        (plan(component("a", "0", driver=SALES, curve=tiers(("0", "9"), ("10", None)))), "components.0.curve.tiers.1"),
        (plan(component("a", "0", driver=SALES, curve=tiers(("0", "9"), ("8", None)))), "components.0.curve.tiers.1"),
        (plan(component("a", "0", driver=SALES, curve=tiers(("0", None), mode="each"))), "components.0.curve.mode"),
        (plan(component("a", "1", driver=SALES, curve=tiers(("0", None)))), "components.0.weight"),
        (plan(component(curve=bands(("1", None)))), "components.0.curve.bands.0.from"),
        (plan(component(curve=bands(("0", "119.99")))), "components.0.curve.bands.0.to"),
        (plan(component(driver={"kind": "goal", "code": "a", "own": True})), "components.0.driver.own"),
        (plan(component(driver=SALES | {"own": True})), "components.0.driver.subject"),
        (plan(component(driver=SALES, points=[{"driver": {"kind": "goal", "code": "g"}, "points": "5"}])),
         "components.0.points"),
        (plan(component(accelerator={"above": "1", "factor": "11"})), "components.0.accelerator.factor"),
        (plan(component(floor="0.5", cap="0.4")), "components.0.floor"),
        (plan(floor="-0.1"), "floor"),
        (plan(families={"core": "11"}), "families.core"),
        (plan(amount_cap="1.001"), "amount_cap"),
        (plan(minimum_payout="-1"), "minimum_payout"),
        (plan(currency="JPY", budget={"amount": "0.5"}), "budget.amount"),
        (plan(currency="KWD", budget={"amount": "-0.001"}), "budget.amount"),
        (plan(budget={"amount": "1", "pool": "p"}), "budget"),
        (plan(budget={}), "budget"),
    ],
)  # fmt: skip
def test_a_fault_names_its_field(broken: Plan, field: str) -> None:
    assert [fault.field for fault in faults(broken, LIMITS)] == [field]


def test_scores_from_0_to_120_and_open_ends_are_the_whole_range() -> None:
    check_plan(plan(component(curve=bands(("0", "120")))), LIMITS)
    check_plan(plan(component(curve=bands((None, "60"), ("60", None)))), LIMITS)
    check_plan(plan(component("a", "1", driver=SALES, curve=bands(("0", "60"), ("60", None)))), LIMITS)


def test_the_validator_finds_every_fault_and_not_only_the_first() -> None:
    broken = plan(component("a", "0.5", cap="-1"), component("a", "0.4"), factor="11")
    found = {type(fault) for fault in faults(broken, LIMITS)}
    assert found == {CapNegative, FloorAboveCap, ComponentTwice, FactorOutOfRange, WeightsDoNotAddUp}


def test_a_component_that_can_never_pay_and_a_curve_that_begins_late_are_warned_about() -> None:
    late = {"kind": "interpolated", "points": [["60", "0.5"], ["100", "1"]]}
    odd = plan(
        component("gate", "0.4", gate="121"), component("nil", "0.3", factor="0"), component("late", "0.3", curve=late)
    )
    assert list(warnings(odd)) == [
        "gate never pays: no score reaches its gate of 121.",
        "nil never pays anything.",
        "late pays 0.5 even at a score of 0: its curve begins later.",
    ]
    assert list(warnings(plan())) == []


@pytest.mark.parametrize(
    ("shares", "error"),
    [(("0.6", "0.3999"), SharesDoNotAddUp), (("0.6", "0.41"), SharesDoNotAddUp), (("1", "0"), ShareNegative)],
)
def test_shares_that_do_not_add_up_to_exactly_1_are_refused(shares: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        check_shares([Participant(payee=f"person:{i}", share=Decimal(share)) for i, share in enumerate(shares)])
    with pytest.raises(ParticipantTwice):
        check_shares([Participant(payee="company", share=Decimal("0.5"))] * 2)


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
    before, after = (
        paid(pool, [part("100000")], **{"yield": score, "rest": "100"}) for score in ("100", "97.8947368421")
    )
    assert after.of("yield.pays") == Decimal("0.391578947368400")
    assert (before.amount, after.amount) == (Decimal("100000.00"), Decimal("99157.89"))


def test_every_step_of_m11_in_order_gives_10_800() -> None:
    curve = {"kind": "interpolated", "points": [["80", "0"], ["92", "1"]]}
    found = paid(plan(component(curve=curve), factor="1.2"), [part(days=45)], **{"yield": "90.8"})
    assert found.amount == Decimal("10800.00")
    assert found.ids == [
        "yield.driver", "yield.curve", "yield.floor", "yield.pays", "factor", "part.1.target", "part.1.individual",
        "part.1.share", "part.1.days", "part.1", "unrounded", "rounded",
    ]  # fmt: skip
    assert found.of("part.1") == 10800 * 90


def test_half_the_days_pay_half() -> None:
    assert paid(plan(), [part(days=45)], **{"yield": "100"}).amount == Decimal("10000.00")


def test_a_gate_pays_at_its_bound_and_not_below() -> None:
    gated = plan(component(gate="80"))
    assert paid(gated, [part()], **{"yield": "80"}).of("factor") == Decimal("0.80")
    below = paid(gated, [part()], **{"yield": "79.9999999999"})
    assert below.of("factor") == below.amount == 0 and not below.program.missing
    assert "below 80: not met, pays nothing" in below.how("yield.gate")


def test_component_factor_comes_before_its_cap_and_the_plan_cap_after_the_sum() -> None:
    capped = plan(component("a", "0.5", factor="2", cap="1.5"), component("b", "0.5"), cap="1.2")
    found = paid(capped, [part()], a="100", b="100")
    assert [found.of(id) for id in ("a.pays", "b.pays", "factor", "cap")] == [
        Decimal("0.75"), Decimal("0.5"), Decimal("1.25"), Decimal("1.2"),
    ]  # fmt: skip


def test_a_component_below_zero_pays_nothing_and_takes_nothing_from_the_others() -> None:
    two = plan(component("a", "0.5", factor="2"), component("b", "0.5"))
    found = paid(two, [part()], a="-99", b="100")
    assert [found.of(f"a.{step}") for step in ("driver", "curve", "factor", "floor", "pays")] == [
        -99, Decimal("-0.99"), Decimal("-1.98"), 0, 0,
    ]  # fmt: skip
    assert found.amount == Decimal(10000)


def test_floors_of_component_and_plan_pay_at_least() -> None:
    floored = plan(component("a", "0.5", floor="0.4"), component("b", "0.5"), floor="0.3")
    assert paid(floored, [part()], a="0", b="0").of("factor") == Decimal("0.2")
    assert paid(floored, [part()], a="0", b="0").amount == Decimal(6000)
    assert paid(floored, [part()], a="90", b="0").amount == Decimal(9000)


def test_an_accelerator_counts_what_lies_above_its_threshold_more() -> None:
    fast = plan(component(accelerator={"above": "1", "factor": "3"}))
    amounts = [paid(fast, [part()], **{"yield": score}).amount for score in ("90", "100", "110")]
    assert amounts == [18000, 20000, 26000]


def test_collaboration_points_are_added_to_the_score_and_held_at_120() -> None:
    shared = {"driver": {"kind": "goal", "code": "launch"}, "points": "5"}
    joint = plan(component(points=[shared]))
    for score, launch, wanted in (("90", "100", "95"), ("90", "99.99", "90"), ("118", "120", "120")):
        found = paid(joint, [part()], **{"yield": score, "launch": launch})
        assert found.of("yield.score") == Decimal(wanted)
    gated = plan(component(gate="95", points=[shared]))
    assert paid(gated, [part()], **{"yield": "92", "launch": "100"}).amount == 0  # the gate comes before the points
    unknown = paid(joint, [part()], **{"yield": "90", "launch": None})
    assert (unknown.amount, unknown.program.missing) == (Decimal(18000), ("no score of launch",))


def test_a_table_of_rates_pays_each_tier_or_the_whole_as_it_says() -> None:
    tiers = [{"from": "0", "to": "100000", "rate": "0.05"}, {"from": "100000", "rate": "0.08"}]
    for mode, at_bound, above in (("marginal", "5000", "9000"), ("whole", "8000", "12000")):
        sales = plan(component("sales", "0", driver=SALES, curve={"kind": "tiers", "mode": mode, "tiers": tiers}))
        amounts = [paid(sales, [part("0")], sales=value).amount for value in ("100000", "150000", "-10")]
        assert amounts == [Decimal(at_bound), Decimal(above), 0]


def test_an_amount_is_not_prorated_unless_it_says_so() -> None:
    table = {"kind": "tiers", "mode": "whole", "tiers": [{"from": "0", "rate": "0.1"}]}
    for prorated, wanted in ((False, "1000"), (True, "250")):
        sales = plan(component("sales", "0", driver=SALES, curve=table, prorated=prorated))
        assert paid(sales, [part(days=45, share="0.5")], sales="10000").amount == Decimal(wanted)


def test_money_in_another_currency_is_converted_at_the_dated_rate_which_is_shown() -> None:
    table = {"kind": "tiers", "mode": "whole", "tiers": [{"from": "0", "rate": "0.1"}]}
    sales = plan(component("sales", "0", driver=SALES, curve=table))
    found = paid(sales, [part()], rates={"USD-CNY": Rate(Decimal("7.1"), 3)}, unit="USD", sales="1000")
    assert found.amount == Decimal(710)
    [rate] = [step for step in found.steps if step.id == "sales.rate"]
    assert (rate.value, rate.cites[0].code, rate.cites[0].version) == (Decimal("7.1"), "USD-CNY", 3)
    without = paid(sales, [part()], unit="USD", sales="1000")
    assert (without.amount, without.program.missing) == (
        None, ("There is no rate USD-CNY on the last day of the period.",),
    )  # fmt: skip
    assert paid(sales, [part()], unit="pcs", sales="1000").amount == 100


def test_a_job_family_has_its_factor_and_any_other_has_none() -> None:
    families = plan(families={"core": "2.5"})
    core, other = replace(part("10000"), family_factor=Decimal("2.5")), part("10000")
    assert [paid(families, [one], **{"yield": "100"}).amount for one in (core, other)] == [25000, 10000]


def test_a_guarantee_is_paid_by_days_and_share_where_less_was_earned() -> None:
    one = replace(part(days=45, share="0.5"), guarantee=Decimal(8000))
    assert paid(plan(), [one], **{"yield": "10"}).amount == Decimal(2000)
    assert paid(plan(), [one], **{"yield": "100"}).amount == Decimal(5000)


def test_a_highest_amount_holds_what_one_person_gets() -> None:
    assert paid(plan(amount_cap="15000"), [part()], **{"yield": "100"}).amount == Decimal(15000)


def test_an_override_replaces_the_amount_and_leaves_the_calculation_readable() -> None:
    decided = (Decimal("1234.56"), None, "decided by boss: because")
    found = paid(plan(), [part()], override=decided, **{"yield": "100"})
    assert (found.amount, found.of("rounded"), found.how("override")) == (Decimal("1234.56"), 20000, decided[2])
    assert paid(plan(), [part()], override=decided, **{"yield": None}).amount == Decimal("1234.56")


def test_each_version_of_a_plan_counts_for_its_days() -> None:
    """A quarter of which the last 30 days pay double: (60 × 1 + 30 × 2) / 90."""
    old, new = plan(on_change="by_days"), plan(on_change="by_days", factor="2")
    segments = (Segment(1, old, 60, YEAR_START, "v1."), Segment(2, new, 30, date(2025, 3, 2), "v2."))
    parts = [part(days=60), replace(part(days=30), segment=1)]
    found = paid(new, parts, segments=segments, **{"yield": "90"})
    assert found.amount == Decimal(24000)
    assert {"v1.factor", "v2.factor"} <= set(found.ids)


def test_a_budget_is_split_by_what_was_earned_to_the_last_cent() -> None:
    earned = {"person:a": Decimal("33.333"), "person:b": Decimal("33.333"), "person:c": Decimal("33.333")}
    assert left_over(Decimal("100.00"), earned, 2) == {"person:a"}
    scale = Scale(Decimal(100), Decimal("99.999"), Citation(what="plan", code="bonus", version=1))
    budgeted = replace(terms(plan(), **{"yield": "100"}), scale=scale)
    amounts = [
        Calculator(budgeted).compute(Person(who, (part("33.333"),), extra=Decimal(who == "person:a")))[2]
        for who in earned
    ]
    assert amounts == [Decimal("33.34"), Decimal("33.33"), Decimal("33.33")]


def test_what_no_answer_can_carry_is_none_and_what_a_cap_brings_back_is_paid() -> None:
    """18 digits before the point fit, 19 do not."""
    assert shown(Decimal("-999999999999999999.99")) == Decimal("-999999999999999999.99")
    assert shown(Decimal(10**18)) is shown(Decimal("999999999999999999.99999999999")) is None
    steep = {"kind": "linear", "slope": "999999999999999999"}
    assert shown(paid(plan(component(curve=steep)), [part()], **{"yield": "100"}).amount) is None
    assert paid(plan(component(curve=steep), cap="1"), [part()], **{"yield": "100"}).amount == Decimal(20000)


def test_a_missing_driver_is_never_a_silent_zero() -> None:
    two = plan(component("a", "0.4"), component("b", "0.6"))
    found = paid(two, [part()], a="100", b=None)
    assert (found.amount, found.program.missing, found.of("b.pays")) == (Decimal("8000.00"), ("no score of b",), None)
    assert paid(two, [part()], partial=False, a="100", b=None).amount is None
    assert paid(two, [part()], a=None, b=None).amount is None


def test_two_assignments_in_a_period_add_up_before_the_one_rounding() -> None:
    found = paid(plan(), [part("0.01", days=30)] * 3, **{"yield": "100"})
    assert found.amount == Decimal("0.01")


def test_half_a_cent_rounds_up() -> None:
    assert paid(plan(), [part("0.05")], **{"yield": "10"}).amount == Decimal("0.01")
    assert paid(plan(currency="JPY"), [part("1")], **{"yield": "50"}).amount == Decimal(1)


@pytest.mark.parametrize("kind", ["month", "quarter", "half_year", "year", "week", "day"])
def test_labels_tell_their_kind(kind: Any) -> None:
    from shared.periods import periods_between

    for period in periods_between(Calendar("UTC", 4), kind, YEAR_START, YEAR_START + timedelta(days=400)):
        assert period_kind(period.label) == kind


def test_links_lead_to_the_owner_of_the_number() -> None:
    assert source_link("scorecard", "hq", "", "2025", 1) == "/goals/v1/scores/scorecard/hq/2025/explanation?version=1"
    reading = source_link("reading", "sales", "unit:hq", "2025-Q1", 4)
    assert reading == "/metrics/v1/readings/explanation?metric=sales&subject=unit%3Ahq&period=2025-Q1&version=4"
