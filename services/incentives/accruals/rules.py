"""From driver values to an amount, in the one order of steps of mechanism M11, written down as a program.

driver → converted → gate → + points, at most the highest score → curve → × component factor → accelerator → cap, floor
→ × weight → plan cap, floor → × target amount × team × job family × individual factor × share × eligible days
→ + components that pay an amount → / days of the period → cap → scaled to the budget → guarantee → rounded half-up once
→ override → clawback window. Docs: docs/plans.md.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.incentives.accruals.definitions import Person, Scale, Segment, Shape, Terms, Value, driver_cite, no_value
from services.incentives.entitlements.steps import Draft, Program, Step, minor
from services.incentives.plans.definitions import is_tiers
from services.incentives.plans.rules import DriverKey
from shared.contracts.base import Citation
from shared.contracts.incentives import Component, Driver
from shared.money import is_currency, minor_digits
from shared.numbers import ROUNDING, plain, subtract, total

ONE = Decimal(1)


def calculation(terms: Terms, shape: Shape) -> Program:
    """The program of a plan for all people of one shape; not payable where nothing is known, or too little by policy.

    Its values by id: `<component>.pays` and `factor` of each segment (behind its prefix), `part.<n>`, `unrounded`,
    `rounded`; the result is the last step, in the plan's currency.
    """
    draft, paid = Draft(), list[str]()
    for number, segment in enumerate(terms.segments):
        mine = [(k, guaranteed) for k, (of, guaranteed) in enumerate(shape.parts) if of == number]
        if mine or len(terms.segments) == 1:
            paid += _Lines(draft, terms, segment, shape.lacking).paid([k for k, _ in mine])
    if terms.blocked:
        draft.lacks("budget", "Budget", terms.blocked)
    payable = bool(paid) and not terms.blocked and (terms.partial or not draft.missing)
    if payable:
        _amount(draft, terms, shape, paid)
    elif shape.override:
        draft.own("override", "Override", ("override", None), "decided; nothing could be computed")
    return Program(draft.steps, draft.missing, payable=payable or shape.override)


class Calculator:
    """Computes people of one plan: one program for each shape, and then only what is a person's own."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self._programs: dict[Shape, Program] = {}

    def program(self, person: Person) -> Program:
        shape = person.shape(self.terms)
        if shape not in self._programs:
            self._programs[shape] = calculation(self.terms, shape)
        return self._programs[shape]

    def compute(self, person: Person) -> tuple[Program, list[Decimal], Decimal | None]:
        """The program, the person's own values, and the amount [currency]; None where it is not known."""
        program = self.program(person)
        givens = [person.given(source) for source in program.sources]
        return program, givens, program.run(givens)

    def steps(self, person: Person) -> list[Step]:
        """Every step of a person's calculation."""
        program = self.program(person)
        return program.expand([person.cited(source, self.terms.period) for source in program.sources])


