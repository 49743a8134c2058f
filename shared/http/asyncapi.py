"""AsyncAPI 3.1: what the services send and receive over Kafka, made from the contracts and the services' wiring."""

from collections.abc import Iterator, Sequence
from typing import Any

from shared.contracts.base import Configuration, Contract, Defined, PeriodClosed, Tick
from shared.contracts.catalogue import catalogue, docstring_of, example_of, key_of
from shared.contracts.intake import REJECTED, SOURCE_EVENTS, CloudEvent, EventRejected
from shared.contracts.schemas import Schema, component_schemas, reference
from shared.http.documentation import PROBLEM
from shared.service import Service
from shared.settings import Settings

JSON, STRUCTURED = "application/json", "application/cloudevents+json"
LARGEST = 10 * 1024 * 1024  # [bytes], as topics are made
BINDING = {"bindingVersion": "0.5.0"}
# Where ticks are put on every partition: a test compares this with the code that does it.
TICKED = frozenset({
    "metrics.source-events", "metrics.readings", "metrics.configuration", "goals.outcomes", "goals.configuration",
    "reviews.cases", "reviews.configuration", "incentives.configuration", "incentives.payouts",
})  # fmt: skip
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

# What each header means, and an example.
OF_RECORDS = {
    "content-type": ("Of the value.", JSON),
    "ce_specversion": ("Version of CloudEvents.", "1.0"),
    "ce_id": ("Unique: epoch, topic, partition and position.", "8c1f-goals.outcomes-2-417"),
    "ce_source": ("The service it comes from.", "/valueloop/goals"),
    "ce_type": ("Names the payload's schema.", "valueloop.goals.score-changed.v1"),
    "ce_time": ("When it was recorded (RFC 3339).", "2025-04-01T00:00:00+08:00"),
    "ce_company": ("The company it belongs to.", "acme"),
    "ce_epoch": ("The log in which positions were counted; after a restore or rebuild it is another.", "8c1f"),
    "ce_position": ("Its place in its partition, without gaps: what a reader has passed is a repetition.", "417"),
    "ce_copies": ("On how many partitions the same event stands: 1, or all of them for a tick.", "1"),
    "ce_subject": ("Its key within the company; a tick has none.", "goal/sales-east"),
    "traceparent": ("The trace it belongs to (W3C).", _TRACE),
}
OF_EVENTS = {
    "content-type": ("Of the value: JSON.", JSON),
    "ce_specversion": ("Version of CloudEvents.", "1.0"),
    "ce_id": ("Unique within its source.", "SO-1001/2"),
    "ce_source": ("The system it comes from.", "erp"),
    "ce_type": ("What happened; mappings go by it.", "sales-order"),
    "ce_company": ("Code of the company it belongs to.", "acme"),
    "ce_subject": ("What it is about: events of one keep their order.", "SO-1001"),
    "ce_time": ("When it happened (RFC 3339); without it the accept time counts.", "2025-03-14T10:15:00+08:00"),
    "ce_dataschema": ("URI of the schema of the data.", "urn:example:sales-order"),
    "traceparent": ("The trace it belongs to (W3C).", _TRACE),
}
_OPTIONAL = {"ce_subject", "ce_time", "ce_dataschema", "traceparent"}


def asyncapi(services: Sequence[Service], settings: Settings, version: str) -> dict[str, Any]:
    """The document of one service, or of several that make the loop: every topic they send to or receive from.

    Args:
        settings: how topics are called in Kafka, and how many partitions one has.
    """
    own = {topic: settings.partitions if many else 1 for each in services for topic, many in each.topics.items()}
    topics = {topic: events_of(topic) for topic in sorted({*own, *(t for each in services for t in each.inputs)})}
    models = {model for events in topics.values() for model in events}
    channels = {topic: _channel(settings, topic, _names(topics[topic]), own.get(topic)) for topic in topics}
    operations = dict(operation for each in services for operation in _operations(settings, each, topics))
    messages = {model.__name__: _message(model) for model in models}
    schemas = component_schemas([*models, Defined]) | {"RecordHeaders": _headers(OF_RECORDS, "ce_time")}
    if any(each.name == "metrics" for each in services):
        schemas |= component_schemas([CloudEvent, EventRejected])
        schemas |= {"EventHeaders": _headers(OF_EVENTS), "Problem": PROBLEM}
        messages |= (outside := _outside())
        for action, topic in (("receive", SOURCE_EVENTS), ("send", REJECTED)):
            names = [name for name in outside if (name == "EventRejected") is (topic == REJECTED)]
            channels[topic] = _channel(settings, topic, names, settings.partitions if topic == SOURCE_EVENTS else 1)
            operations |= [_operation(settings, "metrics", action, topic, names)]
    return {
        "asyncapi": "3.1.0",
        "info": _info(services, version),
        "defaultContentType": JSON,
        "servers": {"kafka": _server(settings)},
        "channels": channels,
        "operations": operations,
        "components": {"messages": dict(sorted(messages.items())), "schemas": dict(sorted(schemas.items()))},
    }


def events_of(topic: str) -> list[type[Contract]]:
    """What stands in a topic of ours; ticks pass through many, and each service says what it closed."""
    listed = (model for events in catalogue().values() for model in events if model not in (Tick, PeriodClosed))
    found = [model for model in listed if topic == model.TOPIC]
    closed = [PeriodClosed] if topic.endswith(".configuration") else []
    return [*found, *closed, *([Tick] if topic in TICKED else [])]


