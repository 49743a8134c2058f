import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from shared.errors import Busy, Invalid
from shared.http import problems
from shared.http.conditional import ChangedSinceRead, MalformedIfMatch, check_if_match, etag
from shared.http.context import request_id_of, traceparent_of
from shared.http.paging import BadCursor, PageRequest
from shared.http.strict_json import JsonNumber, MalformedJson, parse

HOSTILE: list[bytes] = [
    b"NaN", b"Infinity", b"-Infinity", b'{"a": NaN}', b"1e400", b"-1e400", b"1E+1000000", b"1e-41", b"1e41",
    b"1e" + b"9" * 5000, b"9" * 5000, b"1." + b"9" * 5000, b"9" * 41, b"0." + b"0" * 41,
    rb'"\u0000"', rb'{"a\u0000": 1}', rb'"\ud800"', rb'"\udc00\ud800"', rb'{"\ud800": 1}', rb'["a", {"b": "\udfff"}]',
    b'{"a": 1, "a": 1}', b'{"x": {"a": 1, "b": 2, "a": 3}}', rb'{"a": 1, "\u0061": 2}',
    b"[" * 65 + b"]" * 65, b"[" * 10_000 + b"]" * 10_000, b"[" * 200_000, b'{"a":' * 200_000,
    b'{"a":' * 65 + b"1" + b"}" * 65,
    b"\xff\xfe{\x00}\x00", b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf{}", b"{} x", b"{}{}",
    b"{", b"'a'", b"{a: 1}", b"[1,]", b"01", b"+1", b".5", b"1.", b"0x10", b'"a\nb"', b"// no\n1", b" ",
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=[f"{i}-{body[:12]!r}" for i, body in enumerate(HOSTILE)])
def test_json_that_cannot_be_taken_exactly_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedJson) as error:
        parse(body)
    assert len(error.value.rule) < 300


def test_fractions_are_exact_and_tell_that_they_were_numbers() -> None:
    value = parse(b'{"a": 1234567890123456.78, "b": 1e2, "c": 7, "d": -0.10}')
    assert value["a"] == Decimal("1234567890123456.78") and type(value["a"]) is JsonNumber
    assert value["b"] == Decimal(100) and value["c"] == 7 and type(value["c"]) is int
    assert str(value["d"]) == "-0.10"


def test_what_is_just_within_the_limits_is_taken() -> None:
    assert parse(b"[" * 64 + b"]" * 64)
    assert parse(b"9" * 40) == int("9" * 40)
    assert parse(b"1e40") == Decimal("1e40")
    assert parse(rb'"\ud83d\ude00 \t"') == "😀 \t"


leaves = st.none() | st.booleans() | st.integers(-(10**39), 10**39) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"))  # fmt: skip
documents = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc😀é"), inner), max_leaves=20
)


@given(documents)
def test_every_ordinary_document_comes_back_equal(document: Any) -> None:
    assert parse(json.dumps(document).encode()) == document
    assert parse(json.dumps(document, ensure_ascii=False).encode()) == document


@given(st.binary(max_size=60))
def test_bytes_are_either_a_document_or_malformed(body: bytes) -> None:
    with contextlib.suppress(MalformedJson):
        parse(body)


# --- problems ---


class WeightsDoNotAddUp(Invalid):
    """For the test."""


def request() -> Request:
    return Request({"type": "http", "headers": [], "method": "POST", "path": "/", "state": {"request_id": "r-1"}})


def body_of(response: Any) -> Any:
    return json.loads(response.body)


def test_a_broken_rule_becomes_a_problem_with_field_and_remedy() -> None:
    error = WeightsDoNotAddUp("They add up to 99.99 %.", field="lines", remedy="Raise one.", total=Decimal("99.99"))
    response = problems.domain_problem(request(), error)
    assert response.media_type == "application/problem+json" and response.status_code == 422
    assert body_of(response) == {
        "type": "urn:valueloop:problem:weights-do-not-add-up", "title": "Weights do not add up", "status": 422,
        "detail": "They add up to 99.99 %.", "field": "lines", "remedy": "Raise one.", "instance": "r-1",
        "total": "99.99",
    }  # fmt: skip


