"""Every table of incentives."""

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

from .payouts.tables import payout_tables
from .statements.tables import statement_table

metadata = MetaData()
platform_tables(metadata)
payout_tables(metadata)
statement_table(metadata)
# Whose assignments were known at an instant is read from the settings themselves.
Index("ix_configuration_assigned", metadata.tables["configuration"].c.company, text("(content->>'person')"),
      postgresql_where=text("kind = 'assignments'"))  # fmt: skip

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
    Column("job_family", Text), Column("guarantee", Numeric), Column("guarantee_until", Date),
    Index("ix_assignment_person", "company", "person", "plan"),
    Index("ix_assignment_plan", "company", "plan", "person"),
)  # fmt: skip

# The latest of every score and reading that came, whether a plan wants it yet or not. `subject` is '' but for readings.
Table(
    "arrived", metadata,
    *(Column(key, Text, primary_key=True) for key in ("company", "kind", "code", "subject", "period")),
    Column("period_kind", Text, nullable=False), Column("version", Integer, nullable=False),
    Column("value", Numeric), Column("reason", Text), Column("qualified", JSONB, nullable=False),
    Column("unit", Text),  # of a reading; null where it came before units were kept
)  # fmt: skip

# Every version of every driver. It took in the versions `source_from` to `source_version` of its score or reading.
Table(
    "driver", metadata,
    *(Column(key, Text, primary_key=True) for key in ("company", "kind", "code", "subject", "period")),
    Column("version", Integer, primary_key=True), Column("change", BigInteger, nullable=False),
    Column("source_from", Integer, nullable=False), Column("source_version", Integer, nullable=False),
    Column("value", Numeric), Column("reason", Text),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=text("statement_timestamp()")),
    Index("ix_driver_period", "company", "period", "kind", "code", "subject", "version"),
)  # fmt: skip

# The steps of a calculation that many share, by their hash: whose own values differ, has them in `entitlement.content`.
Table(
    "calculation", metadata,
    Column("company", Text, primary_key=True), Column("id", Text, primary_key=True),
    Column("steps", JSONB, nullable=False),
)  # fmt: skip

# Every version of what somebody is entitled to in a closed period. `plan` is the code of a plan, a pool or an award.
Table(
    "entitlement", metadata,
    *(Column(key, Text, primary_key=True) for key in ("company", "period", "plan", "payee")),
    Column("version", Integer, primary_key=True), Column("amount", Numeric, nullable=False),
    Column("currency", Text, nullable=False), Column("content", JSONB, nullable=False),
    Column("change", BigInteger, nullable=False), Column("latest", Boolean, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("ix_entitlement_payee", "company", "payee", "period"),
)  # fmt: skip

# An objection to what somebody is entitled to in a closed period, and its answer; `number` counts those of a period.
Table(
    "objection", metadata,
    Column("company", Text, primary_key=True), Column("id", Text, primary_key=True),
    Column("number", Integer, nullable=False), Column("payee", Text, nullable=False),
    Column("plan", Text, nullable=False), Column("period", Text, nullable=False), Column("text", Text, nullable=False),
    Column("claim", Text, nullable=False), Column("status", Text, nullable=False, server_default="open"),
    Column("raised_by", Text, nullable=False), Column("raised_at", DateTime(timezone=True), nullable=False),
    Column("due", DateTime(timezone=True), nullable=False), Column("overdue", Boolean, nullable=False),
    Column("escalated_to", Text), Column("answer", JSONB), Column("amount", Numeric),
    Index("ix_objection_payee", "company", "payee"),
    Index("ix_objection_open", "company", "due", postgresql_where=text("status = 'open'")),
)  # fmt: skip

# Up to which change of the service the entitlements of a closed period are computed, by plan, pool or award; the row
# without one says that the period is closed.
Table(
    "frozen", metadata,
    *(Column(key, Text, primary_key=True) for key in ("company", "period", "plan")),
    Column("starts", Date, nullable=False), Column("ends", Date, nullable=False), Column("kind", Text, nullable=False),
    Column("change", BigInteger, nullable=False),
)  # fmt: skip

# The last change of what somebody's entitlement in a plan is made from, drivers excepted; no payee: everybody's; the
# plan '*': every plan's. Kept from the first closed period on.
Table(
    "touched", metadata,
    *(Column(key, Text, primary_key=True) for key in ("company", "plan", "payee")),
    Column("change", BigInteger, nullable=False),
)  # fmt: skip
