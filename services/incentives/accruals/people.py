"""What is a person's own in a plan: assignments, own readings, overrides; read in portions, so that millions fit."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from shared.configuration import all_in_force
from shared.contracts.base import Citation
from shared.contracts.incentives import Override
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import plain
from shared.periods import Calendar, Period

from ..assignments.rules import last_day
from ..entitlements.steps import Given
from ..overrides.rules import holds
from ..plans.rules import OWN, DriverKey
from .definitions import ONE, Part, Person, Terms, Value

PORTION = 5_000  # assignments read at once: with more alive, collecting garbage takes longer than computing
# The assignments that count in a period: in force on its last day, and covering at least one of its days.
COUNTS = (
    "company = :company AND effective_from <= :last AND (until IS NULL OR until > :last) "
    "AND starts <= :last AND (ends IS NULL OR ends >= :first)"
)


def people(
    uow: UnitOfWork, company: str, period: Period, terms: Terms, persons: Sequence[str] | None,
    overrides: Mapping[str, Given], instead: Mapping[DriverKey, Value],
) -> Iterator[Person]:  # fmt: skip
    """People assigned to a plan in a period, by code; of `persons` only those, where given.

    Args:
        overrides: by payee.
        instead: driver values to take in place of the latest.
    """
    keys = sorted(key for key in terms.values if key.subject == OWN)
    for rows in _portions(uow, company, period, terms.code, persons):
        codes = sorted({row.person for row in rows})
        own = {key: own_drivers(uow, company, key, terms, codes) for key in keys}
        for key, values in own.items():
            values |= _replaced(key, instead)
        for code, mine in groupby(rows, key=lambda row: row.person):
            parts = tuple(part for row in mine for part in _parts(row, terms, period))
            lacking = Value(None)
            drivers = {key: own[key].get(code, lacking) for key in keys}
            if parts:
                payee = f"person:{code}"
                yield Person(payee, parts, drivers, overrides.get(payee))


def _replaced(key: DriverKey, instead: Mapping[DriverKey, Value]) -> dict[str, Value]:
    return {
        at.subject.removeprefix("person:"): value
        for at, value in instead.items() if (at.kind, at.code) == (key.kind, key.code)
    }  # fmt: skip


def _portions(
    uow: UnitOfWork, company: str, period: Period, plan: str, persons: Sequence[str] | None
) -> Iterator[Sequence[Any]]:
    """Rows of assignments by person; nobody's are torn apart."""
    after = ""
    while True:
        rows = uow.rows(
            "SELECT person, code, version, amount, share, factor, starts, ends, job_family, guarantee, guarantee_until "
            f"FROM assignment WHERE {COUNTS} AND plan = :plan AND person > :after "
            "AND (CAST(:persons AS text[]) IS NULL OR person = ANY(:persons)) ORDER BY person, starts, code LIMIT :n",
            company=company, first=period.start, last=last_day(period), plan=plan, after=after, persons=persons,
            n=PORTION,
        )  # fmt: skip
        whole = [row for row in rows if row.person != rows[-1].person] if len(rows) == PORTION else rows
        if whole:
            yield whole
        if len(rows) < PORTION:
            return
        after = whole[-1].person if whole else rows[-1].person


def own_drivers(uow: UnitOfWork, company: str, key: DriverKey, terms: Terms, codes: Sequence[str]) -> dict[str, Value]:
    """The latest reading of each person, by code."""
    rows = uow.rows(
        "SELECT DISTINCT ON (subject) subject, version, value, reason FROM driver WHERE company = :company "
        "AND kind = :kind AND code = :code AND subject = ANY(:subjects) AND period = :period "
        "ORDER BY subject, version DESC",
        company=company, kind=key.kind, code=key.code, period=terms.period,
        subjects=[f"person:{code}" for code in codes],
    )  # fmt: skip
    return {row.subject.removeprefix("person:"): Value(row.value, row.reason, row.version) for row in rows}


def _parts(row: Any, terms: Terms, period: Period) -> Iterator[Part]:
    """An assignment's parts: one for each version of the plan that counts for some of its days."""
    whole = len(terms.segments) == 1
    for number, segment in enumerate(terms.segments):
        first, end = (period.start, period.end) if whole else (segment.first, _after(segment.first, segment.days))
        last = end if row.ends is None else min(_after(row.ends, 1), end)
        days = (last - max(row.starts, first)).days
        if days > 0:
            family = segment.plan.families.get(row.job_family, ONE)
            held = row.guarantee is not None and _after(row.guarantee_until, 1) >= period.end
            yield Part(
                row.code, row.version, row.amount, row.share, row.factor, Decimal(days), number, family,
                row.guarantee if held else None,
            )  # fmt: skip


def _after(day: date, days: int) -> date:
    return day if day == date.max else day + timedelta(days=days)


def overrides_of(
    uow: UnitOfWork, company: str, calendar: Calendar, period: Period, plan: str | None = None
) -> dict[str, dict[str, Given]]:
    """The overrides that hold in a period, by plan (or pool, or award) and payee."""
    found: dict[str, dict[str, Given]] = {}
    for code, recorded in all_in_force(uow, Override, company, last_day(period)).items():
        override = recorded.content
        if override.amount is not None and holds(override, calendar, period) and plan in (None, override.plan):
            cite = Citation(what="override", code=code, version=recorded.version, value=plain(override.amount))
            until = f" until {override.until}" if override.until else ""
            how = f"decided by {recorded.recorded_by}{until}: {override.reason}; replaces what was computed"
            found.setdefault(override.plan, {})[override.payee] = (override.amount, cite, how)
    return found
