"""Assignments in the database, one by one and 5,000 at a time."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from services.incentives.assignments.rules import (
    Span,
    check_alone,
    check_assignment,
    check_same,
    span_of,
    with_span,
)
from services.incentives.policies import policy
from shared.configuration import Recorded
from shared.contracts.base import Defined
from shared.contracts.incentives import Assignment, Plan
from shared.database.unit_of_work import UnitOfWork
from shared.errors import DomainError
from shared.service import Received

_SPAN = "code, person, plan, effective_from, until, starts, ends"
CONFIGURATION = (
    "company", "kind", "code", "version", "effective_from", "content", "recorded_by", "recorded_at",
)  # fmt: skip


@dataclass
class Known:
    """What the rules need to see of a company to judge some assignments."""

    plans: dict[str, Plan]
    largest_factor: Decimal
    by_person: dict[str, list[Span]]
    by_code: dict[str, list[Span]]

    def accept(self, code: str, content: Assignment) -> None:
        """Judges one, and counts it as recorded for those that follow. Raises the rule it breaks."""
        check_assignment(content, self.plans.get(content.plan), self.largest_factor)
        check_same(content, self.by_code[code], code)
        span = span_of(code, content, self.by_code[code])
        check_alone(span, self.by_person[content.person])
        self.by_person[content.person] = with_span(self.by_person[content.person], span)
        self.by_code[code] = with_span(self.by_code[code], span)


def check(uow: UnitOfWork, company: str, code: str, new: Assignment, _before: Assignment | None) -> None:
    """Raises the rule that a new version of an assignment breaks."""
    known(uow, company, [(code, new)]).accept(code, new)


def known(uow: UnitOfWork, company: str, items: Sequence[tuple[str, Assignment]]) -> Known:
    """Loads it in three statements, however many assignments there are."""
    rows = uow.rows(
        "SELECT DISTINCT ON (code) code, content FROM configuration WHERE company = :company AND kind = 'plans' "
        "AND code = ANY(:plans) ORDER BY code, effective_from DESC, version DESC",
        company=company, plans=sorted({content.plan for _, content in items}),
    )  # fmt: skip
    plans = {row.code: Plan.model_validate(row.content) for row in rows}
    by_person, by_code = _spans(uow, company, items)
    return Known(plans, policy(uow, company, "largest_factor", date.max), by_person, by_code)


def _spans(
    uow: UnitOfWork, company: str, items: Sequence[tuple[str, Assignment]]
) -> tuple[dict[str, list[Span]], dict[str, list[Span]]]:
    by_person: dict[str, list[Span]] = defaultdict(list)
    by_code: dict[str, list[Span]] = defaultdict(list)
    rows = uow.rows(
        f"SELECT {_SPAN} FROM assignment WHERE company = :company AND person = ANY(:people) "
        f"UNION SELECT {_SPAN} FROM assignment WHERE company = :company AND code = ANY(:codes)",
        company=company, people=sorted({content.person for _, content in items}), codes=sorted({c for c, _ in items}),
    )  # fmt: skip
    for row in rows:
        span = Span(**row._mapping)
        by_person[span.person].append(span)
        by_code[span.code].append(span)
    return by_person, by_code


def note_assignments(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Keeps the table in step with the setting just recorded."""
    for received in events:
        index(uow, received.company, [received.event.code])


