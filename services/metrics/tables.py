"""Every table of metrics."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.database.tables import platform_tables

metadata = MetaData()
platform_tables(metadata)

# Intake ---------------------------------------------------------------------------------------------------------------

# Which events were ever accepted. Narrow and hashed, because it is kept for ever: `id_hash` covers company, source, id.
Table(
    "event_seen", metadata,
    Column("id_hash", LargeBinary, primary_key=True), Column("content_hash", LargeBinary, nullable=False),
    Column("partition", Integer, nullable=False), Column("pos", BigInteger, nullable=False),
)  # fmt: skip

# Came under the (source, id) of an accepted event with another content.
Table(
    "quarantined_event", metadata,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("company", Text, nullable=False), Column("source", Text, nullable=False), Column("id", Text, nullable=False),
    Column("id_hash", LargeBinary, nullable=False), Column("content_hash", LargeBinary, nullable=False),
    Column("data", Text, nullable=False),
    Column("first_partition", Integer, nullable=False), Column("first_pos", BigInteger, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("id_hash", "content_hash", name="uq_quarantined_event_content"),
    Index("ix_quarantined_event_company", "company", "number"),
)  # fmt: skip

# Secrets of sources that sign instead of carrying a token. In no event and no answer.
Table(
    "source_secret", metadata,
    Column("company", Text), Column("source", Text), Column("secret", Text, nullable=False),
    Column("recorded_by", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("company", "source"),
)  # fmt: skip

# The last tick of each company.
Table(
    "company_clock", metadata,
    Column("company", Text, primary_key=True), Column("at", DateTime(timezone=True), nullable=False),
)  # fmt: skip

# What came of an event, where it is not simply folded: references that it waits under, and faults found while mapping.
Table(
    "waiting", metadata,
    Column("company", Text), Column("reference", Text), Column("partition", Integer), Column("pos", BigInteger),
    PrimaryKeyConstraint("company", "reference", "partition", "pos"),
    Index("ix_waiting_event", "partition", "pos"),
)  # fmt: skip
Table(
    "event_fault", metadata,
    Column("partition", Integer), Column("pos", BigInteger), Column("number", SmallInteger),
    Column("company", Text, nullable=False), Column("mapping", Text, nullable=False),
    Column("item", Integer, nullable=False), Column("rule", Integer, nullable=False),
    Column("field", Text, nullable=False), Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("partition", "pos", "number"),
    Index("ix_event_fault_company", "company", "partition", "pos"),
)  # fmt: skip

# How far each source's events are handled, by the business day of their own time.
Table(
    "source_mark", metadata,
    Column("company", Text), Column("source", Text), Column("day", Date), Column("partition", Integer),
    Column("pos", BigInteger, nullable=False), Column("at", DateTime(timezone=True), nullable=False),
    Column("events", BigInteger, nullable=False),
    PrimaryKeyConstraint("company", "source", "day", "partition"),
)  # fmt: skip

# Periods whose close was asked for: `closing` until its tick comes by, then `closed`, or `refused`: what is missing.
Table(
    "period_close", metadata,
    Column("company", Text), Column("period", Text), Column("attempt", Integer, nullable=False),
    Column("state", Text, nullable=False), Column("by", Text, nullable=False), Column("override", Text),
    Column("asked_at", DateTime(timezone=True), nullable=False), Column("missing", JSONB, nullable=False),
    PrimaryKeyConstraint("company", "period"),
)  # fmt: skip

# Which services have closed a period, by their own word.
Table(
    "service_closed", metadata,
    Column("company", Text), Column("period", Text), Column("service", Text),
    Column("change", BigInteger, nullable=False), Column("at", DateTime(timezone=True), nullable=False),
    Column("certificate", Text, nullable=False), Column("recorded_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("company", "period", "service"),
)  # fmt: skip

# Observations and readings --------------------------------------------------------------------------------------------

# Append-only. A row holds in the changes [added, removed): a new standing is a new row, so every change is exact.
Table(
    "observation", metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("company", Text, nullable=False),
    Column("partition", Integer, nullable=False), Column("pos", BigInteger, nullable=False),
    Column("source", Text, nullable=False), Column("event_id", Text, nullable=False),
    Column("event_time", DateTime(timezone=True), nullable=False),
    Column("mapping", Text, nullable=False), Column("mapping_version", Integer, nullable=False),
    Column("item", Integer, nullable=False), Column("rule", Integer, nullable=False),
    Column("metric", Text, nullable=False), Column("effect", Text, nullable=False),
    Column("subject", Text, nullable=False), Column("at", DateTime(timezone=True), nullable=False),
    Column("day", Date, nullable=False), Column("value", Numeric), Column("member", Text, nullable=False),
    Column("source_value", Text), Column("source_unit", Text), Column("key", Text), Column("document", Text),
    Column("dims", Text, nullable=False), Column("revision", Numeric, nullable=False),
    Column("state", Text, nullable=False), Column("mate", Text),
    Column("added", BigInteger, nullable=False), Column("removed", BigInteger),
    Index("ix_observation_event", "company", "partition", "pos"),
    Index("ix_observation_cell", "company", "metric", "subject", "day"),
    Index("ix_observation_key", "company", "key", postgresql_where=text("removed IS NULL AND key IS NOT NULL")),
    Index("ix_observation_document", "company", "document",
          postgresql_where=text("removed IS NULL AND document IS NOT NULL")),
    Index("ix_observation_unmatched", "company", "metric", "id",
          postgresql_where=text("removed IS NULL AND state = 'unmatched'")),
    Index("ix_observation_added", "added", postgresql_using="brin"),
    Index("ix_observation_removed", "company", "removed", postgresql_where=text("removed IS NOT NULL")),
)  # fmt: skip

# The fold of one subject's counting observations of a day; `member` only for distinct counts. Knows no ancestors.
Table(
    "cell", metadata,
    Column("company", Text), Column("metric", Text), Column("subject", Text), Column("day", Date), Column("dims", Text),
    Column("member", Text), Column("n", BigInteger, nullable=False), Column("total", Numeric, nullable=False),
    Column("minimum", Numeric), Column("maximum", Numeric), Column("last", Numeric),
    PrimaryKeyConstraint("company", "metric", "subject", "day", "dims", "member"),
    Index("ix_cell_day", "company", "metric", "day"),
)  # fmt: skip
Table(
    "rollup", metadata,
    Column("company", Text), Column("metric", Text), Column("subject", Text), Column("kind", Text),
    Column("start", Date),
    Column("currency", Text), Column("n", BigInteger, nullable=False), Column("total", Numeric, nullable=False),
    PrimaryKeyConstraint("company", "metric", "subject", "kind", "start", "currency"),
)  # fmt: skip

# Every version of every reading.
Table(
    "reading", metadata,
    Column("company", Text), Column("metric", Text), Column("subject", Text), Column("period", Text),
    Column("version", Integer), Column("kind", Text, nullable=False), Column("start", Date, nullable=False),
    Column("change", BigInteger, nullable=False), Column("value", Numeric), Column("unit", Text, nullable=False),
    Column("reason", Text), Column("qualified", JSONB, nullable=False), Column("formula", Text),
    Column("definition", Integer, nullable=False), Column("inputs", JSONB, nullable=False),
    Column("latest", Boolean, nullable=False), Column("recorded_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("company", "metric", "subject", "period", "version"),
    Index("ux_reading_latest", "company", "metric", "subject", "kind", "start", unique=True,
          postgresql_where=text("latest")),
    Index("ix_reading_change", "company", "change"),
)  # fmt: skip

# Every version of every value node's reading.
Table(
    "node_reading", metadata,
    Column("company", Text), Column("node", Text), Column("period", Text), Column("version", Integer),
    Column("kind", Text, nullable=False), Column("start", Date, nullable=False),
    Column("change", BigInteger, nullable=False),
    Column("ratio", Numeric), Column("trend", Numeric), Column("effect", Numeric), Column("currency", Text),
    Column("reason", Text), Column("inputs", JSONB, nullable=False), Column("definition", Integer, nullable=False),
    Column("latest", Boolean, nullable=False), Column("recorded_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("company", "node", "period", "version"),
    Index("ux_node_reading_latest", "company", "node", "kind", "start", unique=True, postgresql_where=text("latest")),
    Index("ix_node_reading_change", "company", "change"),
)  # fmt: skip
