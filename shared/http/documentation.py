"""OpenAPI 3.1 of one service, with every refusal documented, and its pages without the internet."""

from typing import Any

from fastapi import FastAPI

from shared.http.examples import example_of
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


def operation_id(route: Any) -> str:
    """`list_units` -> `listUnits`."""
    first, *rest = route.name.split("_")
    return str(first + "".join(word.capitalize() for word in rest))


def document(app: FastAPI) -> dict[str, Any]:
    """The schema of an application; made once and kept, as FastAPI does."""
    if app.openapi_schema is None:
        app.openapi_schema = _completed(FastAPI.openapi(app))
    return app.openapi_schema


def _completed(schema: dict[str, Any]) -> dict[str, Any]:
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for stock in ("HTTPValidationError", "ValidationError"):
        schemas.pop(stock, None)
    schemas["Problem"] = PROBLEM
    components["responses"] = {f"Problem{status}": _response(status) for status in MEANING}
    seen: set[str] = set()
    for path in schema["paths"].values():
        for method, operation in path.items():
            _complete(operation, method)
            _show_examples(operation, schemas)
            if (name := operation["operationId"]) in seen:
                raise ValueError(f"the operation id {name!r} is taken")
            seen.add(name)
    return schema


def _complete(operation: dict[str, Any], method: str) -> None:
    refusals = set(ALWAYS)
    refusals |= {401, 403} if operation.get("security") else set()
    refusals |= {409, 412, 413} if method != "get" else set()
    refusals |= {413, 415} if "requestBody" in operation else set()
    operation["responses"] |= {
        str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(refusals)
    }
    for parameter in operation.get("parameters", ()):
        parameter.update(_HEADERS.get(parameter["name"].lower(), {}))


def _show_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        if kind == "application/json" and not content.keys() & {"example", "examples"}:
            content["example"] = example_of(content["schema"], schemas)


def _response(status: int) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    retry = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string", "pattern": "^[0-9]+$"}}}
    headers = {"headers": retry} if status in (429, 503) else {}
    return {"description": MEANING[status], "content": content} | headers
