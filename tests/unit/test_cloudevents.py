"""CloudEvents as senders really send them, and as nobody should."""

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from starlette.datastructures import Headers

from services.metrics.events.cloudevents import (
    BATCH,
    STRUCTURED,
    CloudEvent,
    EnvelopeFault,
    MalformedBody,
    NotEvents,
    TooManyEvents,
    read_request,
    stored,
    type_prefix,
)
from shared.errors import DomainError

NOW = datetime(2025, 3, 14, 10, tzinfo=UTC)


def event(**changes: object) -> dict[str, object]:
    return {"specversion": "1.0", "id": "1", "source": "/erp", "type": "order", "data": {"a": 1}} | changes


def read(body: bytes | str, kind: str = BATCH, **headers: str) -> list[CloudEvent | DomainError]:
    given = {"content-type": kind} | {name.replace("_", "-"): value for name, value in headers.items()}
    return read_request(Headers(given), body.encode() if isinstance(body, str) else body, 5000, NOW)


def one(body: bytes | str | dict[str, object], kind: str = STRUCTURED, **headers: str) -> CloudEvent:
    found = read(json.dumps(body) if isinstance(body, dict) else body, kind, **headers)[0]
    assert isinstance(found, CloudEvent), found
    return found


def fault(body: dict[str, object]) -> EnvelopeFault:
    found = read(json.dumps([body]))[0]
    assert isinstance(found, EnvelopeFault), found
    return found


def test_the_three_modes_bring_the_same_event() -> None:
    body = json.dumps({"amount": 1.50, "name": "Zoë"}).encode()
    binary = one(
        body, "application/json", ce_specversion="1.0", ce_id="%C3%A9 1", ce_source="/erp", ce_type="order",
        ce_subject='"a b"', ce_time="2025-03-14T10:15:00+08:00",
    )  # fmt: skip
    same = event(
        id="é 1", subject="a b", time="2025-03-14T02:15:00Z", data={"name": "Zoë", "amount": 1.5},
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )  # fmt: skip
    assert binary.content_hash == one(same).content_hash == one(json.dumps([same]), BATCH).content_hash
    assert binary.content_hash == one(json.dumps(same), "application/json; charset=utf-8").content_hash
    assert one(same).traceparent and "traceparent" not in one(same).text


@pytest.mark.parametrize(
    "changes",
    [{"type": "other"}, {"subject": "s"}, {"time": "2025-01-01T00:00:00Z"}, {"dataschema": "/s"}, {"data": {"a": 2}},
     {"data": {"a": "1"}}, {"data": None}],
)  # fmt: skip
def test_another_type_subject_time_schema_or_data_is_another_content(changes: dict[str, object]) -> None:
    assert one(event(**changes)).content_hash != one(event()).content_hash


def test_the_form_of_a_number_and_the_order_of_members_do_not_matter() -> None:
    texts = ['{"a": 1.50, "b": 100}', '{"b": 1e2, "a": 15e-1}', '{"b": 100.0, "a": 1.5}']
    body = '{"specversion":"1.0","id":"1","source":"/erp","type":"order","data":%s}'
    assert len({one(body % text).content_hash for text in texts}) == 1


def test_numbers_keep_every_digit_up_to_the_worker() -> None:
    body = (
        '{"specversion":"1.0","id":"1","source":"/erp","type":"order","data":{"n":1234567890123456.7800000001,"m":%s}}'
    )
    found = stored(one(body % ("9" * 40)).text)
    assert found.data == {"n": Decimal("1234567890123456.7800000001"), "m": int("9" * 40)}


def test_what_is_kept_is_compact_and_begins_with_its_type() -> None:
    text = one(event(type='a"b', partitionkey="k")).text
    assert text.startswith(type_prefix('a"b')) and " " not in text
    assert json.loads(text)["partitionkey"] == "k"


