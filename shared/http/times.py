"""The two times of a figure in a query: of which period, and as known when."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import Depends, Query
from pydantic import AfterValidator, AwareDatetime

from shared.contracts.base import PeriodLabel
from shared.errors import Invalid
from shared.periods import Calendar, PeriodInvalid, PeriodKind, period_of


class PeriodUnclear(Invalid):
    """Neither a period nor a day of it is named, or both are."""


def _in_utc(at: datetime) -> datetime:
    """PostgreSQL takes offsets up to 16 hours, Python up to 24."""
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the instant lies outside the years 1 to 9999 in UTC") from error


KnownAt = Annotated[
    Annotated[AwareDatetime, AfterValidator(_in_utc)] | None,
    Query(description="As it was known at this instant; default: now."),
]


@dataclass(frozen=True)
class _Period:
    """The period that a query is about."""

    period: Annotated[PeriodLabel | None, Query(examples=["2025-Q1"])] = None
    kind: Annotated[PeriodKind, Query(description="With `as_of`: of which kind.")] = "month"
    as_of: Annotated[date | None, Query(description="Instead of `period`: a day of it.")] = None

    def label(self, calendar: Callable[[], Calendar]) -> str:
        """Of the period; the company's calendar is asked for only where a day is named. Raises PeriodUnclear,
        PeriodInvalid."""
        if self.period is not None and self.as_of is None:
            return self.period
        if self.period is not None or self.as_of is None:
            rule = "This is about one period, named once."
            raise PeriodUnclear(rule, field="period", remedy="Name it, or a day of it with as_of and kind.")
        try:
            return period_of(calendar(), self.kind, self.as_of).label
        except PeriodInvalid as error:
            raise PeriodInvalid(error.rule, field="as_of", remedy=error.remedy) from error


AskedPeriod = Annotated[_Period, Depends()]
