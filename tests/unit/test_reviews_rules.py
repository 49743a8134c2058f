"""The rules of cases."""

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from services.reviews.cases.rules import (
    CaseIsClosed,
    DecisionIncomplete,
    DecisionOverfull,
    DecisionPending,
    Standing,
    after_plan,
    check_decision,
    due_at,
    fate_of,
)

OPEN = Standing("sales.2025-Q1.1", "open", None)


def test_24_hours_are_elapsed_hours_when_the_clocks_change() -> None:
    before = datetime(2025, 3, 29, 12, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
    assert due_at(before, Decimal(24)).astimezone(ZoneInfo("Europe/Berlin")).hour == 13


def test_half_an_hour_is_possible() -> None:
    assert due_at(datetime(2025, 1, 1, tzinfo=UTC), Decimal("0.5")) == datetime(2025, 1, 1, 0, 30, tzinfo=UTC)


def test_a_plan_ends_the_waiting_but_not_an_escalation() -> None:
    assert [after_plan(status) for status in ("open", "planned", "escalated")] == ["planned", "planned", "escalated"]


def test_a_change_of_target_names_value_and_day() -> None:
    check_decision(OPEN, "change_target", Decimal(30), date(2025, 4, 1))
    with pytest.raises(DecisionIncomplete) as caught:
        check_decision(OPEN, "change_target", Decimal(30), None)
    assert caught.value.field == "effective_from"
    with pytest.raises(DecisionIncomplete):
        check_decision(OPEN, "change_target", None, date(2025, 4, 1))


@pytest.mark.parametrize("kind", ["accept", "investigate"])
def test_other_decisions_carry_no_target(kind: str) -> None:
    check_decision(OPEN, kind, None, None)  # type: ignore[arg-type]
    with pytest.raises(DecisionOverfull):
        check_decision(OPEN, kind, Decimal(30), None)  # type: ignore[arg-type]


def test_nothing_is_decided_while_goals_has_not_answered() -> None:
    with pytest.raises(DecisionPending, match=r"sales\.2025-Q1\.1\.d1"):
        check_decision(Standing(OPEN.id, "open", "sales.2025-Q1.1.d1"), "accept", None, None)


def test_a_closed_case_takes_no_decision() -> None:
    with pytest.raises(CaseIsClosed):
        check_decision(Standing(OPEN.id, "closed", None), "accept", None, None)


def test_only_accepting_closes_at_once() -> None:
    assert {kind: fate_of(kind)[1] for kind in ("accept", "investigate", "change_target")} == {  # type: ignore[arg-type]
        "accept": True, "investigate": False, "change_target": False,
    }  # fmt: skip
