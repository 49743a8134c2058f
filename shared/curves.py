"""Curves: from an attainment or reading to a score or factor, with the segment used, so that a result explains itself.

A bound belongs to exactly one band, the one it opens; the last band is open or includes its upper bound. Outside the
points or bands the nearest end counts and the result says `clamped`: a gap never pays zero by accident.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal, cast

from shared.errors import Invalid
from shared.numbers import NumberOutOfRange, add, divide, multiply, parse_decimal, plain, subtract

CurveKind = Literal["linear", "interpolated", "step"]
MAX_SEGMENTS = 200
_MEMBERS = {"linear": {"slope"}, "interpolated": {"points"}, "step": {"bands"}}


class CurveInvalid(Invalid):
    """The curve is malformed, or its points or bands overlap, leave a gap or run backwards."""


@dataclass(frozen=True, slots=True)
class Point:
    """At `x` the curve is `y`."""

    x: Decimal
    y: Decimal


@dataclass(frozen=True, slots=True)
class Band:
    """From `start` (included; None: from below) to `end` (excluded; None: and above) the curve is `value`."""

    start: Decimal | None
    end: Decimal | None
    value: Decimal


@dataclass(frozen=True, slots=True)
class Curve:
    """linear: slope · x; interpolated: straight lines between points; step: one value per band. Then floor and cap."""

    kind: CurveKind
    points: tuple[Point, ...] = ()
    bands: tuple[Band, ...] = ()
    slope: Decimal = Decimal(1)
    floor: Decimal | None = None
    cap: Decimal | None = None


@dataclass(frozen=True, slots=True)
class CurveResult:
    """The value, the segment that gave it in words, and whether an end, floor or cap held it."""

    value: Decimal
    segment: str
    clamped: bool


def parse_curve(mapping: Mapping[str, object]) -> Curve:
    """The curve that a JSON object describes (numbers as strings, integers or Decimals). Raises CurveInvalid.

    >>> parse_curve({"kind": "interpolated", "points": [["0.8", "0"], ["1", "1"]]}).points[1]
    Point(x=Decimal('1'), y=Decimal('1'))
    """
    kind = mapping.get("kind")
    if not isinstance(kind, str) or kind not in _MEMBERS:
        raise CurveInvalid("A curve is linear, interpolated or step.", field="kind")
    if unknown := sorted(set(mapping) - _MEMBERS[kind] - {"kind", "floor", "cap"}):
        raise CurveInvalid(f"A curve of kind {kind} has no member {unknown[0][:40]!r}.", field=unknown[0])
    numbers = {
        name: _number(mapping[name], name) for name in ("slope", "floor", "cap") if mapping.get(name) is not None
    }
    points = tuple(_point(item, f"points.{i}") for i, item in enumerate(_list(mapping, "points")))
    bands = tuple(_band(item, f"bands.{i}") for i, item in enumerate(_list(mapping, "bands")))
    return validate(Curve(cast(CurveKind, kind), points, bands, **numbers))


def validate(curve: Curve) -> Curve:
    """The curve itself, where it gives exactly one value for every x. Raises CurveInvalid."""
    if curve.floor is not None and curve.cap is not None and curve.floor > curve.cap:
        raise CurveInvalid(f"The floor {plain(curve.floor)} lies above the cap {plain(curve.cap)}.", field="floor")
    if curve.kind == "interpolated":
        _check_points(curve.points)
    if curve.kind == "step":
        _check_bands(curve.bands)
    return curve


def evaluate(curve: Curve, x: Decimal) -> CurveResult:
    """The curve's value at x, unrounded but for one division of an interpolation (34 digits).

    >>> evaluate(Curve("linear", slope=Decimal(100), floor=Decimal(0), cap=Decimal(120)), Decimal("1.3"))
    CurveResult(value=Decimal('120'), segment='cap 120', clamped=True)
    """
    result = _SHAPES[curve.kind](curve, x)
    if curve.cap is not None and result.value > curve.cap:
        return CurveResult(curve.cap, f"cap {plain(curve.cap)}", True)
    if curve.floor is not None and result.value < curve.floor:
        return CurveResult(curve.floor, f"floor {plain(curve.floor)}", True)
    return result


def top(curve: Curve) -> Decimal | None:
    """The highest value the curve can give; None where nothing bounds it."""
    values = [point.y for point in curve.points] + [band.value for band in curve.bands]
    if not values:
        return curve.cap
    highest = max(values) if curve.cap is None else min(max(values), curve.cap)
    return highest if curve.floor is None else max(highest, curve.floor)


def _linear(curve: Curve, x: Decimal) -> CurveResult:
    return CurveResult(multiply(curve.slope, x), f"slope {plain(curve.slope)}", False)


def _interpolated(curve: Curve, x: Decimal) -> CurveResult:
    points = curve.points
    if x <= points[0].x or x >= points[-1].x:
        end = points[0] if x <= points[0].x else points[-1]
        return CurveResult(end.y, f"point {plain(end.x)}", x != end.x)
    i = bisect_right(points, x, key=lambda point: point.x)
    a, b = points[i - 1], points[i]
    run, rise = subtract(b.x, a.x), subtract(b.y, a.y)
    value = divide(add(multiply(a.y, run), multiply(subtract(x, a.x), rise)), run)
    return CurveResult(value, f"{plain(a.x)} to {plain(b.x)}", False)


def _step(curve: Curve, x: Decimal) -> CurveResult:
    bands = curve.bands
    i = bisect_right(bands[1:], x, key=lambda band: cast(Decimal, band.start))
    band = bands[i]
    below, above = band.start is not None and x < band.start, band.end is not None and x > band.end
    return CurveResult(band.value, f"band {i + 1}: {_range(band)}", below or above)


_SHAPES = {"linear": _linear, "interpolated": _interpolated, "step": _step}


def _check_points(points: Sequence[Point]) -> None:
    if len(points) < 2:
        raise CurveInvalid("An interpolated curve needs at least two points.", field="points")
    for i, (a, b) in enumerate(pairwise(points)):
        if b.x <= a.x:
            how = "twice" if a.x == b.x else f"after {plain(a.x)}"
            raise CurveInvalid(
                f"Points run upwards in x, each once; {plain(b.x)} comes {how}.", field=f"points.{i + 1}"
            )


def _check_bands(bands: Sequence[Band]) -> None:
    if not bands:
        raise CurveInvalid("A step curve needs at least one band.", field="bands")
    for i, band in enumerate(bands):
        if band.start is not None and band.end is not None and band.end <= band.start:
            raise CurveInvalid(f"The band {_range(band)} is empty.", field=f"bands.{i}")
    for i, (a, b) in enumerate(pairwise(bands)):
        if a.end is None or b.start is None or b.start < a.end:
            raise CurveInvalid(f"The bands {_range(a)} and {_range(b)} overlap.", field=f"bands.{i + 1}")
        if b.start > a.end:
            raise CurveInvalid(
                f"Between {plain(a.end)} and {plain(b.start)} no band applies.",
                field=f"bands.{i + 1}",
                remedy="Let each band start where the one before ends.",
            )


def _list(mapping: Mapping[str, object], name: str) -> Sequence[Any]:
    items = mapping.get(name, ())
    if not isinstance(items, list | tuple):
        raise CurveInvalid(f"{name} is a list.", field=name)
    if len(items) > MAX_SEGMENTS:
        raise CurveInvalid(f"A curve has at most {MAX_SEGMENTS} {name}.", field=name)
    return items


def _point(item: object, field: str) -> Point:
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise CurveInvalid('A point is a pair ["0.8", "0"].', field=field)
    return Point(_number(item[0], f"{field}.x"), _number(item[1], f"{field}.y"))


def _band(item: object, field: str) -> Band:
    if not isinstance(item, Mapping) or "value" not in item or not set(item) <= {"from", "to", "value"}:
        raise CurveInvalid("A band has from, to and value.", field=field)
    start, end = (None if item.get(name) is None else _number(item[name], f"{field}.{name}") for name in ("from", "to"))
    return Band(start, end, _number(item["value"], f"{field}.value"))


def _number(value: object, field: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise CurveInvalid('A number is written as a string, like "0.8".', field=field)
    try:
        if isinstance(value, str):
            return parse_decimal(value)
        number = Decimal(value)
        # A huge one would first be written out digit by digit.
        return parse_decimal("huge" if number.is_finite() and abs(number.adjusted()) >= 30 else plain(number))
    except NumberOutOfRange as error:
        raise CurveInvalid(error.rule, field=field, remedy=error.remedy) from None


def _range(band: Band) -> str:
    start = "below" if band.start is None else plain(band.start)
    end = "above" if band.end is None else plain(band.end)
    return f"from {start} to {end}"
