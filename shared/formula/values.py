"""Values of the expression language and what it does with them: reading data, comparing, numbers, dates and texts.

Whatever the data make impossible raises `Null` with its reason: missing data is null, never zero and never an error.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from typing import Any, NamedTuple

from shared.numbers import PATTERN, ROUNDING, add, divide, plain
from shared.periods import FIRST_YEAR, LAST_YEAR, CalendarInvalid, zone

Value = Any  # Decimal | str | bool | date | datetime | list | Mapping

# Data may not smuggle in numbers so long or so small that arithmetic on them becomes slow.
_LOADED = Context(prec=100, Emin=-200, Emax=200, traps=[InvalidOperation, Overflow, Inexact])
_SAP_NUMBER = re.compile(rf"({PATTERN})(-?)")
_EPOCH = re.compile(r"/Date\((-?[0-9]{1,14})(?:[+-][0-9]{4})?\)/")
_DURATION = re.compile(
    r"P(?:([0-9]{1,6})D)?(?:T(?:([0-9]{1,8})H)?(?:([0-9]{1,8})M)?(?:([0-9]{1,8}(?:\.[0-9]{1,9})?)S)?)?"
)
_CLOCK = re.compile(r"([0-9]{2}):?([0-5][0-9])(?::?([0-5][0-9]))?")
_FORMAT_LETTERS = {"YYYY": r"(?P<y>[0-9]{4})", "MM": r"(?P<m>[0-9]{2})", "DD": r"(?P<d>[0-9]{2})"}
_KINDS = {Decimal: "a number", str: "text", bool: "true or false", date: "a date", datetime: "a time", list: "a list"}


class Null(Exception):
    """There is no value, for the given reason. A lookup may raise it to give its own."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Outcome(NamedTuple):
    """What an expression came to; `value` is None exactly where a reason is given."""

    value: Value
    reason: str | None = None


def loaded(value: object, name: str) -> Value:
    """A value of the data as the language knows it. Raises Null; TypeError for a float, a programming error."""
    if value is None:
        raise Null(f"{name} is null")
    if isinstance(value, str | bool | list | tuple | Mapping | date):
        return value
    if not isinstance(value, Decimal | int):
        raise TypeError(f"{name} is a {type(value).__name__}: parse JSON with parse_float=Decimal.")
    try:
        found = _LOADED.plus(Decimal(value))
    except DecimalException:
        raise Null(f"{name} has too many digits") from None
    if not found.is_finite():
        raise Null(f"{name} is not a number")
    return found


def kind_of(value: Value) -> str:
    """The kind of a value in words, for reasons."""
    return _KINDS.get(type(value), "an object")


def shown(value: Value) -> str:
    """A value in a reason, cut short."""
    return repr(value if len(str(value)) <= 40 else str(value)[:40] + "…") if isinstance(value, str) else kind_of(value)


def as_decimal(value: Value) -> Decimal:
    """The value, where it is a number."""
    if value.__class__ is not Decimal:
        raise Null(f"{shown(value)} is not a number")
    return value


def as_text(value: Value) -> str:
    """The value, where it is text."""
    if value.__class__ is not str:
        raise Null(f"{shown(value)} is not text")
    return value


def as_truth(value: Value) -> bool:
    """The value, where it is true or false."""
    if value is True or value is False:
        return bool(value)
    raise Null(f"this needs true or false, not {kind_of(value)}")


def as_items(value: Value) -> list[Any] | tuple[Any, ...]:
    """The value, where it is a list."""
    if not isinstance(value, list | tuple):
        raise Null(f"{shown(value)} is not a list")
    return value


def number(value: Value) -> Decimal:
    """A number from a number or its plain text; SAP writes the minus behind. Raises Null.

    >>> number("12.5-"), number(" 7 ")
    (Decimal('-12.5'), Decimal('7'))
    """
    if value.__class__ is Decimal:
        return value
    match = _SAP_NUMBER.fullmatch(as_text(value).strip())
    if not match or (match[3] and match[1].startswith("-")):
        raise Null(f"{shown(value)} is not a number of at most 18 digits before and 10 after the point")
    found = Decimal(match[1])
    return found.copy_negate() if match[3] and found else found


