"""Days and periods as the documents define them, on their own: half-open, from the company's fiscal calendar."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

ONE_DAY = timedelta(days=1)
MONTHS = {"month": 1, "quarter": 3, "half_year": 6, "year": 12}
RANK = {kind: rank for rank, kind in enumerate(("day", "week", "month", "quarter", "half_year", "year"))}


@dataclass(frozen=True, slots=True)
class Span:
    """A period: its kind, first day, the day after its last, and the label people use."""

    kind: str
    start: date
    end: date
    label: str

    @property
    def last(self) -> date:
        return self.end - ONE_DAY


@dataclass(frozen=True, slots=True)
class Calendar:
    """A company's time zone and the first month of its fiscal year."""

    zone: str
    first_month: int = 1

    def day(self, instant: datetime) -> date:
        """The company's date at an instant; a time without offset is the company's own."""
        return instant.astimezone(ZoneInfo(self.zone)).date() if instant.tzinfo else instant.date()

    def aware(self, instant: datetime) -> datetime:
        return instant if instant.tzinfo else instant.replace(tzinfo=ZoneInfo(self.zone))

    def span(self, kind: str, day: date) -> Span:
        """The period of a kind that holds a day. A fiscal year is named after the year in which it ends."""
        if kind == "day":
            return Span(kind, day, day + ONE_DAY, day.isoformat())
        if kind == "week":
            monday = day - timedelta(days=day.weekday())
            year, week, _ = day.isocalendar()
            return Span(kind, monday, monday + timedelta(days=7), f"{year}-W{week:02}")
        within = (day.month - self.first_month) % 12  # months since the fiscal year began
        number = within // MONTHS[kind]
        start = _plus(date(day.year, day.month, 1), number * MONTHS[kind] - within)
        year = _plus(start, 11 - number * MONTHS[kind]).year
        label = {
            "month": f"{start.year}-{start.month:02}", "quarter": f"{year}-Q{number + 1}",
            "half_year": f"{year}-H{number + 1}", "year": f"{year}",
        }  # fmt: skip
        return Span(kind, start, _plus(start, MONTHS[kind]), label[kind])

    def before(self, span: Span) -> Span:
        return self.span(span.kind, span.start - ONE_DAY)

    def between(self, kind: str, first: date, last: date) -> Iterator[Span]:
        """The periods of a kind that hold any of the days, both included."""
        while first <= last:
            yield (span := self.span(kind, first))
            first = span.end


def _plus(first: date, months: int) -> date:
    index = first.year * 12 + first.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def counts_in(part: Span, whole: Span) -> bool:
    """Whether a score of `part` counts in `whole`: a shorter period counts where its last day lies, a longer one in
    the periods whose last day it holds."""
    if part.kind == whole.kind:
        return part == whole
    shorter, longer = sorted((part, whole), key=lambda span: RANK[span.kind])
    return longer.start <= shorter.last < longer.end
