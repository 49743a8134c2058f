"""Every refusal as a problem document (RFC 9457): what rule was broken, where, and what the caller can do about it."""

import json
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import psycopg
import sqlalchemy.exc
import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette._utils import get_route_path
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from shared import errors
from shared.database.outage import is_outage
from shared.http.paging import BadCursor

MEDIA_TYPE = "application/problem+json"
MOST_ERRORS_LISTED = 50
LONGEST_TEXT = 500

log = structlog.get_logger("valueloop.http")


class Malformed(errors.DomainError):
    """The request is not what its format says, so that nothing in it can be judged."""


class UnsupportedMediaType(errors.DomainError):
    """The body is in a format this operation does not take."""


STATUS: tuple[tuple[type[errors.DomainError], int], ...] = (
    (Malformed, 400),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.NotFound, 404),
    (errors.Conflict, 409),
    (errors.Stale, 412),
    (errors.TooLarge, 413),
    (UnsupportedMediaType, 415),
    (errors.Invalid, 422),
    (errors.Busy, 429),
    (errors.Unavailable, 503),
)
RETRY_AFTER = {429: 1, 503: 5}  # [s], where the error itself names none

REMEDIES = {
    "missing": "Add it.",
    "extra_forbidden": "Leave it out.",
    "string_type": "Send it as a JSON string.",
    "enum": "Take one of the values named.",
    "literal_error": "Take one of the values named.",
}


class ChangedAtTheSameMoment(errors.Conflict):
    """Another request recorded the same thing first."""


class ValueOutOfRange(errors.Invalid):
    """A value fits its schema, and no column can hold it."""


class DatabaseAway(errors.Unavailable):
    """The database did not answer, or ended the transaction; nothing of this request was kept."""


def status_of(error: errors.DomainError) -> int:
    return next((status for category, status in STATUS if isinstance(error, category)), 422)


def words_of(name: str) -> list[str]:
    """`WeightsDoNotAddUp` -> ['weights', 'do', 'not', 'add', 'up']."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)]


def clean(text: object, longest: int = LONGEST_TEXT) -> str:
    """Text that any client can read back: no lone surrogates, no control characters, not longer than a screen."""
    plain = str(text).encode("utf-8", "replace").decode()
    plain = "".join(character if character.isprintable() else " " for character in plain)
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"


def problem(
    request: Request,
    status: int,
    name: str,
    detail: str,
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
    **members: Any,
) -> Response:
    """A problem response; `name` is the error's class name, from which type and title are made."""
    words = words_of(name)
    document = {
        **{key: value for key, value in members.items() if value is not None},
        "type": "urn:valueloop:problem:" + "-".join(words),
        "title": " ".join(words).capitalize(),
        "status": status,
        "detail": clean(detail),
        "instance": getattr(request.state, "request_id", None),
    }
    retry = {"Retry-After": str(RETRY_AFTER[status])} if status in RETRY_AFTER else {}
    body = json.dumps(document, default=str).encode()
    return Response(body, status, headers=retry | dict(headers), media_type=MEDIA_TYPE)


def domain_problem(request: Request, error: errors.DomainError) -> Response:
    status, more = status_of(error), dict(error.more)
    headers: dict[str, str] = {}
    if "retry_after" in more:
        headers["Retry-After"] = str(more.pop("retry_after"))
    if status == 401:
        headers["WWW-Authenticate"] = more.pop("challenge", "Bearer")
    members = {key: more[key] for key in more.keys() - {"request", "status", "name", "detail", "headers"}}
    members |= {"field": error.field and clean(error.field), "remedy": error.remedy and clean(error.remedy)}
    return problem(request, status, type(error).__name__, error.rule, headers=headers, **members)


