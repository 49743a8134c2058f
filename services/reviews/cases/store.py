"""Cases in the database."""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from typing import Any

from services.reviews.cases.rules import Standing
from shared.configuration import all_in_force, in_force
from shared.contracts.goals import Company, DeviationFound, Unit
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.organisation import subtree
from shared.periods import Calendar, business_day

_CASE = (
    "id, goal, goal_name, period, owner, status, opened_at, due, target_version, score_version, escalated_to, "
    "escalated_at, closed_why, closed_at"
)


def day_of(uow: UnitOfWork, company: str, moment: datetime) -> date:
    """The company's date at an instant; in UTC while its calendar is not known here."""
    found = in_force(uow, Company, company, "company", date.max)
    return business_day(Calendar(found.content.time_zone), moment) if found else moment.astimezone(UTC).date()


def now(uow: UnitOfWork, company: str) -> datetime | None:
    """The last tick; None before the first."""
    at: datetime | None = uow.value("SELECT at FROM company_time WHERE company = :company", company=company)
    return at


def today(uow: UnitOfWork, company: str) -> date:
    """The company's date at the last tick; before the first, the organisation counts as it will finally be."""
    at = now(uow, company)
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


def next_number(uow: UnitOfWork, company: str, goal: str, period: str) -> int:
    """Which case of a goal and period comes next, from 1."""
    return 1 + int(
        uow.value(
            "SELECT coalesce(max(number), 0) FROM review_case "
            "WHERE company = :company AND goal = :goal AND period = :period",
            company=company, goal=goal, period=period,
        )
    )  # fmt: skip


def insert(uow: UnitOfWork, company: str, case: str, number: int, found: DeviationFound, due: datetime) -> None:
    """Opens a case."""
    uow.run(
        "INSERT INTO review_case (company, id, goal, goal_name, period, number, owner, status, opened_at, due, "
        "target_version, score_version) VALUES (:company, :id, :goal, :goal_name, :period, :number, :owner, 'open', "
        ":judged_at, :due, :target_version, :score_version)",
        company=company, id=case, number=number, due=due, goal=found.goal, goal_name=found.goal_name,
        period=found.period, owner=found.owner, judged_at=found.judged_at, target_version=found.target_version,
        score_version=found.score_version,
    )  # fmt: skip


def add_cause(uow: UnitOfWork, company: str, case: str, found: DeviationFound) -> None:
    """Adds a cause, and what the case now looks at; the same deviation again changes nothing."""
    content = Jsonb(found.model_dump(mode="json"))
    added = uow.run(
        'INSERT INTO cause (company, "case", number, content) SELECT :company, :case, '
        '(SELECT 1 + count(*) FROM cause WHERE company = :company AND "case" = :case), :content '
        'WHERE NOT EXISTS (SELECT 1 FROM cause WHERE company = :company AND "case" = :case AND content = :content)',
        company=company, case=case, content=content,
    )  # fmt: skip
    if added:
        uow.run(
            "UPDATE review_case SET target_version = :target, score_version = :score "
            "WHERE company = :company AND id = :case",
            company=company, case=case, target=found.target_version, score=found.score_version,
        )  # fmt: skip


def close(uow: UnitOfWork, company: str, case: str, why: str, at: datetime) -> bool:
    """Closes a case; whether it was open."""
    return bool(
        uow.run(
            "UPDATE review_case SET status = 'closed', closed_why = :why, closed_at = :at "
            "WHERE company = :company AND id = :case AND status <> 'closed'",
            company=company, case=case, why=why, at=at,
        )
    )  # fmt: skip


def overdue(uow: UnitOfWork, company: str, at: datetime) -> Sequence[Any]:
    """Cases without a plan that are due, by id, with their owners."""
    return uow.rows(
        "SELECT id, owner FROM review_case WHERE company = :company AND status = 'open' AND due <= :at ORDER BY id",
        company=company, at=at,
    )  # fmt: skip


