"""The company with its calendar, units and people: what may be set."""

from datetime import date

from shared.configuration import configuration_router, in_force, latest
from shared.contracts.base import ALWAYS
from shared.contracts.goals import Company, Person, Unit
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Conflict, Invalid
from shared.formula.graph import CycleFound
from shared.money import UnknownCurrency, is_currency
from shared.periods import Calendar

from .store import circle, levels

DEEPEST = 60  # `shared.organisation` follows 64 levels, the person among them


class OneCompany(Invalid):
    """The company's settings have the code `company`."""


class CalendarFixed(Conflict):
    """The calendar and currency of a company never change: every number already counted depends on them."""


class UnitsTooDeep(Invalid):
    """Units stand at most 60 levels deep: figures roll up no further."""


class UnknownReference(Invalid):
    """A setting names something that does not exist on the day it begins."""


def require_existing(
    uow: UnitOfWork, kind: type[Unit] | type[Person], company: str, code: str | None, day: date, field: str
) -> None:
    """Raises `UnknownReference` unless `code` is None or in force on the day."""
    if code is not None and not in_force(uow, kind, company, code, day):
        name, when = kind.__name__.lower(), "from the beginning" if day == ALWAYS else f"on {day}"
        raise UnknownReference(
            f"There is no {name} {code!r} {when}.",
            field=field, remedy=f"Define the {name} first, or let this begin when it does.",
        )  # fmt: skip


def refuse_circle(path: list[str] | None, field: str) -> None:
    """Raises `CycleFound` with the path, where there is one."""
    if path:
        raise CycleFound(
            f"Nothing may be above itself: {' -> '.join(path)}.",
            field=field, remedy="Choose another one, or move the one above first.", path=path,
        )  # fmt: skip


def check_company(uow: UnitOfWork, company: str, code: str, new: Company, _before: Company | None) -> None:
    if code != "company":
        rule = "The company's settings have the code `company`."
        raise OneCompany(rule, field="code", remedy="PUT companies/company.")
    Calendar(new.time_zone, new.fiscal_year_start_month)
    if not is_currency(new.currency):
        raise UnknownCurrency(f"{new.currency} is not a currency.", field="currency", remedy="Use an ISO 4217 code.")
    current = latest(uow, Company, company, code)
    for field in ("time_zone", "fiscal_year_start_month", "currency"):
        if current and getattr(current.content, field) != getattr(new, field):
            raise CalendarFixed(
                f"The {field.replace('_', ' ')} of a company never changes; it is {getattr(current.content, field)}.",
                field=field, remedy="Leave it as it is; another calendar or currency needs another company.",
            )  # fmt: skip


def check_unit(uow: UnitOfWork, company: str, code: str, new: Unit, before: Unit | None) -> None:
    """The head may be a person who is defined later: it waits."""
    _check_above(uow, company, code, new, "parent")
    moved = new.parent and (before is None or before.parent != new.parent)
    if moved and (deep := levels(uow, company, code, new)) > DEEPEST:
        rule = f"Units stand at most {DEEPEST} levels deep; with this parent a chain of {deep} would stand."
        raise UnitsTooDeep(rule, field="parent", remedy="Choose a parent further up, or leave out levels between.")


def check_person(uow: UnitOfWork, company: str, code: str, new: Person, _before: Person | None) -> None:
    require_existing(uow, Unit, company, new.unit, new.effective_from, "unit")
    _check_above(uow, company, code, new, "manager")


def _check_above(uow: UnitOfWork, company: str, code: str, new: Unit | Person, field: str) -> None:
    if above := getattr(new, field):
        if above != code:
            require_existing(uow, type(new), company, above, new.effective_from, field)
        refuse_circle(circle(uow, company, code, new, field), field)


companies = configuration_router(Company, write_roles=("strategist",), check=check_company)
units = configuration_router(Unit, write_roles=("strategist",), check=check_unit)
people = configuration_router(Person, write_roles=("strategist",), check=check_person)