def index(uow: UnitOfWork, company: str, codes: Sequence[str]) -> None:
    """Makes the rows of `assignment` anew for some codes."""
    uow.run("DELETE FROM assignment WHERE company = :company AND code = ANY(:codes)", company=company, codes=codes)
    uow.run(
        "INSERT INTO assignment (company, code, effective_from, until, version, person, plan, amount, starts, ends, "
        "share, factor) SELECT company, code, effective_from, lead(effective_from) OVER (PARTITION BY code ORDER BY "
        "effective_from), version, content->>'person', content->>'plan', CAST(content->>'amount' AS numeric), "
        "CAST(content->>'starts' AS date), CAST(content->>'ends' AS date), CAST(content->>'share' AS numeric), "
        "CAST(content->>'factor' AS numeric) FROM (SELECT DISTINCT ON (code, effective_from) * FROM configuration "
        "WHERE company = :company AND kind = 'assignments' AND code = ANY(:codes) "
        "ORDER BY code, effective_from, version DESC) AS valid",
        company=company, codes=codes,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one of many."""

    code: str
    version: int | None
    changed: bool
    error: DomainError | None = None


def define_many(uow: UnitOfWork, company: str, items: Sequence[tuple[str, Assignment]]) -> list[Outcome]:
    """Records many assignments, each with a code of its own; a refused one does not stop the others.

    Same effect as defining one after the other, in a handful of statements.
    """
    uow.lock_company(company)
    before, judge = _recorded(uow, company, [code for code, _ in items]), known(uow, company, items)
    outcomes, fresh = [], []
    for code, content in items:
        versions = before.get(code, [])
        if same := _as_recorded(versions, content):
            outcomes.append(Outcome(code, same, False))
            continue
        try:
            judge.accept(code, content)
        except DomainError as error:
            outcomes.append(Outcome(code, None, False, error))
            continue
        version = max((version for version, _, _ in versions), default=0) + 1
        outcomes.append(Outcome(code, version, True))
        fresh.append(Recorded(code, version, content, uow.actor, datetime.now(UTC)))
    _keep(uow, company, fresh)
    return outcomes


Versions = list[tuple[int, date, dict[str, Any]]]


def _recorded(uow: UnitOfWork, company: str, codes: Sequence[str]) -> dict[str, Versions]:
    found: dict[str, Versions] = defaultdict(list)
    rows = uow.rows(
        "SELECT code, version, effective_from, content FROM configuration WHERE company = :company "
        "AND kind = 'assignments' AND code = ANY(:codes)",
        company=company, codes=codes,
    )  # fmt: skip
    for row in rows:
        found[row.code].append((row.version, row.effective_from, row.content))
    return found


def _as_recorded(versions: Versions, content: Assignment) -> int | None:
    """The version that says the same for the same beginning already."""
    begun = [(day, version, kept) for version, day, kept in versions if day == content.effective_from]
    if not begun:
        return None
    _, version, kept = max(begun, key=lambda found: found[:2])
    return version if Assignment.model_validate(kept) == content else None


def _keep(uow: UnitOfWork, company: str, fresh: Iterable[Recorded[Assignment]]) -> None:
    rows, codes = [], []
    for one in fresh:
        content = one.content.model_dump_json()
        rows.append((
            company, Assignment.KIND, one.code, one.version, one.content.effective_from, content,
            one.recorded_by, one.recorded_at,
        ))  # fmt: skip
        codes.append(one.code)
        event = Defined(
            code=one.code, version=one.version, recorded_by=one.recorded_by, recorded_at=one.recorded_at,
            content=one.content.model_dump(mode="json"),
        )  # fmt: skip
        uow.publish_raw(Assignment, event.model_dump_json(), company=company, key=f"{Assignment.KIND}/{one.code}")
    if rows:
        uow.copy("configuration", CONFIGURATION, rows)
        index(uow, company, codes)


def find(
    uow: UnitOfWork, company: str, *, after: str, limit: int, person: str | None, plan: str | None, on: date
) -> Sequence[Any]:
    """Assignments in force on a day, by code, with whether the person is known yet."""
    return uow.rows(
        "SELECT c.code, c.version, c.content, c.recorded_by, c.recorded_at, NOT EXISTS (SELECT 1 FROM configuration p "
        " WHERE p.company = :company AND p.kind = 'people' AND p.code = a.person) AS waits "
        "FROM assignment a JOIN configuration c ON c.company = a.company AND c.kind = 'assignments' "
        "AND c.code = a.code AND c.version = a.version WHERE a.company = :company AND a.effective_from <= :on "
        "AND (a.until IS NULL OR a.until > :on) AND a.code > :after "
        "AND (CAST(:person AS text) IS NULL OR a.person = :person) AND (CAST(:plan AS text) IS NULL OR a.plan = :plan) "
        "ORDER BY a.code LIMIT :limit",
        company=company, on=on, after=after, person=person, plan=plan, limit=limit,
    )  # fmt: skip
