"""Runs pay what people are entitled to, and a ledger keeps what was booked: postings are there for ever."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "balance",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("payee", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("expense", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("payable", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("held", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("carried", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("paid", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("draw", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("grant", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("clawback", sa.Numeric(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("company", "currency", "payee", "plan"),
    )
    op.create_table(
        "booked",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("payee", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("company", "period", "plan", "payee"),
    )
    op.create_table(
        "payout_clock",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("company"),
    )
    op.create_table(
        "payout_line",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("payee", sa.Text(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("regular", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("adjustment", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("parts", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("payable", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("held", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("carried", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("draw", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("expense", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("moved", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.Column("advance", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("granted", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("recovered", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("clawed_back", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("promised", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("paid_on", sa.Date(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("company", "run", "line"),
    )
    op.create_index("ix_payout_line_payee", "payout_line", ["company", "payee", "plan"], unique=False)
    op.create_index(
        "ix_payout_line_unsettled",
        "payout_line",
        ["company", "currency", "payee", "plan"],
        unique=False,
        postgresql_where=sa.text("status IN ('released', 'failed')"),
    )
    op.create_index(
        "ix_payout_line_failed",
        "payout_line",
        ["company", "currency", "payee", "plan"],
        unique=False,
        postgresql_where=sa.text("status = 'failed'"),
    )
    op.create_table(
        "payout_run",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("promised", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("preparers", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lines", sa.Integer(), server_default="0", nullable=False),
        sa.Column("total", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("approved_by", sa.Text(), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("released_on", sa.Date(), nullable=True),
        sa.Column("history", postgresql.JSONB(), server_default="[]", nullable=False),
        sa.PrimaryKeyConstraint("company", "code"),
    )
    op.create_index(
        "ix_payout_run_releasing",
        "payout_run",
        ["company", "currency"],
        unique=True,
        postgresql_where=sa.text("status = 'releasing'"),
    )
    op.create_table(
        "posting",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("debit", sa.Text(), nullable=False),
        sa.Column("debit_payee", sa.Text(), nullable=False),
        sa.Column("credit", sa.Text(), nullable=False),
        sa.Column("credit_payee", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("company", "run", "line", "entry", "number"),
        sa.CheckConstraint("amount > 0"),
        sa.CheckConstraint("(debit, debit_payee) <> (credit, credit_payee)"),
    )
    op.create_index("ix_posting_day", "posting", ["company", "day"], unique=False)
    op.execute("REVOKE UPDATE, DELETE ON posting FROM valueloop_incentives")
