"""What events mean: mapping versions compiled once, and the facts they find in an event."""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Mapping as Members
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, Protocol

from shared.contracts.metrics import Mapping, ObservationRule
from shared.errors import Invalid
from shared.formula import MAPPING, FormulaError, Null, Outcome, Value, compile_mapping, parse
from shared.formula.values import kind_of, number, shown, to_timestamp, written
from shared.numbers import FRACTION_DIGITS, INTEGER_DIGITS, published
from shared.periods import Calendar, business_day, zone

Evaluate = Callable[[Members[str, object]], Outcome]
SUBJECT = re.compile(r"(unit|person):[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
LONGEST_TEXT = 300
_EVENT_NAMES = ("id", "source", "type", "subject", "time", "data")
_NAMES, _ITEM_NAMES = frozenset(_EVENT_NAMES), frozenset({"item", "index"})
_PARTS = ("when", "value", "unit", "subject", "time", "key", "document")
_VALUELESS = ("open", "close", "retract")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MappingInvalid(Invalid):
    """A mapping cannot be used; `field` is the path of the expression, `position` counts its characters from 1."""


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
    value: Decimal | str | None
    unit: str | None
    subject: str
    at: datetime
    day: date
    key: str | None
    document: str | None
    dimensions: dict[str, str]
    revision: Decimal


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a rule yielded nothing for an event; `item` and `rule` are -1 where the mapping as a whole failed."""

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


class Event(Protocol):
    """What of an accepted event a mapping sees."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def subject(self) -> str | None: ...
    @property
    def time(self) -> datetime: ...
    @property
    def data(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """One observation rule, ready to be evaluated. `parts` holds the expressions it has, by field."""

    number: int
    metric: str
    effect: str
    parts: dict[str, Evaluate]
    dimensions: tuple[tuple[str, Evaluate], ...]


@dataclass(frozen=True, slots=True)
class CompiledMapping:
    """One version of a mapping."""

    code: str
    version: int
    effective_from: date
    event_type: str
    source: str | None
    when: Evaluate | None
    for_each: Evaluate | None
    revision: Evaluate | None
    rules: tuple[CompiledRule, ...]


class Mapped(NamedTuple):
    """What an event yields. `known` is false where no mapping takes events like it."""

    facts: list[Fact]
    faults: list[Fault]
    known: bool


class Compiled:
    """All mappings of one company with its calendar."""

    def __init__(self, calendar: Calendar, versions: Iterable[CompiledMapping]) -> None:
        self.calendar = calendar
        self._timelines: dict[str, list[CompiledMapping]] = {}
        for each in sorted(versions, key=lambda each: (each.code, each.effective_from, each.version)):
            self._timelines.setdefault(each.code, []).append(each)
        self._by_type: dict[str, set[str]] = {}
        for code, timeline in self._timelines.items():
            for each in timeline:
                self._by_type.setdefault(each.event_type, set()).add(code)

    def taking(self, event: Event, day: date) -> list[CompiledMapping]:
        """The mappings that take an event: of each the version in force on the event's day."""
        found = []
        for code in sorted(self._by_type.get(event.type, ())):
            timeline = self._timelines[code]
            index = bisect_right(timeline, day, key=lambda each: each.effective_from)
            if index and timeline[index - 1].event_type == event.type:
                each = timeline[index - 1]
                if each.source is None or each.source == event.source:
                    found.append(each)
        return found


def compile_version(code: str, version: int, mapping: Mapping) -> CompiledMapping:
    """Compiles one version.

    Raises:
        MappingInvalid: an expression breaks the grammar or reads what is not there; `field` is its path.
    """
    outer = _NAMES if mapping.for_each is None else _NAMES | _ITEM_NAMES
    when, for_each, revision = (
        _compiled(getattr(mapping, name), name, outer if name == "revision" else _NAMES)
        for name in ("when", "for_each", "revision")
    )
    rules = tuple(_compiled_rule(number, rule, outer) for number, rule in enumerate(mapping.observations))
    return CompiledMapping(
        code, version, mapping.effective_from, mapping.event_type, mapping.source, when, for_each, revision, rules
    )  # fmt: skip


def _compiled_rule(number: int, rule: ObservationRule, names: frozenset[str]) -> CompiledRule:
    at = f"observations.{number}."
    _check_effect(rule, at)
    parts = {
        name: found
        for name in _PARTS
        if (found := _compiled(getattr(rule, name), at + name, names)) is not None
    }  # fmt: skip
    dimensions = [
        (name, _compiled(text, f"{at}dimensions.{name}", names)) for name, text in sorted(rule.dimensions.items())
    ]
    return CompiledRule(number, rule.metric, rule.effect, parts, tuple((n, e) for n, e in dimensions if e))


def _check_effect(rule: ObservationRule, at: str) -> None:
    if rule.effect in ("open", "close") and rule.key is None:
        _refuse(at + "key", f"{rule.effect} pairs with its counterpart by business key.", "Add a key.")
    if rule.effect == "retract" and rule.key is None and rule.document is None:
        _refuse(at + "key", "retract says by key or document what it takes out.", "Add a key or a document.")
    if rule.effect == "replace" and rule.document is None:
        _refuse(at + "document", "replace supersedes a document.", "Add the document's key.")


def _compiled(text: str | None, path: str, names: frozenset[str]) -> Evaluate | None:
    if text is None:
        return None
    try:
        expression = parse(text, functions=MAPPING)
        evaluate = compile_mapping(expression)
    except FormulaError as error:
        raise MappingInvalid(f"{path}: {error.rule}", field=path, remedy=error.remedy, **error.more) from None
    unknown = sorted({name.split(".", 1)[0].split("[", 1)[0] for name in expression.names} - names)
    if unknown:
        position = text.find(unknown[0]) + 1
        _refuse(
            path, f"At character {position}: there is nothing called {unknown[0]!r} here.",
            f"Use {', '.join(sorted(names))}; the event's own members are below data.", position=position,
        )  # fmt: skip
    return evaluate


def _refuse(path: str, rule: str, remedy: str, **more: object) -> NoReturn:
    raise MappingInvalid(f"{path}: {rule}", field=path, remedy=remedy, **more)


def facts_of(event: Event, compiled: Compiled) -> Mapped:
    """What the mappings in force at the event's own time find in it."""
    taking = compiled.taking(event, business_day(compiled.calendar, event.time))
    facts: list[Fact] = []
    faults: list[Fault] = []
    scope: dict[str, object] = {name: getattr(event, name) for name in _EVENT_NAMES}
    for mapping in taking:
        _map(mapping, compiled.calendar, scope, facts, faults)
    return Mapped(facts, faults, bool(taking))


class _Unusable(Exception):
    """A field of an observation cannot be had from this event."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field, self.reason = field, reason


def _map(
    mapping: CompiledMapping, calendar: Calendar, scope: dict[str, object], facts: list[Fact], faults: list[Fault]
) -> None:
    item, rule = -1, -1
    try:
        if mapping.when and not _truth(mapping.when, "when", scope):
            return
        for item, within in enumerate(_scopes(mapping, scope)):
            revision: Decimal | None = None
            for compiled in mapping.rules:
                rule = compiled.number
                try:
                    if (when := compiled.parts.get("when")) and not _truth(when, "when", within):
                        continue
                    if revision is None:
                        revision = _revision(mapping, calendar, within)
                    facts.append(_fact(mapping, compiled, calendar, within, item, revision))
                except _Unusable as fault:
                    faults.append(Fault(mapping.code, item, rule, fault.field, fault.reason[:400]))
    except _Unusable as fault:
        faults.append(Fault(mapping.code, item, rule, fault.field, fault.reason[:400]))


def _scopes(mapping: CompiledMapping, scope: dict[str, object]) -> Iterator[dict[str, object]]:
    if mapping.for_each is None:
        yield scope
        return
    items = _value(mapping.for_each, "for_each", scope)
    if not isinstance(items, list):
        raise _Unusable("for_each", f"{kind_of(items)} is not a list")
    for index, item in enumerate(items):
        yield {**scope, "item": item, "index": index}


def _fact(
    mapping: CompiledMapping,
    rule: CompiledRule,
    calendar: Calendar,
    scope: dict[str, object],
    item: int,
    revision: Decimal,
) -> Fact:
    parts = rule.parts
    at = _moment(parts["time"], calendar, scope) if "time" in parts else scope["time"]
    assert isinstance(at, datetime)
    subject = _text(parts["subject"], "subject", scope)
    if not SUBJECT.fullmatch(subject):
        raise _Unusable("subject", f"{shown(subject)} is not unit:CODE or person:CODE")
    dimensions = {name: text for name, evaluate in rule.dimensions if (text := _dimension(name, evaluate, scope))}
    return Fact(
        mapping.code, mapping.version, item, rule.number, rule.metric, rule.effect,
        _measured(parts["value"], scope) if "value" in parts else None if rule.effect in _VALUELESS else Decimal(1),
        _unit(parts["unit"], scope) if "unit" in parts else None,
        subject, at, business_day(calendar, at),
        _text(parts["key"], "key", scope) if "key" in parts else None,
        _text(parts["document"], "document", scope) if "document" in parts else None,
        dimensions, revision,
    )  # fmt: skip


def _value(evaluate: Evaluate, field: str, scope: dict[str, object]) -> Value:
    outcome = evaluate(scope)
    if outcome.value is None:
        raise _Unusable(field, outcome.reason or "there is no value")
    return outcome.value


def _truth(evaluate: Evaluate, field: str, scope: dict[str, object]) -> bool:
    found = _value(evaluate, field, scope)
    if found is not True and found is not False:
        raise _Unusable(field, f"{kind_of(found)} is not true or false")
    return bool(found)


def _measured(evaluate: Evaluate, scope: dict[str, object]) -> Decimal | str:
    found = _value(evaluate, "value", scope)
    if isinstance(found, str):
        return _short(found, "value")
    if not isinstance(found, Decimal):
        raise _Unusable("value", f"{kind_of(found)} is not a number or text")
    return _kept(found, "value")


def _kept(number: Decimal, field: str) -> Decimal:
    if number and number.adjusted() >= INTEGER_DIGITS:
        raise _Unusable(field, f"the number has more than {INTEGER_DIGITS} digits before the point")
    if published(number) != number:
        raise _Unusable(field, f"the number has more than {FRACTION_DIGITS} digits after the point; use round")
    return number


def _text(evaluate: Evaluate, field: str, scope: dict[str, object]) -> str:
    try:
        found = written(_value(evaluate, field, scope))
    except Null as null:
        raise _Unusable(field, null.reason) from None
    if not found.strip():
        raise _Unusable(field, "the text is blank")
    return _short(found, field)


def _short(text: str, field: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise _Unusable(field, f"the text is longer than {LONGEST_TEXT} characters")
    return text


def _dimension(name: str, evaluate: Evaluate, scope: dict[str, object]) -> str | None:
    """Without a value the observation still counts, only not under this dimension."""
    outcome = evaluate(scope)
    if outcome.value is None or outcome.value == "":
        return None
    try:
        return _short(written(outcome.value), f"dimensions.{name}")
    except Null as null:
        raise _Unusable(f"dimensions.{name}", null.reason) from None


def _unit(evaluate: Evaluate, scope: dict[str, object]) -> str:
    found = evaluate(scope).value
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _Unusable("unit", f"{kind_of(found)} is not text")
    return _short(found.strip(), "unit")


def _moment(evaluate: Evaluate, calendar: Calendar, scope: dict[str, object]) -> datetime:
    try:
        found = to_timestamp(_value(evaluate, "time", scope))
    except Null as null:
        raise _Unusable("time", null.reason) from None
    return found if found.tzinfo else found.replace(tzinfo=zone(calendar.time_zone))


def _revision(mapping: CompiledMapping, calendar: Calendar, scope: dict[str, object]) -> Decimal:
    """A number, or an instant as microseconds since 1970, so that a document's `modified` can be its revision."""
    if mapping.revision is None:
        return Decimal(0)
    found = _value(mapping.revision, "revision", scope)
    if isinstance(found, date):
        moment = to_timestamp(found)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=zone(calendar.time_zone))
        return Decimal((aware - _EPOCH) // timedelta(microseconds=1))
    try:
        return _kept(number(found), "revision")
    except Null as null:
        raise _Unusable("revision", null.reason) from None
