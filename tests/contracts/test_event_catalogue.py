"""Events are documented member by member, and what version 1 promises stays."""

import re
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from pydantic import BaseModel, Field

from docs.generate import (
    Undocumented,
    catalogue,
    docstring_of,
    events_page,
    example_of,
    files,
    key_of,
    meaning_of,
    parts,
    payloads,
)
from docs.snapshots import BreaksPromise, broken, check, kept, promised
from shared.contracts.base import Contract

EVENTS = [model for models in catalogue().values() for model in models]
MODELS = [*EVENTS, *parts()]


@pytest.mark.parametrize("path", files(), ids=lambda path: path.name)
def test_generated_files_are_as_the_code_makes_them(path: Any) -> None:
    assert path.exists() and path.read_text(encoding="utf-8") == files()[path], f"{path} is old: run `make docs`"


def test_no_two_events_share_a_type() -> None:
    twins = [name for name, times in Counter(model.TYPE for model in EVENTS).items() if times > 1]
    assert not twins


def test_every_contract_stands_in_its_services_list_of_events() -> None:
    listed, declared = {*MODELS}, _declared(Contract)
    assert not {model.__name__ for model in declared if "TYPE" in vars(model)} - {model.__name__ for model in listed}


def _declared(kind: type[Contract]) -> set[type[Contract]]:
    own = {one for one in kind.__subclasses__() if one.__module__.startswith("shared.contracts")}
    return own.union(*(_declared(one) for one in own))


@pytest.mark.parametrize("model", EVENTS, ids=lambda model: model.__name__)
def test_an_event_says_what_it_means_where_it_goes_and_what_orders_it(model: type[Contract]) -> None:
    meaning, _ = docstring_of(model)
    assert meaning.endswith(".") and key_of(model)
    assert model.TYPE.startswith("valueloop.") and model.TYPE.endswith(".v1")
    assert model.TOPIC.split(".")[0] in catalogue()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_member_has_a_meaning_and_an_example_that_fits(model: type[BaseModel]) -> None:
    assert all(meaning_of(model, member) for member in model.model_fields)
    model.model_validate(example_of(model))


def test_a_member_or_an_event_without_words_is_noticed() -> None:
    class Silent(Contract):
        strength: int

    with pytest.raises(Undocumented, match=r"Silent\.strength"):
        meaning_of(Silent, "strength")
    with pytest.raises(Undocumented, match=r"Silent has no docstring"):
        docstring_of(Silent)


def test_the_catalogue_names_every_type_and_topic() -> None:
    page = events_page()
    assert not [model.TYPE for model in EVENTS if f"`{model.TYPE}`" not in page or f"`{model.TOPIC}`" not in page]


@pytest.mark.parametrize("name", kept())
def test_a_payload_of_version_1_keeps_its_promise(name: str) -> None:
    assert name in payloads(), f"{name} was removed or renamed; its old records are still read"
    check(name, kept()[name], payloads()[name])


# --- the check itself ---


class Line(BaseModel):
    weight: str
    note: str | None = None


class Example(BaseModel):
    goal: str = Field(max_length=80)
    value: str | None = None
    lines: list[Line] = []


BREAKS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "removed": (lambda s: s["properties"].pop("value"), "`value` was removed"),
    "renamed": (lambda s: s["properties"].update(aim=s["properties"].pop("goal")), "`goal` was removed or renamed"),
    "retyped": (lambda s: s["properties"]["goal"].update(type="integer"), '`goal` had the type .*"string".*"integer"'),
    "narrowed": (lambda s: s["properties"]["goal"].update(maxLength=8), "`goal` had the type"),
    "no longer null": (lambda s: s["properties"].update(value={"type": "string"}), "`value` had the type"),
    "newly required": (lambda s: s["required"].append("value"), "`value` is newly required"),
    "in a part": (
        lambda s: s["properties"]["lines"]["items"]["properties"].pop("note"),
        r"`lines\[\].note` was removed",
    ),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_change_that_readers_cannot_take_is_named_with_its_member(how: str) -> None:
    change, message = BREAKS[how]
    old, new = promised(Example), deepcopy(promised(Example))
    change(new)
    assert list(broken(old, old)) == []
    assert re.search(message, "; ".join(broken(old, new)))


def test_a_new_member_that_may_be_left_out_is_allowed_but_the_file_is_then_old() -> None:
    class More(Example):
        remark: str | None = None

    check("example.v1", promised(Example), More)
    assert promised(More) != promised(Example)


def test_a_required_new_member_is_refused_with_the_event_and_the_remedy() -> None:
    class More(Example):
        remark: str

    with pytest.raises(BreaksPromise, match=r"example.v1 breaks its promise: `remark` is newly required.*v2"):
        check("example.v1", promised(Example), More)
