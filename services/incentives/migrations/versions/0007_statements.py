"""What a released run pays is told to each payee by a statement that stays as it was made."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "statement",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("payee", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("sources", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("company", "payee", "number"),
    )
    op.create_index("ix_statement_run", "statement", ["company", "run", "payee"], unique=True)
    op.create_index("ix_statement_sources", "statement", ["sources"], unique=False, postgresql_using="gin")
    op.execute("REVOKE UPDATE, DELETE ON statement FROM valueloop_incentives")