def test_further_members_cannot_pose_as_standard_ones() -> None:
    response = problems.domain_problem(request(), Invalid("rule", status=200, type="x", name="y"))
    assert body_of(response)["status"] == 422 and body_of(response)["type"] == "urn:valueloop:problem:invalid"


def test_busy_says_when_to_come_back() -> None:
    assert problems.domain_problem(request(), Busy("Wait.")).headers["retry-after"] == "1"
    assert problems.domain_problem(request(), Busy("Wait.", retry_after=7)).headers["retry-after"] == "7"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", "\0", 10**5000, b"\xff"], ids=range(6))
def test_a_validation_problem_never_echoes_the_input(value: Any) -> None:
    found = {"type": "x", "loc": ("body", "lines", 2, "\ud800" + "k" * 500), "msg": "bad \ud800", "input": value,
             "ctx": {"error": value}}  # fmt: skip
    response = problems.validation_problem(request(), RequestValidationError([found] * 80, body=value))
    document = body_of(response)
    assert response.status_code == 422 and len(response.body) < 30_000
    assert len(document["errors"]) == 50
    assert document["errors"][0]["in"] == "body" and document["errors"][0]["field"].startswith("lines.2.?k")


# --- conditional requests ---


def test_a_change_is_taken_only_from_the_present_version() -> None:
    check_if_match(None, 3)
    check_if_match("*", 3)
    check_if_match(etag(3), 3)
    check_if_match('"1", "3"', 3)
    for header, version in [('"2"', 3), ('W/"3"', 3), ("*", None), ('"1"', None)]:
        with pytest.raises(ChangedSinceRead):
            check_if_match(header, version)


@pytest.mark.parametrize("header", ["3", "", '"3', '"3" "4"', "**", '"\x7f"', '"' + "a" * 2000 + '"'])
def test_if_match_is_a_list_of_tags(header: str) -> None:
    with pytest.raises(MalformedIfMatch):
        check_if_match(header, 3)


# --- cursors ---


def first_cursor(path: str = "/a", key: Any = "k") -> str:
    page = PageRequest(1, None, path).of(["x", "y"], lambda _: key)
    assert page.items == ["x"] and page.next_cursor
    return page.next_cursor


@pytest.mark.parametrize("key", ["", "code", "😀", 7, ["t", 3, 2**40], [None, "x"]], ids=repr)
def test_a_cursor_gives_back_the_key_it_was_made_from(key: Any) -> None:
    assert PageRequest(1, first_cursor(key=key), "/a").after == key


def test_the_last_page_has_no_cursor() -> None:
    assert PageRequest(2, None, "/a").of(["x", "y"], str).next_cursor is None


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(BadCursor):
        _ = PageRequest(1, first_cursor("/a"), "/b").after


@given(st.text(max_size=40))
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        _ = PageRequest(1, cursor, "/a").after


@given(st.data())
def test_a_changed_cursor_is_refused(data: st.DataObject) -> None:
    cursor = first_cursor()
    place = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("ABCDwxyz0189-_").filter(lambda letter: letter != cursor[place]))
    with pytest.raises(BadCursor):
        _ = PageRequest(1, cursor[:place] + other + cursor[place + 1 :], "/a").after


# --- request ids and traces ---

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_valid_trace_goes_on_with_a_span_of_ours() -> None:
    ours = traceparent_of(TRACE)
    assert ours[:36] == TRACE[:36] and ours[-2:] == "01" and ours != TRACE
    assert traceparent_of("cc" + TRACE[2:] + "-future")[3:35] == TRACE[3:35]


@pytest.mark.parametrize(
    "given_trace",
    [None, "", "x", TRACE.upper(), TRACE + "-more", "ff" + TRACE[2:], "00-" + "0" * 32 + TRACE[35:],
     TRACE[:36] + "0" * 16 + "-01", TRACE + "\n"],
)  # fmt: skip
def test_an_invalid_trace_is_replaced(given_trace: str | None) -> None:
    ours = traceparent_of(given_trace)
    assert len(ours) == 55 and ours[3:35] != TRACE[3:35]


def test_only_sane_request_ids_are_kept() -> None:
    assert request_id_of("order-17.A_b") == "order-17.A_b"
    for bad in (None, "", "a b", "a\nb", "x" * 65, "<script>", "é"):
        assert request_id_of(bad) != bad and len(request_id_of(bad)) == 32
