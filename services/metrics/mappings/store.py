"""The mappings of a company, compiled once for each state of its settings."""

from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine

from services.metrics.mappings.rules import Compiled, compile_version
from shared.configuration import history, latest
from shared.contracts.goals import Company
from shared.contracts.metrics import Mapping
from shared.database.unit_of_work import UnitOfWork
from shared.periods import Calendar

Version = tuple[int, int]
_compiled: "WeakKeyDictionary[Engine, dict[str, tuple[Version, Compiled | None]]]" = WeakKeyDictionary()


def version(uow: UnitOfWork, company: str) -> Version:
    """Changes whenever what decides about mapping is recorded; the last transaction tells apart two states of one
    count of which one was rolled back."""
    row: Any = uow.row(
        "SELECT count(*), coalesce(max(xmin::text::bigint), 0) FROM configuration "
        "WHERE company = :company AND kind = ANY(:kinds)",
        company=company, kinds=[Mapping.KIND, Company.KIND],
    )  # fmt: skip
    return (row[0], row[1]) if row else (0, 0)


def compiled(uow: UnitOfWork, company: str) -> tuple[Version, Compiled | None]:
    """The company's mappings with the state they are of; None where the company, and so its time zone, is not known."""
    now = version(uow, company)
    kept = _compiled.setdefault(uow.connection.engine, {})
    if company not in kept or kept[company][0] != now:
        kept[company] = (now, _load(uow, company))
    return kept[company]


def calendar(uow: UnitOfWork, company: str) -> Calendar | None:
    """The company's calendar, where the company is known."""
    found = latest(uow, Company, company, "company")
    return Calendar(found.content.time_zone, found.content.fiscal_year_start_month) if found else None


def mapped_before(uow: UnitOfWork, company: str, event_type: str, code: str, number: int) -> bool:
    """Whether any other version of any mapping takes events of a type: if none does, all of them wait."""
    return bool(
        uow.value(
            "SELECT EXISTS (SELECT FROM configuration WHERE company = :company AND kind = :kind "
            "AND content->>'event_type' = :type AND (code, version) <> (:code, :number))",
            company=company, kind=Mapping.KIND, type=event_type, code=code, number=number,
        )
    )  # fmt: skip


def _load(uow: UnitOfWork, company: str) -> Compiled | None:
    known = calendar(uow, company)
    if known is None:
        return None
    versions = history(uow, Mapping, company)
    return Compiled(known, [compile_version(each.code, each.version, each.content) for each in versions])
