"""Drivers keep when they were recorded, and what accruals are made from can be read as it was known at an instant."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

# Named like the tables they stand for, and with the same columns: a query reads whichever its search path names first.
VIEWS = (
    """CREATE VIEW known.configuration AS SELECT * FROM public.configuration
       WHERE recorded_at <= CAST(current_setting('valueloop.known_at') AS timestamptz)""",
    """CREATE VIEW known.driver AS SELECT * FROM public.driver
       WHERE recorded_at <= CAST(current_setting('valueloop.known_at') AS timestamptz)""",
    # The unit of a reading stays; which guards qualified a figure is not kept over time.
    """CREATE VIEW known.arrived AS SELECT company, kind, code, subject, period, period_kind, version, value, reason,
       CAST('[]' AS jsonb) AS qualified, unit FROM public.arrived""",
    """CREATE VIEW known.assignment AS SELECT company, code, effective_from,
       (SELECT min(effective_from) FROM known.configuration AS later WHERE (later.company, later.kind, later.code) =
        (c.company, c.kind, c.code) AND later.effective_from > c.effective_from) AS until,
       version, content->>'person' AS person, content->>'plan' AS plan,
       CAST(content->>'amount' AS numeric) AS amount, CAST(content->>'starts' AS date) AS starts,
       CAST(content->>'ends' AS date) AS ends, CAST(content->>'share' AS numeric) AS share,
       CAST(content->>'factor' AS numeric) AS factor, content->>'job_family' AS job_family,
       CAST(content->'guarantee'->>'amount' AS numeric) AS guarantee,
       CAST(content->'guarantee'->>'until' AS date) AS guarantee_until
       FROM known.configuration AS c WHERE kind = 'assignments' AND NOT EXISTS (
        SELECT FROM known.configuration AS other WHERE (other.company, other.kind, other.code, other.effective_from) =
        (c.company, c.kind, c.code, c.effective_from) AND other.version > c.version)""",
)


def upgrade() -> None:
    at = sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("'epoch'"), nullable=False)
    op.add_column("driver", at)
    op.alter_column("driver", "recorded_at", server_default=sa.text("statement_timestamp()"))
    # Of drivers there were, the log tells as far back as it is kept; older ones count as known ever since.
    op.execute(
        "UPDATE driver d SET recorded_at = r.recorded_at FROM log.record r WHERE r.topic = 'incentives.drivers' "
        "AND r.company = d.company AND r.key = d.kind || '/' || d.code AND (CAST(r.data AS jsonb)->>'version')::int = "
        "d.version AND coalesce(CAST(r.data AS jsonb)->>'subject', '') = d.subject "
        "AND CAST(r.data AS jsonb)->>'period' = d.period"
    )
    op.add_column("objection", sa.Column("amount", sa.Numeric(), nullable=True))
    op.create_index("ix_configuration_assigned", "configuration", ["company", sa.text("(content->>'person')")],
                    postgresql_where=sa.text("kind = 'assignments'"))  # fmt: skip
    op.execute("CREATE SCHEMA known")
    for view in VIEWS:
        op.execute(view)
    op.execute("REVOKE INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA known FROM valueloop_incentives")
