"""What the services say about themselves in AsyncAPI 3.1, against its schema, the contracts and the code that sends."""

import ast
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jsonschema_rs
import pytest
from typer.testing import CliRunner

from services.cli_operate import app as operator
from services.metrics.events.cloudevents import LONGEST
from services.runtime import SERVICES, service_named
from shared.contracts.base import Tick
from shared.contracts.catalogue import catalogue
from shared.contracts.intake import REJECTED, SOURCE_EVENTS, CloudEvent
from shared.http.application import create_app, create_service_app
from shared.http.asyncapi import TICKED, asyncapi
from shared.identity import identity_of
from shared.log import Record, topics
from shared.log.forward import encode
from shared.service import Runtime
from shared.settings import Settings

SPECIFICATION = json.loads(Path(__file__).with_name("asyncapi-3.1.0.json").read_text(encoding="utf-8"))
VALID = jsonschema_rs.Draft7Validator(SPECIFICATION)
SETTINGS = Settings(kafka_prefix="test.", partitions=3)
WIRED = [service_named(name) for name in SERVICES]
WHOLE = asyncapi(WIRED, SETTINGS, "1.0")
DOCUMENTS = {"loop": WHOLE, **{each.name: asyncapi([each], SETTINGS, "1.0") for each in WIRED}}
MESSAGES: dict[str, Any] = WHOLE["components"]["messages"]
each_document = pytest.mark.parametrize("name", DOCUMENTS)
each_message = pytest.mark.parametrize("name", MESSAGES)


def validator(schema: Any) -> Any:
    """Of a schema inside the document."""
    return jsonschema_rs.Draft7Validator({"allOf": [schema], "components": WHOLE["components"]}, validate_formats=True)


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (value for key, value in part.items() if key == "$ref" and isinstance(value, str))
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from references(inner)


@each_document
def test_a_document_is_asyncapi_3_1_and_all_it_refers_to_is_there(name: str) -> None:
    VALID.validate(DOCUMENTS[name])
    for reference in references(DOCUMENTS[name]):
        found = DOCUMENTS[name]
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


def test_a_document_that_is_not_asyncapi_is_noticed() -> None:
    for fault in ({"asyncapi": "2.6.0"}, {"channels": {"a b": {"adress": "x"}}}, {"operations": {"x": {}}}):
        assert not VALID.is_valid(WHOLE | fault)
    wrong = json.loads(json.dumps(WHOLE))
    wrong["channels"]["goals.outcomes"]["bindings"]["kafka"]["partitions"] = "three"
    assert not VALID.is_valid(wrong)


def test_every_event_is_a_message_of_its_topic_and_the_services_that_handle_it_receive_it() -> None:
    for owner, events in catalogue().items():
        for event in events:
            assert MESSAGES[event.__name__]["name"] == event.TYPE
            assert event.__name__ in WHOLE["channels"][event.TOPIC]["messages"]
            senders = {owner} if event is not Tick else {"metrics"}
            assert taking("send", event.TOPIC, event.__name__) == senders
            handling = {each.name for each in WIRED if event in each.handlers}
            handling |= {each.name for each in WIRED if event is Tick and event.TOPIC in each.tick_inputs}
            assert taking("receive", event.TOPIC, event.__name__) == handling


def taking(action: str, topic: str, message: str) -> set[str]:
    """The services with an operation on that message."""
    return {
        operation["tags"][0]["name"]
        for operation in WHOLE["operations"].values()
        if operation["action"] == action and {"$ref": f"#/channels/{topic}/messages/{message}"} in operation["messages"]
    }


def test_ticks_are_documented_where_the_code_puts_them() -> None:
    found = set()
    for path in Path("services").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "publish_everywhere":
                (topic,) = (each.value for each in call.keywords if each.arg == "topic")
                names = vars(import_module(".".join(path.with_suffix("").parts)))
                found.add(eval(compile(ast.Expression(topic), str(path), "eval"), names))
    assert found == TICKED


