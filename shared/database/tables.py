"""The tables every service has: its log, its positions in the logs it reads, and its dated settings."""

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.http.idempotency import idempotency_table

LOG_SCHEMA = "log"


def _now() -> "Column[object]":
    return Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now())


def platform_tables(metadata: MetaData) -> None:
    """Adds the platform's tables to a service's metadata."""
    _log_tables(metadata)
    _reader_tables(metadata)
    _settings_tables(metadata)
    idempotency_table(metadata)


def _log_tables(metadata: MetaData) -> None:
    Table("epoch", metadata, Column("id", Text, primary_key=True), _now(), schema=LOG_SCHEMA)
    Table(
        "partition", metadata,
        Column("topic", Text), Column("partition", Integer), Column("next_pos", BigInteger, nullable=False),
        Column("of", Integer, nullable=False, server_default="1"),  # how many the topic has: a change of it moves keys
        PrimaryKeyConstraint("topic", "partition"), schema=LOG_SCHEMA,
    )  # fmt: skip
    Table(
        "record", metadata,
        Column("topic", Text), Column("partition", Integer), Column("pos", BigInteger),
        Column("key", Text, nullable=False), Column("type", Text, nullable=False),
        Column("company", Text, nullable=False), Column("data", Text, nullable=False),
        Column("traceparent", Text), _now(), Column("copies", Integer, nullable=False, server_default="1"),
        PrimaryKeyConstraint("topic", "partition", "pos", "recorded_at"), schema=LOG_SCHEMA,
        postgresql_partition_by="RANGE (recorded_at)",
    )  # fmt: skip
    # How far the readers of this log are, by their own account: derived records are trimmed behind the slowest.
    Table(
        "reader", metadata,
        Column("topic", Text), Column("partition", Integer), Column("reader", Text),
        Column("next_pos", BigInteger, nullable=False), _now(),
        PrimaryKeyConstraint("topic", "partition", "reader"), schema=LOG_SCHEMA,
    )  # fmt: skip
    # How far this log has been copied to Kafka.
    Table(
        "forward", metadata,
        Column("topic", Text), Column("partition", Integer), Column("next_pos", BigInteger, nullable=False),
        PrimaryKeyConstraint("topic", "partition"), schema=LOG_SCHEMA,
    )  # fmt: skip


def _reader_tables(metadata: MetaData) -> None:
    Table(
        "position", metadata,
        Column("topic", Text), Column("partition", Integer),
        Column("epoch", Text, nullable=False), Column("next_pos", BigInteger, nullable=False),
        Column("kafka_offset", BigInteger),
        PrimaryKeyConstraint("topic", "partition"), schema=LOG_SCHEMA,
    )  # fmt: skip
    Table(
        "lease", metadata,
        Column("part", Text, server_default="read"), Column("topic", Text), Column("partition", Integer),
        Column("owner", Text), Column("backend_pid", Integer), Column("backend_start", DateTime(timezone=True)),
        Column("until", DateTime(timezone=True)),
        PrimaryKeyConstraint("part", "topic", "partition"), schema=LOG_SCHEMA,
    )  # fmt: skip
    Table(
        "worker", metadata,
        Column("owner", Text, primary_key=True), Column("part", Text, nullable=False, server_default="read"),
        Column("until", DateTime(timezone=True), nullable=False),
        schema=LOG_SCHEMA,
    )  # fmt: skip
    Table(
        "arrival", metadata,
        Column("tick", Text), Column("topic", Text), Column("partition", Integer),
        Column("copies", Integer, nullable=False, server_default="1"),
        PrimaryKeyConstraint("tick", "topic", "partition"), schema=LOG_SCHEMA,
    )  # fmt: skip
    Table("tick_done", metadata, Column("tick", Text, primary_key=True), _now(), schema=LOG_SCHEMA)
    Table(
        "parked", metadata,
        Column("topic", Text), Column("partition", Integer), Column("pos", BigInteger),
        Column("key", Text, nullable=False), Column("type", Text, nullable=False),
        Column("company", Text, nullable=False), Column("data", Text, nullable=False),
        Column("traceparent", Text), Column("record_time", DateTime(timezone=True), nullable=False),
        Column("error", Text), Column("trace", Text), _now(),
        PrimaryKeyConstraint("topic", "partition", "pos"),
        Index("ix_parked_key", "topic", "partition", "key"), schema=LOG_SCHEMA,
    )  # fmt: skip


def _settings_tables(metadata: MetaData) -> None:
    Table(
        "company_change", metadata,
        Column("company", Text, primary_key=True), Column("change", BigInteger, nullable=False),
    )  # fmt: skip
    Table(
        "configuration", metadata,
        Column("company", Text), Column("kind", Text), Column("code", Text), Column("version", Integer),
        Column("effective_from", Date, nullable=False), Column("content", JSONB, nullable=False),
        Column("recorded_by", Text, nullable=False), Column("recorded_at", DateTime(timezone=True), nullable=False),
        PrimaryKeyConstraint("company", "kind", "code", "version"),
        Index("ix_configuration_in_force", "company", "kind", "code", text("effective_from DESC"),
              text("version DESC")),
        Index("ix_configuration_person_unit", "company", text("(content->>'unit')"),
              postgresql_where=text("kind = 'people'")),
        Index("ix_configuration_unit_parent", "company", text("(content->>'parent')"),
              postgresql_where=text("kind = 'units'")),
    )  # fmt: skip
    # What was closed, each chained to the one before. Ours to write once: the application may not change a row.
    Table(
        "certificate", metadata,
        Column("company", Text), Column("period", Text), Column("kind", Text, nullable=False),
        Column("start", Date, nullable=False), Column("until", Date, nullable=False),
        Column("change", BigInteger, nullable=False), Column("at", DateTime(timezone=True), nullable=False),
        Column("content", JSONB, nullable=False), Column("hash", Text, nullable=False), Column("previous", Text),
        _now(), PrimaryKeyConstraint("company", "period"),
        Index("ux_certificate_change", "company", "change", unique=True),
    )  # fmt: skip
