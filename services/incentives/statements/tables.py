"""The tables of statements: append-only, each row as it was told."""

from sqlalchemy import Column, DateTime, Index, Integer, MetaData, Table, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB


def statement_table(metadata: MetaData) -> None:
    """Adds them to the metadata of incentives."""
    # Lines of `content` are forms of `statement_form` with their own values: see `forms`.
    # `sources` are the scores and readings that the statement's calculations cite: see `rules.source`.
    Table(
        "statement", metadata,
        Column("company", Text, primary_key=True), Column("payee", Text, primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("run", Text, nullable=False), Column("period", Text, nullable=False),
        Column("content", JSONB, nullable=False), Column("hash", Text, nullable=False), Column("previous", Text),
        Column("sources", ARRAY(Text), nullable=False),
        Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Index("ix_statement_run", "company", "run", "payee", unique=True),
        Index("ix_statement_sources", "sources", postgresql_using="gin"),
    )  # fmt: skip
    Table(
        "statement_form", metadata,
        Column("company", Text, primary_key=True), Column("id", Text, primary_key=True),
        Column("pieces", JSONB, nullable=False),
    )  # fmt: skip
