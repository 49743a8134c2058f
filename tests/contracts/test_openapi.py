"""What the services say about themselves in OpenAPI 3.1, and that no request, valid or not, makes one of them fail."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import requests
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.runtime import SERVICES, service_named
from shared.http.application import create_app, create_service_app
from shared.identity import LocalIssuer, identity_of
from shared.log.worker import run_workers
from shared.service import Runtime
from shared.settings import Settings

METHODS = ("get", "put", "post", "patch", "delete")
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance, negative_data_rejection,
]  # fmt: skip
# A bad event has a receipt that says so, and does not touch the others of its request.
# A list over the limit of 5,000 is announced by the tool but not sent; a test of its own sends one.
PARDONED = {
    "POST /v1/events": [negative_data_rejection],
    "PUT /v1/assignments": [negative_data_rejection],
}
VALID, KNOWN, INVALID = 5, 3, 4  # requests an operation gets: any valid ones, ones about what exists, invalid ones


def document(name: str) -> dict[str, Any]:
    values = Settings()
    runtime = Runtime(service_named(name), None, values)  # type: ignore[arg-type]  # a document needs no database
    return create_service_app(runtime, values, identity_of(values)).openapi()


DOCUMENTS = {name: document(name) for name in SERVICES}
OPERATIONS = {
    f"{method.upper()} /{service}{path}": operation
    for service, found in DOCUMENTS.items()
    for path, item in found["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}
each_operation = pytest.mark.parametrize("name", OPERATIONS)
# An event's example belongs to the event, a document of Frappe is the sender's own.
WITHOUT = {"POST /metrics/v1/events", "POST /metrics/v1/sources/{code}/frappe"}
each_body = pytest.mark.parametrize(
    "name", [name for name, operation in OPERATIONS.items() if "requestBody" in operation and name not in WITHOUT]
)
each_service = pytest.mark.parametrize("service", SERVICES)


@each_service
def test_the_document_is_openapi_3_1(service: str) -> None:
    assert DOCUMENTS[service]["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(DOCUMENTS[service]).validate()


@each_operation
def test_an_operation_has_an_id_a_tag_a_summary_and_describes_its_answer(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["operationId"] and operation["summary"] and operation["tags"]
    assert any(status.startswith("2") for status in operation["responses"])


@each_operation
def test_an_operation_documents_the_problems_it_can_answer(name: str) -> None:
    operation = OPERATIONS[name]
    wanted = {"400", "404", "422", "429", "503"}
    wanted |= {"401", "403"} if operation.get("security") else set()
    wanted |= {"413", "415"} if "requestBody" in operation else set()
    assert wanted <= operation["responses"].keys()
    references = {operation["responses"][status].get("$ref") for status in wanted}
    assert references == {f"#/components/responses/Problem{status}" for status in wanted}


@each_body
def test_a_body_has_an_example_that_fits_its_schema(name: str) -> None:
    schemas = {"components": DOCUMENTS[name.split("/")[1]]["components"]}
    for kind, content in OPERATIONS[name]["requestBody"]["content"].items():
        examples = (
            [content["example"]] if "example" in content else _resolved(content["schema"], schemas).get("examples")
        )
        assert examples, f"{name} shows no example of {kind}"
        check = jsonschema_rs.Draft202012Validator(content["schema"] | schemas, validate_formats=True)
        for example in examples:
            check.validate(example)


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schemas["components"]["schemas"].get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
    return found


def test_only_what_carries_its_own_signature_needs_no_token() -> None:
    assert [name for name, operation in OPERATIONS.items() if not operation.get("security")] == [
        "POST /metrics/v1/sources/{code}/frappe"
    ]


# --- requests ---

SEEDS: dict[str, dict[str, dict[str, Any]]] = {
    "goals": {
        "companies/company": {"name": "A", "currency": "CNY", "time_zone": "Asia/Shanghai"},
        "units/known": {"name": "Known", "kind": "company"},
        "people/known": {"name": "Known", "unit": "known"},
        "goals/known": {
            "name": "Known", "owner_unit": "known", "period": "quarter", "starts": "2025-01-01", "status": "active",
        },
        "goals/known/targets": {"value": "100", "direction": "higher"},
        "scorecards/known": {
            "name": "Known", "owner_unit": "known", "period": "quarter",
            "lines": [{"goal": "known", "weight": "1", "perspective": "financial"}],
        },
    },
    "metrics": {
        "sources/known": {"name": "Known", "uri": "urn:known"},
        "metrics/known": {"name": "Known", "unit": "pcs"},
        "nodes/known": {"name": "Known", "subject": "unit:known", "output": "known"},
        "mappings/known": {
            "name": "Known", "event_type": "known",
            "observations": [{"metric": "known", "value": "number(data.value)", "subject": "data.subject"}],
        },
    },
    "incentives": {
        "plans/known": {
            "name": "Known", "period": "quarter", "currency": "CNY",
            "components": [{
                "code": "known", "name": "Known", "weight": "1", "driver": {"kind": "goal", "code": "known"},
                "curve": {"kind": "linear", "slope": "0.01"},
            }],
        },
        "assignments/known": {"person": "known", "plan": "known", "amount": "1000", "starts": "2025-01-01"},
    },
    "reviews": {},
}  # fmt: skip


@contextmanager
def served(runtimes: dict[str, Runtime], directory: Path) -> Iterator[tuple[str, str]]:
    """The address of the application in this process, and an administrator's token."""
    values = Settings(data_directory=directory, settable_clock=True)
    issuer = LocalIssuer(directory, values.issuer, values.audience)
    server = uvicorn.Server(
        uvicorn.Config(create_app(runtimes, values, identity_of(values)), log_level="critical", access_log=False)
    )
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    stop = threading.Event()
    worker = threading.Thread(target=run_workers, args=(runtimes, stop))
    thread.start()
    worker.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", issuer.issue("tester", "a", ["admin"])
    finally:
        server.should_exit = True
        stop.set()
        thread.join(30)
        worker.join(30)


