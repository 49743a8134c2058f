"""What the numbers of metrics are, for `shared.state`."""

_EVENT = "r.data::json->>'source' || ' ' || (r.data::json->>'id')"
_AT = "JOIN log.record r ON r.topic = 'metrics.source-events' AND (r.partition, r.pos) = (w.partition, w.pos)"

STATE = {
    "reading": """
        SELECT company, period, metric || ' ' || subject AS key,
        jsonb_build_array(trim_scale(value), unit, qualified) AS value
        FROM reading WHERE latest AND value IS NOT NULL""",
    "node reading": """
        SELECT company, period, node AS key,
        jsonb_build_array(trim_scale(ratio), trim_scale(trend), trim_scale(effect), currency) AS value
        FROM node_reading WHERE latest AND (ratio, trend, effect) IS DISTINCT FROM (NULL, NULL, NULL)""",
    "waiting event": f"""
        SELECT w.company, '' AS period, {_EVENT} || ' ' || reference AS key, 'null'::jsonb AS value
        FROM waiting w {_AT}""",
    "faulty event": f"""
        SELECT w.company, '' AS period, {_EVENT} || ' ' || number AS key,
        jsonb_build_array(mapping, item, rule, field, reason) AS value FROM event_fault w {_AT}""",
    "time": "SELECT company, '' AS period, 'last tick' AS key, to_jsonb(at) AS value FROM company_clock",
}
