"""Every table of reviews."""

from sqlalchemy import Column, Date, DateTime, Index, Integer, MetaData, Numeric, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from shared.database.tables import platform_tables

metadata = MetaData()
platform_tables(metadata)
TIME = DateTime(timezone=True)

# One open case per goal and period: the index refuses a second. Figures are those of the latest cause.
Table(
    "review_case", metadata,
    Column("company", Text, primary_key=True), Column("id", Text, primary_key=True),
    Column("goal", Text, nullable=False), Column("goal_name", Text, nullable=False),
    Column("period", Text, nullable=False),
    Column("number", Integer, nullable=False), Column("owner", Text), Column("status", Text, nullable=False),
    Column("opened_at", TIME, nullable=False), Column("due", TIME, nullable=False),
    Column("target_version", Integer, nullable=False), Column("score_version", Integer, nullable=False),
    Column("escalated_to", Text), Column("escalated_at", TIME), Column("closed_why", Text), Column("closed_at", TIME),
    Index("ux_review_case_open", "company", "goal", "period", unique=True, postgresql_where=text("status <> 'closed'")),
    Index("ix_review_case_number", "company", "goal", "period", "number"),
    Index("ix_review_case_owner", "company", "owner"),
    Index("ix_review_case_due", "company", "due", postgresql_where=text("status = 'open'")),
)  # fmt: skip

# The deviations that opened a case or joined it; `content` is the event.
Table(
    "cause", metadata,
    Column("company", Text, primary_key=True), Column("case", Text, primary_key=True),
    Column("number", Integer, primary_key=True), Column("content", JSONB, nullable=False),
)  # fmt: skip

Table(
    "rectification", metadata,
    Column("company", Text, primary_key=True), Column("case", Text, primary_key=True),
    Column("number", Integer, primary_key=True), Column("by", Text, nullable=False),
    Column("text", Text, nullable=False), Column("at", TIME, nullable=False),
)  # fmt: skip

# `fate`: pending until goals answers, then applied or refused; done where there was nothing for goals to do.
Table(
    "decision", metadata,
    Column("company", Text, primary_key=True), Column("id", Text, primary_key=True),
    Column("case", Text, nullable=False), Column("number", Integer, nullable=False),
    Column("kind", Text, nullable=False), Column("by", Text, nullable=False), Column("reason", Text, nullable=False),
    Column("value", Numeric), Column("effective_from", Date),
    Column("seen_target_version", Integer, nullable=False), Column("at", TIME, nullable=False),
    Column("fate", Text, nullable=False), Column("target_version", Integer), Column("rule", Text),
    Column("remedy", Text), Column("answered_at", TIME),
    Index("ix_decision_case", "company", "case", "number"),
)  # fmt: skip

# The last tick of each company: the only clock that cases know.
Table("company_time", metadata, Column("company", Text, primary_key=True), Column("at", TIME, nullable=False))
