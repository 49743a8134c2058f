"""Every table of metrics."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
)

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

# Observations and readings --------------------------------------------------------------------------------------------