def test_channels_are_addressed_and_divided_as_the_settings_say() -> None:
    outcomes, settings = WHOLE["channels"]["goals.outcomes"], WHOLE["channels"]["goals.configuration"]
    assert outcomes["address"] == "test.goals.outcomes" and outcomes["bindings"]["kafka"]["partitions"] == 3
    assert settings["bindings"]["kafka"]["partitions"] == 1
    assert WHOLE["channels"][SOURCE_EVENTS]["address"] == "test.source-events"
    assert (SOURCE_EVENTS, REJECTED) == (topics.SOURCE_EVENTS, topics.REJECTED)
    cluster: Any = SimpleNamespace(settings=SETTINGS)  # of which only the settings are read
    made = topics.desired_configuration(cluster)
    for channel in WHOLE["channels"].values():
        said = channel["bindings"]["kafka"]["topicConfiguration"]
        assert [made[name] for name in ("retention.ms", "max.message.bytes")] == [
            str(said[name]) for name in ("retention.ms", "max.message.bytes")
        ]
        assert [made["cleanup.policy"]] == said["cleanup.policy"]


@each_message
def test_an_example_fits_the_schemas_of_its_message(name: str) -> None:
    (example,) = MESSAGES[name]["examples"]
    validator(MESSAGES[name]["payload"]).validate(example["payload"])
    if "headers" in MESSAGES[name]:
        validator(MESSAGES[name]["headers"]).validate(example["headers"])


@pytest.mark.parametrize("event", [event for events in catalogue().values() for event in events])
def test_headers_are_those_that_a_forwarder_sends(event: Any) -> None:
    key = "" if event is Tick else "key"
    record = Record(event.TOPIC, 0, 7, key, event.TYPE, "acme", "{}", None, datetime.now(UTC), epoch="e")
    _, _, headers = encode(record, "goals")
    sent = {name: value.decode() for name, value in headers}
    schema = validator(MESSAGES[event.__name__]["headers"])
    schema.validate(sent)
    assert set(sent) <= set(WHOLE["components"]["schemas"]["RecordHeaders"]["properties"])
    assert not schema.is_valid(sent | {"ce_type": "another"})
    for name in set(sent) - {"ce_subject", "traceparent"}:
        assert not schema.is_valid({each: value for each, value in sent.items() if each != name})


def test_a_decimal_has_one_schema_and_a_number_in_its_place_is_refused() -> None:
    pattern = WHOLE["components"]["schemas"]["Decimal"]["pattern"]
    assert json.dumps(WHOLE).count(json.dumps(pattern)) == 1
    payload = MESSAGES["ScoreChanged"]["examples"][0]["payload"]
    schema = validator(MESSAGES["ScoreChanged"]["payload"])
    schema.validate(payload | {"score": "98.5"})
    assert not schema.is_valid(payload | {"score": 98.5})


def test_every_member_says_what_it_means() -> None:
    for name, schema in WHOLE["components"]["schemas"].items():
        for member, found in schema.get("properties", {}).items():
            assert name == "Problem" or found.get("description"), f"{name}.{member}"


def test_attributes_of_events_are_as_long_as_the_intake_takes_them() -> None:
    schema = WHOLE["components"]["schemas"]["CloudEvent"]["properties"]
    assert {name: _longest(member) for name, member in schema.items() if _longest(member)} == LONGEST
    with pytest.raises(ValueError, match="id"):
        CloudEvent(specversion="1.0", id="", source="erp", type="t")


def _longest(member: Any) -> int | None:
    longest: int | None = member.get("maxLength") or member.get("anyOf", [{}])[0].get("maxLength")
    return longest


async def test_it_is_served_for_all_services_of_a_process_and_for_each() -> None:
    runtimes = {each.name: Runtime(each, None, SETTINGS) for each in WIRED}  # type: ignore[arg-type]
    app = create_app(runtimes, SETTINGS, identity_of(SETTINGS))
    async with _client(app) as client:
        index = (await client.get("/")).json()
        assert (await client.get(index["asyncapi"])).json()["channels"] == WHOLE["channels"]
        for name in SERVICES:
            found = (await client.get(index["services"][name]["asyncapi"])).json()
            assert found["operations"] == DOCUMENTS[name]["operations"]
    alone = create_service_app(runtimes["reviews"], SETTINGS, identity_of(SETTINGS))
    async with _client(alone) as client:
        assert (await client.get("/asyncapi.json")).json()["info"]["title"] == "ValueLoop reviews"


def _client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


def test_the_command_prints_it_without_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUELOOP_KAFKA_PREFIX", "test.")
    monkeypatch.setenv("VALUELOOP_PARTITIONS", "3")
    for arguments, document in ((["goals"], DOCUMENTS["goals"]), ([], WHOLE)):
        printed = json.loads(CliRunner().invoke(operator, ["asyncapi", *arguments]).stdout)
        assert printed | {"info": {}} == document | {"info": {}}
