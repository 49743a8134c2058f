"""Calculations as data: a list of steps, each one exact operation on literals and on earlier steps.

A step's value is what its operation says, so an explanation cannot tell another story than the calculation did, and
`docs/plans.md` says enough for anybody to compute it again. A program is written once for all people whose calculation
has the same shape: what is the same for all of them is computed once, and a person's run computes only the rest.
"""

import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache, reduce
from typing import Any

from services.incentives.plans.definitions import Tiers, parse_tiers, pay, reached
from shared.contracts.base import Citation
from shared.curves import Curve, evaluate, parse_curve
from shared.money import Money, split
from shared.numbers import ROUNDING, divide, multiply, plain, subtract, total

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
text_of = lru_cache(maxsize=65_536)(plain)  # shares, factors and days are alike for many
_CURRENCY_WITH = {0: "JPY", 2: "CNY", 3: "KWD", 4: "CLF"}  # by digits: a step names digits, a split takes a currency
Given = tuple[Decimal, Citation | None, str]
"""A value of a person's own, where it comes from, and words, where they differ from person to person."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `of` are its arguments: `@id` of an earlier step, or a literal; `value` is None where nothing is known.

    `own` says whether it differs from person to person; `source` names what a person's own `given` is taken from.
    """

    id: str
    name: str
    op: str
    of: tuple[str, ...]
    how: str = ""
    cites: tuple[Citation, ...] = ()
    value: Decimal | None = None
    own: bool = False
    source: Hashable = None

    def as_json(self) -> dict[str, Any]:
        """As statements and explanations carry it."""
        cites = {"cites": [cite.model_dump(exclude_none=True) for cite in self.cites]} if self.cites else {}
        value = None if self.value is None else plain(self.value)
        return {
            "id": self.id, "name": self.name, "op": self.op, "of": list(self.of), "value": value, "how": self.how
        } | cites  # fmt: skip


def from_json(data: Mapping[str, Any]) -> Step:
    """The step that `as_json` wrote; one without a value is a person's own."""
    cites = tuple(Citation.model_validate(cite) for cite in data.get("cites", ()))
    value = data.get("value")
    own = value is None and data["op"] != "missing"
    return Step(
        data["id"], data["name"], data["op"], tuple(data["of"]), data["how"], cites,
        None if value is None else Decimal(value), own,
    )  # fmt: skip


class Draft:
    """Writes a calculation down, step by step; `add` answers with the reference by which later steps name it."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.missing: list[str] = []
        self._own: set[str] = set()

    def add(self, id: str, name: str, op: str, *of: str, how: str = "", cites: Sequence[Citation] = ()) -> str:
        self._keep(Step(id, name, op, of, how, tuple(cites), own=not self._own.isdisjoint(of)))
        return f"@{id}"

    def given(self, id: str, name: str, value: Decimal, how: str = "", *cites: Citation) -> str:
        """A value that is the same for everybody."""
        return self.add(id, name, "given", plain(value), how=how, cites=cites)

    def own(self, id: str, name: str, source: Hashable, how: str = "") -> str:
        """A value of a person's own; given once, however often it is asked for."""
        if f"@{id}" not in self._own:
            self._keep(Step(id, name, "given", (), how, own=True, source=source))
        return f"@{id}"

    def lacks(self, id: str, name: str, reason: str) -> None:
        """Something is not known: later steps go without it, and the calculation is incomplete for that reason."""
        self._keep(Step(id, name, "missing", (), reason))
        self.missing.append(reason)

    def _keep(self, step: Step) -> None:
        self.steps.append(step)
        if step.own:
            self._own.add(f"@{step.id}")


class Program:
    """A calculation for all people of one shape. `missing` says why it is incomplete, or, not `payable`, has no result.

    Not for several threads: a run leaves its values in place.
    """

    def __init__(self, steps: Sequence[Step], missing: Sequence[str] = (), *, payable: bool = True) -> None:
        self.missing, self.payable = tuple(missing), payable
        self.values: dict[str, Any] = {arg: _literal(arg) for step in steps for arg in step.of if arg[0] != "@"}
        self.steps = tuple(self._shared(step) for step in steps)
        self.own = own = tuple(step for step in self.steps if step.own)
        self.sources = tuple(step.source for step in own if step.op == "given")
        self._givens = tuple(f"@{step.id}" for step in own if step.op == "given")
        self._rest = tuple((f"@{step.id}", OPERATIONS[step.op], step.of) for step in own if step.op != "given")
        self.result = f"@{steps[-1].id}"

    def run(self, givens: Sequence[Decimal]) -> Decimal | None:
        """The last step's value for one person, whose own values are given in the order of `sources`."""
        values = self.values
        values.update(zip(self._givens, givens, strict=True))
        for reference, operation, of in self._rest:
            values[reference] = operation(*[values[arg] for arg in of])
        result: Decimal | None = values[self.result] if self.payable else None
        return result

    def of(self, id: str) -> Decimal | None:
        """A step's value in the last run; None where there is no such step, or no value."""
        value: Decimal | None = self.values.get(f"@{id}")
        return value

    def expand(self, givens: Sequence[Given]) -> list[Step]:
        """Every step with its value and words, for one person."""
        self.run([given[0] for given in givens])
        own = iter(givens)
        return [self._whole(step, next(own) if step.own and step.op == "given" else None) for step in self.steps]

    def _shared(self, step: Step) -> Step:
        if step.own or step.op == "missing":
            return step
        value = OPERATIONS[step.op](*[self.values[arg] for arg in step.of])
        self.values[f"@{step.id}"] = value
        return _worded(step, value, self.values)

    def _whole(self, step: Step, given: Given | None) -> Step:
        if given:
            value, cite, how = given
            cites = (cite,) if cite else ()
            return replace(step, of=(plain(value),), value=value, how=how or step.how, cites=cites)
        return _worded(step, self.values[f"@{step.id}"], self.values) if step.own else step


