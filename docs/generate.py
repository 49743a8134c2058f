"""Writes what is made from the contracts: the event catalogue, and the payloads that version 1 promises.

Run it with `make docs`. The output depends on the code alone; a test compares it with what is in the repository.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from docs.snapshots import snapshots
from shared.contracts.base import Configuration, Contract, Defined
from shared.contracts.catalogue import (
    NAMED,
    catalogue,
    docstring_of,
    example_of,
    free_values,
    key_of,
    meaning_of,
    parts,
    payloads,
)

DOCS = Path(__file__).parent


def type_of(schema: Mapping[str, Any]) -> str:
    """A schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(type_of(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {type_of(schema['items'])}"
    if schema.get("type") == "object":
        inner = free_values(schema)
        return f"object of {type_of(inner)}" if inner else "object"
    if pattern := schema.get("pattern"):
        return NAMED.get(pattern, f"text `{pattern}`")
    names = {"date-time": "instant", "date": "date", "string": "text", None: "any"}
    kind = schema.get("format") or schema.get("type")
    longest = f", at most {schema['maxLength']} characters" if "maxLength" in schema else ""
    return f"{names.get(kind, kind)}{longest}"


def events_page() -> str:
    """The event catalogue. Raises Undocumented."""
    lines = [_HEAD, *_members(Defined)]
    for service, models in catalogue().items():
        lines += [f"## {service}", ""]
        for model in models:
            lines += _event(model)
    lines += ["## Parts", "", "Objects inside events.", ""]
    for part in parts():
        lines += [f"### {part.__name__}", "", docstring_of(part)[0], "", *_members(part)]
    return "\n".join(lines).rstrip() + "\n"


_HEAD = """# Events

What the services publish, one section per service. Made from `shared/contracts` by `make docs`; do not edit.

An event is a record of a topic, with a position, a key, a type, a company and a payload in JSON. Records of one company
and key keep their order. A type ends in its version: a payload changes only by members that may be left out; anything
else is a `v2` beside the `v1`. Decimals are strings of plain digits, at most 18 before and 10 after the point. Instants
carry an offset.

A **setting** (type `…-defined`) is published whole, each time it is defined, in this envelope, its members below under
`content`. It is in force from `effective_from` until the next one with a later date.

`valueloop asyncapi` prints the same as AsyncAPI 3.1, with the topics and headers of the records in Kafka and the topic
by which ERP systems push events; a running service serves it at `/asyncapi.json`.
"""


def _event(model: type[Contract]) -> Iterator[str]:
    setting = "; a setting" if issubclass(model, Configuration) else ""
    yield from (f"### {model.__name__}", "", f"`{model.TYPE}`{setting}", "")
    yield from (f"Topic `{model.TOPIC}`. Key: {key_of(model)}.", "", docstring_of(model)[0], "")
    yield from _members(model)


def _members(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema()
    if not schema.get("properties"):
        return
    required, examples = set(schema.get("required", ())), example_of(model)
    yield from ("| member | type | | meaning | example |", "|---|---|---|---|---|")
    for name, member in schema["properties"].items():
        presence = "required" if name in required else _default(member)
        example = "see there" if "$ref" in str(member) else f"`{_json(examples[name])}`"
        cells = (f"`{name}`", type_of(member), presence, meaning_of(model, name), example)
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
    yield ""


def _default(member: Mapping[str, Any]) -> str:
    default = member.get("default")
    return "optional" if default is None else f"default `{_json(default)}`"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def files() -> dict[Path, str]:
    """Each generated file and what it should hold. Raises Undocumented, BreaksPromise."""
    return {DOCS / "events.md": events_page(), **snapshots(payloads())}


def main() -> None:
    """Writes the files."""
    for path, text in files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
