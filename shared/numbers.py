"""Exact decimals: what may enter, how they are computed and how they leave.

Only division rounds. Python's own operators round at 28 digits, so sums, differences and products of readings go
through `add`, `subtract`, `multiply` and `total`; negate with `copy_negate()`, take absolutes with `copy_abs()`.
"""

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from functools import reduce
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from shared.errors import Invalid

INTEGER_DIGITS, FRACTION_DIGITS = 18, 10
PATTERN = rf"-?[0-9]{{1,{INTEGER_DIGITS}}}(\.[0-9]{{1,{FRACTION_DIGITS}}})?"

# The longest formula multiplies 1,000 quotients of 34 digits; whatever exceeds the precision is an error, not rounded.
EXACT = Context(prec=100_000, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])
ROUNDING = Context(prec=100_000, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
_QUOTIENT = Context(prec=34, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])
_PUBLISHED = Decimal(1).scaleb(-FRACTION_DIGITS)
_DECIMAL = re.compile(PATTERN)

add = EXACT.add
subtract = EXACT.subtract
multiply = EXACT.multiply


class NumberOutOfRange(Invalid):
    """The text is not a plain decimal of at most 18 integer and 10 fraction digits."""


def total(values: Iterable[Decimal]) -> Decimal:
    """The exact sum; zero for no values."""
    return reduce(add, values, Decimal(0))


def divide(a: Decimal, b: Decimal) -> Decimal:
    """a / b to 34 digits, half-even. Raises decimal.DivisionByZero or, for 0 / 0, decimal.InvalidOperation."""
    return _QUOTIENT.divide(a, b)


def parse_decimal(text: str) -> Decimal:
    """The number that a plain decimal text stands for. Raises NumberOutOfRange.

    >>> parse_decimal("1234567890123456.78")
    Decimal('1234567890123456.78')
    """
    if not _DECIMAL.fullmatch(text):
        raise NumberOutOfRange(
            f"A number is plain digits, at most {INTEGER_DIGITS} before and {FRACTION_DIGITS} after the point.",
            remedy='Write it like "1234.50": no exponent, no thousands separators, no spaces.',
        )
    return Decimal(text)


def plain(d: Decimal) -> str:
    """Canonical text: no exponent, no trailing zeros, no negative zero.

    >>> [plain(Decimal(x)) for x in ("1E+2", "0.50", "-0.0")]
    ['100', '0.5', '0']
    """
    if not d.is_finite():
        raise NumberOutOfRange("NaN and Infinity are not numbers that can be written.")
    text = f"{d:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def published(d: Decimal) -> Decimal:
    """At most 10 decimals, half-even: the form in which a reading that is not money leaves the product."""
    exponent = d.as_tuple().exponent
    if isinstance(exponent, int) and exponent >= -FRACTION_DIGITS:
        return d
    return d.quantize(_PUBLISHED, context=ROUNDING)


def _from_wire(value: object) -> Decimal:
    # Exactly Decimal: a JSON number arrives as a subclass of it, and is refused.
    if type(value) is Decimal and value.is_finite():
        return value
    if not isinstance(value, str):
        raise PydanticCustomError(
            "decimal_string", 'Send the number as a string, like "1234.50": a JSON number loses digits on its way.'
        )
    try:
        return parse_decimal(value)
    except NumberOutOfRange as error:
        raise PydanticCustomError("decimal_string", str(error)) from None


DecimalString = Annotated[
    Decimal,
    PlainValidator(_from_wire),
    PlainSerializer(plain, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^{PATTERN}$", "examples": ["1234.50"]}),
]
"""A decimal on the wire: a string in and out. Its schema promises 10 decimals: `published` comes before it."""
