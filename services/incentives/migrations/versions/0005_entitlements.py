"""What people are entitled to in closed periods, and what it is made from."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("arrived", sa.Column("unit", sa.Text(), nullable=True))
    op.add_column("assignment", sa.Column("job_family", sa.Text(), nullable=True))
    op.add_column("assignment", sa.Column("guarantee", sa.Numeric(), nullable=True))
    op.add_column("assignment", sa.Column("guarantee_until", sa.Date(), nullable=True))
    op.create_table(
        "calculation",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("steps", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("company", "id"),
    )
    op.create_table(
        "entitlement",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("payee", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("content", postgresql.JSONB(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.Column("latest", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("company", "period", "plan", "payee", "version"),
    )
    op.create_index("ix_entitlement_payee", "entitlement", ["company", "payee", "period"], unique=False)
    op.create_table(
        "frozen",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("starts", sa.Date(), nullable=False),
        sa.Column("ends", sa.Date(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("company", "period", "plan"),
    )
    op.create_table(
        "touched",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("payee", sa.Text(), nullable=False),
        sa.Column("change", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("company", "plan", "payee"),
    )
