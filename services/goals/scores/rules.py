"""Attainment, gap, target to date, scores, and how they roll up, each with its parts (mechanisms G1, G5, M2).

Amounts are in the metric's unit; attainment, gap and weights are ratios; scores run from 0 to the curve's top.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal

from shared.curves import Curve, evaluate, top
from shared.numbers import INTEGER_DIGITS, DecimalString, divide, multiply, published, subtract, total
from shared.periods import Calendar, Period, PeriodKind, periods_between

Direction = Literal["higher", "lower", "at_least", "at_most"]
ZERO, ONE, ONE_DAY = Decimal(0), Decimal(1), timedelta(days=1)
MET, NOT_MET = Decimal(100), Decimal(0)
OUT_OF_RANGE = "out of range"
LARGEST = Decimal(10**INTEGER_DIGITS - 1)
_UPWARD = ("higher", "at_least")
_RANK = {kind: rank for rank, kind in enumerate(("shift", "day", "week", "month", "quarter", "half_year", "year"))}


@dataclass(frozen=True, slots=True)
class Part:
    """One step or member of a score, for its explanation.

    `weight` is as set; `effective_weight` after what has no data was left out, None where this part was.
    """

    name: str
    code: str | None = None
    value: DecimalString | None = None
    weight: DecimalString | None = None
    effective_weight: DecimalString | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A score with what it was made of. `score` None comes with a reason."""

    score: Decimal | None
    attainment: Decimal | None = None
    actual: Decimal | None = None
    target: Decimal | None = None
    reason: str | None = None
    qualified: tuple[str, ...] = ()
    rule: str = ""
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Attainment:
    """How far a target was reached.

    `value` is None where a lower-is-better actual is 0 or less: beyond any ratio. `met` and `margin` are given for
    maintain goals only.
    """

    value: Decimal | None
    met: bool | None = None
    margin: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TargetVersion:
    """One version of a target. `direction` None: the metric's."""

    version: int
    effective_from: date
    value: Decimal
    direction: Direction | None = None
    phasing: Literal["linear", "none"] = "linear"


@dataclass(frozen=True, slots=True)
class TargetInForce:
    """The target of a period, and the version that decides it."""

    value: Decimal
    version: TargetVersion
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """A child of a goal or a line of a scorecard, with what it brings to a period."""

    code: str
    weight: Decimal
    score: Decimal | None
    attainment: Decimal | None = None
    actual: Decimal | None = None
    reason: str | None = None
    qualified: tuple[str, ...] = ()


def attainment(actual: Decimal, target: Decimal, direction: Direction) -> Attainment:
    """Actual over target, or target over actual where lower is better; see the conventions of the mechanisms.

    >>> attainment(Decimal(12), Decimal(15), "lower").value
    Decimal('1.25')
    """
    if direction in ("at_least", "at_most") or target == 0:
        margin = subtract(ZERO, shortfall(actual, target, direction))
        return Attainment(ONE if margin >= 0 else ZERO, margin >= 0, margin)
    if target < 0:
        return Attainment(subtract(ONE, gap(actual, target, direction)))
    if direction == "higher":
        return Attainment(divide(actual, target))
    return Attainment(divide(target, actual) if actual > 0 else None)


def gap(actual: Decimal, target: Decimal, direction: Direction) -> Decimal:
    """The share of the target that is missing; negative is over-fulfilment. A target of zero is missed whole or not.

    >>> gap(Decimal(7), Decimal(10), "higher")
    Decimal('0.3')
    """
    missing = shortfall(actual, target, direction)
    if target == 0:
        return ONE if missing > 0 else ZERO
    return divide(missing, target.copy_abs())


def shortfall(actual: Decimal, target: Decimal, direction: Direction) -> Decimal:
    """What is missing, in the metric's unit; negative is over-fulfilment."""
    return subtract(target, actual) if direction in _UPWARD else subtract(actual, target)


def target_to_date(target: Decimal, period: Period, on: date, *, phased: bool) -> Decimal:
    """The part of the target due by the end of day `on`: in proportion to the days passed where it is phased."""
    last = period.end - ONE_DAY
    if not phased or on >= last:
        return target
    passed = max((on - period.start).days + 1, 0)
    return divide(multiply(target, Decimal(passed)), Decimal((period.end - period.start).days))


