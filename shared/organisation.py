"""Units and people as they were on a day, read from the copies that every service keeps of them."""

from collections.abc import Collection
from datetime import date

from shared.configuration import in_force
from shared.contracts.goals import Person, Unit
from shared.database.unit_of_work import UnitOfWork

# A dated setting as in force on a day, as a lateral subquery: the latest that has begun.
_PARENT_OF = """
    LATERAL (SELECT CASE WHEN {kind} = 'units' THEN content->>'parent' ELSE content->>'unit' END AS parent
             FROM configuration c WHERE c.company = :company AND c.kind = {kind} AND c.code = {code}
             AND c.effective_from <= {day} ORDER BY c.effective_from DESC, c.version DESC LIMIT 1)
"""


def ancestors(uow: UnitOfWork, company: str, leaves: Collection[tuple[str, date]]) -> dict[tuple[str, date], list[str]]:
    """For each (subject, day) the subjects it rolls up into, itself first; empty where it is unknown on that day.

    One statement however many leaves there are.
    """
    pairs = sorted(set(leaves))
    parent = _PARENT_OF.format(
        kind="CASE WHEN split_part(up.node, ':', 1) = 'unit' THEN 'units' ELSE 'people' END",
        code="split_part(up.node, ':', 2)", day="up.day",
    )  # fmt: skip
    rows = uow.rows(
        f"WITH RECURSIVE up(leaf, day, node, depth) AS ("
        f" SELECT s, d, s, 0 FROM unnest(CAST(:subjects AS text[]), CAST(:days AS date[])) AS leaf(s, d)"
        f" UNION ALL SELECT up.leaf, up.day, coalesce('unit:' || p.parent, ''), up.depth + 1 FROM up, {parent} p"
        f" WHERE up.node <> '' AND up.depth < 64)"
        f" SELECT leaf, day, array_agg(node ORDER BY depth) AS nodes FROM up GROUP BY leaf, day",
        company=company, subjects=[subject for subject, _ in pairs], days=[day for _, day in pairs],
    )  # fmt: skip
    # A known top unit ends in '' (it has no parent); a chain that does not end so met an unknown subject.
    return {(row.leaf, row.day): row.nodes[:-1] if row.nodes[-1] == "" else [] for row in rows}


def path_up(uow: UnitOfWork, company: str, subject: str, day: date) -> list[str]:
    """The subjects from `subject` to the top unit, as on a day."""
    return ancestors(uow, company, [(subject, day)]).get((subject, day), [])


def subtree(uow: UnitOfWork, company: str, unit: str, day: date) -> set[str]:
    """The subjects (units and people) in a unit and below it, itself included, as on a day."""
    rows = uow.rows(
        "WITH RECURSIVE unit_now AS (SELECT DISTINCT ON (code) code, content->>'parent' AS parent FROM configuration "
        " WHERE company = :company AND kind = 'units' AND effective_from <= :day "
        " ORDER BY code, effective_from DESC, version DESC), "
        "down(code) AS (SELECT CAST(:unit AS text) "
        " UNION SELECT u.code FROM unit_now u JOIN down ON u.parent = down.code), "
        "members AS (SELECT DISTINCT c.code FROM configuration c JOIN down ON c.content->>'unit' = down.code "
        " WHERE c.company = :company AND c.kind = 'people') "
        "SELECT 'unit:' || code AS subject FROM down UNION ALL "
        "SELECT 'person:' || m.code FROM members m, LATERAL (SELECT content->>'unit' AS unit FROM configuration c "
        " WHERE c.company = :company AND c.kind = 'people' AND c.code = m.code AND c.effective_from <= :day "
        " ORDER BY c.effective_from DESC, c.version DESC LIMIT 1) now WHERE now.unit IN (SELECT code FROM down)",
        company=company, unit=unit, day=day,
    )  # fmt: skip
    return {row.subject for row in rows}


def superior(uow: UnitOfWork, company: str, person: str, day: date) -> str | None:
    """The manager of a person on a day, or None."""
    found = in_force(uow, Person, company, person, day)
    return found.content.manager if found else None


def head(uow: UnitOfWork, company: str, subject: str, day: date) -> str | None:
    """Who answers for a subject: the person, or the head of the unit or of the nearest unit above that has one."""
    for node in path_up(uow, company, subject, day):
        kind, code = node.split(":", 1)
        if kind == "person":
            return code
        unit = in_force(uow, Unit, company, code, day)
        if unit and unit.content.head:
            return unit.content.head
    return None


def manages(uow: UnitOfWork, company: str, manager: str, person: str, day: date) -> bool:
    """Whether `person` is below `manager`: by the line of managers, or in a unit that `manager` heads, or below it."""
    seen: set[str] = set()
    current: str | None = superior(uow, company, person, day)
    while current and current not in seen:
        if current == manager:
            return True
        seen.add(current)
        current = superior(uow, company, current, day)
    for node in path_up(uow, company, f"person:{person}", day)[1:]:
        unit = in_force(uow, Unit, company, node.split(":", 1)[1], day)
        if unit and unit.content.head == manager and manager != person:
            return True
    return False
