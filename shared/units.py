"""Units of measure and their algebra: money over money is a ratio, and money plus hours is refused.

Nothing scales by itself: `h` and `min` are different units until `convert` is asked, and 95 % is the ratio 0.95.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from shared.errors import Invalid
from shared.money import is_currency
from shared.numbers import divide, multiply

_SECONDS = {"d": Decimal(86400), "h": Decimal(3600), "min": Decimal(60), "s": Decimal(1)}
_FACTOR = re.compile(r"([A-Za-z][A-Za-z0-9_]*|1)(?:\^([1-9]))?")
_FREE = re.compile(r"[a-z][a-z0-9_]*")


class UnitUnknown(Invalid):
    """The text does not name a unit."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A product of base symbols, sorted by symbol, none with power zero. `str()` gives the canonical text."""

    powers: tuple[tuple[str, int], ...] = ()

    def __mul__(self, other: "Unit") -> "Unit":
        return _combined(self, other, 1)

    def __truediv__(self, other: "Unit") -> "Unit":
        return _combined(self, other, -1)

    def __str__(self) -> str:
        if not self.powers:
            return "ratio"
        texts = [(symbol if abs(power) == 1 else f"{symbol}^{abs(power)}", power) for symbol, power in self.powers]
        above = "*".join(text for text, power in texts if power > 0)
        return (above or "1") + "".join(f"/{text}" for text, power in texts if power < 0)


RATIO = Unit()
MONEY = Unit((("money", 1),))


@lru_cache(maxsize=4096)
def parse_unit(text: str) -> Unit:
    """The unit that a text such as "CNY/h", "pcs*h", "m^2" or "ratio" names. Raises UnitUnknown.

    >>> str(parse_unit("CNY*h/h/d"))
    'CNY/d'
    """
    if text == "%":
        raise UnitUnknown(
            "'%' is not a unit: shares are kept as ratios.", field="unit", remedy="Use ratio; 0.95 is 95 %."
        )
    if len(text) > 80:
        raise UnitUnknown("A unit has at most 80 characters.", field="unit")
    unit, sign = RATIO, 1
    for i, token in enumerate(re.split(r"([*/])", text)):
        if i % 2:
            sign = 1 if token == "*" else -1
        else:
            unit = _combined(unit, _factor(token, text), sign)
    return unit


def is_money(unit: Unit) -> bool:
    """Whether amounts in this unit are money: one currency, or `money` where any currency is meant."""
    return any(unit == Unit(((symbol, 1),)) and (symbol == "money" or is_currency(symbol)) for symbol, _ in unit.powers)


def is_duration(unit: Unit) -> bool:
    """Whether the unit is d, h, min or s."""
    return any(unit == Unit(((symbol, 1),)) for symbol in _SECONDS)


def accepts(declared: Unit, actual: Unit) -> bool:
    """Whether a value in `actual` may be stored where `declared` is expected: equal, or any currency for `money`."""
    return declared == actual or (declared == MONEY and is_money(actual))


def convert(value: Decimal, from_unit: str, to_unit: str, factors: Mapping[tuple[str, str], Decimal]) -> Decimal | None:
    """The value in another unit of measure; None where no factor is known.

    `factors[("KAR", "ST")] = 12`: one carton is twelve pieces, used both ways; d, h, min and s are built in.

    >>> convert(Decimal(30), "min", "h", {}), convert(Decimal(2), "KAR", "ST", {("KAR", "ST"): Decimal(12)})
    (Decimal('0.5'), Decimal('24'))
    """
    if from_unit == to_unit:
        return value
    if from_unit in _SECONDS and to_unit in _SECONDS:
        return divide(multiply(value, _SECONDS[from_unit]), _SECONDS[to_unit])
    if (factor := factors.get((from_unit, to_unit))) is not None:
        return multiply(value, factor)
    if inverse := factors.get((to_unit, from_unit)):
        return divide(value, inverse)
    return None


def _combined(a: Unit, b: Unit, sign: int) -> Unit:
    powers = dict(a.powers)
    for symbol, power in b.powers:
        powers[symbol] = powers.get(symbol, 0) + sign * power
    return Unit(tuple(sorted((symbol, power) for symbol, power in powers.items() if power)))


def _factor(token: str, text: str) -> Unit:
    match = _FACTOR.fullmatch(token)
    symbol = match[1] if match else ""
    if symbol in ("1", "ratio"):
        return RATIO
    if not match or not (_FREE.fullmatch(symbol) or is_currency(symbol)):
        raise UnitUnknown(
            f"{token[:20]!r} in {text[:40]!r} is not a unit.",
            field="unit",
            remedy="Use a currency (CNY), money, d, h, min, s, a lower-case name (pcs) or a compound such as CNY/h.",
        )
    return Unit(((symbol, int(match[2] or 1)),))
