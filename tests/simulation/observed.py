"""From accepted events to the observations that count: mapping, waiting, measuring, superseding, pairing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.simulation.dates import Calendar
from tests.simulation.expressions import Missing, as_number, in_event
from tests.simulation.settings import Settings, over, times, told

Rank = tuple[Decimal, datetime, str, str]
DURATIONS = ("open", "close")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS = {"h": 3600, "min": 60, "s": 1}
MONEY = ("CNY", "EUR", "USD", "JPY", "money")


@dataclass(frozen=True, slots=True)
class Fact:
    """What a mapping's rule says of an event; `rank` decides which revision is the latest, `place` within an event."""

    metric: str
    effect: str
    value: Any
    unit: str | None
    subject: str
    at: datetime
    day: date
    key: str | None
    document: str | None
    dimensions: tuple[tuple[str, str], ...]
    rank: Rank
    place: tuple[str, int, int]

    @property
    def moment(self) -> tuple[Any, ...]:
        """The order in which openings and closings pair, and in which the last of a day is found."""
        return self.at, self.rank[2], self.rank[3], self.place


@dataclass(frozen=True, slots=True)
class Observation:
    """A fact that counts, in its metric's unit; `value` is the member's text for distinct counts."""

    fact: Fact
    value: Any


def accepted_events(batches: Iterable[Sequence[Mapping[str, Any]]]) -> list[Mapping[str, Any]]:
    """Of each (source, id) the first that came, whatever came later under it; what lacks an attribute is rejected."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for batch in batches:
        for event in batch:
            if {"id", "source", "type"} <= event.keys():
                found.setdefault((event["source"], event["id"]), event)
    return list(found.values())


def observe(
    settings: Settings, events: Iterable[Mapping[str, Any]]
) -> tuple[list[Observation], dict[str, set[tuple[str, str]]]]:
    """What counts; and, by what they wait for, the events (source, id) that wait."""
    measured: list[Observation] = []
    waiting: dict[str, set[tuple[str, str]]] = {}
    for event in events:
        name = (event["source"], event["id"])
        if settings.calendar is None:
            waiting.setdefault("company", set()).add(name)
            continue
        taken = _taking(settings, settings.calendar, event)
        if not taken:
            waiting.setdefault(f"mapping:{event['type']}", set()).add(name)
        for code, mapping in taken:
            for fact in _facts(settings.calendar, code, mapping, event):
                found = _measured(settings, fact)
                if isinstance(found, Observation):
                    measured.append(found)
                elif found:
                    waiting.setdefault(found, set()).add(name)
    return _counting(settings, measured), waiting


# --- mapping ---


def _taking(settings: Settings, calendar: Calendar, event: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The version of each mapping in force on the event's own day, where it takes events of this type and source."""
    day = calendar.day(datetime.fromisoformat(event["time"]))
    return [
        (code, mapping)
        for code, mapping in settings.each("metrics/mappings", day)
        if mapping["event_type"] == event["type"] and mapping.get("source") in (None, event["source"])
    ]


def _facts(calendar: Calendar, code: str, mapping: Mapping[str, Any], event: Mapping[str, Any]) -> list[Fact]:
    """Each fact stands alone: one without a usable value is a fault, and the others count."""
    try:
        if "when" in mapping and not in_event(mapping["when"], event):
            return []
        items = in_event(mapping["for_each"], event) if "for_each" in mapping else [None]
    except Missing:
        return []
    found = []
    for number, item in enumerate(items):
        scope = {**event, "item": item, "index": number}
        for index, rule in enumerate(mapping["observations"]):
            try:
                if "when" not in rule or in_event(rule["when"], scope):
                    found.append(_fact(calendar, mapping, rule, scope, (code, number, index)))
            except Missing:
                continue
    return found


def _fact(
    calendar: Calendar, mapping: Mapping[str, Any], rule: Mapping[str, Any], event: Mapping[str, Any],
    place: tuple[str, int, int],
) -> Fact:  # fmt: skip
    def part(name: str) -> Any:
        return in_event(rule[name], event) if name in rule else None

    time = datetime.fromisoformat(event["time"])
    at = calendar.aware(part("time") or time)
    revision = in_event(mapping["revision"], event) if "revision" in mapping else Decimal(0)
    if isinstance(revision, datetime):
        revision = Decimal(round((calendar.aware(revision) - EPOCH) / timedelta(microseconds=1)))
    revision = as_number(revision)
    dimensions = []
    for name, expression in sorted(rule.get("dimensions", {}).items()):
        try:
            dimensions.append((name, in_event(expression, event)))
        except Missing:
            continue
    try:
        unit = part("unit").strip() if "unit" in rule else None
    except Missing:
        unit = ""
    effect = rule.get("effect", "add")
    value = part("value") if "value" in rule else Decimal(1)
    return Fact(
        rule["metric"], effect, value, unit, part("subject"), at, calendar.day(at), part("key"), part("document"),
        tuple(dimensions), (revision, time, event["source"], event["id"]), place,
    )  # fmt: skip


