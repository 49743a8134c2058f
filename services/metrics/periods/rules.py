"""What a period needs before it is closed."""

from collections.abc import Iterable, Mapping, Set
from datetime import date, timedelta

from shared.contracts.base import Missing
from shared.contracts.metrics import Source
from shared.errors import Conflict, Invalid
from shared.periods import Calendar, Period, periods_between

SERVICES = ("metrics", "goals", "reviews", "incentives")
ONE_DAY = timedelta(days=1)


class PeriodNotOver(Conflict):
    """A period is closed after its end, by the company's clock."""


class PredecessorOpen(Conflict):
    """Periods of one kind are closed in order, as far as they have figures."""


class PeriodIncomplete(Conflict):
    """Something is missing for the period, and nobody takes the responsibility."""


class ShiftsAreNotClosed(Invalid):
    """The shortest period that is closed is the day."""


def silent(sources: Mapping[str, Source], days: Mapping[str, Set[date]], period: Period, at: Calendar) -> list[Missing]:
    """The sources that owe something for the period: each of its own periods within must have an event.

    Args:
        sources: in force on the period's last day, by code; one that delivers for longer periods owes nothing yet.
        days: by the CloudEvents `source`, the days of which it has sent events.
    """
    found = []
    for code, source in sorted(sources.items()):
        if source.delivers is None:
            continue
        owed = [
            each for each in periods_between(at, source.delivers, period.start, period.end - ONE_DAY)
            if period.start <= each.start and each.end <= period.end
        ]  # fmt: skip
        sent = days.get(source.uri, set())
        empty = [each for each in owed if not any(each.start <= day < each.end for day in sent)]
        if empty:
            found.append(Missing(kind="source", what=code, count=len(empty), owner=source.owner))
    return found


def waiting(sources: Iterable[Source], counts: Iterable[tuple[str, str, int]]) -> list[Missing]:
    """Events that wait, by reference and the owner of their source. `counts`: reference, `source`, how many."""
    owners = {source.uri: source.owner for source in sources}
    found: dict[tuple[str, str | None], int] = {}
    for reference, uri, count in counts:
        key = (reference, owners.get(uri))
        found[key] = found.get(key, 0) + count
    return [
        Missing(kind="waiting", what=what, count=count, owner=owner)
        for (what, owner), count in sorted(found.items(), key=lambda each: (each[0][0], each[0][1] or ""))
    ]


def in_words(missing: Iterable[Missing]) -> str:
    """The first three of what is missing, for a sentence."""
    words = {"source": "nothing from {what}", "waiting": "{count} events wait for {what}",
             "parked": "{count} records of {what} are parked"}  # fmt: skip
    told = [words[each.kind].format(what=each.what, count=each.count) for each in missing]
    return "; ".join(told[:3]) + (f"; and {len(told) - 3} more" if len(told) > 3 else "")
