"""Records that ERP systems put into Kafka: read by the rules of HTTP, then accepted, or refused with a receipt.

The CloudEvents binding for Kafka knows binary and structured mode, one event a record. Attributes in headers are plain
UTF-8 there; here they are put into the words of HTTP, so that both are judged by the same code.
"""

import base64
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

import msgspec
import structlog

from services.metrics.events import store
from services.metrics.events.accept import accept, incoming
from services.metrics.events.cloudevents import BATCH, STRUCTURED, CloudEvent, EnvelopeFault, NotEvents, read_request
from services.metrics.events.receipts import problem_of
from shared.contracts.intake import REJECTED, SOURCE_EVENTS, EventRejected
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Conflict, DomainError, Forbidden, Invalid, TooLarge
from shared.http.context import traceparent_of
from shared.http.problems import clean
from shared.log import Record
from shared.log.append import Outgoing
from shared.log.parking import park, parked_of
from shared.service import Received

log = structlog.get_logger(__name__)

KEPT = 64 * 1024  # [bytes] of a refused value that its receipt repeats
MOST_HEADERS, LONGEST = 50, 1_000  # headers of a refused record; characters of one, or of its key


class RecordTooLarge(TooLarge):
    """The value of a record has more bytes than a request that brings events may have."""


class CompanyMissing(Invalid):
    """A record does not say which company its event belongs to."""


class CompanyUnknown(Invalid):
    """A record names a company that does not exist here."""


class CompanyDiffers(Forbidden):
    """A repaired record names another company than the one it was parked for."""


class RecordWasCut(Conflict):
    """Of a refused record only the beginning was kept."""


class ContentDiffers(Conflict):
    """Another content was accepted under the source and id of an event."""


class Unreadable(Invalid):
    """A record that the Kafka client itself cannot read."""


class NotStorable(Invalid):
    """An event breaks no rule that is known, and cannot be stored."""


class Raw(NamedTuple):
    """A record as Kafka has it; `pos` is its place among all that was ever taken from the partition."""

    partition: int
    offset: int
    pos: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Judged:
    """A record with its event, or with the rule that it breaks. Company, id and source are as far as it tells them."""

    raw: Raw
    company: str
    id: str | None
    source: str | None
    traceparent: str
    event: CloudEvent | None = None
    fault: DomainError | None = None


class _Names(msgspec.Struct):
    company: Any = None
    id: Any = None
    source: Any = None


_NAMES = msgspec.json.Decoder(_Names)


def refused(raw: Raw, fault: DomainError | None) -> Judged:
    """A record of which nothing is read but whose it is."""
    given = {name.lower(): (value or b"").decode(errors="replace") for name, value in raw.headers}
    company, id, source = _names(given, raw.value or b"")
    return Judged(raw, company or "", id, source, traceparent_of(given.get("traceparent")), fault=fault)


def judge(raw: Raw, largest: int, now: datetime) -> Judged:
    """Reads a record; an event without a time gets `now`.

    Args:
        largest: value that is read [bytes].
    """
    judged = refused(raw, None)
    try:
        event = _read(raw, largest, now)
        if not judged.company:
            raise CompanyMissing(
                "An event over Kafka names its company.", field="company",
                remedy="Add the header ce_company, in structured mode the attribute company.",
            )  # fmt: skip
    except DomainError as fault:
        return replace(judged, fault=fault)
    return replace(judged, event=event)


def take(uow: UnitOfWork, records: Sequence[Judged], most_parked: int) -> None:
    """Accepts what can be accepted, and tells of all else but of duplicates; the last thing in its transaction.

    Args:
        most_parked: records of ERP systems; of further ones only the receipt is kept.
    """
    records = _of_known_companies(uow, records)
    _refuse(uow, [each for each in records if each.fault], most_parked)
    events = [(each, each.event) for each in records if each.event and not each.fault]
    if not events:
        return
    fates = accept(uow, [incoming(each.company, event, each.traceparent) for each, event in events])
    for (each, _), fate in zip(events, fates, strict=True):
        if fate.status == "quarantined":
            fault = ContentDiffers(
                "Under this source and id an event with another content was accepted, which counts.", field="id",
                remedy="Compare both in GET /metrics/v1/events/quarantined; send a correction under an id of its own.",
            )  # fmt: skip
            _publish(uow, each, _receipt(each, fault, "quarantined"))