def test_without_a_time_the_accept_time_counts_and_is_marked_but_a_repetition_is_the_same_content() -> None:
    first = one(event())
    later = read_request(Headers({"content-type": STRUCTURED}), json.dumps(event()).encode(), 1, datetime.now(UTC))[0]
    assert first.time == NOW and json.loads(first.text)["timeaccepted"] is True
    assert isinstance(later, CloudEvent) and later.content_hash == first.content_hash


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": None}, "id"), ({"id": ""}, "id"), ({"id": 7}, "id"), ({"source": None}, "source"),
        ({"source": "a b"}, "source"), ({"type": None}, "type"), ({"specversion": "0.3"}, "specversion"),
        ({"specversion": 1.0}, "specversion"), ({"time": "2025-03-14"}, "time"),
        ({"time": "2025-03-14T10:00:00"}, "time"),
        ({"time": "2025-02-30T10:00:00Z"}, "time"), ({"time": "0001-01-01T00:00:00Z"}, "time"), ({"time": 5}, "time"),
        ({"id": "a\nb"}, "id"), ({"id": "x" * 301}, "id"), ({"Extra": 1}, "Extra"), ({"extra": {"a": 1}}, "extra"),
        ({"data_base64": "aGk="}, "data_base64"), ({"subject": ""}, "subject"),
    ],
)  # fmt: skip
def test_an_envelope_that_breaks_the_standard_is_rejected_with_its_field(
    changes: dict[str, object], field: str
) -> None:
    body = {name: value for name, value in event(**changes).items() if value is not None}
    assert fault(body).field == field


def test_data_in_base64_are_json() -> None:
    encoded = base64.b64encode(b'{"a": 1}').decode()
    body = {name: value for name, value in event(data_base64=encoded).items() if name != "data"}
    assert one(body).content_hash == one(event()).content_hash


BAD = ['{"a": NaN}', '{"a": "\\ud800"}', '{"a": "x\\u0000"}', '{"a": 1, "a": 2}', '{"a\\u0000": 1}', '{"a": 01}',
       '{"b": {"a": 1, "\\u0061": 2}}', "[" * 10_000 + "]" * 10_000, "[" * 100 + "]" * 100, '"\x01"']  # fmt: skip


@pytest.mark.parametrize("data", BAD, ids=lambda text: text[:24])
def test_one_hostile_event_among_good_ones_is_rejected_alone(data: str) -> None:
    bad = '{"specversion":"1.0","id":"bad","source":"/erp","type":"order","data":' + data + "}"
    good = [json.dumps(event(id=str(n))) for n in range(3)]
    found = read("[" + ", ".join([good[0], bad, *good[1:]]) + "]")
    assert [isinstance(each, CloudEvent) for each in found] == [True, False, True, True]
    assert isinstance(found[1], EnvelopeFault)
    with pytest.raises(MalformedBody):
        read(bad, STRUCTURED)


def test_a_member_of_the_envelope_given_twice_is_rejected() -> None:
    twice = '{"specversion":"1.0","id":"1","id":"2","source":"/erp","type":"order"}'
    assert isinstance(read(f"[{twice}]")[0], EnvelopeFault)


def test_huge_numbers_are_accepted_for_the_mapping_to_judge() -> None:
    body = '{"specversion":"1.0","id":"1","source":"/erp","type":"order","data":{"a":1e400,"b":1e-999999,"c":-0.0}}'
    assert stored(one(body).text).data == {"a": Decimal("1e400"), "b": Decimal("1e-999999"), "c": 0}


@pytest.mark.parametrize("body", ["", "nonsense", "7", "{", "[", "[1, 2", '[{"a": 1}', "[] []", b"\xff\xfe"])
def test_a_body_that_is_no_json_at_all_is_refused_as_a_whole(body: str) -> None:
    with pytest.raises(MalformedBody):
        read(body)


def test_a_body_of_another_type_or_with_too_many_events_is_refused() -> None:
    with pytest.raises(NotEvents):
        read("id=1", "application/x-www-form-urlencoded")
    with pytest.raises(NotEvents):
        read("[]", BATCH + "; charset=latin-1")
    with pytest.raises(TooManyEvents):
        read(b"[" + b",".join([b"{}"] * 5001) + b"]")
    assert read("[]") == []


def test_binary_mode_without_an_id_is_rejected_and_none_is_made_up() -> None:
    found = read(b"{}", "application/json", ce_specversion="1.0", ce_source="/erp", ce_type="order")
    assert isinstance(found[0], EnvelopeFault) and found[0].field == "id"


def test_text_in_binary_mode_stays_text() -> None:
    found = one(b"line 1", "text/plain", ce_specversion="1.0", ce_id="1", ce_source="/erp", ce_type="order")
    assert found.data == "line 1"
