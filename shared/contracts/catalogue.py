"""Every event and what it is made of: meanings, keys and examples, for the pages and documents made from contracts."""

import re
from collections.abc import Mapping
from importlib import import_module
from inspect import cleandoc
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from shared.contracts.base import (
    Citation,
    Code,
    Configuration,
    Contract,
    Defined,
    MetricCode,
    PeriodClosed,
    PeriodLabel,
    Subject,
    Tick,
)
from shared.contracts.wording import FAMILIAR, TEXTS
from shared.numbers import DecimalString

SERVICES = ("metrics", "goals", "incentives", "reviews")


def _schema(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


# Patterns that have a name; a description that only explains the type says nothing about the member.
NAMED = {
    _schema(kind)["pattern"]: name
    for kind, name in (
        (Code, "code"), (MetricCode, "metric code"), (Subject, "subject"), (PeriodLabel, "period"),
        (DecimalString, "decimal"),
    )
}  # fmt: skip
OF_TYPES = {_schema(kind).get("description") for kind in (Code, MetricCode, Subject, PeriodLabel)}
EXAMPLES = {
    "code": "sales-east", "metric code": "revenue", "subject": "unit:sales-east", "period": "2025-Q1",
    "decimal": "1234.50", "date": "2025-01-01", "date-time": "2025-04-01T00:00:00+08:00",
    "^[A-Z]{3}$": "CNY", "integer": 1, "boolean": True,
}  # fmt: skip


class Undocumented(Exception):
    """An event without a docstring, or a member whose meaning or example is written nowhere."""


def catalogue() -> dict[str, tuple[type[Contract], ...]]:
    """What each service publishes, in the order of its contracts. What all pass on stands with metrics."""
    events = {name: import_module(f"shared.contracts.{name}").EVENTS for name in SERVICES}
    return events | {"metrics": (*events["metrics"], Tick, PeriodClosed)}


def payloads() -> dict[str, type[BaseModel]]:
    """Every payload by its type; `setting` is the envelope of the settings."""
    models = {model.TYPE: model for models in catalogue().values() for model in models}
    return {"setting": Defined, **models}


def parts() -> list[type[BaseModel]]:
    """The models that events are made of, each once, by name."""
    found: dict[str, type[BaseModel]] = {"Citation": Citation}
    for name in ("base", *SERVICES):
        for part in vars(import_module(f"shared.contracts.{name}")).values():
            if isinstance(part, type) and issubclass(part, Contract) and getattr(part, "TYPE", None) == "":
                found[part.__name__] = part
    return [found[name] for name in sorted(found)]


def meaning_of(model: type[BaseModel], member: str) -> str:
    """What a member means. Raises Undocumented."""
    own = model.model_fields[member].description
    if own and own not in OF_TYPES:
        return own
    for name in (f"{model.__name__}.{member}", member):
        if name in FAMILIAR:
            return FAMILIAR[name]
    raise Undocumented(f"{model.__name__}.{member} has no description.")


def docstring_of(model: type[BaseModel]) -> tuple[str, str | None]:
    """What an event means, and its key. Raises Undocumented."""
    text = model.__dict__.get("__doc__")
    if not text:
        raise Undocumented(f"{model.__name__} has no docstring.")
    key = re.search(r"\bKey: ([^.]+)\.", text)
    meaning = text.replace(key[0], "") if key else text
    return re.sub(r"\s+", " ", cleandoc(meaning)).strip(), key and key[1]


def key_of(model: type[Contract]) -> str:
    """What orders its events: those of one key keep their order. Raises Undocumented."""
    if model is Tick:
        return "none, it stands on every partition"
    if issubclass(model, Configuration):
        return f"`{model.KIND}/CODE`"
    key = docstring_of(model)[1]
    if key is None:
        raise Undocumented(f"The docstring of {model.__name__} does not name its key (`Key: …`).")
    return key


def example_of(model: type[BaseModel]) -> dict[str, Any]:
    """A payload that fits the model. Raises Undocumented."""
    members = model.model_json_schema().get("properties", {})
    return {name: _example(model, name, schema) for name, schema in members.items()}


def _example(model: type[BaseModel], name: str, schema: Mapping[str, Any]) -> Any:
    """Its own example, its default, or one by its type or name."""
    if "$ref" in str(schema):
        annotation: Any = model.model_fields[name].annotation
        inner = next((one for one in get_args(annotation) if one is not type(None)), None)
        many = schema.get("type") == "array"
        return [example_of(inner)] if many else example_of(inner or annotation)  # type: ignore[arg-type]
    if schema.get("examples"):
        return schema["examples"][0]
    for word in ("const", "default"):
        if schema.get(word) is not None:
            return schema[word]
    if "anyOf" in schema:
        return _example(model, name, schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "array":
        return [_example(model, name, schema["items"])] * schema.get("minItems", 1)
    if free_values(schema):
        return {"zh-CN" if name == "labels" else "material": _text(model, name)}
    return _by_type(model, name, schema)


def _by_type(model: type[BaseModel], name: str, schema: Mapping[str, Any]) -> Any:
    pattern = schema.get("pattern")
    for kind in (NAMED.get(pattern or "", pattern), schema.get("format"), schema.get("type")):
        if kind in EXAMPLES:
            return EXAMPLES[kind]
    return _text(model, name) if schema.get("type") == "string" else {}


def _text(model: type[BaseModel], name: str) -> str:
    for known in (f"{model.__name__}.{name}", name):
        if known in TEXTS:
            return TEXTS[known]
    raise Undocumented(f"{model.__name__}.{name} has no example: give it `examples`.")


def free_values(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an object with free names holds, where its schema says so."""
    free = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
    return next((one for one in free if isinstance(one, dict) and one), None)
