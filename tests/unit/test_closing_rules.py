"""What a period needs before it is closed, and what a certificate's hash covers."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from services.metrics.periods.rules import in_words, silent, waiting
from shared.closing import CorrectionUnexplained, DateClosed, hash_of, refuse_closed_day, refuse_unexplained
from shared.contracts.base import Missing
from shared.contracts.metrics import Source
from shared.periods import Calendar, parse_period

CALENDAR = Calendar("Asia/Shanghai")
FEBRUARY = parse_period(CALENDAR, "2025-02")


def source(delivers: Any, **more: Any) -> Source:
    return Source(name="Till", uri="urn:till", delivers=delivers, **more)


@pytest.mark.parametrize(
    ("delivers", "days", "owes"),
    [
        (None, [], 0),
        ("month", [], 1),
        ("month", [date(2025, 2, 28)], 0),
        ("month", [date(2025, 1, 31), date(2025, 3, 1)], 1),
        ("day", [date(2025, 2, 1), date(2025, 2, 28)], 26),
        ("week", [], 3),  # the weeks of 3, 10 and 17 February; that of the 24th ends in March
        ("week", [date(2025, 2, 9)], 2),
        ("quarter", [], 0),  # it owes nothing before the quarter is over
    ],
)
def test_a_source_owes_something_for_each_of_its_periods_within(delivers: Any, days: list[date], owes: int) -> None:
    found = silent({"till": source(delivers, owner="li-na")}, {"urn:till": set(days)}, FEBRUARY, CALENDAR)
    assert found == ([Missing(kind="source", what="till", count=owes, owner="li-na")] if owes else [])


def test_events_that_wait_are_owed_by_the_owner_of_their_source() -> None:
    counts = [("metric:a", "urn:till", 2), ("metric:a", "urn:other", 3), ("metric:a", "urn:third", 1)]
    assert waiting([source(None, owner="li-na")], counts) == [
        Missing(kind="waiting", what="metric:a", count=4, owner=None),
        Missing(kind="waiting", what="metric:a", count=2, owner="li-na"),
    ]


def test_a_sentence_names_three_and_counts_the_rest() -> None:
    missing = [Missing(kind="source", what=name, count=1) for name in "abcde"]
    assert in_words(missing) == "nothing from a; nothing from b; nothing from c; and 2 more"


ROW: dict[str, Any] = {
    "company": "acme", "period": "2025-02", "kind": "month", "start": date(2025, 2, 1), "until": date(2025, 3, 1),
    "change": 7, "at": datetime(2025, 3, 1, tzinfo=UTC), "content": {"by": "li-na", "n": 1}, "previous": None,
}  # fmt: skip


@pytest.mark.parametrize("member", ROW)
def test_the_hash_covers_every_member(member: str) -> None:
    other = {
        "start": date(2025, 2, 2), "until": date(2025, 3, 2), "at": datetime(2025, 3, 2, tzinfo=UTC), "change": 8,
        "content": {"by": "li-na", "n": 2},
    }  # fmt: skip
    assert hash_of(ROW) != hash_of(ROW | {member: other.get(member, "other")})


def test_the_hash_does_not_hang_on_the_order_of_members_or_the_clock_of_the_session() -> None:
    turned = {**ROW, "content": {"n": 1, "by": "li-na"}, "at": datetime.fromisoformat("2025-03-01T08:00:00+08:00")}
    assert hash_of(turned) == hash_of(ROW)


def test_a_setting_for_a_closed_day_must_be_a_correction_with_a_reason() -> None:
    until = date(2025, 3, 1)
    refuse_closed_day(None, source(None))
    refuse_closed_day(until, source(None, effective_from=until))
    refuse_closed_day(until, source(None, correction=True))
    with pytest.raises(DateClosed, match="Days before 2025-03-01 are closed"):
        refuse_closed_day(until, source(None, effective_from=date(2025, 2, 28)))
    with pytest.raises(CorrectionUnexplained):
        refuse_unexplained(source(None, correction=True))
    refuse_unexplained(source(None, correction=True, reason="Typing error"))
