"""`Idempotency-Key`: a repeated command has its effect once, and the same answer, byte for byte."""

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Header
from psycopg.types.json import Jsonb
from sqlalchemy import Column, DateTime, Integer, LargeBinary, MetaData, PrimaryKeyConstraint, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from starlette.requests import Request
from starlette.responses import Response

from shared.errors import Conflict, Invalid
from shared.http.problems import Malformed

if TYPE_CHECKING:
    from datetime import datetime

    from shared.database.unit_of_work import UnitOfWork

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_NOT_KEPT = {"content-length", "date", "x-request-id", "traceparent"}


class IdempotencyKeyMissing(Malformed):
    """An operation that may have its effect only once was called without a key."""


class IdempotencyKeyMalformed(Malformed):
    """The key is not 1 to 255 visible ASCII characters."""


class IdempotencyKeyInFlight(Conflict):
    """The first request with this key is still being handled."""


class IdempotencyKeyReused(Invalid):
    """The key was used for another request."""


def idempotency_table(metadata: MetaData) -> Table:
    """The answers already given, by company, caller and key; every service has one."""
    return Table(
        "idempotency",
        metadata,
        Column("company", Text),
        Column("caller", Text),
        Column("key", Text),
        Column("fingerprint", Text, nullable=False),
        Column("status", Integer, nullable=False),
        Column("headers", JSONB, nullable=False),
        Column("body", LargeBinary, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now(), index=True),
        PrimaryKeyConstraint("company", "caller", "key"),
    )


async def idempotency_required(
    idempotency_key: Annotated[
        str | None,
        Header(description="A new value for each intended effect; the same for each repetition (1 to 255 characters)."),
    ] = None,
) -> None:
    """For `dependencies=[Depends(idempotency_required)]`: the operation refuses to run without a key."""
    if idempotency_key is None:
        raise IdempotencyKeyMissing(
            f"This operation needs the header {HEADER}, so that a repetition has no second effect.",
            field=HEADER,
            remedy="Send a new random value, and the same one when you repeat the request.",
        )


@dataclass(frozen=True)
class Claim:
    """A caller's wish that this request has its effect once."""

    company: str
    caller: str
    key: str
    fingerprint: str

    def recall(self, uow: "UnitOfWork") -> Response | None:
        """The answer already given, or None for the first to ask, who holds the key until the transaction ends."""
        name = "\x1f".join(("idempotency", self.company, self.caller, self.key))
        if not uow.value("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))", name=name):
            raise IdempotencyKeyInFlight(
                "A request with this key is being handled.", field=HEADER, remedy="Repeat the request in a second."
            )
        # Read in a statement after the lock's: its snapshot then includes what the holder before us committed.
        row = uow.row(
            "SELECT fingerprint, status, headers, body FROM idempotency "
            "WHERE company = :company AND caller = :caller AND key = :key",
            company=self.company, caller=self.caller, key=self.key,
        )  # fmt: skip
        if row is None:
            return None
        if row.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused(
                "This key was used for a request with another address or body.", field=HEADER, remedy="Send a new key."
            )
        return Response(bytes(row.body), row.status, headers={**row.headers, "Idempotency-Replayed": "true"})

    def remember(self, uow: "UnitOfWork", response: Response) -> None:
        """Keeps the answer in the transaction of its effect."""
        if not isinstance(getattr(response, "body", None), bytes):
            raise TypeError(
                "a streamed response cannot be repeated: an operation that takes a key answers in one piece"
            )
        kept = {name: value for name, value in response.headers.items() if name not in _NOT_KEPT}
        uow.run(
            "INSERT INTO idempotency (company, caller, key, fingerprint, status, headers, body) "
            "VALUES (:company, :caller, :key, :fingerprint, :status, :headers, :body)",
            company=self.company, caller=self.caller, key=self.key, fingerprint=self.fingerprint,
            status=response.status_code, headers=Jsonb(kept), body=response.body,
        )  # fmt: skip


def claim_of(request: Request, company: str, caller: str, body: bytes) -> Claim | None:
    """The claim that a request's header makes, if it has one."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyMalformed(
            f"{HEADER} is 1 to 255 visible ASCII characters.", field=HEADER, remedy="Send a random UUID, for example."
        )
    head = f"{request.method}\n{request.url.path}\n{request.url.query}\n"
    return Claim(company, caller, key, hashlib.sha256(head.encode() + body).hexdigest())


def forget_before(uow: "UnitOfWork", moment: "datetime") -> int:
    """Deletes answers older than `moment`; returns how many. Nobody repeats a request after days."""
    return uow.run("DELETE FROM idempotency WHERE created_at < :moment", moment=moment)