def written(value: Value) -> str:
    """The canonical text of a scalar, as used in keys."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) else as_text(value)


def round_half_up(value: Value, digits: Value = Decimal(0)) -> Decimal:
    """Half-up (away from zero) to 0 to 10 decimals. Raises Null."""
    places = as_decimal(digits)
    if not 0 <= places <= 10 or places != int(places):
        raise Null("round takes 0 to 10 decimals")
    return as_decimal(value).quantize(Decimal(1).scaleb(-int(places)), ROUND_HALF_UP, context=ROUNDING)


def substring(value: Value, start: Value, length: Value) -> str:
    """`length` characters from position `start`, the first being 0. Raises Null."""
    first, count = as_decimal(start), as_decimal(length)
    if not (0 <= first <= 10**6 and 0 <= count <= 10**6 and first == int(first) and count == int(count)):
        raise Null("substring takes a start and a length of zero or more")
    return as_text(value)[int(first) : int(first) + int(count)]


def to_date(value: Value, layout: Value = "") -> date:
    """A date from ISO text, YYYYMMDD, SAP's /Date(ms)/ or a layout such as DD.MM.YYYY. Raises Null.

    >>> to_date("20250314"), to_date("14.03.2025", "DD.MM.YYYY")
    (datetime.date(2025, 3, 14), datetime.date(2025, 3, 14))
    """
    if isinstance(value, date):
        return value.date() if isinstance(value, datetime) else value
    text = as_text(value).strip()
    try:
        found = _laid_out(text, as_text(layout)) if layout else _instant(text).date()
    except (ValueError, OverflowError):
        raise Null(f"{shown(value)} is not a date") from None
    _check_year(found)
    return found


def to_timestamp(day: Value, clock: Value = "", layout: Value = "", zone_name: Value = "") -> datetime:
    """From ISO text or /Date(ms)/, or from a date and a time of day (HHMMSS, HH:MM, PT12H26M00S). Raises Null.

    The zone counts where the text has no offset; without either the result is naive: the caller attaches its zone.

    >>> to_timestamp("20250314", "101500", "", "Asia/Shanghai").isoformat()
    '2025-03-14T10:15:00+08:00'
    """
    if clock or layout or (isinstance(day, date) and not isinstance(day, datetime)):
        found = datetime.combine(to_date(day, layout), datetime.min.time()) + _time_of_day(clock or "000000")
    elif isinstance(day, datetime):
        found = day
    else:
        try:
            found = _instant(as_text(day).strip())
        except (ValueError, OverflowError):
            raise Null(f"{shown(day)} is not a time") from None
    _check_year(found)
    if found.tzinfo or not zone_name:
        return found
    try:
        return found.replace(tzinfo=zone(as_text(zone_name)))
    except CalendarInvalid as error:
        raise Null(error.rule) from None


def duration_hours(value: Value) -> Decimal:
    """Hours of an ISO duration of days, hours, minutes and seconds, such as PT12H26M00S [h]. Raises Null."""
    return divide(_seconds(value), Decimal(3600))


def days_between(start: Value, end: Value) -> Decimal:
    """Calendar days from one date to another, negative if the second is earlier [d]; of a time its own date counts."""
    return Decimal((to_date(end) - to_date(start)).days)


def hours_between(start: Value, end: Value) -> Decimal:
    """Elapsed hours between two instants, both with an offset or both without [h]. Raises Null."""
    first, last = (to_timestamp(value) for value in (start, end))
    if (first.tzinfo is None) != (last.tzinfo is None):
        raise Null("one of two times has no offset")
    if first.tzinfo:  # within one zone Python subtracts wall clocks
        first, last = first.astimezone(UTC), last.astimezone(UTC)
    return divide(Decimal((last - first) // timedelta(microseconds=1)), Decimal(3_600_000_000))


def sum_of(items: Value, name: Value) -> Decimal:
    """The sum of one member over the items of a list, numbers or their plain text. Raises Null where one is missing."""
    result, path = Decimal(0), as_text(name).split(".")
    for i, item in enumerate(as_items(items)):
        for part in path:
            item = item.get(part) if isinstance(item, Mapping) else None
        result = add(result, number(loaded(item, f"{name} of item {i}")))
    return result


def _instant(text: str) -> datetime:
    if match := _EPOCH.fullmatch(text):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(match[1]))
    if not text.isascii():  # Python reads other scripts' digits as well
        raise ValueError(text)
    return datetime.fromisoformat(text)


def _check_year(found: date) -> None:
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise Null(f"the year {found.year} lies outside {FIRST_YEAR} to {LAST_YEAR}")


def _laid_out(text: str, layout: str) -> date:
    match = _layout(layout).fullmatch(text)
    if not match:
        raise ValueError(text)
    return date(int(match["y"]), int(match["m"]), int(match["d"]))


@lru_cache(maxsize=256)
def _layout(layout: str) -> re.Pattern[str]:
    pattern = re.escape(layout)
    for letters, group in _FORMAT_LETTERS.items():
        if pattern.count(letters) != 1:
            raise Null(f"the date format {shown(layout)} needs YYYY, MM and DD once each")
        pattern = pattern.replace(letters, group)
    return re.compile(pattern)


def _time_of_day(value: Value) -> timedelta:
    text, seconds = as_text(value).strip(), Decimal(-1)
    if text.startswith("P"):
        seconds = _seconds(text)
    elif match := _CLOCK.fullmatch(text):
        seconds = Decimal(int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0))
    if not 0 <= seconds <= 86400:
        raise Null(f"{shown(value)} is not a time of day")
    return timedelta(microseconds=int(seconds * 10**6))


def _seconds(value: Value) -> Decimal:
    match = _DURATION.fullmatch(as_text(value).strip())
    if not match or not any(match.groups()):
        raise Null(f"{shown(value)} is not a duration such as PT12H26M00S")
    parts = (Decimal(part or 0) for part in match.groups())
    return sum((part * size for part, size in zip(parts, (86400, 3600, 60, 1), strict=True)), Decimal(0))
