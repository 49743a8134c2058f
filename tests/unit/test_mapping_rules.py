"""What mappings find in events."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.metrics.mappings.rules import (
    Compiled,
    Fact,
    Fault,
    Mapped,
    MappingInvalid,
    compile_version,
    facts_of,
)
from shared.contracts.metrics import Mapping
from shared.periods import Calendar

RULE: dict[str, Any] = {"metric": "revenue", "value": "number(data.amount)", "subject": "concat('unit:', data.unit)"}


@dataclass(frozen=True)
class Event:
    data: Any = None
    id: str = "1"
    source: str = "/erp"
    type: str = "order"
    subject: str | None = None
    time: datetime = field(default=datetime(2025, 3, 14, 20, tzinfo=UTC))


def mapping(*rules: dict[str, Any], **more: Any) -> Mapping:
    fields = {"name": "m", "event_type": "order", "observations": list(rules) or [RULE]}
    return Mapping.model_validate(fields | more)


def mapped(event: Event, *versions: Mapping) -> Mapped:
    compiled = [compile_version("m", number, each) for number, each in enumerate(versions, 1)]
    return facts_of(event, Compiled(Calendar("Asia/Shanghai"), compiled))


def one(data: Any, **rule: Any) -> Fact:
    found = mapped(Event(data), mapping(RULE | rule))
    assert not found.faults, found.faults
    return found.facts[0]


def fault(data: Any, **rule: Any) -> Fault:
    found = mapped(Event(data), mapping(RULE | rule))
    assert not found.facts
    return found.faults[0]


SALE = {"amount": "10.50", "unit": "east"}


def test_a_fact_has_its_value_subject_and_the_business_day_of_the_companys_zone() -> None:
    fact = one(SALE)
    assert (fact.value, fact.subject, fact.day) == (Decimal("10.50"), "unit:east", date(2025, 3, 15))
    assert (fact.key, fact.document, fact.unit, fact.revision) == (None, None, None, Decimal(0))


def test_without_a_value_each_event_counts_one() -> None:
    assert one(SALE, value=None).value == Decimal(1)


def test_each_line_yields_an_observation_that_knows_its_index() -> None:
    lines = {"lines": [{"q": 2}, {"q": 3}], "unit": "east"}
    rule = RULE | {"value": "item.q", "key": "text(id, index)"}
    found = mapped(Event(lines), mapping(rule, for_each="data.lines"))
    assert [(fact.item, fact.value, fact.key) for fact in found.facts] == [(0, 2, "1/0"), (1, 3, "1/1")]


def test_a_line_at_fault_does_not_take_the_others_with_it() -> None:
    lines = {"lines": [{"q": "x"}, {"q": 3}], "unit": "east"}
    found = mapped(Event(lines), mapping(RULE | {"value": "number(item.q)"}, for_each="data.lines"))
    assert [fact.item for fact in found.facts] == [1]
    assert [(each.item, each.rule, each.field) for each in found.faults] == [(0, 0, "value")]


@pytest.mark.parametrize(
    ("data", "rule", "where", "reason"),
    [
        (SALE | {"amount": int("9" * 40)}, {"value": "data.amount"}, "value", "more than 18 digits"),
        (SALE | {"amount": "9" * 40}, {}, "value", "at most 18 digits"),
        (SALE | {"amount": Decimal("1e400")}, {"value": "data.amount"}, "value", "too many digits"),
        (SALE | {"amount": Decimal("0.12345678901")}, {"value": "data.amount"}, "value", "10 digits after"),
        (SALE | {"amount": 1}, {"value": "data.amount / 3"}, "value", "use round"),
        (SALE | {"amount": True}, {"value": "data.amount"}, "value", "true or false is not a number"),
        (SALE | {"amount": None}, {"value": "data.amount"}, "value", "null"),
        (SALE | {"unit": "a b"}, {}, "subject", "not unit:CODE"),
        (SALE | {"unit": 7}, {"subject": "data.unit"}, "subject", "not unit:CODE"),
        ({"amount": 1}, {"value": "data.amount"}, "subject", "data.unit is missing"),
        (SALE, {"key": "data.key"}, "key", "missing"),
        (SALE | {"key": " "}, {"key": "data.key"}, "key", "blank"),
        (SALE | {"at": "soon"}, {"time": "data.at"}, "time", "not a time"),
        (SALE, {"when": "data.amount"}, "when", "true or false"),
        (SALE, {"unit": "1"}, "unit", "not text"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_a_fault_that_names_field_and_reason(
    data: Any, rule: dict[str, Any], where: str, reason: str
) -> None:
    found = fault(data, **rule)
    assert found.field == where and reason in found.reason


def test_a_blank_or_missing_unit_is_handed_on_to_wait() -> None:
    for data in (SALE, SALE | {"currency": ""}, SALE | {"currency": None}, SALE | {"currency": "  "}):
        assert one(data, unit="data.currency").unit == ""


def test_a_time_without_an_offset_is_in_the_companys_zone() -> None:
    fact = one(SALE, time="timestamp('20250314', '233000')")
    assert (fact.at.isoformat(), fact.day) == ("2025-03-14T23:30:00+08:00", date(2025, 3, 14))


def test_a_dimension_without_a_value_is_left_out_and_the_observation_still_counts() -> None:
    fact = one(SALE | {"shop": "7"}, dimensions={"shop": "data.shop", "brand": "data.brand"})
    assert fact.dimensions == {"shop": "7"}


def test_a_revision_is_a_number_or_an_instant() -> None:
    assert mapped(Event(SALE | {"r": "3"}), mapping(revision="data.r")).facts[0].revision == 3
    instant = mapped(Event(SALE), mapping(revision="time")).facts[0].revision
    assert instant == Decimal(1741982400000000)


def test_a_condition_that_is_false_takes_the_event_and_yields_nothing() -> None:
    assert mapped(Event(SALE), mapping(when="data.unit == 'west'")) == Mapped([], [], True)


def test_an_event_of_another_type_or_source_is_not_taken() -> None:
    assert not mapped(Event(SALE, type="other"), mapping()).known
    assert not mapped(Event(SALE, source="/crm"), mapping(source="/erp")).known


def test_the_version_in_force_at_the_events_own_time_counts() -> None:
    old, new = mapping(), mapping(RULE | {"metric": "sales"}, effective_from="2025-03-15")
    before = Event(SALE, time=datetime(2025, 3, 14, 15, 59, tzinfo=UTC))
    after = Event(SALE, time=datetime(2025, 3, 14, 16, tzinfo=UTC))
    assert [mapped(each, old, new).facts[0].metric for each in (before, after)] == ["revenue", "sales"]
    assert not mapped(before, new).known


def test_a_later_version_for_another_type_lets_go_of_the_first() -> None:
    new = mapping(effective_from="2025-03-01", event_type="invoice")
    assert not mapped(Event(SALE), mapping(), new).known


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"value": "10**10**10"}, "observations.0.value"), ({"subject": "nobody"}, "observations.0.subject"),
        ({"value": "item.q"}, "observations.0.value"), ({"dimensions": {"a": "data."}}, "observations.0.dimensions.a"),
        ({"effect": "retract"}, "observations.0.key"), ({"effect": "open"}, "observations.0.key"),
        ({"effect": "close", "document": "id"}, "observations.0.key"),
        ({"effect": "replace"}, "observations.0.document"),
        ({"value": "unknown(1)"}, "observations.0.value"), ({"value": "__import__('os')"}, "observations.0.value"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_work_is_refused_with_the_path_of_its_fault(change: dict[str, Any], field: str) -> None:
    with pytest.raises(MappingInvalid) as refused:
        compile_version("m", 1, mapping(RULE | change))
    assert refused.value.field == field
    if "effect" not in change:
        assert refused.value.more["position"] >= 1
