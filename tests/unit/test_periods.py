"""Periods of a fiscal calendar."""

import itertools
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.periods import (
    Calendar,
    CalendarInvalid,
    PeriodInvalid,
    bounds,
    business_day,
    days,
    next_,
    parse_period,
    period_of,
    periods_between,
    previous,
    same_last_year,
)

SHANGHAI = Calendar("Asia/Shanghai")
INDIA = Calendar("Asia/Kolkata", fiscal_year_start_month=4)
BERLIN = Calendar("Europe/Berlin", shift_start_hour=6)
KINDS = ["day", "week", "month", "quarter", "half_year", "year"]

calendars = st.builds(
    Calendar,
    st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "America/Havana"]),
    st.integers(1, 12),
    st.integers(0, 23),
)
moments = st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("label", "start", "end"),
    [
        ("2025-03-14", date(2025, 3, 14), date(2025, 3, 15)),
        ("2025-W01", date(2024, 12, 30), date(2025, 1, 6)),
        ("2025-02", date(2025, 2, 1), date(2025, 3, 1)),
        ("2025-Q4", date(2025, 10, 1), date(2026, 1, 1)),
        ("2025-H1", date(2025, 1, 1), date(2025, 7, 1)),
        ("2025", date(2025, 1, 1), date(2026, 1, 1)),
    ],
)
def test_a_label_names_its_days(label: str, start: date, end: date) -> None:
    period = parse_period(SHANGHAI, label)
    assert (period.start, period.end, period.label) == (start, end, label)


def test_a_fiscal_year_is_named_after_the_year_in_which_it_ends() -> None:
    assert parse_period(INDIA, "2025").start == date(2024, 4, 1)
    assert parse_period(INDIA, "2025").end == date(2025, 4, 1)
    assert period_of(INDIA, "quarter", date(2025, 3, 31)).label == "2025-Q4"
    assert period_of(INDIA, "half_year", date(2024, 9, 30)).label == "2025-H1"
    assert period_of(INDIA, "year", date(2025, 4, 1)).label == "2026"
    assert parse_period(INDIA, "2025-03").start == date(2025, 3, 1)


@pytest.mark.parametrize(
    "label",
    [
        "",
        "25",
        "2025-13",
        "2025-02-29",
        "2025-W54",
        "2025-W00",
        "2025-Q5",
        "2025-H3",
        "2025-3",
        "2025-03-14-S4",
        "2025-Q1-01",
        "0000",
        "9999",
        "2025-03-14T00:00",
        "２０２５",
        "2025\n",
    ],
)
def test_a_bad_label_is_refused_with_a_sentence(label: str) -> None:
    with pytest.raises(PeriodInvalid, match=r"is not a period|1900 to 2199"):
        parse_period(SHANGHAI, label)


def test_iso_week_53_exists_only_where_the_year_has_it() -> None:
    assert parse_period(SHANGHAI, "2020-W53").start == date(2020, 12, 28)
    with pytest.raises(PeriodInvalid):
        parse_period(SHANGHAI, "2025-W53")


@given(calendars, st.sampled_from(["shift", *KINDS]), moments)
def test_every_instant_lies_in_exactly_one_period(calendar: Calendar, kind, moment: datetime) -> None:
    period = period_of(calendar, kind, moment)
    start, end = bounds(calendar, period)
    assert start <= moment < end
    assert parse_period(calendar, period.label) == period
    after, before = next_(calendar, period), previous(calendar, period)
    assert bounds(calendar, after)[0] == end and bounds(calendar, before)[1] == start
    assert previous(calendar, after) == period == next_(calendar, before)


@given(calendars, st.sampled_from(KINDS), st.dates(date(1990, 1, 1), date(2040, 1, 1)), st.integers(0, 800))
def test_periods_between_cover_the_days_without_gap(calendar: Calendar, kind, first: date, span: int) -> None:
    last = first + timedelta(days=span)
    found = periods_between(calendar, kind, first, last)
    assert found[0].start <= first < found[0].end
    assert found[-1].start <= last < found[-1].end
    assert all(a.end == b.start for a, b in itertools.pairwise(found))


