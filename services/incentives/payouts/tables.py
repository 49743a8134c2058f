"""The tables of payout runs and of the ledger. Balances are credits less debits, in the currency's own unit."""

from sqlalchemy import (
    CheckConstraint,
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
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from ..ledger.rules import ACCOUNTS


def payout_tables(metadata: MetaData) -> None:
    """Adds them to the metadata of incentives."""
    _runs(metadata)
    _ledger(metadata)


def _amount(name: str) -> "Column[object]":
    return Column(name, Numeric, nullable=False, server_default="0")


def _runs(metadata: MetaData) -> None:
    # `preparers` are all who opened, calculated or submitted it; `attempt` counts calculations.
    Table(
        "payout_run", metadata,
        Column("company", Text, primary_key=True), Column("code", Text, primary_key=True),
        Column("period", Text, nullable=False), Column("currency", Text, nullable=False),
        Column("promised", Date, nullable=False), Column("status", Text, nullable=False),
        Column("preparers", ARRAY(Text), nullable=False),
        Column("attempt", Integer, nullable=False, server_default="0"),
        Column("phase", Text), Column("done", Integer, nullable=False, server_default="0"),
        Column("lines", Integer, nullable=False, server_default="0"), _amount("total"), Column("hash", Text),
        Column("problem", Text), Column("approved_by", Text), Column("released_by", Text), Column("released_on", Date),
        Column("history", JSONB, nullable=False, server_default="[]"),
        # Two runs of a currency that post at the same time could both take up the same difference.
        Index("ix_payout_run_releasing", "company", "currency", unique=True,
              postgresql_where=text("status = 'releasing'")),
    )  # fmt: skip
    # Lines are numbered by payee and plan. Until release a line is `open`; what is paid goes released → settled, failed
    # (→ retried) or reversed; what is held or carried is `kept`.
    Table(
        "payout_line", metadata,
        Column("company", Text, primary_key=True), Column("run", Text, primary_key=True),
        Column("line", Integer, primary_key=True),
        Column("payee", Text, nullable=False), Column("plan", Text, nullable=False),
        Column("currency", Text, nullable=False), _amount("regular"), _amount("adjustment"),
        Column("parts", JSONB, nullable=False, server_default="[]"), _amount("payable"), _amount("held"),
        _amount("carried"), _amount("draw"), _amount("expense"),
        Column("moved", JSONB, nullable=False, server_default="[]"), _amount("advance"), _amount("granted"),
        _amount("recovered"), _amount("clawed_back"), Column("account", Text, nullable=False), _amount("amount"),
        Column("why", Text), Column("promised", Date, nullable=False),
        Column("status", Text, nullable=False, server_default="open"), Column("paid_on", Date), Column("answer", Text),
        Index("ix_payout_line_payee", "company", "payee", "plan"),
        Index("ix_payout_line_unsettled", "company", "currency", "payee", "plan",
              postgresql_where=text("status IN ('released', 'failed')")),
        Index("ix_payout_line_failed", "company", "currency", "payee", "plan",
              postgresql_where=text("status = 'failed'")),
    )  # fmt: skip


def _ledger(metadata: MetaData) -> None:
    # Append-only: the role of the application may neither update nor delete here.
    Table(
        "posting", metadata,
        Column("company", Text, primary_key=True), Column("run", Text, primary_key=True),
        Column("line", Integer, primary_key=True), Column("entry", Text, primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("plan", Text, nullable=False), Column("currency", Text, nullable=False),
        Column("debit", Text, nullable=False), Column("debit_payee", Text, nullable=False),
        Column("credit", Text, nullable=False), Column("credit_payee", Text, nullable=False),
        Column("amount", Numeric, nullable=False), Column("cause", Text, nullable=False),
        Column("day", Date, nullable=False),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        CheckConstraint("amount > 0"), CheckConstraint("(debit, debit_payee) <> (credit, credit_payee)"),
        Index("ix_posting_day", "company", "day"),
    )  # fmt: skip
    # What the postings add up to, so that a calculation need not add them all up; `valueloop verify` does.
    Table(
        "balance", metadata,
        *(Column(key, Text, primary_key=True) for key in ("company", "currency", "payee", "plan")),
        *(_amount(kind) for kind in ACCOUNTS),
    )  # fmt: skip
    # How much of each entitlement is booked, and which version of it.
    Table(
        "booked", metadata,
        *(Column(key, Text, primary_key=True) for key in ("company", "period", "plan", "payee")),
        Column("amount", Numeric, nullable=False), Column("version", Integer, nullable=False),
    )  # fmt: skip
    # How far the company's clock is, by the last tick.
    Table(
        "payout_clock", metadata,
        Column("company", Text, primary_key=True), Column("at", DateTime(timezone=True), nullable=False),
    )  # fmt: skip