def _worded(step: Step, value: Decimal, values: Mapping[str, Any]) -> Step:
    how = words_of(step, value, values) if step.op in WORDS and step.value is None else step.how
    return replace(step, value=value, how=how)


def words_of(step: Step, value: Decimal, values: Mapping[str, Any]) -> str:
    """The words of a step whose operation is one of `WORDS`, for a value that it has."""
    words = WORDS[step.op](value, *[values[arg] for arg in step.of])
    return f"{step.how}, {words}" if step.how and words else step.how or words


def _literal(text: str) -> Any:
    return Decimal(text) if _NUMBER.fullmatch(text) else text


@lru_cache(maxsize=4096)
def _curve(text: str) -> Curve:
    return parse_curve(json.loads(text))


@lru_cache(maxsize=4096)
def _tiers(text: str) -> Tiers:
    return parse_tiers(json.loads(text))


def _round(value: Decimal, digits: Decimal) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-int(digits)), ROUND_HALF_UP, context=ROUNDING)


def _split(whole: Decimal, digits: Decimal, who: str, *pairs: Any) -> Decimal:
    parts = split(Money(whole, _CURRENCY_WITH[int(digits)]), list(zip(pairs[::2], pairs[1::2], strict=True)))
    return parts[who].amount


def minor(amount: Decimal, digits: int) -> int:
    """An amount of whole minor units as their number."""
    return int(amount.scaleb(digits, context=ROUNDING))


def scaled_minor(whole: Decimal, weight: Decimal, of: Decimal, digits: int) -> int:
    """The whole minor units of `whole` × weight / of, cut off exactly; 0 where there is no weight at all."""
    if of == 0:
        return 0
    places = -min(int(number.as_tuple().exponent) for number in (weight, of, Decimal(1)))
    mine, all_ = (int(number.scaleb(places, context=ROUNDING)) for number in (weight, of))
    return minor(whole, digits) * mine // all_


def _scale(whole: Decimal, weight: Decimal, of: Decimal, extra: Decimal, digits: Decimal) -> Decimal:
    return Decimal(scaled_minor(whole, weight, of, int(digits)) + int(extra)).scaleb(-int(digits), context=ROUNDING)


OPERATIONS: Mapping[str, Callable[..., Decimal]] = {
    "given": lambda value: value,
    "constant": lambda value: value,
    "sum": lambda *values: total(values),
    "difference": subtract,
    "product": lambda *values: reduce(multiply, values),
    "quotient": divide,
    "minimum": min,
    "maximum": max,
    "at_least": lambda value, bound: Decimal(value >= bound),
    "curve": lambda value, curve: evaluate(_curve(curve), value).value,
    "tiers": lambda value, tiers: pay(_tiers(tiers), value),
    "round": _round,
    "split": _split,
    "scale": _scale,
}  # fmt: skip


def _of_curve(_result: Decimal, value: Decimal, curve: str) -> str:
    found = evaluate(_curve(curve), value)
    return f"{_curve(curve).kind}, {found.segment}" + (", held there" if found.clamped else "")


def _of_tiers(_result: Decimal, value: Decimal, tiers: str) -> str:
    table = _tiers(tiers)
    tier = reached(table, value)
    on = "on all of it" if table.mode == "whole" else "on what lies above, each tier below at its own rate"
    return f"tier from {plain(tier.start)}: rate {plain(tier.rate)} {on}"


WORDS: Mapping[str, Callable[..., str]] = {
    "curve": _of_curve,
    "tiers": _of_tiers,
    "at_least": lambda _, value, bound: (
        f"at least {plain(bound)}: met" if value >= bound else f"below {plain(bound)}: not met, pays nothing"
    ),
    "minimum": lambda result, value, bound: "held there" if result != value else "not reached",
    "maximum": lambda result, value, bound: "raised to it" if result != value else "not needed",
}
