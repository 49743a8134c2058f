"""What was accepted and waits: goals for a metric, a target or a first reading, units for their head."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.database.unit_of_work import UnitOfWork

_NOTES = {
    "company": "The company has no calendar yet, so no period is known.",
    "metric": "The metric is not known, so neither is its direction.",
    "target": "No target has been set.",
    "reading": "No reading has come.",
    "person": "The head of the unit is not known.",
}


class Waiting(BaseModel):
    """Something that was accepted and waits for something else."""

    kind: Literal["goal", "unit"]
    code: str
    waits_for: Literal["company", "metric", "target", "reading", "person"]
    name: str = Field(description="The code of what is awaited.")
    note: str


def _unknown(kind: str, code: str) -> str:
    """The condition that no setting of a kind has that code."""
    same = f"k.company = :company AND k.kind = '{kind}' AND k.code = {code}"
    return f"{code} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM configuration k WHERE {same})"


def waiting(uow: UnitOfWork, company: str, after: Any, limit: int) -> list[Waiting]:
    """Active goals that cannot be scored, and units whose head is unknown, by kind, code and what they wait for."""
    kind, code, waits_for = after or ("", "", "")
    quoted = "'company'"
    rows = uow.rows(
        "WITH now AS (SELECT DISTINCT ON (kind, code) kind, code, content FROM configuration "
        " WHERE company = :company AND kind IN ('goals', 'units') "
        " ORDER BY kind, code, effective_from DESC, version DESC), "
        "goal AS (SELECT code, content->>'metric' AS metric, content->>'contribution' AS contribution, "
        "  coalesce(content->>'subject', 'unit:' || (content->>'owner_unit'), 'person:' || (content->>'owner_person')) "
        "  AS subject FROM now WHERE kind = 'goals' AND content->>'status' = 'active'), "
        "unit AS (SELECT code, content->>'head' AS head FROM now WHERE kind = 'units'), "
        "found(kind, code, waits_for, name) AS ("
        f" SELECT 'goal', code, 'company', 'company' FROM goal WHERE {_unknown('companies', quoted)} "
        f" UNION ALL SELECT 'goal', code, 'metric', metric FROM goal WHERE {_unknown('metrics', 'metric')} "
        " UNION ALL SELECT 'goal', code, 'reading', metric || ' of ' || subject FROM goal WHERE metric IS NOT NULL "
        "  AND NOT EXISTS (SELECT 1 FROM reading_copy r WHERE r.company = :company "
        "  AND r.metric = goal.metric AND r.subject = goal.subject) "
        " UNION ALL SELECT 'goal', code, 'target', code FROM goal WHERE (metric IS NOT NULL OR contribution = 'sum') "
        f" AND {_unknown('targets', 'goal.code')} "
        f" UNION ALL SELECT 'unit', code, 'person', head FROM unit WHERE {_unknown('people', 'head')}) "
        "SELECT kind, code, waits_for, name FROM found WHERE (kind, code, waits_for) > (:kind, :code, :waits_for) "
        "ORDER BY kind, code, waits_for LIMIT :limit",
        company=company, limit=limit, kind=kind, code=code, waits_for=waits_for,
    )  # fmt: skip
    return [Waiting(**row._mapping, note=_NOTES[row.waits_for]) for row in rows]
