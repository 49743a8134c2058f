"""Assignments in the database, one by one and 5,000 at a time."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from shared.closing import closed_until, refuse_closed_day, refuse_unexplained
from shared.configuration import latest
from shared.contracts.base import Defined
from shared.contracts.incentives import Assignment, Plan
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.errors import DomainError
from shared.http.problems import words_of
from shared.numbers import add, multiply
from shared.service import Received

from ..entitlements.touched import touch
from ..policies import NO_MEAN, policy
from .rules import (
    Calibration,
    Span,
    check_alone,
    check_assignment,
    check_calibrated,
    check_same,
    span_of,
    with_span,
)
from .schemas import AssignmentItem, AssignmentResult, Refusal


@dataclass
class Known:
    """What the rules need to see of a company to judge some assignments."""

    plans: dict[str, Plan]
    largest_factor: Decimal
    by_person: dict[str, list[Span]]
    by_code: dict[str, list[Span]]
    limits: Calibration
    factors: dict[str, tuple[Decimal, Decimal]]

    def accept(self, code: str, content: Assignment) -> None:
        """Judges one, and counts it as recorded for the others that follow. Raises the rule it breaks."""
        check_assignment(content, self.plans.get(content.plan), self.largest_factor)
        sums = self.factors.get(content.plan, (Decimal(0), Decimal(0)))
        check_calibrated(content, self.limits, sums)
        check_same(content, self.by_code[code], code)
        span = span_of(code, content, self.by_code[code])
        check_alone(span, self.by_person[content.person])
        self.by_person[content.person] = with_span(self.by_person[content.person], span)
        weighted = multiply(content.amount, content.factor)
        self.factors[content.plan] = add(sums[0], content.amount), add(sums[1], weighted)


def check(uow: UnitOfWork, company: str, code: str, new: Assignment, _before: Assignment | None) -> None:
    """Raises the rule that a new version of an assignment breaks."""
    known(uow, company, {code: new}).accept(code, new)


def known(uow: UnitOfWork, company: str, contents: dict[str, Assignment]) -> Known:
    """Loads it with one query for all assignments, and one for each of their plans."""
    codes = {content.plan for content in contents.values()}
    plans = {code: plan.content for code in codes if (plan := latest(uow, Plan, company, code))}
    by_person: dict[str, list[Span]] = defaultdict(list)
    by_code: dict[str, list[Span]] = defaultdict(list)
    for row in uow.rows(
        "SELECT code, person, plan, effective_from, until, starts, ends FROM assignment "
        "WHERE company = :company AND (person = ANY(:people) OR code = ANY(:codes))",
        company=company, people=sorted({content.person for content in contents.values()}), codes=sorted(contents),
    ):  # fmt: skip
        by_person[row.person].append(Span(**row._mapping))
        by_code[row.code].append(Span(**row._mapping))
    largest, limits = policy(uow, company, "largest_factor", date.max), calibration(uow, company)
    factors = _factors(uow, company, contents) if limits.mean is not None else {}
    return Known(plans, largest, by_person, by_code, limits, factors)


def calibration(uow: UnitOfWork, company: str) -> Calibration:
    """The latest limits of individual factors."""
    low, high, mean = (
        policy(uow, company, code, date.max)
        for code in ("lowest_individual_factor", "highest_individual_factor", "highest_mean_factor")
    )
    return Calibration(low, high, None if mean == NO_MEAN else mean)


def _factors(uow: UnitOfWork, company: str, contents: dict[str, Assignment]) -> dict[str, tuple[Decimal, Decimal]]:
    """By plan, the target amounts and these times the individual factors of what is not in the call."""
    rows = uow.rows(
        "SELECT plan, sum(amount) AS amounts, sum(amount * factor) AS weighted FROM assignment "
        "WHERE company = :company AND plan = ANY(:plans) AND until IS NULL AND code <> ALL(:codes) GROUP BY plan",
        company=company, plans=sorted({content.plan for content in contents.values()}), codes=sorted(contents),
    )  # fmt: skip
    return {row.plan: (row.amounts, row.weighted) for row in rows}


def note_assignments(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Keeps the table in step with the settings just recorded."""
    index(uow, events[0].company, [received.event.code for received in events])
    _touch(uow, events[0].company, [received.event.content for received in events])


def _touch(uow: UnitOfWork, company: str, contents: Sequence[Assignment]) -> None:
    by_plan: dict[str, list[Assignment]] = defaultdict(list)
    for content in contents:
        by_plan[content.plan].append(content)
    for plan, mine in sorted(by_plan.items()):
        touch(uow, company, plan, min(one.effective_from for one in mine), [f"person:{one.person}" for one in mine])


