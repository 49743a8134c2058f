"""An example for every body, made from the examples, defaults and choices that its schema already has."""

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_FORMATS = {"date": "2025-01-01", "date-time": "2025-04-01T00:00:00+08:00"}
_TYPES = {"string": "text", "integer": 1, "number": 1, "boolean": True, "null": None}


def example_of(schema: Schema, schemas: Schema) -> Any:
    """A value of a schema: what must be there, and what has an example of its own."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    for word in ("const", "default"):
        if schema.get(word) is not None:
            return schema[word]
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas)
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)] * max(1, schema.get("minItems", 1))
    if schema.get("type") == "object":
        return _object(schema, schemas)
    return _FORMATS.get(schema.get("format", ""), _TYPES.get(schema.get("type", "null")))


def _object(schema: Schema, schemas: Schema) -> dict[str, Any]:
    required = schema.get("required", ())
    return {
        name: example_of(member, schemas)
        for name, member in schema.get("properties", {}).items()
        if name in required or member.get("examples")
    }