def test_the_business_day_is_the_date_in_the_companys_zone() -> None:
    late = datetime(2025, 3, 31, 16, 0, tzinfo=UTC)
    assert business_day(SHANGHAI, late) == date(2025, 4, 1)
    assert business_day(BERLIN, late) == date(2025, 3, 31)
    assert period_of(SHANGHAI, "month", late).label == "2025-04"
    assert business_day(SHANGHAI, datetime(2025, 3, 31, 23, 0, tzinfo=timezone(timedelta(hours=8)))) == date(
        2025, 3, 31
    )


def test_a_day_of_a_clock_change_has_23_or_25_hours() -> None:
    def hours(label: str) -> float:
        start, end = bounds(BERLIN, parse_period(BERLIN, label))
        return (end - start) / timedelta(hours=1)

    assert [hours(label) for label in ("2025-03-30", "2025-10-26", "2025-06-01")] == [23, 25, 24]


def test_shifts_start_at_the_companys_hour_and_belong_to_their_day() -> None:
    night = period_of(BERLIN, "shift", datetime(2025, 3, 15, 2, 0, tzinfo=UTC))
    assert night.label == "2025-03-14-S3"
    assert (night.starts_at, night.ends_at) == (
        datetime(2025, 3, 14, 21, 0, tzinfo=UTC),
        datetime(2025, 3, 15, 5, 0, tzinfo=UTC),
    )
    assert next_(BERLIN, night).label == "2025-03-15-S1"
    labels = [p.label for p in periods_between(BERLIN, "shift", date(2025, 3, 14), date(2025, 3, 15))]
    assert labels == [f"2025-03-{day}-S{n}" for day in (14, 15) for n in (1, 2, 3)]
    with pytest.raises(PeriodInvalid, match="three shifts"):
        period_of(BERLIN, "shift", date(2025, 3, 14))


@pytest.mark.parametrize(
    ("label", "a_year_earlier"),
    [
        ("2024-02-29", "2023-02-28"),
        ("2025-W07", "2024-W07"),
        ("2020-W53", "2019-W52"),
        ("2025-02", "2024-02"),
        ("2025-Q3", "2024-Q3"),
        ("2025-H2", "2024-H2"),
        ("2025", "2024"),
        ("2024-02-29-S2", "2023-02-28-S2"),
    ],
)
def test_the_same_period_last_year(label: str, a_year_earlier: str) -> None:
    for calendar in (SHANGHAI, INDIA):
        assert same_last_year(calendar, parse_period(calendar, label)).label == a_year_earlier


def test_days_count_the_calendar() -> None:
    assert [days(parse_period(SHANGHAI, label)) for label in ("2024", "2025", "2024-02", "2025-W07")] == [
        366,
        365,
        29,
        7,
    ]


def test_a_time_without_offset_or_out_of_range_is_refused() -> None:
    with pytest.raises(PeriodInvalid, match="without an offset"):
        business_day(SHANGHAI, datetime(2025, 1, 1))  # noqa: DTZ001
    for year in (1, 1899, 2200, 9999):
        with pytest.raises(PeriodInvalid, match="1900 to 2199"):
            business_day(SHANGHAI, datetime(year, 12, 31, 23, tzinfo=UTC))


@pytest.mark.parametrize("name", ["Mars/Base", "", "../../etc/passwd", "Europe", "a\0b", "x" * 9999, "\ud800"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(CalendarInvalid):
        Calendar(name)


def test_a_calendar_with_impossible_members_is_refused() -> None:
    for months, hour in ((0, 0), (13, 0), (1, 24), (1, -1)):
        with pytest.raises(CalendarInvalid):
            Calendar("UTC", months, hour)