def index(uow: UnitOfWork, company: str, codes: Sequence[str]) -> None:
    """Makes the rows of `assignment` anew for some codes."""
    uow.run("DELETE FROM assignment WHERE company = :company AND code = ANY(:codes)", company=company, codes=codes)
    uow.run(
        "INSERT INTO assignment (company, code, effective_from, until, version, person, plan, amount, starts, ends, "
        "share, factor, job_family, guarantee, guarantee_until) "
        "SELECT company, code, effective_from, lead(effective_from) OVER (PARTITION BY code ORDER BY "
        "effective_from), version, content->>'person', content->>'plan', CAST(content->>'amount' AS numeric), "
        "CAST(content->>'starts' AS date), CAST(content->>'ends' AS date), CAST(content->>'share' AS numeric), "
        "CAST(content->>'factor' AS numeric), content->>'job_family', "
        "CAST(content->'guarantee'->>'amount' AS numeric), CAST(content->'guarantee'->>'until' AS date) "
        "FROM (SELECT DISTINCT ON (code, effective_from) * FROM configuration "
        "WHERE company = :company AND kind = 'assignments' AND code = ANY(:codes) "
        "ORDER BY code, effective_from, version DESC) AS valid",
        company=company, codes=codes,
    )  # fmt: skip


def define_many(uow: UnitOfWork, company: str, items: Sequence[AssignmentItem]) -> list[AssignmentResult]:
    """Records many assignments, each with a code of its own; a refused one does not stop the others.

    Same effect as defining one after the other, in a handful of statements.
    """
    uow.lock_company(company)
    contents = {item.code: item.content for item in items}
    recorded = uow.rows(
        "SELECT code, version, effective_from, content FROM configuration WHERE company = :company "
        "AND kind = 'assignments' AND code = ANY(:codes) ORDER BY version",
        company=company, codes=list(contents),
    )  # fmt: skip
    last = {row.code: row.version for row in recorded}
    same_day = {(row.code, row.effective_from): row for row in recorded}
    judge, now, until = known(uow, company, contents), datetime.now(UTC), closed_until(uow, company)
    results, fresh = [], []
    for code, content in contents.items():
        same = same_day.get((code, content.effective_from))
        if same and Assignment.model_validate(same.content) == content:
            results.append(AssignmentResult(code=code, outcome="unchanged", version=same.version))
            continue
        try:
            refuse_unexplained(content)
            if code in last:
                refuse_closed_day(until, content)
            judge.accept(code, content)
        except DomainError as error:
            results.append(AssignmentResult(code=code, outcome="refused", problem=_refusal(error)))
            continue
        version = last.get(code, 0) + 1
        results.append(AssignmentResult(code=code, outcome="versioned" if version > 1 else "created", version=version))
        fresh.append(Defined(code=code, version=version, recorded_by=uow.actor, recorded_at=now, content=content))
    _keep(uow, company, fresh)
    return results


def _refusal(error: DomainError) -> Refusal:
    kind = "urn:valueloop:problem:" + "-".join(words_of(type(error).__name__))
    return Refusal(type=kind, detail=error.rule, field=error.field, remedy=error.remedy)


def _keep(uow: UnitOfWork, company: str, fresh: Sequence[Defined]) -> None:
    columns = ("company", "kind", "code", "version", "effective_from", "content", "recorded_by", "recorded_at")
    uow.copy("configuration", columns, (
        (company, Assignment.KIND, one.code, one.version, one.content.effective_from,
         Jsonb(one.content.model_dump(mode="json")), one.recorded_by, one.recorded_at) for one in fresh
    ))  # fmt: skip
    for one in fresh:
        uow.publish_raw(Assignment, one.model_dump_json(), company=company, key=f"{Assignment.KIND}/{one.code}")
    index(uow, company, [one.code for one in fresh])
    _touch(uow, company, [one.content for one in fresh])


def find(
    uow: UnitOfWork, company: str, *, after: str, limit: int, on: date, person: str | None, plan: str | None
) -> Sequence[Any]:
    """Assignments in force on a day, by code, with what they wait for."""
    return uow.rows(
        "SELECT c.code, c.version, c.content, c.recorded_by, c.recorded_at, CASE WHEN EXISTS (SELECT 1 "
        " FROM configuration p WHERE p.company = :company AND p.kind = 'people' AND p.code = a.person) "
        " THEN CAST('{}' AS text[]) ELSE ARRAY['person'] END AS waiting_for "
        "FROM assignment a JOIN configuration c ON c.company = a.company AND c.kind = 'assignments' "
        "AND c.code = a.code AND c.version = a.version WHERE a.company = :company AND a.effective_from <= :on "
        "AND (a.until IS NULL OR a.until > :on) AND a.code > :after "
        "AND (CAST(:person AS text) IS NULL OR a.person = :person) AND (CAST(:plan AS text) IS NULL OR a.plan = :plan) "
        "ORDER BY a.code LIMIT :limit",
        company=company, on=on, after=after, person=person, plan=plan, limit=limit,
    )  # fmt: skip
