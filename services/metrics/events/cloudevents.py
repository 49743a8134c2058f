"""CloudEvents 1.0, taken strictly: structured, batch and binary mode. Nothing is invented, nothing silently repaired.

The usual event costs two passes in C. What only a slow look can find (a member twice, NUL, depth) is looked for where
the bytes give reason: JSON without a backslash, whose canonical form has as many quotes, has no member twice.
"""

import base64
import binascii
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any, NoReturn
from urllib.parse import unquote

import msgspec

from services.metrics.mappings.rules import Event
from shared.errors import Invalid, TooLarge
from shared.http.problems import Malformed, UnsupportedMediaType, clean
from shared.periods import FIRST_YEAR, LAST_YEAR

STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"
DEEPEST = 64
LONGEST = {"id": 300, "source": 500, "type": 300, "subject": 300, "dataschema": 1000, "datacontenttype": 200}
REQUIRED = ("id", "source", "type")
_NO_ATTRIBUTES = ("data", "data_base64", "time", "timeaccepted", "tracestate")

_EXTENSION = re.compile(r"[a-z0-9]{1,40}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_JSON = re.compile(r"(application|text)/json|application/.+\+json")
_PIECE = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_TRIMMED = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_SENSIBLE = 60  # digits before the point up to which a whole number is written out


class EnvelopeFault(Invalid):
    """An event is not a CloudEvent 1.0, or its data are not JSON that everybody reads alike."""


class MalformedBody(Malformed):
    """The body as a whole cannot be read, so no event in it has a receipt."""


class TooManyEvents(TooLarge):
    """A request brings more events than one may."""


class NotEvents(UnsupportedMediaType):
    """The content type is none in which events come."""


@dataclass(frozen=True, slots=True)
class CloudEvent(Event):
    """One event as it is kept; its time is the accept time where the sender gave none.

    Args:
        text: the event in structured mode, canonical and compact; `type` comes first, by which the log is searched.
        content_hash: over type, subject, time, data schema and data; trace headers, mode and key order do not matter.
    """

    text: str
    content_hash: bytes
    traceparent: str | None = None


def exact(text: str) -> Decimal | int:
    """A JSON fraction in one form for each number: `1.50` is 1.5, and `1.0` and `1e0` are 1."""
    number = _TRIMMED.create_decimal(text)
    if number.adjusted() <= _SENSIBLE and number == number.to_integral_value():
        return int(number)
    return number.normalize(_TRIMMED)


_VALUE = msgspec.json.Decoder(float_hook=exact)
_PARTS = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODE = msgspec.json.Encoder(decimal_format="number").encode
_CANONICAL = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


def read_request(headers: Mapping[str, str], body: bytes, most: int, now: datetime) -> list[CloudEvent | EnvelopeFault]:
    """The events of a request, in order; an event at fault is its error, and the others are not touched by it.

    Raises:
        MalformedBody: the body is not JSON at all. NotEvents, TooManyEvents.
    """
    kind, _, parameters = headers.get("content-type", "").lower().partition(";")
    kind = kind.strip()
    if "charset=" in parameters and "utf-8" not in parameters.replace("utf8", "utf-8"):
        raise NotEvents("Events come in UTF-8.", remedy="Send charset=utf-8.")
    if kind not in (STRUCTURED, BATCH) and any(f"ce-{name}" in headers for name in (*REQUIRED, "specversion")):
        return [_attempt(from_binary, headers, kind, body, now)]
    if kind not in (STRUCTURED, BATCH, "application/json"):
        raise NotEvents(
            f"Events come as {STRUCTURED}, {BATCH}, application/json, or in binary mode with ce- headers; the content "
            f"type is {clean(kind, 60) or 'missing'}.", remedy=f"Send Content-Type: {STRUCTURED}."
        )  # fmt: skip
    start = body.lstrip()[:1]
    if start == b"[" and kind != STRUCTURED:
        return [_attempt(from_json, raw, now) for raw in _members(body, most)]
    if start == b"{" and kind != BATCH:
        return [alone(from_json, body, now)]
    raise MalformedBody(
        "The body is not what its content type says.", remedy="A batch is a JSON array, a single event a JSON object."
    )


def _attempt(read: Callable[..., CloudEvent], *given: Any) -> CloudEvent | EnvelopeFault:
    try:
        return read(*given)
    except EnvelopeFault as fault:
        return fault


def alone(read: Callable[..., CloudEvent], *given: Any) -> CloudEvent | EnvelopeFault:
    """The only event of a request, or its error. Raises MalformedBody where there is nothing to give a receipt for."""
    found = _attempt(read, *given)
    if isinstance(found, EnvelopeFault) and found.field is None:
        raise MalformedBody(found.rule, remedy=found.remedy)
    return found


def from_json(raw: bytes, now: datetime) -> CloudEvent:
    """An event in structured mode. Raises EnvelopeFault."""
    event = read_data(raw)
    if not isinstance(event, dict):
        _fault(None, "An event is a JSON object.", "Send an object with id, source, specversion and type.")
    return checked(event, now)


def from_binary(headers: Mapping[str, str], kind: str, body: bytes, now: datetime) -> CloudEvent:
    """An event in binary mode: attributes in `ce-` headers, percent-encoded, data in the body. Raises EnvelopeFault."""
    names = [name for name in headers if name.startswith("ce-")]
    event: dict[str, Any] = {name[3:]: _header(name, headers[name]) for name in names}
    if len(event) < len(names):
        _fault("headers", "A ce- header is given twice.", "Send each once.")
    if kind:
        event["datacontenttype"] = kind
    if body and (not kind or _JSON.fullmatch(kind)):
        event["data"] = read_data(body)
    elif body:
        try:
            event["data"] = body.decode()
        except UnicodeDecodeError:
            _fault("data", "Data that are not JSON are text in UTF-8.", "Send JSON.")
    return checked(event, now)


def read_data(raw: bytes) -> Any:
    """JSON with exact numbers, of which no two readers think differently. Raises EnvelopeFault."""
    try:
        value = _VALUE.decode(raw)
        # With a backslash a NUL may come, or half a surrogate; quotes fewer than read show that a member came twice.
        unlike = b"\\" in raw or raw.count(b'"') != _CANONICAL(value).count(b'"')
        if unlike or raw.count(b"{") + raw.count(b"[") > DEEPEST:
            _look_closely(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, ArithmeticError) as error:
        _fault(None, f"The event is not JSON: {clean(error, 200)}.", "Send valid JSON in UTF-8.")
    except RecursionError:
        _fault(None, f"An event nests at most {DEEPEST} levels deep.", "Send flatter data.")
    return value


def stored(text: str) -> Event:
    """An accepted event, read back from the log."""
    event = _VALUE.decode(text)
    time = datetime.fromisoformat(event["time"])
    return Event(event["id"], event["source"], event["type"], event.get("subject"), time, event.get("data"))


def from_log(text: str) -> CloudEvent:
    """An accepted event as it was when it came, with the hash of its content."""
    event = read_data(text.encode())
    accepted_at = event.pop("time") if event.pop("timeaccepted", False) else event["time"]
    return replace(checked(event, datetime.fromisoformat(accepted_at)), text=text)


def type_prefix(event_type: str) -> str:
    """How the text of every accepted event of a type begins."""
    return '{"type":' + _ENCODE(event_type).decode() + ","


def checked(event: dict[str, Any], now: datetime) -> CloudEvent:
    """The event of these attributes and data. Raises EnvelopeFault."""
    if event.get("specversion") != "1.0":
        _fault("specversion", "The specversion of an event is 1.0.", "Send CloudEvents 1.0.")
    for name in REQUIRED:
        if event.get(name) is None:
            _fault(name, f"An event has {'an' if name == 'id' else 'a'} {name}.", "Add it; it is never invented here.")
    known = {name: value for name, value in event.items() if value is not None and name not in _NO_ATTRIBUTES}
    for name, value in known.items():
        _check_attribute(name, value)
    time, data, trace = _time(event.get("time")), _data(event), known.pop("traceparent", None)
    identity = {name: known.pop(name) for name in ("type", "source", "id")}
    accepted = {} if time else {"timeaccepted": True}
    text = _ENCODE({**identity, **known, **accepted, "time": (time or now).isoformat()})
    canonical = b"" if data is None else _CANONICAL(data)
    if canonical:
        text = text[:-1] + b',"data":' + canonical + b"}"
    subject, instant = known.get("subject"), time.astimezone(UTC).isoformat() if time else None
    judged = [identity["type"], subject, instant, known.get("dataschema"), data is not None]
    return CloudEvent(
        **identity, subject=subject, time=time or now, data=data, text=text.decode(),
        content_hash=hashlib.sha256(_ENCODE(judged) + canonical).digest()[:16],
        traceparent=trace if isinstance(trace, str) and _TRACEPARENT.fullmatch(trace) else None,
    )  # fmt: skip


def _check_attribute(name: str, value: Any) -> None:
    if name not in LONGEST:
        if not _EXTENSION.fullmatch(name):
            _fault(clean(name, 60), "Attributes have lower-case letters and digits only.", "Put others into data.")
        if not isinstance(value, str | bool | int):
            _fault(name, "An extension attribute is text, a whole number or true/false.", "Put structures into data.")
        return
    if not isinstance(value, str) or not value:
        _fault(name, f"{name} is text that is not empty.", "Send a JSON string.")
    if len(value) > LONGEST[name]:
        _fault(name, f"{name} has at most {LONGEST[name]} characters.", "Shorten it.")
    if not (value.isascii() and value.isprintable()) and _CONTROL.search(value):
        _fault(name, f"{name} contains a control character.", "Remove it.")
    if name in ("source", "dataschema") and any(map(str.isspace, value)):
        _fault(name, f"{name} is a URI: it contains no white space.", "Encode spaces as %20.")


def _time(value: Any) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        _fault("time", "time is an RFC 3339 timestamp with its offset.", "Write it like 2025-03-14T10:15:00+08:00.")
    try:
        found = datetime.fromisoformat(value.upper())
    except ValueError as error:
        _fault("time", f"time does not exist: {error}.", "Correct it.")
    if not FIRST_YEAR < found.year < LAST_YEAR:
        _fault("time", f"time lies between the years {FIRST_YEAR} and {LAST_YEAR}.", "Check it for a typing error.")
    return found


def _data(event: dict[str, Any]) -> Any:
    data, encoded = event.get("data"), event.get("data_base64")
    if encoded is None:
        return data
    if data is not None:
        _fault("data_base64", "An event has data or data_base64, not both.", "Leave one out.")
    try:
        return read_data(base64.b64decode(encoded.encode("ascii"), validate=True))
    except (AttributeError, UnicodeError, binascii.Error):
        _fault("data_base64", "data_base64 is text in base64.", "Send JSON in data instead.")


def _members(body: bytes, most: int) -> Iterable[bytes]:
    try:
        parts: list[Any] = _PARTS.decode(body)
    except (msgspec.DecodeError, RecursionError):
        parts = _taken_apart(body)
    if len(parts) > most:
        raise TooManyEvents(
            f"A request brings at most {most} events; this one {len(parts)}.", remedy="Send less at once."
        )
    return map(bytes, parts)


def _taken_apart(body: bytes) -> list[bytes]:
    """The members of an array of which some are not JSON, so that the others still count: split by its brackets."""
    parts, depth, start, end = [], 0, 0, -1
    for piece in _PIECE.finditer(body):
        mark = piece[0]
        if mark in b"[{":
            depth += 1
            start = piece.end() if depth == 1 else start
        elif mark in (b"]", b"}"):
            depth -= 1
            end = piece.start() if depth == 0 and end < 0 else end
        elif mark == b"," and depth == 1:
            parts.append(body[start : piece.start()])
            start = piece.end()
    if depth or end < 0 or body[end:].strip() != b"]":
        raise MalformedBody("The body is not JSON: its brackets do not match.", remedy="Send a whole array of events.")
    return [*parts, body[start:end]]


def _look_closely(raw: bytes) -> None:
    """Finds what the fast decoder lets pass: a member given twice, NUL, more than 64 levels."""
    if _depth(json.loads(raw, object_pairs_hook=_once, parse_int=str, parse_float=str)) > DEEPEST:
        raise RecursionError


def _depth(value: Any) -> int:
    if isinstance(value, str) and "\0" in value:
        _fault(None, "A string contains the character NUL.", "Remove \\u0000.")
    if not isinstance(value, dict | list):
        return 0
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return 1 + max(map(_depth, inner), default=0)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        _fault(None, f"The member {clean(twice, 60)} is given twice in one object.", "Send it once.")
    return members


def _header(name: str, value: str) -> str:
    """A header's text: quotes and percent-encoding taken off, as the HTTP binding says."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value.encode("latin-1").decode(), errors="strict")
    except UnicodeError:
        _fault(name[3:], f"The header {clean(name, 60)} is not percent-encoded UTF-8.", "Encode it.")


def _fault(field: str | None, rule: str, remedy: str) -> NoReturn:
    raise EnvelopeFault(rule, field=field, remedy=remedy) from None
