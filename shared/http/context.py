"""What an endpoint knows of its request: who asks, for which company, and the transaction it runs in."""

import re
import secrets
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from shared.database.unit_of_work import UnitOfWork
from shared.errors import Forbidden
from shared.identity import Principal

__all__ = ["Context", "Principal", "RequestContext", "request_context"]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Later versions may say more after the flags; the present one may not, `ff` is no version, and zeros are no ids.
_TRACEPARENT = re.compile(
    r"(?:00(?!.{54})|(?!00|ff)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)


class RoleMissing(Forbidden):
    """The caller's roles do not allow this."""


class SourceMayOnlyPush(Forbidden):
    """A source brings events; it reads nothing."""


@dataclass
class RequestContext:
    """One request.

    `principal` is None only on routers that are open or check signatures of their own; `company` raises there.
    `request` is what it came with, for endpoints that ask other services on behalf of the caller.
    """

    request_id: str
    traceparent: str
    caller: Principal | None = None
    transaction: UnitOfWork | None = None
    request: Request | None = None

    @property
    def uow(self) -> UnitOfWork:
        if self.transaction is None:
            raise RuntimeError("this router is not transactional: open a unit of work yourself")
        return self.transaction

    @property
    def principal(self) -> Principal:
        if self.caller is None:
            raise RuntimeError("this router does not authenticate: there is no principal")
        return self.caller

    @property
    def company(self) -> str:
        return self.principal.company

    def require(self, *roles: str) -> None:
        """The caller has one of these roles; admin always passes. Raises RoleMissing."""
        if not self.principal.roles & {"admin", *roles}:
            raise RoleMissing(
                f"This needs one of the roles {', '.join(sorted({'admin', *roles}))}.",
                remedy="Ask somebody who has it, or an administrator for the role.",
            )

    def require_reader(self) -> None:
        """The caller may read at all: has a role other than source. Raises SourceMayOnlyPush."""
        if not self.principal.roles - {"source"}:
            raise SourceMayOnlyPush(
                "This needs a role that may read; a source only pushes events.", remedy="Use a person's token."
            )


def request_id_of(given: str | None) -> str:
    """The caller's request id where it is sane, else one of ours."""
    return given if given and _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def traceparent_of(given: str | None) -> str:
    """A W3C traceparent with a span of ours, in the caller's trace where theirs is valid.

    >>> traceparent_of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")[:36]
    '00-0af7651916cd43dd8448eb211c80319c-'
    """
    match = _TRACEPARENT.fullmatch(given or "")
    trace, flags = match.groups() if match else (secrets.token_hex(16), "01")
    return f"00-{trace}-{secrets.token_hex(8)}-{flags}"


async def request_context(request: Request) -> RequestContext:
    return cast(RequestContext, request.state.context)


Context = Annotated[RequestContext, Depends(request_context)]
