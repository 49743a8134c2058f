"""What the cases of reviews are, for `shared.state`.

When an answer came, and so when it closed a case, is a matter of how fast goals was: it is left out.
"""

_OF_CASE = 'JOIN review_case c ON (c.company, c.id) = (o.company, o."case")'

STATE = {
    "case": """
        SELECT company, period, id AS key, jsonb_build_array(goal_name, owner, status, opened_at, due, target_version,
        escalated_to, escalated_at, closed_why) AS value FROM review_case""",
    "cause": f"""
        SELECT o.company, c.period, o."case" || ' ' || o.number AS key,
        o.content - 'score_version' - 'inputs' AS value FROM cause o {_OF_CASE}""",
    "rectification plan": f"""
        SELECT o.company, c.period, o."case" || ' ' || o.number AS key,
        jsonb_build_array(by, text, at) AS value FROM rectification o {_OF_CASE}""",
    "decision": f"""
        SELECT o.company, c.period, o.id AS key, jsonb_build_array(kind, by, reason, trim_scale(value), effective_from,
        seen_target_version, at, fate, o.target_version, rule, remedy) AS value FROM decision o {_OF_CASE}""",
    "time": "SELECT company, '' AS period, 'last tick' AS key, to_jsonb(at) AS value FROM company_time",
}
