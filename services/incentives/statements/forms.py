"""A line as a form that many lines share, and the values of its own: what a million statements have in common is kept
once, and each is filled in as it was told, whatever the code would make of it now.

A form is the canonical JSON of a line in pieces: texts, and between them the places of own values, counted from 0.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from json.encoder import encode_basestring  # type: ignore[attr-defined]
from typing import Any

from ..entitlements.steps import WORDS, Program, text_of, words_of
from .rules import DRIVERS, Json, canonical

Form = Sequence[str | int]
Shape = tuple[Any, ...]
"""For each value given to a person: whether it has words, its citation's members, and which earlier one is equal."""
Name = tuple[str, str, str, str, int]
Versions = Mapping[Name, int]
"""Of the scores and readings that driver versions took in, by `name_of_cite`."""
_HOLE = re.compile(r'"\\u0000(\d+)"')  # a character that no text of the database can hold


def told(value: Any) -> str:
    """A value as canonical JSON."""
    if type(value) is int:
        return str(value)
    text: str = encode_basestring(value) if isinstance(value, str) else canonical(value)
    return text


class Holes:
    """Counts the places of own values while a form is written: each call is another."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> str:
        self.count += 1
        return f"\0{self.count - 1}"


def form_of(line: Json) -> Form:
    """The form of a line in which holes stand for own values."""
    return [int(piece) if place % 2 else piece for place, piece in enumerate(_HOLE.split(canonical(line)))]


def name_of(form: Form) -> str:
    """A form's id: its hash."""
    return sha256(told(form).encode()).hexdigest()[:32]


def filled(form: Form, own: Sequence[str]) -> str:
    """The line's JSON; `own` is JSON too."""
    return "".join([piece if isinstance(piece, str) else own[piece] for piece in form])


def whole(content: Json, forms: Mapping[str, Form]) -> Json:
    """A statement as it was told, from what is kept of it; a line whose form is lost or spoilt stays as it is."""
    return content | {"lines": [_whole(line, forms) for line in content["lines"]]}


def _whole(line: Json, forms: Mapping[str, Form]) -> Json:
    if "form" not in line:
        return line
    try:
        found: Json = json.loads(filled(forms[line["form"]], [told(value) for value in line["own"]]))
    except (LookupError, ValueError):
        return line
    return found


# --- a calculation: what of it is a person's own ---


@dataclass(frozen=True, slots=True)
class Own:
    """A version of an entitlement: its shape, its own values as JSON, and what these cite, with source versions."""

    shape: Shape
    texts: Sequence[str]
    cites: Sequence[Json]


def own_of(program: Program, given: Sequence[Any], versions: Versions) -> Own:
    """What is a person's own in a program that has just been run for them; `given` is of the entitlement's content."""
    source = iter(given)
    shape, texts, cites = list[Any](), list[str](), list[Json]()
    for step in program.own:
        value = program.values[f"@{step.id}"]
        texts.append(f'"{text_of(value)}"')
        if step.op != "given":
            texts += [told(words_of(step, value, program.values))] if step.op in WORDS else []
        elif isinstance(one := next(source), list):
            _, cite, how = one
            texts += [told(how)] if how else []
            known = with_source(cite, versions) if cite else None
            names = _names(known["what"], known["code"], known.get("period"), tuple(known)) if known else ()
            shape.append((bool(how), names, cites.index(known) if known in cites else None))
            if known:
                cites.append(known)
                texts += [told(known[name]) for name, same in names if same is None]
        else:
            shape.append(None)
    return Own(tuple(shape), texts, cites)


def with_source(cite: Json, versions: Versions) -> Json:
    """A citation of a driver with the version of the score or reading that it took in."""
    found = versions.get(name_of_cite(cite)) if cite["what"] in DRIVERS else None
    return cite if found is None else cite | {"source_version": found}


def name_of_cite(cite: Mapping[str, Any]) -> Name:
    return (cite["what"], cite["code"], cite.get("subject") or "", cite.get("period") or "", cite["version"])


@lru_cache(maxsize=4096)
def _names(what: str, code: str, period: str | None, members: tuple[str, ...]) -> tuple[tuple[str, str | None], ...]:
    """The members of a citation, with their values where everybody of a shape has the same."""
    same = {"what": what, "period": period} | ({"code": code} if what in DRIVERS else {})
    return tuple((name, same.get(name)) for name in sorted(members))


def marked(program: Program, shape: Shape, versions: Versions, hole: Holes) -> tuple[list[Json], list[Json]]:
    """Steps and inputs of a shape with holes for its own values, in the order of `own_of`."""
    source, steps, inputs = iter(shape), list[Json](), list[Json]()
    for step in program.steps:
        shown = step.as_json()
        cites = [with_source(cite, versions) for cite in shown.get("cites", ())]
        if step.own:
            shown["value"] = hole()
            if step.op != "given":
                shown["how"] = hole() if step.op in WORDS else shown["how"]
            else:
                shown["of"] = [shown["value"]]
                has_words, names, again = next(source) or (False, (), None)
                shown["how"] = hole() if has_words else shown["how"]
                cites = [{name: hole() if same is None else same for name, same in names}] if names else []
                shown |= {"cites": [_without_source(cite) for cite in cites]} if cites else {}
                cites = cites if again is None else []
        steps.append(shown)
        inputs += [cite for cite in cites if cite not in inputs]
    return steps, inputs


def _without_source(cite: Json) -> Json:
    return {name: value for name, value in cite.items() if name != "source_version"}