@pytest.mark.slow
@each_service
def test_no_request_makes_a_service_fail_or_answer_what_it_does_not_document(
    service: str, runtimes: Callable[..., dict[str, Runtime]], tmp_path: Path
) -> None:
    with served(runtimes(*SERVICES), tmp_path) as (address, token), requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {token}"
        for path, body in SEEDS[service].items():
            url = f"{address}/{service}/v1/{path}"
            answer = httpx.put(url, json=body, headers={"authorization": f"Bearer {token}"}, trust_env=False)
            assert answer.is_success, answer.text
        schema = schemathesis.openapi.from_dict(DOCUMENTS[service])
        faults = [
            fault
            for found in schema.get_all_operations()
            for fault in _explore(found.ok(), f"{address}/{service}", session)
        ]
    assert not faults, "\n\n".join(faults)


def _explore(operation: Any, base: str, session: requests.Session) -> Iterator[str]:
    known = {"path_parameters": {"code": "known"}} if "{code}" in operation.path else {}
    kinds = [(GenerationMode.POSITIVE, {}, VALID), (GenerationMode.NEGATIVE, {}, INVALID)]
    kinds += [(GenerationMode.POSITIVE, known, KNOWN)] if known else []
    for mode, fixed, times in kinds:

        @settings(
            max_examples=times, derandomize=True, database=None, deadline=None,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(mode, **fixed))
        def explore(case: Any) -> None:
            answer = case.call(base_url=base, session=session)
            # A preview says so where workers have not applied yet what it starts from.
            behind = [not_a_server_error] if answer.status_code == 503 else []
            pardoned = PARDONED.get(operation.label, []) + behind
            case.validate_response(answer, checks=CHECKS, excluded_checks=pardoned)

        try:
            explore()
        except (Exception, FailureGroup) as error:
            yield f"{operation.label}, {mode.value}: {_words(error)}"


def _words(error: BaseException) -> str:
    return "\n".join(str(one) for one in error.exceptions) if isinstance(error, FailureGroup) else repr(error)
