"""What events mean: mapping versions compiled once, and the facts they find in an event."""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Members
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, TypeVar

from shared.contracts.metrics import Mapping, ObservationRule
from shared.errors import Invalid
from shared.formula import MAPPING, FormulaError, Null, Outcome, Value, compile_mapping, parse
from shared.formula.values import as_items, as_text, as_truth, kind_of, number, shown, to_timestamp, written
from shared.numbers import FRACTION_DIGITS, INTEGER_DIGITS, DecimalString, published
from shared.periods import Calendar, business_day, zone

T = TypeVar("T")
Scope = Members[str, object]
Evaluate = Callable[[Scope], Outcome]
LONGEST_TEXT = 600  # [bytes] of a key, a dimension or a member
MOST_DIMENSIONS = 1000  # [bytes] of all dimensions together
MOST_FACTS = 10_000  # of one mapping from one event: they are folded in one transaction
_SUBJECT = re.compile(r"(unit|person):[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_NAMES = ("id", "source", "type", "subject", "time", "data")
_ITEM_NAMES = (*_NAMES, "item", "index")
_VALUELESS = ("open", "close", "retract")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MappingInvalid(Invalid):
    """A mapping cannot be used; `field` is the path of the expression, `position` counts its characters from 1."""


@dataclass(frozen=True, slots=True)
class Event:
    """What of an accepted event a mapping sees."""

    id: str
    source: str
    type: str
    subject: str | None
    time: datetime
    data: Any


@dataclass(frozen=True, slots=True)
class Fact:
    """One observation that an event yields, not yet judged against the catalogue.

    Args:
        item: index in the mapping's `for_each`, 0 without one; with `rule`, the index of the observation rule, it names
            the fact within the event and mapping.
        value: a number in `unit`; the member's text for a `distinct` metric; 1 where the rule has no value.
        unit: as the event says; None where the rule has none (the metric's own), "" where the event's is blank.
        at: business time, aware. `day`: the same in the company's zone.
    """

    mapping: str
    mapping_version: int
    item: int
    rule: int
    metric: str
    effect: str
    value: DecimalString | str | None
    unit: str | None
    subject: str
    at: datetime
    day: date
    key: str | None
    document: str | None
    dimensions: dict[str, str]
    revision: DecimalString


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a mapping's rule yielded no observation; `item` and `rule` are -1 where the mapping as a whole failed."""

    mapping: str
    item: int
    rule: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class EventFacts:
    """An event with all that the mappings found in it; the unit that `observations.handlers.fold` takes.

    `waits` holds the references found here (`mapping:TYPE`, `company`); the fold adds its own.
    """

    partition: int
    pos: int
    source: str
    id: str
    time: datetime
    facts: list[Fact] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One observation rule with the expressions it has, by field and by dimension."""

    number: int
    rule: ObservationRule
    when: Evaluate | None
    parts: dict[str, Evaluate]
    dimensions: dict[str, Evaluate]


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """One version of a mapping, with its own expressions by field."""

    code: str
    version: int
    mapping: Mapping
    parts: dict[str, Evaluate]
    rules: list[CompiledRule]


class Mapped(NamedTuple):
    """What an event yields. `known` is false where no mapping takes events like it."""

    facts: list[Fact]
    faults: list[Fault]
    known: bool


class Compiled:
    """All mappings of one company with its calendar."""

    def __init__(self, calendar: Calendar, versions: Iterable[CompiledMapping]) -> None:
        self.calendar = calendar
        timelines: dict[str, list[CompiledMapping]] = defaultdict(list)
        for each in sorted(versions, key=lambda each: (each.code, each.mapping.effective_from, each.version)):
            timelines[each.code].append(each)
        self._by_type: dict[str, list[list[CompiledMapping]]] = defaultdict(list)
        for timeline in timelines.values():
            for event_type in {each.mapping.event_type for each in timeline}:
                self._by_type[event_type].append(timeline)

    def taking(self, event: Event, day: date) -> list[CompiledMapping]:
        """The mappings that take an event: of each the version in force on the event's day."""
        found = []
        for timeline in self._by_type.get(event.type, ()):
            begun = bisect_right(timeline, day, key=lambda each: each.mapping.effective_from)
            mapping = timeline[begun - 1].mapping if begun else None
            if mapping and mapping.event_type == event.type and mapping.source in (None, event.source):
                found.append(timeline[begun - 1])
        return found


def compile_version(code: str, version: int, mapping: Mapping) -> CompiledMapping:
    """Compiles one version.

    Raises:
        MappingInvalid: an expression breaks the grammar or reads what is not there; `field` is its path.
    """
    inner = _NAMES if mapping.for_each is None else _ITEM_NAMES
    parts = _compiled({"when": mapping.when, "for_each": mapping.for_each}, "", _NAMES)
    parts |= _compiled({"revision": mapping.revision}, "", inner)
    rules = []
    for index, rule in enumerate(mapping.observations):
        at = f"observations.{index}."
        _check_effect(rule, at)
        when = _compiled({"when": rule.when}, at, inner).get("when")
        own = _compiled({name: getattr(rule, name) for name in _PARTS}, at, inner)
        rules.append(CompiledRule(index, rule, when, own, _compiled(rule.dimensions, at + "dimensions.", inner)))
    return CompiledMapping(code, version, mapping, parts, rules)


def _check_effect(rule: ObservationRule, at: str) -> None:
    if rule.effect in ("open", "close") and rule.key is None:
        _refuse(at + "key", f"{rule.effect} pairs with its counterpart by business key.", "Add a key.")
    if rule.effect == "retract" and rule.key is None and rule.document is None:
        _refuse(at + "key", "retract says by key or document what it takes out.", "Add a key or a document.")
    if rule.effect == "replace" and rule.document is None:
        _refuse(at + "document", "replace supersedes a document.", "Add the document's key.")


def _compiled(texts: Members[str, str | None], at: str, names: Sequence[str]) -> dict[str, Evaluate]:
    return {name: _expression(text, at + name, names) for name, text in texts.items() if text is not None}


def _expression(text: str, path: str, names: Sequence[str]) -> Evaluate:
    try:
        expression = parse(text, functions=MAPPING)
        evaluate = compile_mapping(expression)
    except FormulaError as error:
        _refuse(path, error.rule, error.remedy, **error.more)
    unknown = sorted({name.split(".", 1)[0].split("[", 1)[0] for name in expression.names} - set(names))
    if unknown:
        position = text.find(unknown[0]) + 1
        _refuse(
            path, f"At character {position}: there is nothing called {unknown[0]!r} here.",
            f"Use {', '.join(sorted(names))}; the event's own members are below data.", position=position,
        )  # fmt: skip
    return evaluate


def _refuse(path: str, rule: str, remedy: str | None, **more: object) -> NoReturn:
    raise MappingInvalid(f"{path}: {rule}", field=path, remedy=remedy, **more) from None


def facts_of(event: Event, compiled: Compiled) -> Mapped:
    """What the mappings in force at the event's own time find in it."""
    taking = compiled.taking(event, business_day(compiled.calendar, event.time))
    found = Mapped([], [], bool(taking))
    scope: dict[str, object] = {name: getattr(event, name) for name in _NAMES}
    for mapping in taking:
        try:
            for item, within in enumerate(_scopes(mapping, scope)):
                _map(mapping, compiled.calendar, within, item, found)
        except _Unusable as fault:
            found.faults.append(Fault(mapping.code, -1, -1, fault.field, fault.reason))
    return found


class _Unusable(Exception):
    """A field of an observation cannot be had from this event."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason[:400]


def _had(evaluate: Evaluate, field: str, scope: Scope, convert: Callable[[Value], T], absent: T | None = None) -> T:
    """The value of an expression, converted; `absent` where there is none, and _Unusable where that is None."""
    outcome = evaluate(scope)
    try:
        if outcome.value is not None:
            return convert(outcome.value)
        if absent is not None:
            return absent
        raise Null(outcome.reason or "there is no value")
    except Null as null:
        raise _Unusable(field, null.reason) from None


def _scopes(mapping: CompiledMapping, scope: dict[str, object]) -> list[dict[str, object]]:
    """What the rules see: the event, once for each item where there is a list; nothing where `when` is false."""
    parts = mapping.parts
    if "when" in parts and not _had(parts["when"], "when", scope, as_truth):
        return []
    if "for_each" not in parts:
        return [scope]
    items = _had(parts["for_each"], "for_each", scope, as_items)
    if len(items) * len(mapping.rules) > MOST_FACTS:
        raise _Unusable("for_each", f"one event would yield more than {MOST_FACTS} observations; send it in parts")
    return [{**scope, "item": item, "index": index} for index, item in enumerate(items)]


def _map(mapping: CompiledMapping, calendar: Calendar, scope: Scope, item: int, found: Mapped) -> None:
    revision: Decimal | None = None
    for rule in mapping.rules:
        try:
            if rule.when and not _had(rule.when, "when", scope, as_truth):
                continue
            if revision is None:
                revision = _revision(mapping, calendar, scope)
            found.facts.append(_fact(mapping, rule, calendar, scope, item, revision))
        except _Unusable as fault:
            found.faults.append(Fault(mapping.code, item, rule.number, fault.field, fault.reason))


def _fact(
    mapping: CompiledMapping, rule: CompiledRule, calendar: Calendar, scope: Scope, item: int, revision: Decimal
) -> Fact:
    of = rule.rule
    parts = {name: _had(each, name, scope, *_PARTS[name]) for name, each in rule.parts.items()}
    at = _aware(parts.get("time", scope["time"]), calendar)
    dimensions = {
        name: text
        for name, each in rule.dimensions.items()
        if (text := _had(each, f"dimensions.{name}", scope, _label, ""))
    }
    if dimensions and sum(len(name) + _size(text) for name, text in dimensions.items()) > MOST_DIMENSIONS:
        raise _Unusable("dimensions", f"together they are longer than {MOST_DIMENSIONS} bytes")
    return Fact(
        mapping.code, mapping.version, item, rule.number, of.metric, of.effect,
        parts.get("value", None if of.effect in _VALUELESS else Decimal(1)), parts.get("unit"), parts["subject"],
        at, business_day(calendar, at), parts.get("key"), parts.get("document"), dimensions, revision,
    )  # fmt: skip


def _subject(value: Value) -> str:
    if not _SUBJECT.fullmatch(text := _text(value)):
        raise Null(f"{shown(text)} is not unit:CODE or person:CODE")
    return text


def _measured(value: Value) -> Decimal | str:
    if isinstance(value, str):
        return _short(value)
    if not isinstance(value, Decimal):
        raise Null(f"{kind_of(value)} is not a number or text")
    return _kept(value)


def _kept(number: Decimal) -> Decimal:
    if number and number.adjusted() >= INTEGER_DIGITS:
        raise Null(f"the number has more than {INTEGER_DIGITS} digits before the point")
    if published(number) != number:
        raise Null(f"the number has more than {FRACTION_DIGITS} digits after the point; use round")
    return number


def _text(value: Value) -> str:
    text = written(value)
    if not text.strip():
        raise Null("the text is blank")
    return _short(text)


def _label(value: Value) -> str:
    return _short(written(value))


def _unit(value: Value) -> str:
    return _short(as_text(value).strip())


def _size(text: str) -> int:
    """Bytes in the database, whose indexes bound what a text may be."""
    return len(text) if text.isascii() else len(text.encode())


def _short(text: str) -> str:
    if _size(text) > LONGEST_TEXT:
        raise Null(f"the text is longer than {LONGEST_TEXT} bytes")
    return text


def _aware(moment: datetime, calendar: Calendar) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=zone(calendar.time_zone))


def _revision(mapping: CompiledMapping, calendar: Calendar, scope: Scope) -> Decimal:
    """A number, or an instant as microseconds since 1970, so that a document's `modified` can be its revision."""

    def revised(value: Value) -> Decimal:
        if isinstance(value, date):
            return Decimal((_aware(to_timestamp(value), calendar) - _EPOCH) // timedelta(microseconds=1))
        return _kept(number(value))

    evaluate = mapping.parts.get("revision")
    return _had(evaluate, "revision", scope, revised) if evaluate else Decimal(0)


# How each expression of a rule is read, and what stands where it has no value: a blank unit waits.
_PARTS: dict[str, tuple[Callable[[Value], Any], str | None]] = {
    "time": (to_timestamp, None), "subject": (_subject, None), "value": (_measured, None), "unit": (_unit, ""),
    "key": (_text, None), "document": (_text, None),
}  # fmt: skip
