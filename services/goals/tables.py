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
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.database.tables import platform_tables

metadata = MetaData()
platform_tables(metadata)


def _key(*names: str) -> list[Column[str]]:
    return [Column(name, Text, primary_key=True) for name in names]


Table(
    "reading_copy", metadata, *_key("company", "metric", "subject", "period"),
    Column("version", Integer, nullable=False), Column("change", BigInteger, nullable=False),
    Column("value", Numeric), Column("reason", Text), Column("qualified", JSONB, nullable=False),
)  # fmt: skip

# What hangs on what, over all versions of the settings: `reading:m/s`, `metric:m`, `goal:g` -> `goal:g`, `scorecard:s`.
# It only ever finds candidates; whether a dependency held in a period, the dated settings say.
Table(
    "dependency", metadata, *_key("company", "source", "target"),
    Index("ix_dependency_target", "company", "target"),
)  # fmt: skip

Table(
    "score", metadata, *_key("company", "kind", "code", "period"),
    Column("version", Integer, primary_key=True), Column("latest", Boolean, nullable=False),
    Column("period_start", Date, nullable=False), Column("period_end", Date, nullable=False),
    Column("change", BigInteger, nullable=False),
    Column("score", Numeric), Column("attainment", Numeric), Column("actual", Numeric), Column("target", Numeric),
    Column("reason", Text), Column("qualified", JSONB, nullable=False), Column("rule", Text, nullable=False),
    Column("inputs", JSONB, nullable=False), Column("parts", JSONB, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("ux_score_latest", "company", "kind", "code", "period", unique=True, postgresql_where=text("latest")),
    Index("ix_score_inputs", "inputs", postgresql_using="gin", postgresql_ops={"inputs": "jsonb_path_ops"}),
)  # fmt: skip

Table(
    "judged", metadata, *_key("company", "goal", "period"),
    Column("period_end", Date, nullable=False), Column("at", DateTime(timezone=True), nullable=False),
)  # fmt: skip

Table(
    "deviation", metadata, *_key("company", "goal", "period"),
    Column("found_at", DateTime(timezone=True), nullable=False), Column("cleared_at", DateTime(timezone=True)),
)  # fmt: skip

Table("clock", metadata, *_key("company"), Column("at", DateTime(timezone=True), nullable=False))

Table(
    "decision", metadata, *_key("company", "decision"),
    Column("goal", Text, nullable=False), Column("target_version", Integer), Column("refused", Text),
)  # fmt: skip
