"""Cases in the database."""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from typing import Any

from shared.configuration import all_in_force, in_force
from shared.contracts.goals import Company, Unit
from shared.database.unit_of_work import UnitOfWork
from shared.organisation import subtree
from shared.periods import Calendar, business_day

_UNSETTLED = {"review_case": "status <> 'closed'", "decision": "fate = 'pending'"}


def insert(uow: UnitOfWork, table: str, **columns: Any) -> None:
    """Adds a row. Names are the code's own, never a caller's."""
    names, values = (", ".join(form.format(name) for name in columns) for form in ('"{}"', ":{}"))
    uow.run(f"INSERT INTO {table} ({names}) VALUES ({values})", **columns)


def update(uow: UnitOfWork, table: str, company: str, id: str, **columns: Any) -> bool:
    """Changes a case that is not closed, or a decision that waits for goals; whether there was one."""
    changes = ", ".join(f"{name} = :{name}" for name in columns)
    where = f"company = :company AND id = :id AND {_UNSETTLED[table]}"
    return bool(uow.run(f"UPDATE {table} SET {changes} WHERE {where}", company=company, id=id, **columns))


def day_of(uow: UnitOfWork, company: str, moment: datetime) -> date:
    """The company's date at an instant; in UTC while its calendar is not known here."""
    found = in_force(uow, Company, company, "company", date.max)
    return business_day(Calendar(found.content.time_zone), moment) if found else moment.astimezone(UTC).date()


def today(uow: UnitOfWork, company: str) -> date:
    """The company's date at the last tick; before the first, the organisation counts as it will finally be."""
    at = uow.value("SELECT at FROM company_time WHERE company = :company", company=company)
    return day_of(uow, company, at) if at else date.max


def time_has_come(uow: UnitOfWork, company: str, at: datetime) -> None:
    """Remembers a tick; time never runs back."""
    uow.run(
        "INSERT INTO company_time (company, at) VALUES (:company, :at) "
        "ON CONFLICT (company) DO UPDATE SET at = greatest(company_time.at, excluded.at)",
        company=company, at=at,
    )  # fmt: skip


def open_cases(uow: UnitOfWork, company: str, goals: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """The open case of each (goal, period) that has one."""
    rows = uow.rows(
        "SELECT goal, period, id FROM review_case JOIN unnest(CAST(:goals AS text[]), CAST(:periods AS text[])) "
        "AS asked(goal, period) USING (goal, period) WHERE company = :company AND status <> 'closed'",
        company=company, goals=[goal for goal, _ in goals], periods=[period for _, period in goals],
    )  # fmt: skip
    return {(row.goal, row.period): row.id for row in rows}


def still_open(uow: UnitOfWork, company: str, period: str) -> list[str]:
    """The cases about a period that are not closed."""
    sql = "SELECT id FROM review_case WHERE company = :company AND period = :period AND status <> 'closed' ORDER BY id"
    return [row.id for row in uow.rows(sql, company=company, period=period)]


def next_number(uow: UnitOfWork, company: str, goal: str, period: str) -> int:
    """Which case of a goal and period comes next, from 1."""
    sql = "SELECT 1 + count(*) FROM review_case WHERE company = :company AND goal = :goal AND period = :period"
    return int(uow.value(sql, company=company, goal=goal, period=period))


def overdue(uow: UnitOfWork, company: str, at: datetime) -> Sequence[Any]:
    """Cases without a plan that are due, by id, with their owners."""
    return uow.rows(
        "SELECT id, owner FROM review_case WHERE company = :company AND status = 'open' AND due <= :at ORDER BY id",
        company=company, at=at,
    )  # fmt: skip


def get(uow: UnitOfWork, company: str, case: str) -> Any | None:
    """A case. `pending`: the decision that waits for goals; `now`: the last tick, never before the case was opened."""
    return uow.row(
        'SELECT c.*, (SELECT d.id FROM decision d WHERE d.company = c.company AND d."case" = c.id '
        "AND d.fate = 'pending') AS pending, greatest(c.opened_at, t.at) AS now "
        "FROM review_case c LEFT JOIN company_time t USING (company) WHERE company = :company AND id = :case",
        company=company, case=case,
    )  # fmt: skip


def children(uow: UnitOfWork, company: str, table: str, case: str) -> Sequence[Any]:
    """The causes, plans (`rectification`) or decisions of a case, in order."""
    return uow.rows(
        f'SELECT * FROM {table} WHERE company = :company AND "case" = :case ORDER BY number', company=company, case=case
    )


def find(
    uow: UnitOfWork, company: str, *, after: str, limit: int, owners: Collection[str] | None, me: str,
    **filters: str | None,
) -> Sequence[Any]:  # fmt: skip
    """Cases by id. `owners`: only theirs and those escalated to `me`; None shows all. `filters` are columns."""
    return uow.rows(
        "SELECT * FROM review_case WHERE company = :company AND id > :after "
        "AND (CAST(:owners AS text[]) IS NULL OR owner = ANY(:owners) OR escalated_to = :me) "
        "AND (CAST(:status AS text) IS NULL OR status = :status) AND (CAST(:goal AS text) IS NULL OR goal = :goal) "
        "AND (CAST(:owner AS text) IS NULL OR owner = :owner) "
        "AND (CAST(:period AS text) IS NULL OR period = :period) ORDER BY id LIMIT :limit",
        company=company, after=after, limit=limit, owners=None if owners is None else sorted(owners), me=me,
        **filters,
    )  # fmt: skip


def people_below(uow: UnitOfWork, company: str, manager: str, day: date) -> set[str]:
    """Everybody whom `shared.organisation.manages` would put below `manager`: by the line, and in headed units."""
    rows = uow.rows(
        "WITH RECURSIVE person_now AS (SELECT DISTINCT ON (code) code, content->>'manager' AS manager "
        " FROM configuration WHERE company = :company AND kind = 'people' AND effective_from <= :day "
        " ORDER BY code, effective_from DESC, version DESC), below(code) AS (SELECT code FROM person_now "
        " WHERE manager = :manager UNION SELECT p.code FROM person_now p JOIN below b ON p.manager = b.code) "
        "SELECT code FROM below",
        company=company, manager=manager, day=day,
    )  # fmt: skip
    found = {row.code for row in rows}
    for code, unit in all_in_force(uow, Unit, company, day).items():
        if unit.content.head == manager:
            subjects = subtree(uow, company, code, day)
            found |= {subject.removeprefix("person:") for subject in subjects if subject.startswith("person:")}
    return found - {manager}
