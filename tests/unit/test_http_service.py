"""What every operation of every service does, on a sample service and a real database."""

import asyncio
import json
import signal
import tempfile
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine, text

from services.processes import DrainingServer
from shared.database.provision import engine_for
from shared.http.routing import Router
from shared.identity import Identity, JwksFile
from shared.service import Runtime
from shared.telemetry import Telemetry, configure_logging
from tests.unit.http_sample import House, database, house
from tests.unit.test_http_json import HOSTILE

MIB = 1024 * 1024
NOTES = "/metrics/v1/notes"
PAYMENTS = "/metrics/v1/payments"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as directory, database(Path(directory)) as engine:
        yield engine


@pytest.fixture(autouse=True)
def quiet() -> Iterator[Any]:
    configure_logging("debug", json=True)  # whatever a test before set
    with structlog.testing.capture_logs() as lines:
        yield lines


@pytest.fixture
def home(engine: Engine, tmp_path: Path) -> House:
    return house(engine, tmp_path)


@pytest.fixture
async def client(home: House) -> AsyncIterator[httpx.AsyncClient]:
    async with home.client() as client:
        yield client


def note(code: str = "a", words: str = "hello") -> dict[str, Any]:
    return {"code": code, "text": words}


def assert_problem(response: httpx.Response, status: int, kind: str | None = None) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["status"] == status and document["title"] and document["detail"]
    assert document["instance"] == response.headers["x-request-id"]
    assert kind is None or document["type"] == f"urn:valueloop:problem:{kind}"
    return document


# --- the transaction ---


async def test_what_is_answered_is_committed(home: House, client: httpx.AsyncClient) -> None:
    assert (await client.post(NOTES, json=note())).status_code == 201
    assert home.count() == 1
    assert (await client.get(f"{NOTES}/a")).json()["text"] == "hello"


@pytest.mark.parametrize("path, status", [(NOTES, 422), ("/metrics/v1/refused-notes", 409)])
async def test_what_is_refused_leaves_nothing(home: House, client: httpx.AsyncClient, path: str, status: int) -> None:
    assert (await client.post(path, json=note(words="sad"))).status_code == status
    assert home.count() == 0


async def test_a_get_cannot_write(home: House, client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/metrics/v1/writing-reader"), 500)
    assert home.count() == 0


async def test_many_more_requests_than_connections_all_succeed(home: House, client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post(NOTES, json=note(f"n{i}")) for i in range(100)))
    assert {answer.status_code for answer in answers} == {201} and home.count() == 100


async def test_requests_that_wait_for_a_lock_do_not_starve_the_one_that_holds_it(client: httpx.AsyncClient) -> None:
    """Every waiting request keeps a thread; the holder needs another one to commit."""
    answers = await asyncio.gather(*(client.post("/metrics/v1/locks") for _ in range(80)))
    changes = sorted(answer.json()["change"] for answer in answers)
    assert changes == list(range(changes[0], changes[0] + 80))


# --- who may ---


