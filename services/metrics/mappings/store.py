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

State = tuple[Any, ...]
_compiled: "WeakKeyDictionary[Engine, dict[str, tuple[State, Compiled | None]]]" = WeakKeyDictionary()


def version(uow: UnitOfWork, company: str) -> State:
    """Changes whenever what decides about mapping is recorded; the last transaction tells apart two states of one
    count of which one was rolled back."""
    [row] = uow.rows(
        "SELECT count(*), coalesce(max(xmin::text::bigint), 0) FROM configuration "
        "WHERE company = :company AND kind = ANY(:kinds)",
        company=company, kinds=[Mapping.KIND, Company.KIND],
    )  # fmt: skip
    return tuple(row)


def compiled(uow: UnitOfWork, company: str) -> tuple[State, Compiled | None]:
    """The company's mappings with the state they are of; None where the company, and so its time zone, is not known."""
    now = version(uow, company)
    kept = _compiled.setdefault(uow.connection.engine, {})
    found = kept.get(company)
    if found is None or found[0] != now:
        known = calendar(uow, company)
        versions = history(uow, Mapping, company) if known else []
        all_of_them = [compile_version(each.code, each.version, each.content) for each in versions]
        found = kept[company] = (now, Compiled(known, all_of_them) if known else None)
    return found


def calendar(uow: UnitOfWork, company: str) -> Calendar | None:
    """The company's calendar, where the company is known."""
    found = latest(uow, Company, company, "company")
    return Calendar(found.content.time_zone, found.content.fiscal_year_start_month) if found else None
