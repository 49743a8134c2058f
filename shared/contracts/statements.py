"""What incentives publishes of statements: each as it was made, so that it stays that."""

from pydantic import Field

from shared.contracts.base import Contract
from shared.contracts.payouts import TOPIC, Hash, Payee, Run


class Issued(Contract):
    """A statement as it was made for a payee."""

    TYPE, TOPIC = "", ""
    payee: Payee
    number: int = Field(description="Counts the payee's statements from 1.")
    hash: Hash = Field(description="SHA-256 of the statement's canonical JSON.")
    content: str = Field(
        description="JSON as docs/statements.md says; a line may name one of `forms`.", examples=["{…}"]
    )


class StatementsIssued(Contract):
    """A released run was told to those it is for. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.statements-issued.v1", TOPIC
    run: Run
    statements: list[Issued] = Field(description="Some of the run's; all its events together hold all.")
    forms: dict[str, list[str | int]] = Field(
        default_factory=dict,
        description="What their lines have in common, by name: pieces of JSON, and the places of own values between.",
        examples=[{"f00d": ['{"line":', 0, "}"]}],
    )


EVENTS: tuple[type[Contract], ...] = (StatementsIssued,)
