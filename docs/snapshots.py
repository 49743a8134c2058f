"""Events of version 1 as they were promised, kept in `tests/contracts/v1`, and what a change to one breaks.

A reader of an old record, and a reader elsewhere of a new one, both rely on them. So members may be added where they
may be left out; anything else is a `v2` beside the `v1`. Topic and key are promised with the payload: readers subscribe
to the one, and the other is what keeps order. A default is what old records without the member mean.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shared.contracts.base import Contract
from shared.contracts.catalogue import key_of

KEPT = Path(__file__).parents[1] / "tests" / "contracts" / "v1"
_WORDS = ("title", "description", "examples")  # say nothing about what is valid

_DEEPER = {"properties", "required", "items"}  # looked into, or judged by themselves


class BreaksPromise(Exception):
    """An event of version 1 was changed in a way that its readers cannot take."""


def promised(model: type[BaseModel]) -> dict[str, Any]:
    """Topic, key, and the payload's JSON Schema without its words, its parts written in place."""
    schema = model.model_json_schema()
    plain: dict[str, Any] = _plain(schema, schema.get("$defs", {}))
    place = {"topic": model.TOPIC, "key": key_of(model)} if issubclass(model, Contract) else {}
    return place | plain


def _plain(schema: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_plain(one, parts) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _plain(parts[schema["$ref"].rsplit("/", 1)[1]], parts)
    kept = {key: value for key, value in schema.items() if key not in _WORDS and key != "$defs"}
    members = kept.pop("properties", None)
    plain = {key: _plain(value, parts) for key, value in kept.items()}
    if members is not None:  # a member may itself be called `title`
        plain["properties"] = {name: _plain(member, parts) for name, member in members.items()}
    return plain


def broken(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """What a reader of `old` cannot take in `new`, each with the member's path."""
    before, now = old.get("properties", {}), new.get("properties", {})
    dot = f"{where}." if where else ""
    for name in before.keys() - now.keys():
        yield f"`{dot}{name}` was removed or renamed"
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"`{dot}{name}` is newly required"
    for name in sorted(now.keys() & set(old.get("required", ())) - set(new.get("required", ()))):
        yield f"`{dot}{name}` was always there and may now be left out"
    for name in before.keys() & now.keys():
        yield from broken(before[name], now[name], f"{dot}{name}")
    if "items" in old and "items" in new:
        yield from broken(old["items"], new["items"], f"{where}[]")
    choices = [schema.get("anyOf", []) for schema in (old, new)]
    alike = len(choices[0]) == len(choices[1])
    for one, other in zip(*choices, strict=True) if alike else ():
        yield from broken(one, other, where)
    for word in sorted((old.keys() | new.keys()) - _DEEPER - ({"anyOf"} if alike else set())):
        if old.get(word) != new.get(word):
            yield f"`{where or 'event'}` had the {word} {_json(old.get(word))} and has {_json(new.get(word))}"


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def kept() -> dict[str, dict[str, Any]]:
    """What was promised, by event type."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(KEPT.glob("*.json"))}


def check(name: str, old: Mapping[str, Any], model: type[BaseModel]) -> None:
    """Raises BreaksPromise with every member that broke it."""
    if faults := sorted(broken(old, promised(model))):
        raise BreaksPromise(
            f"{name} breaks its promise: {'; '.join(faults)}. "
            "Publish a v2 beside it, or let the member be as it was; new members must have a default."
        )


def snapshots(models: Mapping[str, type[BaseModel]]) -> dict[Path, str]:
    """The files to keep, for every event type. Raises BreaksPromise where one may not become as the code has it."""
    for name, old in kept().items():
        if name not in models:
            raise BreaksPromise(f"{name} was removed or renamed. Its old records are still read: keep its contract.")
        check(name, old, models[name])
    return {
        KEPT / f"{name}.json": json.dumps(promised(model), indent=1, sort_keys=True) + "\n"
        for name, model in models.items()
    }
