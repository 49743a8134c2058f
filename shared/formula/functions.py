"""The functions of the two dialects: FORMULA for metrics over readings, MAPPING for expressions over event data."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from shared.formula.syntax import Function
from shared.formula.values import (
    Null,
    Value,
    as_decimal,
    as_items,
    as_text,
    as_truth,
    days_between,
    duration_hours,
    hours_between,
    number,
    round_half_up,
    substring,
    sum_of,
    to_date,
    to_timestamp,
    written,
)
from shared.numbers import divide, total

Closure = Callable[[Any], Value]
MAX_TEXT = 10_000
_ORDERED = "numbers, texts, dates or times"


def _sum(*values: Value) -> Decimal:
    return total(map(as_decimal, values))


def _avg(*values: Value) -> Decimal:
    return divide(_sum(*values), Decimal(len(values)))


def _extreme(choose: Callable[..., Value]) -> Callable[..., Value]:
    def extreme(*values: Value) -> Value:
        if len({value.__class__ for value in values}) > 1 or isinstance(values[0], bool | list | tuple | Mapping):
            raise Null(f"the smallest or largest is taken of {_ORDERED} of one kind")
        try:
            return choose(values)
        except TypeError:
            raise Null("one of the times has no offset") from None

    return extreme


def _if(condition: Closure, then: Closure, otherwise: Closure) -> Closure:
    return lambda scope: then(scope) if as_truth(condition(scope)) else otherwise(scope)


def _coalesce(*options: Closure) -> Closure:
    def run(scope: Any) -> Value:
        reasons = []
        for option in options:
            try:
                return option(scope)
            except Null as null:
                reasons.append(null.reason)
        raise Null("; ".join(reasons)[:400])

    return run


def _exists(value: Closure, wanted: Callable[[Value], bool] = lambda _: True) -> Closure:
    def run(scope: Any) -> bool:
        try:
            return wanted(value(scope))
        except Null:
            return False

    return run


def _is_blank(value: Closure) -> Closure:
    filled = _exists(value, lambda found: bool(found.strip() if isinstance(found, str) else found not in ([], (), {})))
    return lambda scope: not filled(scope)


def _joined(separator: str) -> Callable[..., str]:
    def joined(*values: Value) -> str:
        texts = [written(value) for value in values]
        if sum(map(len, texts)) > MAX_TEXT:
            raise Null(f"a text put together has at most {MAX_TEXT:,} characters")
        return separator.join(texts)

    return joined


_COMMON = {
    "if": Function(3, 3, build=_if),
    "coalesce": Function(1, None, build=_coalesce),
    "abs": Function(1, 1, lambda x: as_decimal(x).copy_abs()),
    "round": Function(1, 2, round_half_up),
    "min": Function(1, None, _extreme(min)),
    "max": Function(1, None, _extreme(max)),
}

FORMULA: Mapping[str, Function] = MappingProxyType(
    _COMMON
    | {"sum": Function(1, None, _sum), "avg": Function(1, None, _avg)}
    | {name: Function(1, 1, name_at=0) for name in ("previous", "same_period_last_year", "benchmark", "parameter")}
)

MAPPING: Mapping[str, Function] = MappingProxyType(
    _COMMON
    | {
        "number": Function(1, 1, number),
        "text": Function(1, None, _joined("/")),
        "concat": Function(1, None, _joined("")),
        "upper": Function(1, 1, lambda x: as_text(x).upper()),
        "lower": Function(1, 1, lambda x: as_text(x).lower()),
        "trim": Function(1, 1, lambda x: as_text(x).strip()),
        "substring": Function(3, 3, substring),
        "starts_with": Function(2, 2, lambda x, prefix: as_text(x).startswith(as_text(prefix))),
        "date": Function(1, 2, to_date),
        "timestamp": Function(1, 4, to_timestamp),
        "duration_hours": Function(1, 1, duration_hours),
        "days_between": Function(2, 2, days_between),
        "hours_between": Function(2, 2, hours_between),
        "exists": Function(1, 1, build=_exists),
        "is_blank": Function(1, 1, build=_is_blank),
        "sum": Function(2, 2, sum_of, name_at=1),
        "count": Function(1, 1, lambda items: Decimal(len(as_items(items)))),
    }
)