def left_over(whole: Decimal, earned: Mapping[str, Decimal], digits: int) -> set[str]:
    """Who gets a minor unit more when a budget is split by what was earned: the largest remainders, ties by id.

    Args:
        whole: the budget, in whole minor units [currency].
        earned: unrounded amount of each payee [currency], nothing below zero.
    """
    all_ = total(earned.values())
    if all_ == 0:
        return set()
    places = max(-int(amount.as_tuple().exponent) for amount in [*earned.values(), Decimal(0)])
    units = {payee: int(amount.scaleb(places, context=ROUNDING)) for payee, amount in earned.items()}
    base, budget = sum(units.values()), minor(whole, digits)
    missing = budget - sum(budget * mine // base for mine in units.values())
    return set(sorted(units, key=lambda payee: (-(budget * units[payee] % base), payee))[:missing])


@dataclass(frozen=True, slots=True)
class _Lines:
    """Writes down what one version of a plan pays."""

    draft: Draft
    terms: Terms
    segment: Segment
    lacking: frozenset[DriverKey]

    def paid(self, parts: Sequence[int]) -> list[str]:
        """The steps to add up, each an amount × days."""
        lines = [(component, self.component(component)) for component in self.segment.plan.components]
        shares = [line for component, line in lines if line and not is_tiers(component.curve)]
        amounts = [(component, line) for component, line in lines if line and is_tiers(component.curve)]
        factor = self.factor(shares) if shares else None
        found = [self.part(k, factor) for k in parts] if factor else []
        return found + [self.amount(component, line, parts) for component, line in amounts if parts]

    def factor(self, shares: Sequence[str]) -> str:
        plan, at = self.segment.plan, self.segment.prefix
        found = self.draft.add(f"{at}factor", "Payout factor", "sum", *shares, how="of the components with a value")
        if plan.cap is not None:
            found = self.draft.add(f"{at}cap", "Plan: cap", "minimum", found, plain(plan.cap))
        if plan.floor is not None:
            found = self.draft.add(f"{at}floor", "Plan: floor", "maximum", found, plain(plan.floor))
        return found

    def part(self, k: int, factor: str) -> str:
        """Target amount × every factor × share × eligible days of one assignment."""
        plan, own, at = self.segment.plan, self.draft.own, f"part.{k + 1}"
        factors = [factor, own(f"{at}.target", "Target amount", ("target_amount", k), "for a whole period")]
        factors += [plain(plan.factor)] if plan.factor != 1 else []
        if plan.families:
            factors.append(own(f"{at}.family", "Job family factor", ("family_factor", k)))
        factors.append(own(f"{at}.individual", "Individual factor", ("individual_factor", k)))
        how = "payout factor × target amount" + (f" × team factor {plain(plan.factor)}" if plan.factor != 1 else "")
        how += (" × job family factor" if plan.families else "") + " × individual factor × share × eligible days"
        return self.draft.add(at, f"Assignment {k + 1}", "product", *factors, *self.time(k), how=how)

    def time(self, k: int) -> tuple[str, str]:
        own, at = self.draft.own, f"part.{k + 1}"
        share = own(f"{at}.share", "Part-time share", ("share", k))
        return share, own(f"{at}.days", "Eligible days", ("eligible_days", k), "in the period")

    def amount(self, component: Component, line: str, parts: Sequence[int]) -> str:
        """An amount × the days it counts for: those of the plan's version, or what the person was there for."""
        at, draft, factor = f"{self.segment.prefix}{component.code}", self.draft, plain(self.segment.plan.factor)
        if not component.prorated:
            how = "× team factor × days, which are divided out again"
            return draft.add(f"{at}.paid", component.name, "product", line, factor, str(self.segment.days), how=how)
        times = [draft.add(f"{at}.time.{k + 1}", "Days there", "product", *self.time(k)) for k in parts]
        there = draft.add(f"{at}.time", "Days there", "sum", *times)
        return draft.add(f"{at}.paid", component.name, "product", line, factor, there, how="× team factor × days there")

    def component(self, component: Component) -> str | None:
        """A component's share of the target amount, or its amount; None where its driver has no value."""
        at, name, add = f"{self.segment.prefix}{component.code}", component.name, self.draft.add
        driver = self.driver(f"{at}.driver", name, component.driver)
        if not (value := driver and self.converted(at, component, driver)):
            return None
        gate = None
        if component.gate is not None:
            gate = add(f"{at}.gate", f"{name}: gate", "at_least", value, plain(component.gate))
        value = self.with_points(at, component, value)
        op = "tiers" if is_tiers(component.curve) else "curve"
        plan = Citation(what="plan", code=self.terms.code, version=self.segment.version)
        table = json.dumps(component.curve, sort_keys=True)
        found = add(f"{at}.{op}", f"{name}: {op}", op, value, table, cites=[plan])
        if component.factor != 1:
            found = add(f"{at}.factor", f"{name}: factor", "product", found, plain(component.factor))
        found = self.accelerated(at, component, found)
        if component.cap is not None:
            found = add(f"{at}.cap", f"{name}: cap", "minimum", found, plain(component.cap))
        how = "a bonus does not become a debt" if component.floor == 0 else ""
        found = add(f"{at}.floor", f"{name}: at least", "maximum", found, plain(component.floor), how=how)
        weight = [] if is_tiers(component.curve) else [plain(component.weight)]
        how = " × ".join(["weight"] * len(weight) + ["gate"] * (gate is not None))
        return add(f"{at}.pays", f"{name}: pays", "product", found, *weight, *([gate] if gate else []), how=how)

    def driver(self, id: str, name: str, driver: Driver) -> str | None:
        key, terms = DriverKey.of(driver), self.terms
        label = f"{driver.kind} {driver.code}"
        if driver.own and key not in self.lacking:
            return self.draft.own(id, name, ("driver", key), f"{label} of the person")
        found = Value(None, no_value(driver, terms.period)) if driver.own else terms.values[key]
        if found.value is None:
            self.draft.lacks(id, name, found.reason or "There is no value, and no reason came with it.")
            return None
        return self.draft.given(id, name, found.value, label, driver_cite(key, terms.period, found))

    def converted(self, at: str, component: Component, value: str) -> str | None:
        """Money of a table of rates is the plan's; any other reading counts as it is."""
        key, wanted = DriverKey.of(component.driver), self.segment.plan.currency
        unit = found.unit if (found := self.terms.values.get(key)) else None
        if not is_tiers(component.curve) or unit is None or not is_currency(unit) or unit == wanted:
            return value
        pair, name = f"{unit}-{wanted}", component.name
        rate = self.terms.rates.get(pair)
        if rate is None:
            self.draft.lacks(f"{at}.rate", f"{name}: rate", f"There is no rate {pair} on the last day of the period.")
            return None
        cite = Citation(what="rate", code=pair, version=rate.version, value=plain(rate.rate))
        given = self.draft.given(f"{at}.rate", f"{name}: rate", rate.rate, f"{wanted} for one {unit}", cite)
        return self.draft.add(f"{at}.converted", f"{name}: in {wanted}", "product", value, given)

    def with_points(self, at: str, component: Component, value: str) -> str:
        earned = []
        for i, points in enumerate(component.points, 1):
            name = f"{component.name}: collaboration {i}"
            if driver := self.driver(f"{at}.points.{i}.driver", name, points.driver):
                met = self.draft.add(f"{at}.points.{i}.met", name, "at_least", driver, plain(points.at_least))
                earned.append(self.draft.add(f"{at}.points.{i}", name, "product", met, plain(points.points)))
        if not earned:
            return value
        found = self.draft.add(f"{at}.points", f"{component.name}: with points", "sum", value, *earned)
        highest, name = plain(self.terms.highest), f"{component.name}: highest score"
        return self.draft.add(f"{at}.score", name, "minimum", found, highest)

    def accelerated(self, at: str, component: Component, found: str) -> str:
        if not (faster := component.accelerator):
            return found
        add, name = self.draft.add, f"{component.name}: accelerator"
        over = add(f"{at}.over", name, "difference", found, plain(faster.above), how="over the threshold")
        over = add(f"{at}.above", name, "maximum", over, "0")
        more = add(f"{at}.more", name, "product", over, plain(subtract(faster.factor, ONE)), how="factor less 1")
        return add(f"{at}.accelerated", name, "sum", found, more)


def _amount(draft: Draft, terms: Terms, shape: Shape, paid: Sequence[str]) -> None:
    """From amounts × days to the amount payable."""
    plan, add, digits = terms.plan, draft.add, str(minor_digits(terms.plan.currency))
    found = paid[0] if len(paid) == 1 else add("sum", "Sum", "sum", *paid, how="of everything earned, × days")
    found = add("unrounded", "By days", "quotient", found, str(terms.days), how="/ days of the period")
    if plan.amount_cap is not None:
        found = add("highest", "Highest amount", "minimum", found, plain(plan.amount_cap))
    if terms.scale:
        found = _scaled(draft, terms.scale, found, digits)
    guaranteed = [k for k, (_, guaranteed) in enumerate(shape.parts) if guaranteed]
    if guaranteed:
        found = _guaranteed(draft, terms, found, guaranteed)
    found = add("rounded", "Rounded", "round", found, digits, how=f"half-up to the minor unit of {plan.currency}, once")
    if shape.override:
        draft.own("override", "Override", ("override", None), "decided; replaces what was computed")
    if shape.kept:
        before = draft.own("before", "Amount before", ("kept", None))
        how = f"nothing is taken back later than {plan.clawback_days} days after the period"
        add("kept", "Clawback window", "maximum", found, before, how=how)


def _scaled(draft: Draft, scale: Scale, found: str, digits: str) -> str:
    whole = draft.given("budget", "Budget", scale.whole, "of the whole plan", scale.cite)
    earned = draft.given("budget.earned", "Earned by all", scale.earned, "unrounded, by all people of the plan")
    extra = draft.own("budget.extra", "Minor unit left over", ("extra", None), "to the largest remainders")
    return draft.add("scaled", "Scaled to the budget", "scale", whole, found, earned, extra, digits)


def _guaranteed(draft: Draft, terms: Terms, found: str, parts: Sequence[int]) -> str:
    least = []
    for k in parts:
        at = f"part.{k + 1}"
        amount = draft.own(f"{at}.guarantee", "Guarantee", ("guarantee", k), "for a whole period")
        share = draft.own(f"{at}.share", "Part-time share", ("share", k))
        days = draft.own(f"{at}.days", "Eligible days", ("eligible_days", k), "in the period")
        least.append(draft.add(f"{at}.least", "Guarantee by days", "product", amount, share, days))
    whole = draft.add("guarantee.sum", "Guarantee", "sum", *least)
    least_paid = draft.add("guarantee", "Guarantee", "quotient", whole, str(terms.days), how="/ days of the period")
    return draft.add("guaranteed", "At least the guarantee", "maximum", found, least_paid)