def _info(services: Sequence[Service], version: str) -> dict[str, Any]:
    return {
        "title": f"ValueLoop {services[0].name}" if len(services) == 1 else "ValueLoop",
        "version": version,
        "description": "Records of one company and key keep their order. A payload changes only by members that may be "
        "left out; anything else is a `v2` beside the `v1`. Amounts, readings and scores are decimal strings. Without "
        "Kafka the same records are read from the log tables in PostgreSQL.",
        "license": {"name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    }


def _server(settings: Settings) -> dict[str, Any]:
    # Whoever may read this document need not know where the brokers are.
    bootstrap = {"default": "localhost:9092", "description": "VALUELOOP_KAFKA_BOOTSTRAP"}
    protocol = "kafka" if settings.kafka_security == "PLAINTEXT" else "kafka-secure"
    return {"host": "{bootstrap}", "protocol": protocol, "variables": {"bootstrap": bootstrap}}


def _names(models: Sequence[type[Contract]]) -> list[str]:
    return [model.__name__ for model in models]


def _channel(settings: Settings, topic: str, messages: Sequence[str], partitions: int | None = None) -> dict[str, Any]:
    configuration = {
        "cleanup.policy": ["delete"],
        "retention.ms": settings.kafka_retention_days * 86_400_000,
        "max.message.bytes": LARGEST,
    }
    kafka: dict[str, Any] = {"topicConfiguration": configuration, **BINDING}
    return {
        "address": settings.kafka_prefix + topic,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": kafka | ({"partitions": partitions} if partitions else {})},
    }


def _operations(
    settings: Settings, service: Service, topics: dict[str, list[type[Contract]]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for topic in service.topics:
        yield _operation(settings, service.name, "send", topic, _names(topics[topic]))
    for topic in service.inputs:
        taken = {*service.handlers, *([Tick] if topic in (*service.tick_inputs, *service.close_inputs) else [])}
        if names := _names([model for model in topics[topic] if model in taken]):
            yield _operation(settings, service.name, "receive", topic, names)


def _operation(
    settings: Settings, service: str, action: str, topic: str, messages: Sequence[str]
) -> tuple[str, dict[str, Any]]:
    words = f"{action} {topic}".replace(".", " ").replace("-", " ").title().replace(" ", "")
    group = {"type": "string", "const": settings.kafka_prefix + service}
    bindings = {"bindings": {"kafka": {"groupId": group, **BINDING}}} if action == "receive" else {}
    return service + words, {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "tags": [{"name": service}],
        "messages": [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in messages],
        **bindings,
    }


def _message(model: type[Contract]) -> dict[str, Any]:
    owner = model.TYPE.split(".")[1] if model not in (Tick, PeriodClosed) else "metrics"
    payload, subject = _example(model)
    headers = {name: example for name, (_, example) in OF_RECORDS.items()}
    headers |= {"ce_type": model.TYPE, "ce_source": f"/valueloop/{owner}", "ce_subject": subject}
    if model is Tick:
        del headers["ce_subject"]
    key = f"The company, the character U+001F, and its key: {key_of(model)}."
    return {
        "name": model.TYPE,
        "title": model.__name__,
        "description": docstring_of(model)[0],
        "contentType": JSON,
        "headers": _all_of(reference("RecordHeaders"), {"properties": {"ce_type": {"const": model.TYPE}}}),
        "payload": _payload(model),
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, **BINDING}},
        "tags": [{"name": owner}],
        "examples": [{"headers": headers, "payload": payload}],
    }


def _payload(model: type[Contract]) -> Schema:
    content = reference(model.__name__)
    if not issubclass(model, Configuration):
        return content
    return _all_of(reference("Defined"), {"properties": {"content": content}})


def _example(model: type[Contract]) -> tuple[dict[str, Any], str]:
    """A payload, and the key it would have."""
    payload = example_of(model)
    if issubclass(model, Configuration):
        whole = example_of(Defined) | {"content": payload}
        return whole, f"{model.KIND}/{whole['code']}"
    return payload, "/".join(str(payload.get(part, part)) for part in key_of(model).split("/"))


def _outside() -> dict[str, dict[str, Any]]:
    example = CloudEvent.model_validate(example_of(CloudEvent))
    headers = {name: text for name, (_, text) in OF_EVENTS.items()}
    kind = {"content-type": {"type": "string", "const": STRUCTURED}}
    rejected = example_of(EventRejected) | {"problem": PROBLEM["examples"][0]}
    return {
        "EventBinary": {
            "summary": "A CloudEvent in binary mode: attributes and extensions as headers, data as value.",
            "contentType": JSON,
            "headers": reference("EventHeaders"),
            "payload": {"description": "What the event says: any JSON."},
            "examples": [{"headers": headers, "payload": example.data}],
        },
        "EventStructured": {
            "summary": "A CloudEvent in structured mode: all of it as value, with the extension `company`.",
            "contentType": STRUCTURED,
            "headers": {"type": "object", "required": ["content-type"], "properties": kind},
            "payload": reference("CloudEvent"),
            "examples": [{"headers": {"content-type": STRUCTURED}, "payload": example_of(CloudEvent)}],
        },
        "EventRejected": {
            "summary": docstring_of(EventRejected)[0],
            "contentType": JSON,
            "payload": _all_of(reference("EventRejected"), {"properties": {"problem": reference("Problem")}}),
            "examples": [{"payload": rejected}],
        },
    }


def _headers(meanings: dict[str, tuple[str, str]], *more: str) -> Schema:
    """The schema of some headers; `more` of them are required than usual."""
    return {
        "type": "object",
        "required": [name for name in meanings if name not in _OPTIONAL or name in more],
        "properties": {
            name: {"type": "string", "description": meaning, "examples": [example]}
            for name, (meaning, example) in meanings.items()
        },
    }


def _all_of(one: Schema, more: Schema) -> Schema:
    return {"type": "object", "allOf": [one, more]}
