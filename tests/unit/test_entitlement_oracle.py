"""Random plans and people, three ways: as they are paid in bulk, step by step, and by a plain computation."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.incentives.accruals.definitions import Part, Person, Scale, Segment, Terms, Value
from services.incentives.accruals.rules import Calculator, left_over
from services.incentives.entitlements.compute import own_values, template
from services.incentives.entitlements.steps import Program, from_json
from services.incentives.plans.rules import OWN, DriverKey, drivers_of
from shared.contracts.base import Citation
from shared.contracts.incentives import Plan
from shared.money import Money, split
from shared.numbers import plain
from tests.acceptance.paying import on_curve, on_tiers, recompute

EXACT = Context(prec=50_000)
QUOTIENT = Context(prec=34, rounding=ROUND_HALF_EVEN)
DAYS = 90


def decimals(low: str, high: str, places: int = 2) -> Any:
    return st.decimals(low, high, places=places, allow_nan=False).map(plain)


def times(*numbers: Decimal) -> Decimal:
    result = Decimal(1)
    for number in numbers:
        result = EXACT.multiply(result, number)
    return result


def plus(*numbers: Decimal) -> Decimal:
    result = Decimal(0)
    for number in numbers:
        result = EXACT.add(result, number)
    return result


CURVES = st.one_of(
    st.fixed_dictionaries({"kind": st.just("linear"), "slope": decimals("-0.02", "0.03", 4), "floor": st.just("0")}),
    st.builds(
        lambda a, b, y: {"kind": "interpolated", "points": [[a, "0"], [plain(Decimal(a) + Decimal(b)), y]]},
        decimals("0", "80"), decimals("1", "60"), decimals("0", "2", 3),
    ),
    st.builds(
        lambda at, low, high: {"kind": "step", "bands": [{"from": None, "to": at, "value": low},
                                                         {"from": at, "to": None, "value": high}]},
        decimals("1", "119"), decimals("0", "1", 3), decimals("0", "2", 3),
    ),
)  # fmt: skip
TABLES = st.builds(
    lambda mode, at, low, high: {"kind": "tiers", "mode": mode, "tiers": [
        {"from": "0", "to": at, "rate": low}, {"from": at, "to": None, "rate": high}]},
    st.sampled_from(("marginal", "whole")), decimals("1", "5000"), decimals("0", "0.2", 4), decimals("0", "0.3", 4),
)  # fmt: skip


@st.composite
def components(draw: Any, number: int) -> dict[str, Any]:
    tiers, own = draw(st.booleans()), draw(st.booleans())
    score = {"kind": "goal", "code": f"g{number}"}
    reading = {"kind": "reading", "code": f"r{number}"} | ({"own": True} if own else {"subject": "unit:a"})
    driver = reading if tiers or own else score
    found: dict[str, Any] = {"code": f"c{number}", "name": "C", "driver": driver, "weight": "0",
                             "curve": draw(TABLES if tiers else CURVES), "prorated": draw(st.booleans())}  # fmt: skip
    bounds = {"gate": ("1", "110"), "cap": ("0.5", "900"), "floor": ("0", "0.4"), "factor": ("0", "2")}
    for name, (low, high) in bounds.items():
        if draw(st.booleans()):
            found[name] = draw(decimals(low, high))
    if draw(st.booleans()):
        found["accelerator"] = {"above": draw(decimals("0.1", "2")), "factor": draw(decimals("0.5", "3"))}
    if driver is score and draw(st.booleans()):
        found["points"] = [{"driver": {"kind": "goal", "code": "shared"}, "points": draw(decimals("1", "30"))}]
    return found


@st.composite
def plans(draw: Any) -> Plan:
    found = [draw(components(number)) for number in range(draw(st.integers(1, 4)))]
    shares = [one for one in found if one["curve"]["kind"] != "tiers"]
    for one, weight in zip(
        shares, (["1"], ["0.3", "0.7"], ["0.2", "0.3", "0.5"], ["0.25"] * 4)[len(shares) - 1], strict=False
    ):
        one["weight"] = weight
    more = {name: draw(values) for name, values in (
        ("factor", decimals("0", "3")), ("cap", decimals("0.3", "2")), ("floor", decimals("0", "0.3")),
        ("amount_cap", decimals("10", "30000"))) if draw(st.booleans())}  # fmt: skip
    families = draw(st.sampled_from(({}, {"core": "2.5"})))
    currency = draw(st.sampled_from(("CNY", "JPY", "KWD")))
    return Plan.model_validate({"name": "P", "period": "quarter", "currency": currency, "components": found,
                                "families": families} | more)  # fmt: skip


@st.composite
def people(draw: Any, plan: Plan, number: int) -> Person:
    keys = {DriverKey.of(driver) for driver in drivers_of(plan) if driver.own}
    drivers = {key: Value(draw(st.none() | decimals("-50", "9000", 4).map(Decimal)), "none", 1) for key in sorted(keys)}
    parts = tuple(
        Part(
            f"a{k}", 1, Decimal(draw(st.integers(0, 90_000))), Decimal(draw(decimals("0.1", "1"))),
            Decimal(draw(decimals("0", "3"))), Decimal(draw(st.integers(1, 45))),
            family_factor=Decimal("2.5") if plan.families and draw(st.booleans()) else Decimal(1),
            guarantee=draw(st.none() | st.integers(0, 20_000).map(Decimal)),
        )
        for k in range(draw(st.integers(1, 2)))
    )  # fmt: skip
    return Person(f"person:{number}", parts, drivers)


def oracle(plan: Plan, person: Person, values: Mapping[DriverKey, Value]) -> tuple[Decimal | None, Decimal | None]:
    """The unrounded amount before a guarantee, and the amount, by the words of docs/plans.md."""
    share, amount, known = Decimal(0), Decimal(0), False
    factor, shares = Decimal(0), False
    there = plus(*(times(part.share, part.eligible_days) for part in person.parts))
    for component in plan.components:
        key = DriverKey.of(component.driver)
        value = (person.drivers if key.subject == OWN else values)[key].value
        if value is None:
            continue
        known, x = True, value
        if component.points:
            shared = values[DriverKey("goal", "shared", "")].value
            if shared is not None:
                met = [one.points for one in component.points if shared >= one.at_least]
                x = min(plus(value, *met), Decimal(120))
        tiers = component.curve["kind"] == "tiers"
        y = times((on_tiers if tiers else on_curve)(x, component.curve), component.factor)
        if faster := component.accelerator:
            above = max(EXACT.subtract(y, faster.above), Decimal(0))
            y = plus(y, times(above, EXACT.subtract(faster.factor, Decimal(1))))
        if component.cap is not None:
            y = min(y, component.cap)
        y = max(y, component.floor)
        if component.gate is not None and value < component.gate:
            y = Decimal(0)
        if tiers:
            amount = plus(amount, times(y, plan.factor, there if component.prorated else Decimal(DAYS)))
        else:
            shares, factor = True, plus(factor, times(y, component.weight))
    if not known:
        return None, None
    if shares:
        factor = factor if plan.cap is None else min(factor, plan.cap)
        factor = factor if plan.floor is None else max(factor, plan.floor)
        for p in person.parts:
            basis = times(p.target_amount, p.family_factor, p.individual_factor, p.share, p.eligible_days)
            share = plus(share, times(basis, factor, plan.factor))
    unrounded = QUOTIENT.divide(plus(share, amount), Decimal(DAYS))
    if plan.amount_cap is not None:
        unrounded = min(unrounded, plan.amount_cap)
    return unrounded, rounded(guaranteed(person, unrounded), plan)


def guaranteed(person: Person, amount: Decimal) -> Decimal:
    least = [times(p.guarantee, p.share, p.eligible_days) for p in person.parts if p.guarantee is not None]
    return max(amount, QUOTIENT.divide(plus(*least), Decimal(DAYS))) if least else amount


def rounded(amount: Decimal, plan: Plan) -> Decimal:
    digits = {"CNY": 2, "JPY": 0, "KWD": 3}[plan.currency]
    return amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP, context=EXACT)


def three_ways(calculator: Calculator, person: Person) -> Decimal | None:
    """The amount in bulk; step by step, and out of what is stored, it is the same, also to a plain computation."""
    program, _, amount = calculator.compute(person)
    steps = calculator.steps(person)
    if amount is not None:
        assert Decimal(recompute([step.as_json() for step in steps])) == amount == steps[-1].value
        givens = [person.cited(source, "2025-Q1") for source in program.sources]
        kept = Program([from_json(step) for step in template(program)[1].obj])
        assert [step.as_json() for step in kept.expand(givens)] == [step.as_json() for step in steps]
        assert len(own_values(givens)) == len(givens)
    return amount


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_bulk_steps_and_a_plain_computation_come_to_the_same_amounts(data: st.DataObject) -> None:
    plan = data.draw(plans())
    shared = {DriverKey.of(driver) for driver in drivers_of(plan) if not driver.own}
    values = {
        key: Value(data.draw(st.none() | decimals("-9", "5000", 6).map(Decimal)), "none", 1) for key in sorted(shared)
    }
    own = {DriverKey.of(driver): Value(None) for driver in drivers_of(plan) if driver.own}
    terms = Terms("p", "2025-Q1", DAYS, (Segment(1, plan, DAYS, date(2025, 1, 1)),), values | own)
    calculator = Calculator(terms)
    crowd = [data.draw(people(plan, number)) for number in range(4)]
    found = {person.payee: oracle(plan, person, values) for person in crowd}
    for person in crowd:
        assert three_ways(calculator, person) == found[person.payee][1]
    earned = {payee: unrounded for payee, (unrounded, _) in found.items() if unrounded is not None}
    if earned and sum(earned.values()) > 0:
        _budgeted(plan, terms, crowd, earned, Decimal(data.draw(st.integers(0, 99_999))))


def _budgeted(plan: Plan, terms: Terms, crowd: list[Person], earned: dict[str, Decimal], whole: Decimal) -> None:
    """A budget is shared by what was earned like any split: exactly, the largest remainders first."""
    digits = {"CNY": 2, "JPY": 0, "KWD": 3}[plan.currency]
    extra = left_over(whole, earned, digits)
    scale = Scale(whole, plus(*earned.values()), Citation(what="plan", code="p", version=1))
    calculator = Calculator(replace(terms, scale=scale))
    parts = split(Money(whole, plan.currency), list(earned.items()))
    for person in crowd:
        if person.payee in earned:
            amount = three_ways(calculator, replace(person, extra=Decimal(person.payee in extra)))
            assert amount == rounded(guaranteed(person, parts[person.payee].amount), plan)