def target_of(versions: Sequence[TargetVersion], period: Period, change: str, on: date) -> TargetInForce | None:
    """The target of a period in which it may have changed (mechanism G5); None where none was in force.

    Args:
        versions: in order of `effective_from`, then version: the last that has begun is in force.
        change: `whole_period`, `prorated` or `from_its_date`.
        on: the day of judgement; counts for `from_its_date` only.
    """
    last = period.end - ONE_DAY
    day = min(on, last) if change == "from_its_date" else last
    version = next((version for version in reversed(versions) if version.effective_from <= day), None)
    if version is None:
        return None
    if change != "prorated":
        return TargetInForce(version.value, version)
    shares = list(_days_in_force(versions, period))
    weighted = total(multiply(share.value, Decimal(days)) for share, days in shares)
    value = divide(weighted, Decimal(sum(days for _, days in shares)))
    parts = tuple(
        Part("target", str(share.version), share.value, note=f"in force for {days} days") for share, days in shares
    )
    return TargetInForce(value, version, parts if len(shares) > 1 else ())


def _days_in_force(versions: Sequence[TargetVersion], period: Period) -> Iterable[tuple[TargetVersion, int]]:
    starts = {version.effective_from: version for version in versions}
    ends = [*list(starts)[1:], date.max]
    for (begin, version), end in zip(starts.items(), ends, strict=True):
        days = (min(end, period.end) - max(begin, period.start)).days
        if days > 0:
            yield version, days


def tellable(value: Decimal | None) -> Decimal | None:
    """A figure with 10 decimals, as others read it; None beyond the 18 digits before the point that they can read."""
    told = None if value is None else published(value)
    return None if told is None or told.copy_abs() >= LARGEST + 1 else told


def in_range(scored: Scored) -> Scored:
    """Without the figures that nobody could read; then there is a reason, also where a score is left."""
    figures = ("score", "attainment", "actual", "target")
    beyond: dict[str, Any] = {
        name: None for name in figures for value in [getattr(scored, name)]
        if value is not None and tellable(value) is None
    }  # fmt: skip
    return replace(scored, **beyond, reason=scored.reason or OUT_OF_RANGE) if beyond else scored


def score_measured(
    actual: Decimal | None,
    target: TargetInForce | None,
    direction: Direction,
    curve: Curve,
    *,
    reason: str | None = None,
    qualified: tuple[str, ...] = (),
) -> Scored:
    """The score of an actual against its target. Missing is None and a reason, never 0."""
    value = target.value if target else None
    if actual is None:
        return Scored(None, target=value, reason=reason or "There is no reading.", qualified=qualified, rule=direction)
    if target is None:
        return Scored(None, actual=actual, reason="No target is in force.", qualified=qualified, rule=direction)
    reached = attainment(actual, target.value, direction)
    score, steps = _through(curve, reached)
    parts = (Part("actual", value=actual), Part("target", value=value), *target.parts, *steps)
    return Scored(score, reached.value, actual, value, None, qualified, direction, parts)


def _through(curve: Curve, reached: Attainment) -> tuple[Decimal, tuple[Part, ...]]:
    if reached.met is not None:
        score, words = (MET, "met") if reached.met else (NOT_MET, "not met")
        return score, (Part("margin", value=reached.margin), Part("score", value=score, note=f"maintain goal {words}"))
    if reached.value is None:
        highest = top(curve)
        assert highest is not None, "policies refuse a curve without a highest value"
        return highest, (Part("score", value=highest, note="actual is 0 or less: the curve's highest value"),)
    result = evaluate(curve, reached.value)
    note = f"curve, {result.segment}" + (", clamped" if result.clamped else "")
    return result.value, (Part("attainment", value=reached.value), Part("score", value=result.value, note=note))


def sum_of_actuals(
    members: Sequence[Member], target: TargetInForce | None, direction: Direction, curve: Curve
) -> Scored:
    """The children's actuals added up, against the goal's own target; children without data are listed."""
    known = [member.actual for member in members if member.actual is not None]
    # Left out like what has no data yet, it would make a sum that is far from the true one.
    beyond = any(member.actual is None and member.reason == OUT_OF_RANGE for member in members)
    scored = score_measured(
        total(known) if known and not beyond else None, target, direction, curve,
        reason=OUT_OF_RANGE if beyond else "No child has an actual.", qualified=_words(members),
    )  # fmt: skip
    parts = tuple(_part("child", member, member.actual) for member in members)
    return replace(scored, rule="sum", parts=parts + scored.parts)


