"""What was accepted and waits: goals for a metric, a target or a first reading, units for their head."""

from typing import Any

from shared.database.unit_of_work import UnitOfWork

from .schemas import Waiting

_NOTES = {
    "company": "The company has no calendar yet, so no period is known.",
    "metric": "The metric is not known, so neither is its direction.",
    "target": "No target has been set.",
    "reading": "No reading has come.",
    "person": "The head of the unit is not known.",
}


def waiting(uow: UnitOfWork, company: str, after: Any, limit: int) -> list[Waiting]:
    """Active goals that cannot be scored, and units whose head is unknown, by kind, code and what they wait for."""
    rows = uow.rows(
        "WITH now AS (SELECT DISTINCT ON (kind, code) kind, code, content FROM configuration "
        " WHERE company = :company AND kind IN ('goals', 'units') "
        " ORDER BY kind, code, effective_from DESC, version DESC), "
        "goal AS (SELECT code, content->>'metric' AS metric, content->>'contribution' AS contribution, "
        "  coalesce(content->>'subject', 'unit:' || (content->>'owner_unit'), 'person:' || (content->>'owner_person')) "
        "  AS subject FROM now WHERE kind = 'goals' AND content->>'status' = 'active'), "
        "setting AS (SELECT DISTINCT kind, code FROM configuration WHERE company = :company "
        "  AND kind IN ('companies', 'metrics', 'targets', 'people')), "
        "found AS ("
        " SELECT 'goal' AS kind, code, 'company' AS waits_for, 'company' AS name FROM goal "
        "  WHERE NOT EXISTS (SELECT 1 FROM setting WHERE kind = 'companies') "
        " UNION ALL SELECT 'goal', code, 'metric', metric FROM goal WHERE metric IS NOT NULL "
        "  AND NOT EXISTS (SELECT 1 FROM setting s WHERE s.kind = 'metrics' AND s.code = metric) "
        " UNION ALL SELECT 'goal', code, 'reading', metric || ' of ' || subject FROM goal WHERE metric IS NOT NULL "
        "  AND NOT EXISTS (SELECT 1 FROM reading_copy r WHERE r.company = :company AND r.metric = goal.metric "
        "  AND r.subject = goal.subject) "
        " UNION ALL SELECT 'goal', code, 'target', code FROM goal WHERE (metric IS NOT NULL OR contribution = 'sum') "
        "  AND NOT EXISTS (SELECT 1 FROM setting s WHERE s.kind = 'targets' AND s.code = goal.code) "
        " UNION ALL SELECT 'unit', code, 'person', content->>'head' FROM now WHERE kind = 'units' "
        "  AND content->>'head' IS NOT NULL "
        "  AND NOT EXISTS (SELECT 1 FROM setting s WHERE s.kind = 'people' AND s.code = content->>'head')) "
        "SELECT kind, code, waits_for, name FROM found WHERE (kind, code, waits_for) > (:kind, :code, :waits_for) "
        "ORDER BY kind, code, waits_for LIMIT :limit",
        company=company, limit=limit, **dict(zip(("kind", "code", "waits_for"), after or ("", "", ""), strict=True)),
    )  # fmt: skip
    return [Waiting(**row._mapping, note=_NOTES[row.waits_for]) for row in rows]