def validation_problem(request: Request, error: RequestValidationError) -> Response:
    """Each fault with its path, rule and remedy. The input is never echoed: it may be NaN, huge or no text at all."""
    found = [_fault(item) for item in error.errors()[:MOST_ERRORS_LISTED]]
    first = found[0]
    detail = (
        f"{len(error.errors())} member(s) of the request break a rule; the first is {first['field']}: {first['rule']}"
    )
    return problem(request, 422, "RequestNotValid", detail, field=first["field"], remedy=first["remedy"], errors=found)


def _fault(item: Mapping[str, Any]) -> dict[str, str]:
    where, *path = item["loc"]
    rule = clean(item["msg"].removeprefix("Value error, "))
    return {
        "in": clean(where, 20),
        "field": ".".join(clean(step, 100) for step in path) or clean(where, 20),
        "rule": rule,
        "remedy": REMEDIES.get(item["type"], "Correct the value; the operation's schema says what fits."),
    }


def http_problem(request: Request, error: HTTPException) -> Response:
    phrase = HTTPStatus(error.status_code).phrase
    detail = error.detail if error.detail != phrase else _DETAILS.get(error.status_code, phrase + ".")
    name = "".join(word.capitalize() for word in re.findall(r"[A-Za-z]+", phrase))
    headers = dict(error.headers or {}) | ({"Allow": _allowed(request)} if error.status_code == 405 else {})
    return problem(request, error.status_code, name, detail, headers=headers)


def _allowed(request: Request) -> str:
    """All methods of the address; the framework names only those of the first route that matches."""
    path, routes = get_route_path(request.scope), iter_route_contexts(request.app.routes)
    fitting = [route for route in routes if route.methods and route.path_regex.match(path)]
    return ", ".join(sorted({method for route in fitting for method in route.methods or ()}))


_DETAILS = {
    404: "There is nothing at this address.",
    405: "This address does not take this method; the header Allow lists those it takes.",
}


def database_problem(request: Request, error: Exception) -> Response:
    """What the database said, as far as the caller can act on it; everything else stays an internal error."""
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    state = getattr(cause, "sqlstate", None) or ""
    found: errors.DomainError
    if state == "23505":
        found = ChangedAtTheSameMoment("Another request recorded the same thing first.", remedy="Read it, then decide.")
    elif isinstance(cause, psycopg.DataError) or state[:2] == "54":  # too long, too many: a limit of the database
        found = ValueOutOfRange("A value is outside of what can be stored.")
    elif is_outage(error):
        rule = "The database is away or too busy; nothing of this request was kept."
        found = DatabaseAway(rule, remedy="Send the same request again later.")
    else:
        return internal_problem(request, error)
    log.warning("database_refused", problem=type(found).__name__, error=type(cause).__name__, sqlstate=state)
    return domain_problem(request, found)


def internal_problem(request: Request, error: BaseException) -> Response:
    """A fault of ours: the log has the trace, the caller has the request id, and nothing else leaves the process."""
    log.error("request_failed", exc_info=error)
    if request.query_params.get("cursor"):
        # Whoever makes up a cursor makes up a key of any shape; what a list gave out does not fail.
        return domain_problem(request, BadCursor("The cursor was not made by this list.", field="cursor"))
    detail = "Something went wrong on our side; the log has it under the request id given as instance."
    return problem(request, 500, "InternalError", detail, remedy="Report the request id to the operator.")


def handlers() -> dict[Any, Any]:
    """The exception handlers of an application, by exception class."""

    def in_the_loop(handler: Callable[[Request, Any], Response]) -> Any:
        async def handle(request: Request, error: Exception) -> Response:
            return handler(request, error)

        return handle

    return {
        errors.DomainError: in_the_loop(domain_problem),
        RequestValidationError: in_the_loop(validation_problem),
        HTTPException: in_the_loop(http_problem),
        sqlalchemy.exc.SQLAlchemyError: in_the_loop(database_problem),
        psycopg.Error: in_the_loop(database_problem),
        ConnectionError: in_the_loop(database_problem),  # among them a topic widened under the request
    }
