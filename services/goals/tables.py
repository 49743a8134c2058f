"""The tables of goals, beside those every service has."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.database.tables import platform_tables

metadata = MetaData()
platform_tables(metadata)

Table(
    "reading_copy", metadata,
    Column("company", Text), Column("metric", Text), Column("subject", Text), Column("period", Text),
    Column("version", Integer, nullable=False), Column("change", BigInteger, nullable=False),
    Column("value", Numeric), Column("reason", Text), Column("qualified", JSONB, nullable=False),
    PrimaryKeyConstraint("company", "metric", "subject", "period"),
)  # fmt: skip

# What hangs on what, over all versions of the settings: `reading:m/s`, `metric:m`, `goal:g` -> `goal:g`, `scorecard:s`.
# It only ever finds candidates; whether a dependency held in a period, the dated settings say.
Table(
    "dependency", metadata,
    Column("company", Text), Column("source", Text), Column("target", Text),
    PrimaryKeyConstraint("company", "source", "target"),
    Index("ix_dependency_target", "company", "target"),
)  # fmt: skip

Table(
    "score", metadata,
    Column("company", Text), Column("kind", Text), Column("code", Text), Column("period", Text),
    Column("version", Integer), Column("latest", Boolean, nullable=False),
    Column("period_start", Date, nullable=False), Column("period_end", Date, nullable=False),
    Column("change", BigInteger, nullable=False),
    Column("score", Numeric), Column("attainment", Numeric), Column("actual", Numeric), Column("target", Numeric),
    Column("reason", Text), Column("qualified", JSONB, nullable=False),
    Column("rule", Text, nullable=False),
    Column("inputs", JSONB, nullable=False), Column("parts", JSONB, nullable=False),
    PrimaryKeyConstraint("company", "kind", "code", "period", "version"),
    Index("ux_score_latest", "company", "kind", "code", "period", unique=True, postgresql_where=text("latest")),
    Index("ix_score_inputs", "inputs", postgresql_using="gin", postgresql_ops={"inputs": "jsonb_path_ops"}),
)  # fmt: skip

Table(
    "judged", metadata,
    Column("company", Text), Column("goal", Text), Column("period", Text),
    Column("period_end", Date, nullable=False), Column("at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("company", "goal", "period"),
)  # fmt: skip

Table(
    "deviation", metadata,
    Column("company", Text), Column("goal", Text), Column("period", Text),
    Column("found_at", DateTime(timezone=True), nullable=False), Column("cleared_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("company", "goal", "period"),
)  # fmt: skip

Table(
    "clock", metadata,
    Column("company", Text, primary_key=True), Column("at", DateTime(timezone=True), nullable=False),
)  # fmt: skip

Table(
    "decision", metadata,
    Column("company", Text), Column("decision", Text), Column("goal", Text, nullable=False),
    Column("target_version", Integer), Column("refused", Text),
    PrimaryKeyConstraint("company", "decision"),
)  # fmt: skip
