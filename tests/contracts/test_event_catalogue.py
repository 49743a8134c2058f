"""Events are documented member by member, and what version 1 promises stays."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from docs.generate import events_page, files
from docs.snapshots import BreaksPromise, broken, check, kept, promised, snapshots
from shared.contracts.base import Contract
from shared.contracts.catalogue import (
    Undocumented,
    catalogue,
    docstring_of,
    example_of,
    key_of,
    meaning_of,
    parts,
    payloads,
)
from shared.contracts.intake import EventRejected

EVENTS = [model for models in catalogue().values() for model in models]
MODELS = [*EVENTS, *parts()]


@pytest.mark.parametrize(("path", "text"), files().items(), ids=lambda part: getattr(part, "name", ""))
def test_generated_files_are_as_the_code_makes_them(path: Path, text: str) -> None:
    assert path.exists() and path.read_text(encoding="utf-8") == text, f"{path} is old: run `make docs`"


def test_no_two_events_share_a_type() -> None:
    twins = [name for name, times in Counter(model.TYPE for model in EVENTS).items() if times > 1]
    assert not twins


def test_every_contract_stands_in_its_services_list_of_events() -> None:
    listed, declared = {*MODELS, EventRejected}, _declared(Contract)  # that one is a receipt for senders
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


class Example(Contract):
    """An example. Key: goal."""

    TYPE: ClassVar[str] = "valueloop.goals.example.v1"
    TOPIC: ClassVar[str] = "goals.examples"
    goal: str = Field(max_length=80)
    kind: Literal["goal", "scorecard"]
    value: str | None = None
    share: str = "1"
    lines: list[Line] = []


def changed(**members: Any) -> type[Contract]:
    """The example with these members as (type, default), and without those given as None."""
    fields = {name: (field.annotation, field) for name, field in Example.model_fields.items()} | members
    present: dict[str, Any] = {name: field for name, field in fields.items() if field}
    model = create_model("Example", __base__=Contract, __doc__=Example.__doc__, **present)
    model.TYPE, model.TOPIC = Example.TYPE, Example.TOPIC
    return model


class LineWithoutNote(BaseModel):
    weight: str


BREAKS: dict[str, tuple[dict[str, Any], str]] = {
    "removed": ({"value": None}, "`value` was removed"),
    "renamed": ({"goal": None, "aim": (str, ...)}, "`aim` is newly required; `goal` was removed or renamed"),
    "another type": ({"goal": (int, ...)}, '`goal` had the type "string" and has "integer"'),
    "shorter": ({"goal": (str, Field(max_length=8))}, "`goal` had the maxLength 80 and has 8"),
    "fewer choices": ({"kind": (Literal["goal"], ...)}, r"`kind` had the enum \[\"goal\", \"scorecard\"\]"),
    "another choice": ({"kind": (Literal["goal", "scorecard", "team"], ...)}, '`kind` had the enum .* has .*"team"'),
    "no longer null": ({"value": (str, "")}, "`value` had the anyOf"),
    "newly required": ({"remark": (str, ...)}, "`remark` is newly required"),
    "no longer optional": ({"value": (str | None, ...)}, "`value` is newly required"),
    "no longer always there": ({"goal": (str, Field(max_length=80, default="x"))}, "`goal` .* may now be left out"),
    "another default": ({"share": (str, "0.5")}, '`share` had the default "1" and has "0.5"'),
    "in a part": ({"lines": (list[LineWithoutNote], [])}, r"`lines\[\].note` was removed"),
}


@pytest.mark.parametrize("how", BREAKS)
def test_a_change_that_readers_cannot_take_is_refused_with_its_member_and_the_remedy(how: str) -> None:
    members, message = BREAKS[how]
    assert list(broken(promised(Example), promised(changed()))) == []
    with pytest.raises(BreaksPromise, match=f"example.v1 breaks its promise: .*{message}.*v2"):
        check("example.v1", promised(Example), changed(**members))


def test_a_new_member_that_may_be_left_out_is_allowed_but_the_file_is_then_old() -> None:
    more = changed(remark=(str | None, None))
    check("example.v1", promised(Example), more)
    assert promised(more) != promised(Example)


def test_another_topic_or_key_is_refused_as_readers_and_the_order_hang_on_them() -> None:
    class Moved(Example):
        """An example. Key: kind/goal."""

        TOPIC = "goals.elsewhere"

    with pytest.raises(BreaksPromise, match=r'had the key "goal" .*; `event` had the topic "goals.examples" and has'):
        check("example.v1", promised(Example), Moved)


def test_another_type_is_refused_as_old_records_carry_the_one_before() -> None:
    name, *_ = kept()
    renamed = {f"{kind}.new" if kind == name else kind: model for kind, model in payloads().items()}
    with pytest.raises(BreaksPromise, match=f"{name} was removed or renamed"):
        snapshots(renamed)
    assert snapshots(payloads())


@pytest.mark.parametrize("name", kept())
def test_every_member_that_is_promised_is_guarded(name: str) -> None:
    for where, cut in _without_each_member(kept()[name]):
        assert f"`{where}` was removed or renamed" in list(broken(kept()[name], cut))


def _without_each_member(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for member in schema.get("properties", {}):
        cut = deepcopy(schema)
        del cut["properties"][member]
        cut["required"] = [one for one in cut.get("required", ()) if one != member]
        yield member, cut
