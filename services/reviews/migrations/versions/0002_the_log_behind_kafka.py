"""The log may be read from Kafka, and a topic may get more partitions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "forward",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_pos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
        schema="log",
    )
    # Leases, workers and arrivals are of the moment: workers are stopped during a migration and make them again.
    for table in ("lease", "worker", "arrival"):
        op.execute(f"DELETE FROM log.{table}")
    op.add_column("lease", sa.Column("part", sa.Text(), nullable=False, server_default="read"), schema="log")
    op.execute("-- squawk-ignore ban-drop-constraint\nALTER TABLE log.lease DROP CONSTRAINT lease_pkey")
    op.create_primary_key("lease_pkey", "lease", ["part", "topic", "partition"], schema="log")
    op.add_column("worker", sa.Column("part", sa.Text(), nullable=False, server_default="read"), schema="log")
    op.add_column("arrival", sa.Column("copies", sa.Integer(), nullable=False, server_default="1"), schema="log")
    op.add_column("position", sa.Column("kafka_offset", sa.BigInteger()), schema="log")
    op.add_column("partition", sa.Column("of", sa.Integer(), nullable=False, server_default="1"), schema="log")
    op.execute('UPDATE log.partition p SET "of" = (SELECT count(*) FROM log.partition o WHERE o.topic = p.topic)')
    op.add_column("record", sa.Column("copies", sa.Integer(), nullable=False, server_default="1"), schema="log")
    op.execute("UPDATE log.record r SET copies = p.\"of\" FROM log.partition p WHERE r.key = '' AND p.topic = r.topic")
