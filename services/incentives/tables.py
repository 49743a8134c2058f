"""Every table of incentives."""

from sqlalchemy import BigInteger, Column, Date, Index, Integer, MetaData, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from shared.database.tables import platform_tables

metadata = MetaData()
platform_tables(metadata)

# Which driver any version of a plan ever hung on: old versions judge old periods, so rows are never taken away.
Table(
    "plan_driver", metadata,
    *(Column(key, Text, primary_key=True) for key in ("company", "kind", "code", "subject", "period_kind", "plan")),
)  # fmt: skip

# The assignments in force from `effective_from` until `until` (excluded; null: for good). Made from `configuration`,
# which keeps the superseded versions too: a plan of 100,000 people is read from here.
Table(
    "assignment", metadata,
    Column("company", Text, primary_key=True), Column("code", Text, primary_key=True),
    Column("effective_from", Date, primary_key=True), Column("until", Date),
    Column("version", Integer, nullable=False), Column("person", Text, nullable=False),
    Column("plan", Text, nullable=False), Column("amount", Numeric, nullable=False),
    Column("starts", Date, nullable=False), Column("ends", Date),
    Column("share", Numeric, nullable=False), Column("factor", Numeric, nullable=False),
    Index("ix_assignment_person", "company", "person", "plan"),
    Index("ix_assignment_plan", "company", "plan", "person"),
)  # fmt: skip

# The latest of every score and reading that came, whether a plan wants it yet or not. `subject` is '' but for readings.
Table(
    "arrived", metadata,
    *(Column(key, Text, primary_key=True) for key in ("company", "kind", "code", "subject", "period")),
    Column("period_kind", Text, nullable=False), Column("version", Integer, nullable=False),
    Column("value", Numeric), Column("reason", Text), Column("qualified", JSONB, nullable=False),
)  # fmt: skip

# Every version of every driver. It took in the versions `source_from` to `source_version` of its score or reading.
Table(
    "driver", metadata,
    *(Column(key, Text, primary_key=True) for key in ("company", "kind", "code", "subject", "period")),
    Column("version", Integer, primary_key=True), Column("change", BigInteger, nullable=False),
    Column("source_from", Integer, nullable=False), Column("source_version", Integer, nullable=False),
    Column("value", Numeric), Column("reason", Text),
    Index("ix_driver_period", "company", "period", "kind", "code", "subject", "version"),
)  # fmt: skip