# --- measuring ---


def _measured(settings: Settings, fact: Fact) -> Observation | str | None:
    """The observation; or what it waits for; or None for a fault."""
    metric = settings.body("metrics/metrics", fact.metric)
    if metric is None:
        return f"metric:{fact.metric}"
    if fact.effect not in ("retract", "open") and (unknown := settings.path(fact.subject, fact.day)[1]):
        return unknown
    how = metric.get("over_time", "sum")
    if fact.effect in (*DURATIONS, "retract"):
        return Observation(fact, None)
    if how in ("count", "distinct"):
        return Observation(fact, Decimal(1) if how == "count" else fact.value)
    if not isinstance(fact.value, Decimal):
        return None
    return _converted(settings, fact, metric["unit"])


def _converted(settings: Settings, fact: Fact, wanted: str) -> Observation | str:
    if wanted in MONEY and (fact.unit == "" or (fact.unit is None and wanted == "money")):
        return "currency:blank"
    if not fact.unit or fact.unit == wanted or wanted == "money":
        return Observation(fact, fact.value)
    if wanted in MONEY:
        rate = settings.body("metrics/rates", f"{fact.unit}-{wanted}", fact.day)
        return Observation(fact, times(fact.value, Decimal(rate["rate"]))) if rate else f"rate:{fact.unit}-{wanted}"
    if there := settings.body("metrics/conversions", f"{fact.unit}-{wanted}", fact.day):
        return Observation(fact, times(fact.value, Decimal(there["factor"])))
    if back := settings.body("metrics/conversions", f"{wanted}-{fact.unit}", fact.day):
        return Observation(fact, over(fact.value, Decimal(back["factor"])))
    return f"conversion:{fact.unit}-{wanted}"


# --- which ones count ---


def _counting(settings: Settings, measured: list[Observation]) -> list[Observation]:
    alive = [each for each in measured if not any(_supersedes(other.fact, each.fact) for other in measured)]
    keyed: dict[tuple[str, str], list[Observation]] = {}
    found = []
    for each in alive:
        if each.fact.key is not None:
            keyed.setdefault((each.fact.metric, each.fact.key), []).append(each)
        elif each.fact.effect in ("add", "replace"):
            found.append(each)
    for (metric, _), group in keyed.items():
        found += _latest(group)
        body = settings.body("metrics/metrics", metric)
        found += _durations(str(body["unit"]) if body else "", group)
    return found


def _supersedes(new: Fact, old: Fact) -> bool:
    """Whether a later revision of a document takes an observation of it out."""
    if new.document is None or new.document != old.document or new.rank <= old.rank:
        return False
    whole = new.effect == "replace" or (new.effect == "retract" and new.key is None)
    return whole or (new.effect in DURATIONS and new.effect == old.effect)


def _latest(group: list[Observation]) -> list[Observation]:
    """Of a key the latest revision counts, unless it takes the key out."""
    plain = [each for each in group if each.fact.effect not in DURATIONS]
    newest = max(plain, key=lambda e: (e.fact.rank, e.fact.effect != "retract", e.fact.place), default=None)
    return [newest] if newest and newest.fact.effect != "retract" else []


def _durations(unit: str, group: list[Observation]) -> list[Observation]:
    """Earliest opening with earliest closing, of what no later retraction takes out."""
    out = max((each.fact.rank for each in group if each.fact.effect == "retract"), default=None)
    held = sorted((each.fact for each in group if out is None or each.fact.rank >= out), key=lambda fact: fact.moment)
    opens, closes = ([fact for fact in held if fact.effect == effect] for effect in DURATIONS)
    return [Observation(closed, _elapsed(unit, opened, closed)) for opened, closed in zip(opens, closes, strict=False)]


def _elapsed(unit: str, opened: Fact, closed: Fact) -> Decimal:
    if unit == "d":
        return Decimal((closed.day - opened.day).days)
    passed = closed.at - opened.at
    micro = Decimal((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds)
    return told(over(over(micro, Decimal(1_000_000)), Decimal(SECONDS[unit])))
