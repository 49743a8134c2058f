"""Pages of lists: an opaque cursor holds the key of the last item, so pages stay right while rows come and go."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request

from shared.errors import Invalid

LARGEST_PAGE = 200
USUAL_PAGE = 50
_DIGEST = 8  # [bytes] finds accidents and curiosity; a cursor guards nothing, so it needs no secret

T = TypeVar("T")


class BadCursor(Invalid):
    """The cursor was not made by this list."""


class Page(BaseModel, Generic[T]):
    """A part of a list."""

    items: list[T]
    next_cursor: str | None = Field(
        default=None, description="Send it as `cursor` to get what follows; null at the end of the list."
    )


@dataclass(frozen=True)
class PageRequest:
    """Which part of a list is wanted.

    Ask the database for `fetch` rows with a key greater than `after`, and hand what comes to `of`:

        sql = "SELECT code, name FROM unit WHERE code > :after ORDER BY code LIMIT :limit"
        rows = context.uow.rows(sql, after=page.after or "", limit=page.fetch)
        return page.of([Unit(**row._mapping) for row in rows], lambda item: item.code)
    """

    limit: int
    cursor: str | None
    path: str

    @property
    def fetch(self) -> int:
        """One row more than the page has, to know whether there is a next."""
        return self.limit + 1

    @cached_property
    def after(self) -> Any:
        """The key of the last item already seen, as the list gave it to `of`; None on the first page."""
        if self.cursor is None:
            return None
        try:
            raw = base64.b64decode(self.cursor.encode("ascii"), altchars=b"-_", validate=True)
        except ValueError:
            raw = b""
        if not hmac.compare_digest(raw[:_DIGEST], self._digest(raw[_DIGEST:])):
            raise BadCursor(
                "The cursor was not made by this list.", field="cursor", remedy="Start again without a cursor."
            )
        return json.loads(raw[_DIGEST:])

    def of(self, items: Sequence[T], key: Callable[[T], str | int | Sequence[Any]]) -> Page[T]:
        """The page made of up to `fetch` items; `key` gives what they are sorted by."""
        shown = items[: self.limit]
        return Page(items=list(shown), next_cursor=self._encode(key(shown[-1])) if len(items) > self.limit else None)

    def cut(self, items: Sequence[T], key: str | int | Sequence[Any]) -> Page[T]:
        """A page of fewer items than may be: reading stopped at `key`, and there may be more behind it."""
        return Page(items=list(items), next_cursor=self._encode(key))

    def _encode(self, key: str | int | Sequence[Any]) -> str:
        text = json.dumps(key, separators=(",", ":"), default=str).encode()
        text += b" " * (-(len(text) + _DIGEST) % 3)  # so that base64 needs no padding, which some clients lose
        return base64.urlsafe_b64encode(self._digest(text) + text).decode()

    def _digest(self, text: bytes) -> bytes:
        return hashlib.sha256(self.path.encode() + b"\0" + text).digest()[:_DIGEST]


async def page_request(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE, description="Most items to give.")] = USUAL_PAGE,
    cursor: Annotated[
        str | None, Query(min_length=1, max_length=2000, description="`next_cursor` of the page before.")
    ] = None,
) -> PageRequest:
    """A cursor belongs to the address it came from: another list's key would be of other types."""
    found = PageRequest(limit, cursor, request.url.path)
    _ = found.after
    return found


Paging = Annotated[PageRequest, Depends(page_request)]