def escalate(uow: UnitOfWork, company: str, case: str, to: str | None, at: datetime) -> None:
    uow.run(
        "UPDATE review_case SET status = 'escalated', escalated_to = :to, escalated_at = :at "
        "WHERE company = :company AND id = :case",
        company=company, case=case, to=to, at=at,
    )  # fmt: skip


def add_plan(uow: UnitOfWork, company: str, case: str, by: str, text: str, at: datetime, status: str) -> None:
    """Adds a rectification plan."""
    uow.run(
        'INSERT INTO rectification (company, "case", number, "by", text, at) SELECT :company, :case, '
        '1 + count(*), :by, :text, :at FROM rectification WHERE company = :company AND "case" = :case',
        company=company, case=case, by=by, text=text, at=at,
    )  # fmt: skip
    uow.run(
        "UPDATE review_case SET status = :status WHERE company = :company AND id = :case",
        company=company, case=case, status=status,
    )  # fmt: skip


def add_decision(uow: UnitOfWork, company: str, **columns: Any) -> None:
    """Adds a decision; `columns` are those of the table."""
    uow.run(
        'INSERT INTO decision (company, id, "case", number, kind, "by", reason, value, effective_from, '
        "seen_target_version, at, fate) VALUES (:company, :id, :case, :number, :kind, :by, :reason, :value, "
        ":effective_from, :seen_target_version, :at, :fate)",
        company=company, **columns,
    )  # fmt: skip


def answer_decision(
    uow: UnitOfWork, company: str, decision: str, fate: str, at: datetime, *,
    target_version: int | None = None, rule: str | None = None, remedy: str | None = None,
) -> bool:  # fmt: skip
    """Keeps what goals answered; whether it was the first answer to a decision that waits for one."""
    return bool(
        uow.run(
            "UPDATE decision SET fate = :fate, answered_at = :at, target_version = :target_version, rule = :rule, "
            "remedy = :remedy WHERE company = :company AND id = :decision AND fate = 'pending'",
            company=company, decision=decision, fate=fate, at=at, target_version=target_version, rule=rule,
            remedy=remedy,
        )
    )  # fmt: skip


def get(uow: UnitOfWork, company: str, case: str) -> Any | None:
    return uow.row(
        f"SELECT {_CASE} FROM review_case WHERE company = :company AND id = :case", company=company, case=case
    )


def standing(uow: UnitOfWork, company: str, row: Any) -> Standing:
    """Where a case stands, with the decision that waits for goals."""
    pending = uow.value(
        "SELECT id FROM decision WHERE company = :company AND \"case\" = :case AND fate = 'pending'",
        company=company, case=row.id,
    )  # fmt: skip
    return Standing(row.id, row.status, pending)


def children(uow: UnitOfWork, company: str, table: str, case: str) -> Sequence[Any]:
    """The causes, plans (`rectification`) or decisions of a case, in order."""
    return uow.rows(
        f'SELECT * FROM {table} WHERE company = :company AND "case" = :case ORDER BY number', company=company, case=case
    )


def find(
    uow: UnitOfWork, company: str, *, after: str, limit: int, owners: Collection[str] | None, me: str,
    status: str | None, goal: str | None, owner: str | None, period: str | None,
) -> Sequence[Any]:  # fmt: skip
    """Cases by id. `owners`: only theirs and those escalated to `me`; None shows all."""
    return uow.rows(
        f"SELECT {_CASE} FROM review_case WHERE company = :company AND id > :after "
        "AND (CAST(:owners AS text[]) IS NULL OR owner = ANY(:owners) OR escalated_to = :me) "
        "AND (CAST(:status AS text) IS NULL OR status = :status) AND (CAST(:goal AS text) IS NULL OR goal = :goal) "
        "AND (CAST(:owner AS text) IS NULL OR owner = :owner) "
        "AND (CAST(:period AS text) IS NULL OR period = :period) ORDER BY id LIMIT :limit",
        company=company, after=after, limit=limit, owners=None if owners is None else sorted(owners), me=me,
        status=status, goal=goal, owner=owner, period=period,
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
