"""What the numbers of incentives are, for `shared.state`. Accruals are derived from them when they are read."""

from .ledger.state import LEDGER

STATE = {
    "driver": """
        SELECT company, period, kind || ' ' || code || ' ' || subject AS key,
        to_jsonb(trim_scale(value)) AS value FROM (
        SELECT DISTINCT ON (company, kind, code, subject, period) * FROM driver
        ORDER BY company, kind, code, subject, period, version DESC) AS latest WHERE value IS NOT NULL""",
    "figure taken over": """
        SELECT company, period, kind || ' ' || code || ' ' || subject AS key,
        jsonb_build_array(period_kind, trim_scale(value), qualified) AS value FROM arrived WHERE value IS NOT NULL""",
    "assignment": """
        SELECT company, '' AS period, code || ' ' || effective_from AS key, jsonb_build_array(until, version, person,
        plan, trim_scale(amount), starts, ends, trim_scale(share), trim_scale(factor)) AS value FROM assignment""",
    "entitlement": """
        SELECT company, period, plan || ' ' || payee AS key,
        jsonb_build_array(currency, trim_scale(min(amount) FILTER (WHERE version = 1)),
        trim_scale(min(amount) FILTER (WHERE latest))) AS value
        FROM entitlement GROUP BY company, period, plan, payee, currency""",
    "driver of a plan": """
        SELECT company, '' AS period, plan || ' ' || kind || ' ' || code || ' ' || subject || ' ' || period_kind AS key,
        'null'::jsonb AS value FROM plan_driver""",
    "objection": """
        SELECT company, period, id AS key,
        jsonb_build_array(payee, plan, status, overdue, escalated_to, answer, trim_scale(amount)) AS value
        FROM objection""",
    **LEDGER,
    "statement": """
        SELECT company, period, payee || ' ' || number AS key, jsonb_build_array(run, hash) AS value FROM statement""",
}