def taken_again(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Refused records as an operator has repaired them. Raises DomainError where one breaks a rule again."""
    for received in events:
        told: EventRejected = received.event
        if told.cut:
            raise RecordWasCut(
                "Only the beginning of this record was kept.", field="cut",
                remedy="Send it again from its source, or put the whole of it here and set cut to false.",
            )  # fmt: skip
        raw = _raw(told)
        (judged,) = _of_known_companies(uow, [judge(raw, len(raw.value or b""), datetime.now(UTC))])
        if judged.fault:
            raise judged.fault
        if judged.company != received.company:
            raise CompanyDiffers(
                "A record is repaired for the company it was parked for.", field="company", remedy="Leave it as it was."
            )
        assert judged.event
        accept(uow, [incoming(judged.company, judged.event, judged.traceparent)])


def _read(raw: Raw, largest: int, now: datetime) -> CloudEvent:
    headers, body = _headers(raw.headers), raw.value or b""
    if raw.value is None and not any(name.startswith("ce-") for name in headers):
        raise EnvelopeFault(
            "A record without value and attributes (a tombstone) is no event.", field="value",
            remedy="What was accepted stays; send an event that corrects it.",
        )  # fmt: skip
    if len(body) > largest:
        raise RecordTooLarge(f"The value has more than {largest} bytes.", field="value", remedy="Send a smaller event.")
    found = read_request(headers, body, len(body), now)  # a batch never has as many members as bytes
    if len(found) != 1 or headers.get("content-type", "").startswith(BATCH):
        raise NotEvents("A record holds one event.", remedy="Send each event of a batch as a record of its own.")
    if isinstance(found[0], EnvelopeFault):
        raise found[0]
    return found[0]


def _headers(given: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    """In the words of HTTP: with hyphens, percent-encoded, names in small letters. Raises EnvelopeFault"""
    found: dict[str, str] = {}
    for name, value in given:
        name = name.lower()
        if name != "content-type" and not name.startswith("ce_"):
            continue
        if name.replace("ce_", "ce-", 1) in found:
            raise EnvelopeFault(f"The header {clean(name, 60)} is given twice.", field=name, remedy="Send it once.")
        try:
            text = (value or b"").decode()
        except UnicodeDecodeError:
            rule = f"The header {clean(name, 60)} is not UTF-8."
            raise EnvelopeFault(rule, field=name, remedy="Encode it in UTF-8.") from None
        found[name.replace("ce_", "ce-", 1)] = text if name == "content-type" else quote(text)
    return found


def _names(given: dict[str, str], value: bytes) -> list[str | None]:
    """Company, id and source by what the record says of itself, right or wrong."""
    inside = _Names()
    if given.get("content-type", "").lower().startswith(STRUCTURED) or "ce_specversion" not in given:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            inside = _NAMES.decode(value)
    found = [getattr(inside, name) or given.get(f"ce_{name}") for name in _Names.__struct_fields__]
    return [clean(each, 300) if isinstance(each, str) and each else None for each in found]


def _of_known_companies(uow: UnitOfWork, records: Sequence[Judged]) -> Sequence[Judged]:
    known = store.known(uow, {each.company for each in records})
    return [each if each.fault or each.company in known else replace(each, fault=_unknown(each)) for each in records]


def _unknown(each: Judged) -> CompanyUnknown:
    remedy = "Correct it; where the company is new, retry the parked record once it is defined."
    return CompanyUnknown(f"There is no company {each.company} here.", field="company", remedy=remedy)


def _refuse(uow: UnitOfWork, bad: Sequence[Judged], most_parked: int) -> None:
    room = most_parked - parked_of(uow, [SOURCE_EVENTS]) if bad else 0
    for each in bad:
        assert each.fault
        told = _receipt(each, each.fault, "rejected")
        _publish(uow, each, told)
        if room > 0 and each.company:  # nobody could see one that belongs to none, nor discard it
            room -= 1
            raw, now = each.raw, datetime.now(UTC)
            place = (SOURCE_EVENTS, raw.partition, raw.pos, str(raw.pos))  # nothing waits behind it: a key of its own
            data = told.model_dump_json()
            park(uow, [Record(*place, told.TYPE, each.company, data, each.traceparent, now)], each.fault)
        log.warning("a record of an ERP system was refused", partition=each.raw.partition, offset=each.raw.offset,
                    problem=type(each.fault).__name__)  # fmt: skip


def _publish(uow: UnitOfWork, each: Judged, told: EventRejected) -> None:
    key, data = clean(told.key or ""), told.model_dump_json()
    uow.outgoing.append(Outgoing(REJECTED, key, told.TYPE, each.company, data, each.traceparent))


def _receipt(each: Judged, fault: DomainError, status: Literal["rejected", "quarantined"]) -> EventRejected:
    raw = each.raw
    key = raw.key and raw.key.decode(errors="backslashreplace")
    headers = [[name, (value or b"").decode(errors="backslashreplace")] for name, value in raw.headers]
    kept = [[name[:LONGEST], value[:LONGEST]] for name, value in headers[:MOST_HEADERS]]
    value = (raw.value or b"")[:KEPT]
    try:
        text = value.decode() if raw.value is not None else None
        encoded = None
    except UnicodeDecodeError:
        text, encoded = None, base64.b64encode(value).decode()
    return EventRejected(
        status=status, id=each.id, source=each.source, partition=raw.partition, offset=raw.offset,
        problem=problem_of(fault), key=key and key[:LONGEST], headers=kept, value=text, value_base64=encoded,
        cut=kept != headers or len(key or "") > LONGEST or len(raw.value or b"") > KEPT,
    )  # fmt: skip


def _raw(told: EventRejected) -> Raw:
    value = told.value.encode() if told.value is not None else None
    if told.value_base64 is not None:
        try:
            value = base64.b64decode(told.value_base64, validate=True)
        except ValueError:
            raise EnvelopeFault("This is not base64.", field="value_base64", remedy="Correct it.") from None
    headers = [(name, text.encode()) for name, text in told.headers]
    return Raw(told.partition, told.offset, 0, None, value, headers)
