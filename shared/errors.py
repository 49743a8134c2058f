"""What can go wrong by a broken rule, raised without knowing HTTP; `shared.http.problems` maps categories to codes."""

from typing import Any


class DomainError(Exception):
    """A rule was broken.

    Args:
        rule: what holds, and how it was broken, in one or two plain sentences.
        field: the member of the input that broke it, as a path such as `lines.2.weight`.
        remedy: what the caller can do about it.
        more: further members of the problem document (JSON values).
    """

    def __init__(self, rule: str, *, field: str | None = None, remedy: str | None = None, **more: Any) -> None:
        super().__init__(rule)
        self.rule, self.field, self.remedy, self.more = rule, field, remedy, more


class Invalid(DomainError):
    """The input breaks a rule of its own."""


class NotFound(DomainError):
    """What the request names does not exist, or is not visible to the caller."""


class Conflict(DomainError):
    """The input is fine, but the present state does not allow it."""


class Stale(DomainError):
    """The caller changed something that has changed since it was read."""


class Unauthenticated(DomainError):
    """The caller did not prove who they are."""


class Forbidden(DomainError):
    """The caller is known and may not do this."""


class TooLarge(DomainError):
    """The input exceeds a limit of size or count."""


class Busy(DomainError):
    """The service cannot take more at the moment; the same request may succeed later."""


class Unavailable(DomainError):
    """Something the service needs is away; the same request will succeed later."""
