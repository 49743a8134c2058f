"""How a fact becomes an observation, and which observations count."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from services.metrics.readings.definitions import Definitions
from shared.contracts.metrics import Metric
from shared.money import is_currency
from shared.numbers import add, divide, multiply, plain, published
from shared.units import MONEY, convert, is_duration, is_money, parse_unit

COUNTS, SUPERSEDED, RETRACTION, MATCHED, UNMATCHED = "counts", "superseded", "retraction", "matched", "unmatched"
DURATIONS = ("open", "close")
_PER = {"h": Decimal(3600), "min": Decimal(60), "s": Decimal(1)}
Rank = tuple[Decimal, datetime, str, str]


@dataclass(frozen=True, slots=True)
class Observation:
    """One fact of one event, measured in its metric's unit. `value` is None for what opens or closes a duration."""

    partition: int
    pos: int
    source: str
    event_id: str
    event_time: datetime
    mapping: str
    mapping_version: int
    item: int
    rule: int
    metric: str
    effect: str
    subject: str
    at: datetime
    day: date
    value: Decimal | None
    member: str
    source_value: str | None
    source_unit: str | None
    key: str | None
    document: str | None
    dims: str
    revision: Decimal

    @property
    def rank(self) -> Rank:
        """The order in which revisions of one key or document supersede one another, however they arrive."""
        return self.revision, self.event_time, self.source, self.event_id

    @property
    def moment(self) -> tuple[datetime, str, str, tuple[str, int, int]]:
        """The order in which openings and closings are paired."""
        return self.at, self.source, self.event_id, self.place

    @property
    def place(self) -> tuple[str, int, int]:
        """Which fact of its event it is."""
        return self.mapping, self.item, self.rule

    @property
    def content(self) -> tuple[object, ...]:
        """What makes it another observation if it differs."""
        return (
            self.partition, self.pos, self.place, self.metric, self.effect, self.subject, self.at, self.value,
            self.member, self.source_unit, self.key, self.document, self.dims, self.revision,
        )  # fmt: skip


class Standing(NamedTuple):
    """Whether an observation counts, with which value, and its mate (`source id`) where two make a duration."""

    state: str
    value: Decimal | None = None
    mate: str | None = None


class Measured(NamedTuple):
    """A value in its metric's unit; or a reference that it waits for; or a fault."""

    value: Decimal | None = None
    member: str = ""
    currency: str | None = None
    waits: str | None = None
    fault: tuple[str, str] | None = None


def measure(
    definitions: Definitions, metric: Metric, effect: str, value: Decimal | str | None, unit: str | None, day: date
) -> Measured:
    """The value in the metric's unit on a day: money by the rate in force, other units by conversions."""
    if effect == "retract":
        return Measured()
    if effect in DURATIONS:
        if is_duration(parse_unit(metric.unit)):
            return Measured()
        return Measured(
            fault=("effect", f"a duration is measured in d, h, min or s, and the metric's unit is {metric.unit}")
        )
    if metric.over_time == "distinct":
        return Measured(Decimal(1), plain(value) if isinstance(value, Decimal) else value or "")
    if metric.over_time == "count":
        return Measured(Decimal(1))
    if isinstance(value, str):
        return Measured(fault=("value", "the value is text where a number is needed"))
    return _in_unit(definitions, metric, Decimal(1) if value is None else value, unit, day)


def _in_unit(definitions: Definitions, metric: Metric, value: Decimal, unit: str | None, day: date) -> Measured:
    wanted = parse_unit(metric.unit)
    if is_money(wanted):
        return _money(definitions, metric.unit, wanted == MONEY, value, unit, day)
    if not unit or unit == metric.unit:
        return Measured(value)
    factors = {
        pair: found[1].factor
        for pair in ((unit, metric.unit), (metric.unit, unit))
        if (found := definitions.conversions.on("-".join(pair), day))
    }
    converted = convert(value, unit, metric.unit, factors)
    return Measured(waits=f"conversion:{unit}-{metric.unit}") if converted is None else Measured(converted)


def _money(
    definitions: Definitions, wanted: str, any_currency: bool, value: Decimal, unit: str | None, day: date
) -> Measured:
    if unit == "" or (unit is None and any_currency):
        return Measured(waits="currency:blank")
    if unit is None or unit == wanted:
        return Measured(value)
    if not is_currency(unit):
        return Measured(fault=("unit", f"{unit[:20]!r} is not a currency, and the metric's unit is {wanted}"))
    if any_currency:
        return Measured(value, currency=unit)
    rate = definitions.rates.on(f"{unit}-{wanted}", day)
    return Measured(multiply(value, rate[1].rate)) if rate else Measured(waits=f"rate:{unit}-{wanted}")


