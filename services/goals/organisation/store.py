"""What is asked of units and people beyond `shared.organisation`: circles, and who may see a person's own figures."""

from collections.abc import Set
from datetime import date

from shared.database.unit_of_work import UnitOfWork
from shared.identity import Principal
from shared.organisation import subtree

READS_EVERYONE = frozenset(("admin", "strategist", "analyst", "compensation", "auditor"))


def circle(
    uow: UnitOfWork, company: str, kind: str, field: str, code: str, above: str, since: date
) -> list[str] | None:
    """The way back to `code` if `above` came above it from a day on, on that day or any later one; None without one.

    Only days on which something changes are looked at.

    Args:
        field: the member of the setting that names what is above, such as `parent`.
    """
    path = uow.value(
        "WITH RECURSIVE until AS (SELECT min(effective_from) AS day FROM configuration WHERE company = :company "
        "  AND kind = :kind AND code = :code AND effective_from > :since), "
        "days AS (SELECT CAST(:since AS date) AS day UNION SELECT effective_from FROM configuration, until "
        "  WHERE company = :company AND kind = :kind AND effective_from > :since "
        "  AND (until.day IS NULL OR effective_from < until.day)), "
        "up(day, path) AS (SELECT day, ARRAY[CAST(:code AS text), CAST(:above AS text)] FROM days "
        "  UNION ALL SELECT up.day, up.path || now.above FROM up, LATERAL ("
        "    SELECT content->>CAST(:field AS text) AS above FROM configuration c WHERE c.company = :company "
        "    AND c.kind = :kind AND c.code = up.path[cardinality(up.path)] AND c.effective_from <= up.day "
        "    ORDER BY c.effective_from DESC, c.version DESC LIMIT 1) now "
        "  WHERE now.above IS NOT NULL AND up.path[cardinality(up.path)] <> :code AND cardinality(up.path) < 1000) "
        "SELECT path FROM up WHERE path[cardinality(path)] = :code LIMIT 1",
        company=company, kind=kind, field=field, code=code, above=above, since=since,
    )  # fmt: skip
    return list(path) if path else None


def last_tick_day(uow: UnitOfWork, company: str) -> date:
    """The day of the last tick in UTC, for questions about access; before the first one, the latest known state."""
    at = uow.value("SELECT at FROM clock WHERE company = :company", company=company)
    return at.date() if at else date.max


def visible_people(uow: UnitOfWork, company: str, principal: Principal) -> Set[str] | None:
    """Whose personal figures somebody may see: their own and those of the people below them; None means everybody's.

    The same people for whom `shared.organisation.manages` holds, found from the manager's side.
    """
    if principal.roles & READS_EVERYONE:
        return None
    day, me = last_tick_day(uow, company), principal.subject
    people = {me, *_reports(uow, company, me, day)}
    for unit in _headed(uow, company, me, day):
        people |= {who.split(":", 1)[1] for who in subtree(uow, company, unit, day) if who.startswith("person:")}
    return people


def _headed(uow: UnitOfWork, company: str, person: str, day: date) -> list[str]:
    rows = uow.rows(
        "SELECT code FROM (SELECT DISTINCT ON (code) code, content->>'head' AS head FROM configuration "
        " WHERE company = :company AND kind = 'units' AND effective_from <= :day "
        " ORDER BY code, effective_from DESC, version DESC) unit_now WHERE head = :person",
        company=company, person=person, day=day,
    )  # fmt: skip
    return [row.code for row in rows]


def _reports(uow: UnitOfWork, company: str, person: str, day: date) -> set[str]:
    rows = uow.rows(
        "WITH RECURSIVE now AS MATERIALIZED (SELECT DISTINCT ON (code) code, content->>'manager' AS manager "
        " FROM configuration WHERE company = :company AND kind = 'people' AND effective_from <= :day "
        " ORDER BY code, effective_from DESC, version DESC), "
        "down(code) AS (SELECT code FROM now WHERE manager = :person "
        " UNION SELECT now.code FROM now JOIN down ON now.manager = down.code) SELECT code FROM down",
        company=company, person=person, day=day,
    )  # fmt: skip
    return {row.code for row in rows}