async def test_without_a_token_nothing_is_said_about_the_body(home: House) -> None:
    transport = httpx.ASGITransport(app=home.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as nobody:
        answer = await nobody.post(NOTES, content=b"{")
        assert_problem(answer, 401, "token-missing")
        assert answer.headers["www-authenticate"] == "Bearer"
        answer = await nobody.get(NOTES, headers={"Authorization": "Bearer x.y.z"})
        assert_problem(answer, 401, "token-refused")
        assert "invalid_token" in answer.headers["www-authenticate"]
        assert (await nobody.post("/metrics/v1/sources/erp/frappe", content=b"{}")).status_code == 202


async def test_a_role_is_needed_and_admin_always_passes(home: House) -> None:
    async with home.client("employee") as employee:
        assert "strategist" in assert_problem(await employee.post(NOTES, json=note()), 403)["detail"]
    async with home.client("admin") as admin:
        assert (await admin.post(NOTES, json=note())).status_code == 201


async def test_a_source_pushes_events_and_reads_nothing(home: House) -> None:
    async with home.client("source", subject="erp") as source:
        assert_problem(await source.get(NOTES), 403, "source-may-only-push")
        assert (await source.post("/metrics/v1/events", content=b"{}")).status_code == 202


# --- bad input ---


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_json_is_a_problem_and_never_a_fault(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(NOTES, content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "malformed-json")
    inside = b'{"code": "a", "text": "t", "lines": [{"x": ' + body + b"}]}"
    answer = await client.post(NOTES, content=inside, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "malformed-json")


@pytest.mark.parametrize("body", [b"", b"null"])
async def test_an_empty_body_breaks_a_rule(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post(NOTES, content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, "request-not-valid")


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/xml", "text/json", "application/x-www-form-urlencoded"]
)
async def test_a_body_of_another_kind_is_refused(client: httpx.AsyncClient, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    assert_problem(await client.post(NOTES, content=json.dumps(note()), headers=headers), 415, "not-json")


async def test_json_by_another_name_is_taken(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/vnd.x+json; charset=utf-8"}
    assert (await client.post(NOTES, content=json.dumps(note()), headers=headers)).status_code == 201


async def test_every_fault_is_listed_with_its_path(client: httpx.AsyncClient) -> None:
    answer = await client.post(NOTES, json={"code": 7, "amount": "1e5", "lines": [1], "spare": True})
    document = assert_problem(answer, 422, "request-not-valid")
    found = {fault["field"]: fault for fault in document["errors"]}
    assert set(found) == {"code", "text", "amount", "lines.0", "spare"}
    assert found["text"]["remedy"] == "Add it." and found["spare"]["remedy"] == "Leave it out."
    assert all(fault["in"] == "body" and fault["rule"] for fault in found.values())


@pytest.mark.parametrize(
    "address", ["/metrics/v1/notes/a%00b", "/metrics/v1/notes?cursor=%00", "/metrics/v1/notes?x=%00"]
)
async def test_nul_in_an_address_never_reaches_the_database(client: httpx.AsyncClient, address: str) -> None:
    assert_problem(await client.get(address), 400, "malformed-address")


async def test_wrong_addresses_and_methods_are_problems(client: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/metrics/v1/nothing", "/metrics/v1/notes/", "/metricsx"):
        assert_problem(await client.get(path), 404, "not-found")
    answer = await client.request("TRACE", NOTES)
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, POST"
    assert (await client.post("/livez")).headers["allow"] == "GET, HEAD"


async def test_a_fault_of_ours_says_nothing_of_the_house(client: httpx.AsyncClient, quiet: Any) -> None:
    answer = await client.get("/metrics/v1/fault", headers={"X-Request-Id": "mine-1"})
    assert_problem(answer, 500, "internal-error")
    assert "secret" not in answer.text and answer.headers["x-request-id"] == "mine-1"
    assert [line["event"] for line in quiet if line["log_level"] == "error"] == ["request_failed"]


# --- lists and conditions ---


async def test_pages_follow_one_another_without_gap_or_overlap(client: httpx.AsyncClient) -> None:
    for i in range(7):
        await client.post(NOTES, json=note(f"n{i}"))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = (await client.get(NOTES, params={"limit": 3, **({"cursor": cursor} if cursor else {})})).json()
        seen += [item["code"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert seen == [f"n{i}" for i in range(7)] and cursor is None


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 201}, {"limit": "9" * 400}, {"cursor": "eyJ"}, {"cursor": ""}]
)
async def test_bad_paging_is_refused(client: httpx.AsyncClient, params: Any) -> None:
    assert_problem(await client.get(NOTES, params=params), 422)


async def test_a_change_from_an_old_version_is_refused(client: httpx.AsyncClient) -> None:
    first = await client.put(f"{NOTES}/a", json=note())
    assert first.headers["etag"] == '"1"'
    headers = {"If-Match": first.headers["etag"]}
    assert (await client.put(f"{NOTES}/a", json=note(), headers=headers)).headers["etag"] == '"2"'
    assert_problem(await client.put(f"{NOTES}/a", json=note(), headers=headers), 412, "changed-since-read")
    assert_problem(await client.put(f"{NOTES}/a", json=note(), headers={"If-Match": "2"}), 400, "malformed-if-match")
    assert_problem(await client.put(f"{NOTES}/b", json=note("b"), headers={"If-Match": "*"}), 412)


# --- idempotency ---


def key(value: str = "k-1") -> dict[str, str]:
    return {"Idempotency-Key": value}


async def test_a_payment_needs_a_key(home: House, client: httpx.AsyncClient) -> None:
    assert_problem(await client.post(PAYMENTS, json=note()), 400, "idempotency-key-missing")
    assert home.count() == 0


@pytest.mark.parametrize("bad", ["", " ", "a b", "x" * 256, "é".encode()], ids=repr)
async def test_a_key_is_short_visible_ascii(client: httpx.AsyncClient, bad: Any) -> None:
    answer = await client.post(PAYMENTS, json=note(), headers={"Idempotency-Key": bad})
    assert_problem(answer, 400, "idempotency-key-malformed")


async def test_the_same_request_gets_the_same_bytes_and_has_one_effect(home: House, client: httpx.AsyncClient) -> None:
    first = await client.post(PAYMENTS, json=note(), headers=key())
    again = await client.post(PAYMENTS, json=note(), headers=key())
    assert first.status_code == again.status_code == 201 and first.content == again.content
    assert "idempotency-replayed" not in first.headers and again.headers["idempotency-replayed"] == "true"
    assert first.headers["x-request-id"] != again.headers["x-request-id"]
    assert home.sample.effects == 1 and home.count() == 1


async def test_a_key_is_for_one_request(client: httpx.AsyncClient) -> None:
    await client.post(PAYMENTS, json=note(), headers=key())
    for path, body in ((PAYMENTS, note("b")), (NOTES, note()), (PAYMENTS + "?x=1", note())):
        answer = await client.post(path, json=body, headers=key())
        assert_problem(answer, 422, "idempotency-key-reused")


async def test_keys_of_two_callers_do_not_meet(home: House) -> None:
    for i, (subject, company) in enumerate([("ada", "c1"), ("bob", "c1"), ("ada", "c2")]):
        async with home.client("strategist", subject=subject, company=company) as client:
            answer = await client.post(PAYMENTS, json=note(f"p{i}"), headers=key())
            assert answer.status_code == 201 and "idempotency-replayed" not in answer.headers
    assert home.count() == 3


async def test_an_error_is_not_kept(home: House, client: httpx.AsyncClient) -> None:
    assert_problem(await client.post(NOTES, json=note(words="sad"), headers=key()), 422, "note-too-sad")
    answer = await client.post(NOTES, json=note(words="glad"), headers=key())
    assert answer.status_code == 201 and home.count() == 1


async def test_a_key_in_flight_is_refused_and_works_afterwards(home: House, client: httpx.AsyncClient) -> None:
    slow = "/metrics/v1/slow-payments"
    first = asyncio.create_task(client.post(slow, json=note(), headers=key()))
    await home.sample.entered.wait()
    assert_problem(await client.post(slow, json=note(), headers=key()), 409, "idempotency-key-in-flight")
    home.sample.leave.set()
    again = await client.post(slow, json=note(), headers=key()) if (await first).status_code == 201 else None
    assert again is not None and again.content == first.result().content and home.sample.effects == 1


async def test_fifty_at_once_have_one_effect(home: House, client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post(PAYMENTS, json=note(), headers=key()) for _ in range(50)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({answer.content for answer in answers if answer.status_code == 201}) == 1
    assert home.sample.effects == 1 and home.count() == 1


# --- bounds ---


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // 65536):
        yield b" " * 65536


@pytest.mark.parametrize(
    "path, mebibytes, status",
    [(NOTES, 2, 413), ("/metrics/v1/events", 7, 202), ("/metrics/v1/events", 9, 413),
     ("/metrics/v1/sources/erp/frappe", 7, 202), ("/metrics/v1/sources/erp/frappe", 9, 413)],
)  # fmt: skip
@pytest.mark.parametrize("chunked", [True, False])
async def test_bodies_are_limited(
    client: httpx.AsyncClient, path: str, mebibytes: int, status: int, chunked: bool
) -> None:
    content: Any = chunks(mebibytes * MIB) if chunked else b" " * (mebibytes * MIB)
    answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})
    if status == 413:
        assert_problem(answer, 413, "body-too-large")
        assert answer.headers["connection"] == "close"
    else:
        assert answer.status_code == status and answer.json() == {"size": mebibytes * MIB}


async def test_a_body_over_the_limit_does_not_fill_the_memory(client: httpx.AsyncClient) -> None:
    tracemalloc.start()
    try:
        await client.post("/metrics/v1/events", content=chunks(30 * MIB))
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB
    finally:
        tracemalloc.stop()


async def test_the_rate_is_limited_per_caller(engine: Engine, tmp_path: Path) -> None:
    home = house(engine, tmp_path, rate_limit=3)
    async with home.client() as ada, home.client(subject="bob") as bob:
        answers = [await ada.get(NOTES) for _ in range(8)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused and answers[0].status_code == 200
        assert_problem(refused[0], 429, "too-many-requests")
        assert refused[0].headers["retry-after"] == "1"
        assert (await bob.get(NOTES)).status_code == 200


# --- traces, logs, metrics, health ---


async def test_the_trace_reaches_the_answer_and_the_access_log(client: httpx.AsyncClient, quiet: Any) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = await client.get(f"{NOTES}/secret-person", headers=headers)
    assert answer.headers["traceparent"].startswith(f"00-{trace}-")
    (line,) = [line for line in quiet if line["event"] == "request"]
    assert line["route"] == "/metrics/v1/notes/{code}" and line["status"] == 404 and line["ms"] >= 0
    assert "secret-person" not in str(quiet) and "ada" not in str(line)


async def test_metrics_count_by_route_template(client: httpx.AsyncClient) -> None:
    await client.get(f"{NOTES}/a")
    await client.get("/metrics/v1/no-such-thing-17")
    for path in ("/metrics", "/metrics/metrics"):
        exposed = (await client.get(path)).text
        labels = 'method="GET",route="/metrics/v1/notes/{code}",service="metrics",status="404"'
        assert f"valueloop_http_seconds_count{{{labels}}} 1.0" in exposed
        assert "no-such-thing" not in exposed


async def test_ready_while_the_database_answers_and_not_while_draining(home: House, client: httpx.AsyncClient) -> None:
    for path in ("/livez", "/readyz", "/metrics/livez", "/metrics/readyz"):
        assert (await client.get(path)).status_code == 200
    home.app.state.readiness.drain()
    for path in ("/readyz", "/metrics/readyz"):
        answer = await client.get(path)
        assert "draining" in assert_problem(answer, 503, "not-ready")["away"][0] and answer.headers["retry-after"]
    assert (await client.get("/livez")).status_code == 200
    assert (await client.get(NOTES)).status_code == 200


async def test_without_its_database_a_service_lives_and_asks_to_come_back(home: House) -> None:
    from shared.http.application import create_app

    wiring = home.app.state.services["metrics"].state.wiring
    nowhere = engine_for("postgresql://nobody@/none?host=/nonexistent")
    runtime = Runtime(wiring.runtime.service, nowhere, wiring.settings)
    home.app = create_app({"metrics": runtime}, wiring.settings, wiring.identity)
    async with home.client() as client:
        answer = await client.post(NOTES, json=note())
        assert_problem(answer, 503, "database-away")
        assert answer.headers["retry-after"] == "5"
        assert assert_problem(await client.get("/readyz"), 503)["away"] == ["database of metrics"]
        assert (await client.get("/livez")).status_code == 200


async def test_a_session_ended_by_the_server_is_an_outage_and_not_a_fault(home: House, engine: Engine) -> None:
    async with home.client() as client:
        await client.get(NOTES)
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                    "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"))  # fmt: skip
        answers = [await client.get(NOTES) for _ in range(4)]
        assert {answer.status_code for answer in answers} <= {200, 503} and answers[-1].status_code == 200


async def test_the_index_names_what_there_is(client: httpx.AsyncClient) -> None:
    index = (await client.get("/")).json()
    assert index["services"]["metrics"]["docs"] == "/metrics/docs"
    for path in (index["services"]["metrics"]["docs"], index["services"]["metrics"]["openapi"], index["ready"]):
        assert (await client.get(path)).status_code == 200


# --- documentation ---


async def test_the_docs_need_no_internet(client: httpx.AsyncClient) -> None:
    page = (await client.get("/metrics/docs")).text
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        assert f"/metrics/static-offline-docs/{asset}" in page
        assert (await client.get(f"/metrics/static-offline-docs/{asset}")).status_code == 200


async def test_every_operation_documents_its_refusals(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/metrics/openapi.json")).json()
    assert schema["openapi"].startswith("3.1") and schema["servers"] == [{"url": "/metrics"}]
    operations = {op["operationId"]: op for item in schema["paths"].values() for op in item.values()}
    assert {"listNotes", "getNote", "putNote", "createNote", "createPayment"} <= set(operations)
    for name, operation in operations.items():
        assert operation["tags"] and {"400", "404", "422", "429", "503"} <= set(operation["responses"]), name
    assert {"401", "403", "409", "412", "413", "415"} <= set(operations["createNote"]["responses"])
    assert operations["createNote"]["security"] == [{"bearer": []}] and "security" not in operations["pushFrappe"]
    assert "HTTPValidationError" not in json.dumps(schema)
    (parameter,) = operations["createPayment"]["parameters"]
    assert parameter["name"] == "Idempotency-Key" and parameter["required"] is True
    refused = schema["components"]["responses"]["Problem422"]["content"]
    assert list(refused) == ["application/problem+json"]


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")
def test_two_operations_of_one_name_are_found_when_documented(home: House) -> None:
    app: FastAPI = home.app.state.services["metrics"]
    twin = Router(tags=["x"])

    @twin.get("/twin")
    def list_notes() -> None: ...

    app.include_router(twin, prefix="/v1")
    app.openapi_schema = None
    with pytest.raises(ValueError, match="listNotes"):
        app.openapi()


# --- a real server ---


def test_a_real_server_answers_a_chunked_giant_with_413(home: House) -> None:
    server = uvicorn.Server(uvicorn.Config(home.app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=home.headers("strategist")) as client:
            for path in ("/metrics/v1/events", NOTES):
                pieces = iter([b" " * 65536] * (9 * 16))
                answer = client.post(path, content=pieces, headers={"Content-Type": "application/json"})
                assert_problem(answer, 413, "body-too-large")
            assert client.post(NOTES, content=b" " * 9 * MIB).status_code == 413
            assert client.post(NOTES, json=note()).status_code == 201
    finally:
        server.should_exit = True
        thread.join()


def test_a_stopping_server_is_not_ready_before_its_listener_closes(home: House) -> None:
    config = uvicorn.Config(home.app, host="127.0.0.1", port=0, log_config=None)
    server = DrainingServer(config, home.app.state.readiness, grace=1)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/readyz"
    assert httpx.get(address).status_code == 200
    server.handle_exit(signal.SIGTERM, None)
    answer = httpx.get(address)  # a new connection
    assert answer.status_code == 503 and "draining" in answer.json()["detail"]
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


# --- logs ---


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_in_the_log_has_no_local_variables(capsys: Any, as_json: bool) -> None:
    import logging

    before = (list(logging.getLogger().handlers), logging.getLogger().level, structlog.get_config())
    try:
        configure_logging("info", as_json)
        token = "very-" + "secret"
        try:
            raise RuntimeError("broken")
        except RuntimeError:
            structlog.get_logger("x").error("failed", exc_info=True)
        logging.getLogger("library").warning("from %s", "elsewhere")
        logging.getLogger("library").debug("not wanted")
    finally:
        logging.getLogger().handlers[:] = before[0]
        logging.getLogger().setLevel(before[1])
        structlog.configure(**before[2])
    written = capsys.readouterr().err
    assert "broken" in written and token not in written and "from elsewhere" in written and "not wanted" not in written
    if as_json:
        lines = [json.loads(line) for line in written.splitlines()]
        assert [line["event"] for line in lines] == ["failed", "from elsewhere"] and lines[0]["level"] == "error"


def test_each_process_has_metrics_of_its_own() -> None:
    one, other = Telemetry(), Telemetry()
    one.parked.labels("goals").set(3)
    assert one.registry.get_sample_value("valueloop_parked", {"service": "goals"}) == 3
    assert other.registry.get_sample_value("valueloop_parked", {"service": "goals"}) is None


async def test_a_token_for_another_audience_opens_nothing(home: House) -> None:
    wiring = home.app.state.services["metrics"].state.wiring
    wiring.identity = Identity(JwksFile(home.issuer.jwks_file), "valueloop-local", "another")
    async with home.client() as client:
        assert_problem(await client.get(NOTES), 401, "token-refused")