def weighted_average(members: Sequence[Member]) -> Scored:
    """The children's scores by weight, renormalised over those that have one."""
    return _averaged(members, "child", "weighted_average")


def minimum(members: Sequence[Member]) -> Scored:
    """The lowest of the children's scores, with that child's attainment."""
    scored = [member for member in members if member.score is not None]
    lowest = min(scored, key=lambda member: (member.score, member.code), default=Member("", ONE, None))
    return Scored(
        lowest.score, lowest.attainment, reason=None if scored else "No child has a score.", rule="minimum",
        qualified=_words(members), parts=tuple(_part("child", member, member.score) for member in members),
    )  # fmt: skip


def milestone(members: Sequence[Member], curve: Curve) -> Scored:
    """The share of children that reached their target; one without data has not."""
    if all(member.score is None for member in members):
        return Scored(None, reason="No child has a score.", rule="milestone")
    reached = [member for member in members if _reached(member)]
    share = divide(Decimal(len(reached)), Decimal(len(members)))
    score, steps = _through(curve, Attainment(share))
    parts = tuple(
        Part("child", m.code, m.score, note=m.reason or ("reached" if m in reached else "not reached")) for m in members
    )
    return Scored(score, share, qualified=_words(members), rule="milestone", parts=parts + steps)


def scorecard(members: Sequence[Member], missing: Literal["skip", "worst", "block"]) -> Scored:
    """The lines' scores by weight; a line without a score is left out, counts 0, or blocks the total (mechanism B4)."""
    rule, absent = f"scorecard, {missing}", [member.code for member in members if member.score is None]
    if missing == "block" and absent:
        parts = tuple(_part("line", member, member.score) for member in members)
        reason = f"Blocked: there is no score for {', '.join(absent)}."
        return Scored(None, reason=reason, qualified=_words(members), rule=rule, parts=parts)
    if missing == "worst" and len(absent) < len(members):
        members = [
            m if m.score is not None else replace(m, score=NOT_MET, reason=f"counts 0: {m.reason or 'no score'}")
            for m in members
        ]
    return _averaged(members, "line", rule)


def _averaged(members: Sequence[Member], name: Literal["child", "line"], rule: str) -> Scored:
    weights = total(member.weight for member in members if member.score is not None)
    parts = tuple(_part(name, member, member.score if weights else None, weights) for member in members)
    if not weights:
        return Scored(None, reason=f"No {name} has a score.", qualified=_words(members), rule=rule, parts=parts)
    # One division at the end: the effective weights are rounded for showing only.
    score = divide(total(multiply(m.weight, m.score) for m in members if m.score is not None), weights)
    return Scored(score, qualified=_words(members), rule=rule, parts=parts)


def _part(name: str, member: Member, value: Decimal | None, weights: Decimal = ZERO) -> Part:
    effective = divide(member.weight, weights) if weights and value is not None else None
    notes = [member.reason or "no data, left out"] if value is None else [member.reason] if member.reason else []
    notes += [f"qualified: {words}" for words in member.qualified]
    return Part(name, member.code, value, member.weight, effective, "; ".join(notes) or None)


def _reached(member: Member) -> bool:
    if member.attainment is not None:
        return member.attainment >= 1
    return member.score is not None and member.score >= MET


def _words(members: Sequence[Member]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words for member in members for words in member.qualified))


def counts_in(part: Period, whole: Period) -> bool:
    """Whether a score of `part` counts in `whole`, which may be of another kind.

    A shorter period counts where its last day lies; a longer one in the periods whose last day it holds.
    """
    if part.kind == whole.kind:
        return part.label == whole.label
    shorter, longer = (part, whole) if _RANK[part.kind] < _RANK[whole.kind] else (whole, part)
    return longer.start <= shorter.end - ONE_DAY < longer.end


def wholes_of(calendar: Calendar, part: Period, kind: PeriodKind) -> list[Period]:
    """The periods of a kind in which a score of `part` counts."""
    around = periods_between(calendar, kind, part.start, part.end - ONE_DAY)
    return [whole for whole in around if counts_in(part, whole)]