# --- which observations count ---


def floors(observations: Iterable[Observation]) -> dict[tuple[str, str], Rank]:
    """By document, and what is superseded in it: the rank below which nothing counts.

    A `replace`, or a `retract` without a key, supersedes everything in its document; an `open` or `close` with a
    document is a revision of that document's opening or closing only.
    """
    found: dict[tuple[str, str], Rank] = {}
    for each in observations:
        if each.document is None or each.effect == "add" or (each.effect == "retract" and each.key is not None):
            continue
        slot = (each.document, each.effect if each.effect in DURATIONS else "")
        if slot not in found or each.rank > found[slot]:
            found[slot] = each.rank
    return found


def _stands(each: Observation, found: Mapping[tuple[str, str], Rank]) -> bool:
    if each.document is None:
        return True
    slots = [(each.document, "")] + ([(each.document, each.effect)] if each.effect in DURATIONS else [])
    return all(slot not in found or each.rank >= found[slot] for slot in slots)


def standings(
    observations: Sequence[Observation], below: Mapping[tuple[str, str], Rank], units: Mapping[str, str]
) -> list[Standing]:
    """What counts among observations that hold every one of their keys completely.

    Of a key the greatest rank counts, unless it is a retraction; opens and closes of a key pair earliest with earliest.

    Args:
        below: by `floors`, over whole documents.
        units: of the metrics that measure durations.
    """
    result = [Standing(SUPERSEDED)] * len(observations)
    keyed: dict[tuple[str, str], list[int]] = {}
    for index, each in enumerate(observations):
        if each.effect == "retract":
            result[index] = Standing(RETRACTION)
        if not _stands(each, below):
            continue
        if each.key is not None:
            keyed.setdefault((each.metric, each.key), []).append(index)
        elif each.effect in DURATIONS:
            result[index] = Standing(UNMATCHED)
        elif each.effect != "retract":
            result[index] = Standing(COUNTS, each.value)
    for (metric, _), indexes in keyed.items():
        _judge_key(observations, indexes, units.get(metric, ""), result)
    return result


def _judge_key(observations: Sequence[Observation], indexes: list[int], unit: str, result: list[Standing]) -> None:
    plain_ones = [i for i in indexes if observations[i].effect not in DURATIONS]
    if plain_ones:
        # Facts of one event have one rank: then a value goes before a retraction, and the last fact before the others.
        winner = max(
            plain_ones, key=lambda i: (observations[i].rank, observations[i].effect != "retract", observations[i].place)
        )
        if observations[winner].effect != "retract":
            result[winner] = Standing(COUNTS, observations[winner].value)
    if len(plain_ones) == len(indexes):
        return
    retracted = max((observations[i].rank for i in plain_ones if observations[i].effect == "retract"), default=None)
    durations = [i for i in indexes if observations[i].effect in DURATIONS]
    held = [i for i in durations if retracted is None or observations[i].rank >= retracted]
    held.sort(key=lambda i: observations[i].moment)
    opens, closes = ([i for i in held if observations[i].effect == effect] for effect in DURATIONS)
    for index in held:
        result[index] = Standing(UNMATCHED)
    for opened, closed in zip(opens, closes, strict=False):
        first, last = observations[opened], observations[closed]
        result[opened] = Standing(MATCHED, None, f"{last.source} {last.event_id}")
        result[closed] = Standing(COUNTS, duration(unit, first, last), f"{first.source} {first.event_id}")


def duration(unit: str, opened: Observation, closed: Observation) -> Decimal:
    """From opening to closing: business days for d, elapsed time for h, min and s to 10 decimals."""
    if unit == "d":
        return Decimal((closed.day - opened.day).days)
    elapsed = closed.at - opened.at
    micro = divide(Decimal(elapsed // timedelta(microseconds=1)), Decimal(1_000_000))
    return published(divide(micro, _PER[unit]))


# --- what a change does to the cells ---

CellKey = tuple[str, str, date, str, str]
"""Metric, subject, day, dimensions, member."""


def differences(
    removed: Iterable[tuple[Observation, Standing]], added: Iterable[tuple[Observation, Standing]]
) -> dict[CellKey, tuple[int, Decimal]]:
    """By cell, how its count and its sum change. A cell whose content changed but not its sum is in it with zeros."""
    found: dict[CellKey, tuple[int, Decimal]] = {}
    for sign, changes in ((-1, removed), (1, added)):
        for each, standing in changes:
            if standing.state != COUNTS or standing.value is None:
                continue
            key = (each.metric, each.subject, each.day, each.dims, each.member)
            n, sum_ = found.get(key, (0, Decimal(0)))
            found[key] = n + sign, add(sum_, standing.value if sign > 0 else standing.value.copy_negate())
    return found
