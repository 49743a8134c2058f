"""Tables of rates: a component with one pays an amount, and says of each tier what it is paid on."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal, cast

from shared.curves import MAX_SEGMENTS, CurveInvalid
from shared.numbers import NumberOutOfRange, multiply, parse_decimal, plain, subtract, total

Mode = Literal["marginal", "whole"]


@dataclass(frozen=True, slots=True)
class Tier:
    """From `start` (included) to `end` (excluded; None: and above) the rate is `rate`."""

    start: Decimal
    end: Decimal | None
    rate: Decimal


@dataclass(frozen=True, slots=True)
class Tiers:
    """A table of rates: marginal pays each tier's rate on what lies in it, whole the reached tier's rate on all."""

    mode: Mode
    tiers: tuple[Tier, ...]


def is_tiers(curve: Mapping[str, Any]) -> bool:
    """Whether a component's curve is a table of rates: such a component pays an amount, not a share of the target."""
    return curve.get("kind") == "tiers"


def parse_tiers(mapping: Mapping[str, Any]) -> Tiers:
    """The table that a JSON object describes. Raises CurveInvalid.

    >>> table = {"kind": "tiers", "mode": "whole", "tiers": [{"from": "0", "to": None, "rate": "0.05"}]}
    >>> pay(parse_tiers(table), Decimal(100))
    Decimal('5.00')
    """
    if unknown := sorted(set(mapping) - {"kind", "mode", "tiers"}):
        raise CurveInvalid(f"A table of rates has no member {unknown[0][:40]!r}.", field=unknown[0])
    if mapping.get("mode") not in ("marginal", "whole"):
        rule = "A table of rates says whether a tier's rate counts for what lies in it, or for the whole value."
        raise CurveInvalid(rule, field="mode", remedy='Write "marginal" or "whole".')
    items = mapping.get("tiers")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_SEGMENTS:
        raise CurveInvalid(f"A table of rates has 1 to {MAX_SEGMENTS} tiers.", field="tiers")
    tiers = tuple(_tier(item, f"tiers.{i}") for i, item in enumerate(items))
    _check(tiers)
    return Tiers(cast(Mode, mapping["mode"]), tiers)


def pay(table: Tiers, value: Decimal) -> Decimal:
    """What a table pays for a value, exactly; below zero the first rate counts, so that a return takes back.

    >>> two = (Tier(Decimal(0), Decimal(100), Decimal("0.1")), Tier(Decimal(100), None, Decimal("0.2")))
    >>> [str(pay(Tiers(mode, two), Decimal(150))) for mode in ("marginal", "whole")]
    ['20.0', '30.0']
    """
    if table.mode == "whole" or value < 0:
        return multiply(value, reached(table, value).rate)
    within = ((min(value, value if t.end is None else t.end), t) for t in table.tiers if value > t.start)
    return total(multiply(subtract(end, tier.start), tier.rate) for end, tier in within)


def reached(table: Tiers, value: Decimal) -> Tier:
    """The tier that holds a value: a bound belongs to the tier it opens."""
    return next((tier for tier in reversed(table.tiers) if value >= tier.start), table.tiers[0])


def _check(tiers: tuple[Tier, ...]) -> None:
    if tiers[0].start != 0:
        raise CurveInvalid("The first tier starts at 0: what lies below it would pay nothing.", field="tiers.0.from")
    for i, (a, b) in enumerate(pairwise(tiers), 1):
        if a.end is None or b.start < a.end:
            raise CurveInvalid(f"The tiers from {plain(a.start)} and {plain(b.start)} overlap.", field=f"tiers.{i}")
        if b.start > a.end:
            rule = f"Between {plain(a.end)} and {plain(b.start)} no tier applies."
            remedy = "Let each tier start where the one before ends."
            raise CurveInvalid(rule, field=f"tiers.{i}", remedy=remedy)
    if tiers[-1].end is not None:
        rule = f"Above {plain(tiers[-1].end)} no tier applies."
        raise CurveInvalid(rule, field=f"tiers.{len(tiers) - 1}.to", remedy="Leave the last tier open.")


def _tier(item: object, field: str) -> Tier:
    if not isinstance(item, Mapping) or not {"from", "rate"} <= set(item) <= {"from", "to", "rate"}:
        raise CurveInvalid("A tier has from, to and rate.", field=field)
    start, rate = (_number(item[name], f"{field}.{name}") for name in ("from", "rate"))
    end = None if item.get("to") is None else _number(item["to"], f"{field}.to")
    if end is not None and end <= start:
        raise CurveInvalid(f"The tier from {plain(start)} to {plain(end)} is empty.", field=field)
    return Tier(start, end, rate)


def _number(value: object, field: str) -> Decimal:
    try:
        if isinstance(value, str):
            return parse_decimal(value)
    except NumberOutOfRange as error:
        raise CurveInvalid(error.rule, field=field, remedy=error.remedy) from None
    raise CurveInvalid('A number is written as a string, like "0.05".', field=field)
