"""Periods: half-open [start, end) in the company's time zone, from its fiscal calendar.

Quarter, half-year and year are fiscal and named after the calendar year in which the fiscal year ends; months are
calendar months, weeks are ISO weeks. Instants leave in UTC, where differences are elapsed time over a clock change too.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from shared.errors import Invalid

PeriodKind = Literal["shift", "day", "week", "month", "quarter", "half_year", "year"]

FIRST_YEAR, LAST_YEAR = 1900, 2199  # dates outside are typing errors, and overflow when a zone is applied
SHIFT_HOURS = 8
_MONTHS = {"month": 1, "quarter": 3, "half_year": 6, "year": 12}
_DAY = timedelta(days=1)
_LABEL = re.compile(
    r"(?P<y>[0-9]{4})(?:-(?:(?P<m>[0-9]{2})(?:-(?P<d>[0-9]{2})(?:-S(?P<s>[1-3]))?)?|W(?P<w>[0-9]{2})|Q(?P<q>[1-4])|H(?P<h>[12])))?"
)


class CalendarInvalid(Invalid):
    """The time zone is unknown, or a month or hour of the calendar is out of range."""


class PeriodInvalid(Invalid):
    """A period label that does not exist, or a date that no period of the calendar can hold."""


@lru_cache(maxsize=512)
def zone(name: str) -> ZoneInfo:
    """The IANA time zone of that name. Raises CalendarInvalid."""
    try:
        if "/" not in name and name != "UTC":
            raise ValueError("names such as localtime depend on the machine")
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise CalendarInvalid(
            f"{name[:60]!r} is not a time zone.", field="time_zone", remedy="Use an IANA name such as Asia/Shanghai."
        ) from None


@dataclass(frozen=True, slots=True)
class Calendar:
    """A company's calendar: IANA zone, first month of the fiscal year [1..12], hour at which shift 1 starts [0..23]."""

    time_zone: str
    fiscal_year_start_month: int = 1
    shift_start_hour: int = 0

    def __post_init__(self) -> None:
        zone(self.time_zone)
        if not 1 <= self.fiscal_year_start_month <= 12:
            raise CalendarInvalid("A fiscal year starts in month 1 to 12.", field="fiscal_year_start_month")
        if not 0 <= self.shift_start_hour <= 23:
            raise CalendarInvalid("The first shift starts at hour 0 to 23.", field="shift_start_hour")


@dataclass(frozen=True, slots=True)
class Period:
    """One period: first day, day after the last, label. A shift names its day and carries its instants (UTC)."""

    kind: PeriodKind
    start: date
    end: date
    label: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None


