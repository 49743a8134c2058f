"""Conditional requests (RFC 9110): a change names the version it was made from."""

import re

from shared.errors import Stale
from shared.http.problems import Malformed

_TAGS = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*')


class MalformedIfMatch(Malformed):
    """The header If-Match is not a list of entity tags."""


class ChangedSinceRead(Stale):
    """The thing has another version than the one the change was made from."""


def etag(version: int | str) -> str:
    """The entity tag of a version.

    >>> etag(3)
    '"3"'
    """
    return f'"{version}"'


def check_if_match(if_match: str | None, version: int | str | None) -> None:
    """Compares the header If-Match with the present version (None: it does not exist); no header, no condition.

    Raises:
        ChangedSinceRead: none of the tags is the present version, or `*` and nothing exists.
        MalformedIfMatch: the header is no list of entity tags.
    """
    if if_match is None or (version is not None and if_match.strip() == "*"):
        return
    if if_match.strip() != "*" and (len(if_match) > 1000 or not _TAGS.fullmatch(if_match)):
        raise MalformedIfMatch(
            'If-Match is a list of entity tags such as "3", or *.',
            field="If-Match",
            remedy="Send back the ETag as it was received.",
        )
    if version is None or etag(version) not in [tag.strip() for tag in if_match.split(",")]:
        raise ChangedSinceRead(
            "It was changed after it was read." if version is not None else "It does not exist yet.",
            field="If-Match",
            remedy="Read it again, look at the change, and send the new ETag.",
        )
