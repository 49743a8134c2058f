"""Records are kept by month, and readers say how far they are, so that derived records can be trimmed."""

import sqlalchemy as sa
from alembic import op

from shared.database.months import BY_MONTH

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    for statement in BY_MONTH:
        op.execute(statement)
    op.create_table(
        "reader",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("next_pos", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "reader"),
        schema="log",
    )