def period_of(calendar: Calendar, kind: PeriodKind, moment: date | datetime) -> Period:
    """The period that holds a day or an aware instant; a shift needs an instant. Raises PeriodInvalid.

    >>> period_of(Calendar("Asia/Shanghai", 4), "quarter", date(2024, 5, 1)).label
    '2025-Q1'
    """
    if not isinstance(moment, datetime):
        if kind == "shift":
            raise PeriodInvalid("A day holds three shifts.", remedy="Give the time of day as well.")
        return _period(calendar.fiscal_year_start_month, kind, moment)
    local = _local(calendar, moment)
    if kind != "shift":
        return _period(calendar.fiscal_year_start_month, kind, local.date())
    hours = local.hour - calendar.shift_start_hour
    return _shift(calendar, local.date() if hours >= 0 else local.date() - _DAY, hours % 24 // SHIFT_HOURS + 1)


def business_day(calendar: Calendar, moment: datetime) -> date:
    """The date of an aware instant in the company's zone. Raises PeriodInvalid."""
    return _local(calendar, moment).date()


def parse_period(calendar: Calendar, label: str) -> Period:
    """The period a label names: 2025, 2025-H1, 2025-Q1, 2025-03, 2025-W07, 2025-03-14 or 2025-03-14-S1. Raises."""
    match = _LABEL.fullmatch(label)
    try:
        if not match:
            raise ValueError
        return _parsed(calendar, match)
    except ValueError:
        raise PeriodInvalid(
            f"{label[:40]!r} is not a period.",
            field="period",
            remedy="Write 2025, 2025-H1, 2025-Q1, 2025-03, 2025-W07, 2025-03-14 or 2025-03-14-S1 (shifts 1 to 3).",
        ) from None


def previous(calendar: Calendar, period: Period) -> Period:
    """The period of the same kind just before."""
    if period.kind != "shift":
        return period_of(calendar, period.kind, period.start - _DAY)
    number = _number(period)
    return _shift(calendar, period.start if number > 1 else period.start - _DAY, (number + 1) % 3 + 1)


def next_(calendar: Calendar, period: Period) -> Period:
    """The period of the same kind just after."""
    if period.kind != "shift":
        return period_of(calendar, period.kind, period.end)
    number = _number(period)
    return _shift(calendar, period.start if number < 3 else period.end, number % 3 + 1)


def same_last_year(calendar: Calendar, period: Period) -> Period:
    """Its counterpart a year earlier: 29 February gives the 28th, ISO week 53 gives 52 where that year has no 53rd."""
    start = period.start
    if period.kind == "week":
        year, week, _ = start.isocalendar()
        last = date(year - 1, 12, 28).isocalendar().week
        return period_of(calendar, "week", date.fromisocalendar(year - 1, min(week, last), 1))
    leap_day = (start.month, start.day) == (2, 29)
    day = start.replace(year=start.year - 1, day=28 if leap_day else start.day)
    return _shift(calendar, day, _number(period)) if period.kind == "shift" else period_of(calendar, period.kind, day)


def bounds(calendar: Calendar, period: Period) -> tuple[datetime, datetime]:
    """The first instant of the period and the first one after it, in UTC."""
    if period.starts_at and period.ends_at:
        return period.starts_at, period.ends_at
    return _instant(calendar.time_zone, period.start, 0), _instant(calendar.time_zone, period.end, 0)


def periods_between(calendar: Calendar, kind: PeriodKind, first_day: date, last_day: date) -> list[Period]:
    """The periods that hold any of the days, in order; `last_day` is included."""
    if kind == "shift":
        span = (last_day - first_day).days + 1
        return [_shift(calendar, first_day + i * _DAY, number) for i in range(span) for number in (1, 2, 3)]
    found: list[Period] = []
    day = first_day
    while day <= last_day:
        found.append(period_of(calendar, kind, day))
        day = found[-1].end
    return found


def days(period: Period) -> int:
    """Calendar days of the period; a shift counts the day it belongs to."""
    return (period.end - period.start).days


def _local(calendar: Calendar, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise PeriodInvalid("A time without an offset names no instant.", remedy="Add the offset, such as Z or +08:00.")
    _check_year(moment.year)
    return moment.astimezone(zone(calendar.time_zone))


def _check_year(year: int) -> None:
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise PeriodInvalid(
            f"Dates lie in the years {FIRST_YEAR} to {LAST_YEAR}.", remedy="Check the date for a typing error."
        )


@lru_cache(maxsize=65536)
def _period(first_month: int, kind: PeriodKind, day: date) -> Period:
    _check_year(day.year)
    if kind == "day":
        return Period(kind, day, day + _DAY, day.isoformat())
    if kind == "week":
        year, week, weekday = day.isocalendar()
        monday = day - (weekday - 1) * _DAY
        return Period(kind, monday, monday + 7 * _DAY, f"{year}-W{week:02}")
    size = _MONTHS[kind]
    return _of_months(kind, first_month, day.year * 12 + day.month - 1 - (day.month - first_month) % size)


def _of_months(kind: PeriodKind, first_month: int, index: int) -> Period:
    """The period of whole months that starts in month `index`, counted from year 0."""
    start, end = _first_of(index), _first_of(index + _MONTHS[kind])
    if kind == "month":
        return Period(kind, start, end, f"{start.year}-{start.month:02}")
    within = (start.month - first_month) % 12
    year = _first_of(index - within + 11).year
    suffix = {"quarter": f"-Q{within // 3 + 1}", "half_year": f"-H{within // 6 + 1}"}.get(kind, "")
    return Period(kind, start, end, f"{year}{suffix}")


def _first_of(index: int) -> date:
    return date(index // 12, index % 12 + 1, 1)


def _parsed(calendar: Calendar, match: re.Match[str]) -> Period:
    part = {name: int(text) for name, text in match.groupdict().items() if text}
    year, first_month = part["y"], calendar.fiscal_year_start_month
    _check_year(year)
    if "w" in part:
        return _period(first_month, "week", date.fromisocalendar(year, part["w"], 4))
    if "m" in part:
        day = date(year, part["m"], part.get("d", 1))
        if "s" in part:
            return _shift(calendar, day, part["s"])
        return _period(first_month, "day" if "d" in part else "month", day)
    index = (year if first_month == 1 else year - 1) * 12 + first_month - 1
    kind: PeriodKind = "quarter" if "q" in part else "half_year" if "h" in part else "year"
    return _of_months(kind, first_month, index + _MONTHS[kind] * (part.get("q", part.get("h", 1)) - 1))


def _shift(calendar: Calendar, day: date, number: int) -> Period:
    return _shift_of(calendar.time_zone, calendar.shift_start_hour, day, number)


@lru_cache(maxsize=65536)
def _shift_of(zone_name: str, start_hour: int, day: date, number: int) -> Period:
    begin = start_hour + SHIFT_HOURS * (number - 1)
    bounds = (_instant(zone_name, day, hour) for hour in (begin, begin + SHIFT_HOURS))
    return Period("shift", day, day + _DAY, f"{day.isoformat()}-S{number}", *bounds)


def _instant(zone_name: str, day: date, hour: int) -> datetime:
    """Wall-clock hour (24 and more: the next day) as UTC; an hour the clock skips is the moment of the change."""
    wall = datetime.combine(day + (hour // 24) * _DAY, time(hour % 24), zone(zone_name))
    return wall.astimezone(UTC)


def _number(shift: Period) -> int:
    return int(shift.label[-1])
