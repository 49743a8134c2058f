"""The log's records by month: what a migration does to the table, and how months are made ahead.

Made of SQL text, so that a migration keeps doing what it did whatever the tables become later.
"""

COLUMNS = "topic, partition, pos, key, type, company, data, traceparent, recorded_at, copies"

MAKE_MONTHS = """
CREATE FUNCTION log.make_months(since timestamptz DEFAULT now()) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month timestamptz;
    name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('log.make_months'));
    FOR month IN SELECT generate_series(
        date_trunc('month', greatest(least(since, now()), '2000-01-01')),
        date_trunc('month', now()) + interval '2 months', interval '1 month')
    LOOP
        name := 'record_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass('log.' || name) IS NOT NULL;
        EXECUTE format('CREATE TABLE log.%I (LIKE log.record INCLUDING DEFAULTS)', name);
        EXECUTE format(
            'WITH moved AS (DELETE FROM log.record_other WHERE recorded_at >= %1$L AND recorded_at < %2$L RETURNING *) '
            'INSERT INTO log.%3$I SELECT * FROM moved', month, month + interval '1 month', name);
        EXECUTE format('ALTER TABLE log.record ATTACH PARTITION log.%I FOR VALUES FROM (%L) TO (%L)',
            name, month, month + interval '1 month');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$
"""

PARTITIONS = ("CREATE TABLE log.record_other PARTITION OF log.record DEFAULT", MAKE_MONTHS)
"""What makes an empty partitioned table ready for use."""

BY_MONTH = (
    "-- squawk-ignore renaming-table\nALTER TABLE log.record RENAME TO record_before",
    "-- squawk-ignore renaming-object\n"
    "ALTER TABLE log.record_before RENAME CONSTRAINT record_pkey TO record_before_pkey",
    """
CREATE TABLE log.record (
    topic text NOT NULL, partition integer NOT NULL, pos bigint NOT NULL, key text NOT NULL, type text NOT NULL,
    company text NOT NULL, data text NOT NULL, traceparent text, recorded_at timestamptz DEFAULT now() NOT NULL,
    copies integer DEFAULT 1 NOT NULL, PRIMARY KEY (topic, partition, pos, recorded_at)
) PARTITION BY RANGE (recorded_at)""",
    *PARTITIONS,
    "SELECT log.make_months((SELECT min(recorded_at) FROM log.record_before))",
    f"INSERT INTO log.record ({COLUMNS}) SELECT {COLUMNS} FROM log.record_before",
    "-- squawk-ignore ban-drop-table\nDROP TABLE log.record_before",
)
"""Carries every record over. The services stand still meanwhile, as at every migration that rewrites a table."""
