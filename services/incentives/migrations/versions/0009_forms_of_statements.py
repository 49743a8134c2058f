"""What lines of statements have in common is kept once."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "statement_form",
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("pieces", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("company", "id"),
    )
    op.execute("REVOKE UPDATE, DELETE ON statement_form FROM valueloop_incentives")
