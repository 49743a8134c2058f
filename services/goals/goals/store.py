"""Goals and what hangs on what, read for many at once."""

from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import TypeVar

from shared.configuration import Recorded
from shared.contracts.base import Configuration
from shared.contracts.goals import Goal
from shared.database.unit_of_work import UnitOfWork

C = TypeVar("C", bound=Configuration)


def histories(uow: UnitOfWork, kind: type[C], company: str, codes: Collection[str]) -> dict[str, list[Recorded[C]]]:
    """All versions of some settings, by beginning, then version: the last that has begun is in force."""
    rows = uow.rows(
        "SELECT code, version, content, recorded_by, recorded_at FROM configuration WHERE company = :company "
        "AND kind = :kind AND code = ANY(:codes) ORDER BY code, effective_from, version",
        company=company, kind=kind.KIND, codes=sorted(codes),
    )  # fmt: skip
    found: dict[str, list[Recorded[C]]] = {}
    for row in rows:
        recorded = Recorded(row.code, row.version, kind.model_validate(row.content), row.recorded_by, row.recorded_at)
        found.setdefault(row.code, []).append(recorded)
    return found


def at(versions: Iterable[Recorded[C]] | None, day: date) -> Recorded[C] | None:
    """The one of these versions that is in force on a day."""
    return next((found for found in reversed(list(versions or ())) if found.content.effective_from <= day), None)


def contents_at(versions: Mapping[str, list[Recorded[C]]], day: date) -> dict[str, C]:
    """The settings that are in force on a day."""
    return {code: found.content for code, known in versions.items() if (found := at(known, day))}


def owner_of(goal: Goal) -> str:
    """The owner as a subject."""
    return f"unit:{goal.owner_unit}" if goal.owner_unit else f"person:{goal.owner_person}"


def subject_of(goal: Goal) -> str:
    """Whose reading is judged."""
    return goal.subject or owner_of(goal)


def persons_of(goal: Goal) -> set[str]:
    """Whose own figures its scores are: a person who owns it, and one whose reading is judged."""
    subjects = (owner_of(goal), subject_of(goal))
    return {code for kind, _, code in (subject.partition(":") for subject in subjects) if kind == "person"}


def code_of(node: str) -> str:
    """The code in `goal:g` or `scorecard:s`."""
    return node.partition(":")[2]


def depend(uow: UnitOfWork, company: str, target: str, sources: Collection[str]) -> None:
    """Records that `target` hangs on `sources`, now or in some other version."""
    uow.run(
        "INSERT INTO dependency (company, source, target) SELECT :company, source, :target "
        "FROM unnest(CAST(:sources AS text[])) AS source ON CONFLICT DO NOTHING",
        company=company, target=target, sources=sorted(sources),
    )  # fmt: skip


def upward(uow: UnitOfWork, company: str, sources: Collection[str]) -> list[tuple[str, str]]:
    """Every dependency above some sources, as (source, target)."""
    rows = uow.rows(
        "WITH RECURSIVE up(source, target) AS ("
        " SELECT source, target FROM dependency WHERE company = :company AND source = ANY(:sources)"
        " UNION SELECT d.source, d.target FROM dependency d JOIN up ON d.company = :company AND d.source = up.target)"
        " SELECT source, target FROM up",
        company=company, sources=sorted(sources),
    )  # fmt: skip
    return [(row.source, row.target) for row in rows]


def members(uow: UnitOfWork, company: str, targets: Collection[str]) -> list[tuple[str, str]]:
    """The goals that some goals and scorecards hang on, as (source, target)."""
    rows = uow.rows(
        "SELECT source, target FROM dependency WHERE company = :company AND target = ANY(:targets) "
        "AND source LIKE 'goal:%'", company=company, targets=sorted(targets),
    )  # fmt: skip
    return [(row.source, row.target) for row in rows]


def descendants(uow: UnitOfWork, company: str, code: str) -> set[str]:
    """A goal and every goal that has ever been below it."""
    rows = uow.rows(
        "WITH RECURSIVE down(node) AS (SELECT CAST(:node AS text)"
        " UNION SELECT d.source FROM dependency d JOIN down ON d.company = :company AND d.target = down.node"
        " WHERE d.source LIKE 'goal:%') SELECT node FROM down",
        company=company, node=f"goal:{code}",
    )  # fmt: skip
    return {code_of(row.node) for row in rows}


def circle_of_goals(uow: UnitOfWork, company: str, code: str, parent: str) -> list[str] | None:
    """The way from `parent` up to `code`, whatever the day: scores roll up over periods in which parents change."""
    path: list[str] | None = uow.value(
        "WITH RECURSIVE up(path) AS (SELECT ARRAY[CAST(:code AS text), CAST(:parent AS text)] "
        " UNION ALL SELECT up.path || above.parent FROM up, LATERAL ("
        "  SELECT DISTINCT parent FROM (SELECT DISTINCT ON (effective_from) content->>'parent' AS parent "
        "   FROM configuration c WHERE c.company = :company AND c.kind = 'goals' "
        "   AND c.code = up.path[cardinality(up.path)] ORDER BY effective_from, version DESC) each_version "
        "  WHERE parent IS NOT NULL) above "
        " WHERE up.path[cardinality(up.path)] <> :code AND cardinality(up.path) < 1000) "
        "SELECT path FROM up WHERE path[cardinality(path)] = :code LIMIT 1",
        company=company, code=code, parent=parent,
    )  # fmt: skip
    return path
