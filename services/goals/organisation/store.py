"""What is asked of the company beyond `shared.organisation`: its clock, circles, and who may see personal figures."""

from collections.abc import Set
from datetime import date, datetime

from shared.contracts.goals import Person, Unit
from shared.database.unit_of_work import UnitOfWork
from shared.identity import Principal

READS_EVERYONE = frozenset(("admin", "strategist", "analyst", "compensation", "auditor"))


def last_tick(uow: UnitOfWork, company: str) -> datetime | None:
    """How far time has come; None before the first tick."""
    found: datetime | None = uow.value("SELECT at FROM clock WHERE company = :company", company=company)
    return found


def circle(uow: UnitOfWork, company: str, code: str, new: Unit | Person, field: str) -> list[str] | None:
    """The way back to `code` from what `field` of its new version puts above it, on whichever day there is one.

    Only days on which something changes are looked at, up to the next version of `code`.
    """
    path: list[str] | None = uow.value(
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
        company=company, kind=new.KIND, field=field, code=code, above=getattr(new, field), since=new.effective_from,
    )  # fmt: skip
    return path


def levels(uow: UnitOfWork, company: str, code: str, new: Unit) -> int:
    """How many units stand in the longest chain through a unit below its new parent, on whichever day that is.

    The same days are looked at as for circles, which must have been refused. Counts no further than 100 either way.
    """
    found: int = uow.value(
        "WITH RECURSIVE unit AS NOT MATERIALIZED (SELECT code, effective_from, version, content->>'parent' AS parent "
        "  FROM configuration WHERE company = :company AND kind = 'units'), "
        "until AS (SELECT min(effective_from) AS day FROM unit WHERE code = :code AND effective_from > :since), "
        "days AS (SELECT CAST(:since AS date) AS day UNION SELECT effective_from FROM unit, until "
        "  WHERE effective_from > :since AND (until.day IS NULL OR effective_from < until.day)), "
        "up(day, code, depth) AS (SELECT day, CAST(:parent AS text), 1 FROM days "
        "  UNION ALL SELECT up.day, now.parent, depth + 1 FROM up, LATERAL (SELECT parent "
        "    FROM unit WHERE unit.code = up.code AND effective_from <= up.day "
        "    ORDER BY effective_from DESC, version DESC LIMIT 1) now WHERE now.parent IS NOT NULL AND depth < 100), "
        "down(day, code, depth) AS (SELECT day, CAST(:code AS text), 1 FROM days "
        "  UNION ALL SELECT down.day, below.code, depth + 1 FROM down JOIN unit below ON below.parent = down.code "
        "    AND below.effective_from <= down.day WHERE depth < 100 AND NOT EXISTS (SELECT 1 FROM unit later "
        "      WHERE later.code = below.code AND later.effective_from <= down.day "
        "      AND (later.effective_from, later.version) > (below.effective_from, below.version))) "
        "SELECT max(above + below) FROM (SELECT day, max(depth) AS above FROM up GROUP BY day) u "
        "JOIN (SELECT day, max(depth) AS below FROM down GROUP BY day) d USING (day)",
        company=company, code=code, parent=new.parent, since=new.effective_from,
    )  # fmt: skip
    return found


def visible_people(uow: UnitOfWork, company: str, principal: Principal) -> Set[str] | None:
    """Whose personal figures somebody may see: their own and those of the people below them; None means everybody's.

    The same people for whom `shared.organisation.manages` holds, found from the manager's side, on the day of the last
    tick in UTC; before the first one by the latest known state.
    """
    if principal.roles & READS_EVERYONE:
        return None
    at, me = last_tick(uow, company), principal.subject
    rows = uow.rows(
        "WITH RECURSIVE now AS MATERIALIZED (SELECT DISTINCT ON (kind, code) kind, code, content FROM configuration "
        " WHERE company = :company AND kind IN ('units', 'people') AND effective_from <= :day "
        " ORDER BY kind, code, effective_from DESC, version DESC), "
        "reports(code) AS (SELECT CAST(:me AS text) UNION SELECT now.code FROM now JOIN reports "
        " ON now.kind = 'people' AND now.content->>'manager' = reports.code), "
        "headed(code) AS (SELECT code FROM now WHERE kind = 'units' AND content->>'head' = :me "
        " UNION SELECT now.code FROM now JOIN headed ON now.kind = 'units' AND now.content->>'parent' = headed.code) "
        "SELECT code FROM reports UNION SELECT now.code FROM now JOIN headed "
        " ON now.kind = 'people' AND now.content->>'unit' = headed.code",
        company=company, me=me, day=at.date() if at else date.max,
    )  # fmt: skip
    return {row.code for row in rows}
