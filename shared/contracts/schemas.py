"""JSON Schemas (draft 7) of payloads as parts that refer to one another, each member with its meaning."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from shared.contracts.base import Code, MetricCode, PeriodLabel, Subject
from shared.contracts.catalogue import Undocumented, docstring_of, meaning_of, parts
from shared.numbers import DecimalString

Schema = dict[str, Any]
PLACE = "#/components/schemas/"
_KINDS = {"Code": Code, "MetricCode": MetricCode, "Subject": Subject, "Period": PeriodLabel, "Decimal": DecimalString}
KINDS: dict[str, Schema] = {name: TypeAdapter(kind).json_schema() for name, kind in _KINDS.items()}
KINDS["Decimal"]["description"] = "Plain digits, at most 18 before and 10 after the point; never a JSON number."
_VALUES = ("default", "examples", "enum", "const", "required")  # hold no schemas
_NAME_OF = {schema["pattern"]: name for name, schema in KINDS.items()}


def component_schemas(models: Iterable[type[BaseModel]]) -> dict[str, Schema]:
    """The schema of each model and of what it is made of, by name; decimals, codes and the like have one schema each.

    Raises Undocumented.
    """
    listed = sorted(set(models), key=lambda model: model.__name__)
    _, made = models_json_schema([(model, "validation") for model in listed], ref_template=PLACE + "{model}")
    by_name = _with_parts(listed)
    return KINDS | {name: _of_model(by_name[name], schema) for name, schema in made.get("$defs", {}).items()}


def reference(name: str) -> Schema:
    """A reference to a schema of that name."""
    return {"$ref": PLACE + name}


def _with_parts(models: list[type[BaseModel]]) -> dict[str, type[BaseModel]]:
    found = {part.__name__: part for part in parts()}
    for model in models:
        if found.setdefault(model.__name__, model) is not model:
            raise Undocumented(f"Two payloads are called {model.__name__}: rename one.")
    return found


def _of_model(model: type[BaseModel], schema: Schema) -> Schema:
    members = {
        name: _plain(member | {"description": meaning_of(model, name)})
        for name, member in schema.get("properties", {}).items()
    }
    rest = {key: value for key, value in schema.items() if key not in ("properties", "title")}
    return rest | {"description": docstring_of(model)[0]} | ({"properties": members} if members else {})


def _plain(schema: Any) -> Any:
    """Without made-up titles; beside a reference draft 7 reads nothing, so that what stands there goes around it."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {key: value if key in _VALUES else _plain(value) for key, value in schema.items() if key != "title"}
    if name := _NAME_OF.get(rest.get("pattern", "")):
        rest = {key: value for key, value in rest.items() if rest[key] != KINDS[name].get(key)} | reference(name)
    if "$ref" in rest and len(rest) > 1:
        rest["allOf"] = [{"$ref": rest.pop("$ref")}]
    return rest
