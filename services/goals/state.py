"""What the numbers of goals are, for `shared.state`."""

STATE = {
    "score": """
        SELECT company, period, kind || ' ' || code AS key, jsonb_build_array(trim_scale(score),
        trim_scale(attainment), trim_scale(actual), trim_scale(target), qualified, rule) AS value
        FROM score WHERE latest AND (score, attainment, actual) IS DISTINCT FROM (NULL, NULL, NULL)""",
    "reading taken over": """
        SELECT company, period, metric || ' ' || subject AS key,
        jsonb_build_array(trim_scale(value), qualified) AS value FROM reading_copy WHERE value IS NOT NULL""",
    "judgement": "SELECT company, period, goal AS key, jsonb_build_array(period_end, at) AS value FROM judged",
    "deviation": "SELECT company, period, goal AS key, jsonb_build_array(found_at, cleared_at) AS value FROM deviation",
    "decision": """
        SELECT company, '' AS period, decision AS key, jsonb_build_array(goal, target_version, refused) AS value
        FROM decision""",
    "time": "SELECT company, '' AS period, 'last tick' AS key, to_jsonb(at) AS value FROM clock",
}
