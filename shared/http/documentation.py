"""OpenAPI 3.1 of one service, with every refusal documented, and its pages without the internet."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from shared.http.problems import MEDIA_TYPE

PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "Name of the rule, stable across releases."},
        "title": {"type": "string", "description": "The rule's name in words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What holds, and how it was broken."},
        "field": {"type": "string", "description": "Path of the member that broke it, such as `lines.2.weight`."},
        "remedy": {"type": "string", "description": "What the caller can do."},
        "instance": {"type": ["string", "null"], "description": "The request id, as in X-Request-Id and in the log."},
        "errors": {
            "type": "array",
            "description": "Every fault found, where there may be several.",
            "items": {
                "type": "object",
                "required": ["in", "field", "rule", "remedy"],
                "properties": {name: {"type": "string"} for name in ("in", "field", "rule", "remedy")},
            },
        },
    },
    "examples": [
        {
            "type": "urn:valueloop:problem:weights-do-not-add-up",
            "title": "Weights do not add up",
            "status": 422,
            "detail": "The weights of a scorecard add up to 100 %; these add up to 99.99 %.",
            "field": "lines",
            "remedy": "Raise one weight by 0.01 %.",
            "instance": "0af7651916cd43dd8448eb211c80319c",
        }
    ],
}

MEANING = {
    400: "The request is malformed.",
    401: "No bearer token, or one that proves nothing.",
    403: "The caller may not do this.",
    404: "What is named does not exist, or is not visible to the caller.",
    409: "The present state does not allow it, or the same key is in flight.",
    412: "It was changed after it was read.",
    413: "The body is too large.",
    415: "The body is not in a format that is taken.",
    422: "A rule is broken.",
    429: "Too many requests; Retry-After says when to go on.",
    503: "Something the service needs is away; Retry-After says when to try again.",
}
ALWAYS = {400, 404, 422, 429, 503}
_HEADERS: dict[str, dict[str, Any]] = {
    "idempotency-key": {
        "name": "Idempotency-Key",
        "required": True,
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    },
    "if-match": {
        "name": "If-Match",
        "schema": {"type": "string", "pattern": '^(\\*|"[0-9]{1,18}")$', "examples": ['"3"']},
    },
}
METHODS = ("get", "put", "post", "patch", "delete")


def operation_id(route: Any) -> str:
    """`list_units` -> `listUnits`."""
    first, *rest = route.name.split("_")
    return str(first + "".join(word.capitalize() for word in rest))


def document(app: FastAPI) -> dict[str, Any]:
    """The schema of an application; made once and kept, as FastAPI does."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            servers=app.servers,
            tags=app.openapi_tags,
            routes=app.routes,
        )
        app.openapi_schema = _completed(schema)
    return app.openapi_schema


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for stock in ("HTTPValidationError", "ValidationError"):
        schemas.pop(stock, None)
    schemas["Problem"] = PROBLEM
    components["responses"] = {_name(status): _response(status) for status in MEANING}
    for path in schema["paths"].values():
        for method in METHODS:
            if method in path:
                _complete(path[method], method)
    _refuse_twins(schema)
    return schema


def _complete(operation: dict[str, Any], method: str) -> None:
    operation["responses"] = {
        **{code: response for code, response in operation["responses"].items() if not _stock(response)},
        **{str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in _refusals(operation, method)},
    }
    for parameter in operation.get("parameters", ()):
        if (name := parameter["name"].lower()) in _HEADERS:
            parameter.update(_HEADERS[name])


def _refusals(operation: dict[str, Any], method: str) -> list[int]:
    wanted = set(ALWAYS)
    wanted |= {401, 403} if operation.get("security") else set()
    wanted |= {409, 412, 413} if method != "get" else set()
    wanted |= {413, 415} if "requestBody" in operation else set()
    return sorted(wanted)


def _stock(response: dict[str, Any]) -> bool:
    return "HTTPValidationError" in str(response.get("content", ""))


def _name(status: int) -> str:
    return f"Problem{status}"


def _response(status: int) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    response: dict[str, Any] = {"description": MEANING[status], "content": content}
    if status in (429, 503):
        response["headers"] = {
            "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}
        }
    return response


def _refuse_twins(schema: dict[str, Any]) -> None:
    seen: set[str] = set()
    for path, item in schema["paths"].items():
        for method in METHODS:
            name = item.get(method, {}).get("operationId")
            if name is None:
                continue
            if name in seen or not re.fullmatch(r"[a-z][A-Za-z0-9]*", name):
                raise ValueError(f"{method.upper()} {path}: the operation id {name!r} is taken or not in camel case")
            seen.add(name)
