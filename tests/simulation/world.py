"""Where simulations happen: all four services over one PostgreSQL, emptied before each run."""

import asyncio
import os
import threading
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg import Connection
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from services.client import ValueLoopClient
from services.runtime import SERVICES, service_named
from shared.database import migrations
from shared.database.provision import ServiceUrls, engine_for, provision
from shared.http.application import create_app
from shared.identity import LocalIssuer, identity_of
from shared.log import Place
from shared.log.leases import READ
from shared.log.postgres import PostgresLog, create_topics
from shared.service import Runtime
from shared.settings import Settings
from tests.simulation.actors import Bystander, instrument

EVERY_ROLE = ("admin", "strategist", "analyst", "compensation", "finance", "auditor")
WAIT_FOR_LOCKS = "20ms"  # only a suspended actor holds one, so waiting longer changes nothing
# What was applied, in the transaction that applied it: the witness that no table of the product can be.
WITNESS = (
    "CREATE TABLE witness (seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic text, partition int, pos bigint, "
    "type text, company text, key text, tick text)"
)
_QUIET = (
    "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON "
    "n.oid = relnamespace WHERE relkind = 'r' AND nspname IN ('public', 'log') LOOP "
    "EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', t); END LOOP; END $$"
)
_FILLED = (
    "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' "
    "AND nspname IN ('public', 'log') AND relname <> 'alembic_version' AND pg_relation_size(c.oid) > 0"
)


class World:
    """Four services with engines that come by the named points, an administrator's eye on each, and their API.

    Args:
        admin_url: a PostgreSQL that may be filled with databases; they stay until the server goes.
        directory: where the issuer keeps its keys.
    """

    def __init__(self, admin_url: str, directory: Path) -> None:
        self.settings = Settings(
            data_directory=directory, settable_clock=True, partitions=2, lease_seconds=86_400, log_level="error"
        )
        self.urls = _databases(admin_url)
        self.eyes = {name: _administrator(admin_url, name, at) for name, at in self.urls.items()}
        self.api_plan = Bystander()
        self._engines: list[Engine] = []
        self.logs = {name: PostgresLog(self._engine(at.log_reader, None)) for name, at in self.urls.items()}
        self.workers = {name: self._runtime(name, None) for name in SERVICES}
        self.issuer = LocalIssuer(directory, self.settings.issuer, self.settings.audience)
        api = {name: self._runtime(name, self.api_plan) for name in SERVICES}
        self._web = InProcess(create_app(api, self.settings, identity_of(self.settings)))
        self.http = httpx.Client(transport=self._web, trust_env=False)

    def _engine(self, url: str, plan: Bystander | None) -> Engine:
        engine = engine_for(url, application_name="simulation", pool_size=20, lock_timeout=WAIT_FOR_LOCKS)
        instrument(engine, plan)
        self._engines.append(engine)
        return engine

    def _runtime(self, name: str, plan: Bystander | None) -> Runtime:
        engine = self._engine(self.urls[name].application, plan)
        return Runtime(service_named(name), engine, self.settings, self.logs)

    def empty(self) -> None:
        """Forgets everything that happened, and which worker had which backend."""
        for name, eye in self.eyes.items():
            self.workers[name].engine.dispose()
            if filled := [row[0] for row in eye.execute(_FILLED)]:
                eye.execute(f"TRUNCATE {', '.join(filled)} RESTART IDENTITY".encode())
            create_topics(self.workers[name].engine, self.workers[name].service, self.settings.partitions)

    def client(self, company: str) -> ValueLoopClient:
        """Somebody who may do everything in a company, and repeats nothing by himself."""
        token = self.issuer.issue("tester", company, EVERY_ROLE)
        return ValueLoopClient("http://simulation", token, self.http, patience=0)

    def ends(self) -> dict[Place, int]:
        """The next position of every partition of every log."""
        rows = chain(
            *(eye.execute("SELECT topic, partition, next_pos FROM log.partition") for eye in self.eyes.values())
        )
        return {(topic, partition): end for topic, partition, end in rows}

    def counts(self) -> dict[str, int]:
        """How many partitions each topic has."""
        return Counter(topic for topic, _ in self.ends())

    def stands(self, service: str, part: str) -> dict[Place, int]:
        """Where a service has committed to stand, of all it reads, or of its own log that it forwards."""
        table = "position" if part == READ else "forward"
        rows = self.eyes[service].execute(f"SELECT topic, partition, next_pos FROM log.{table}".encode())
        return {(topic, partition): at for topic, partition, at in rows}

    def owners(self, service: str, part: str) -> dict[Place, str]:
        """Who holds the lease of each partition."""
        rows = self.eyes[service].execute("SELECT topic, partition, owner FROM log.lease WHERE part = %s", [part])
        return {(topic, partition): owner for topic, partition, owner in rows}

    def await_end(self, of: Bystander) -> None:
        """Returns when the backends whose connections were broken have given back their locks."""
        for pid in of.ended:
            self.eyes["goals"].execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        of.ended.clear()

    def expire(self, service: str, owner: str, *, forget_backend: bool) -> None:
        """Lets an owner's leases run out; a successor cannot end a backend that it does not find."""
        gone = ", backend_pid = 0" if forget_backend else ""
        sql = f"UPDATE log.lease SET until = now() - interval '1 s'{gone} WHERE owner = %s"
        self.eyes[service].execute(sql.encode(), [owner])
        self.eyes[service].execute("UPDATE log.worker SET until = now() - interval '1 s' WHERE owner = %s", [owner])

    def close(self) -> None:
        self.http.close()
        self._web.close()
        for engine in self._engines:
            engine.dispose()
        for eye in self.eyes.values():
            eye.close()


def _databases(admin_url: str) -> dict[str, ServiceUrls]:
    prefix = f"simulated_{os.getpid()}"
    urls = provision(admin_url, SERVICES, prefix=prefix)
    for name, at in urls.items():
        migrations.upgrade(name, at.owner)
        with psycopg.connect(_libpq(at.owner), autocommit=True) as owner:
            owner.execute(WITNESS)
            owner.execute(_QUIET.encode())
    return urls


def _libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False).replace("+", "%20")


def _administrator(admin_url: str, name: str, at: ServiceUrls) -> "Connection[Any]":
    database = make_url(at.owner).database
    url = make_url(admin_url).set(database=database, drivername="postgresql")
    return psycopg.connect(url.render_as_string(hide_password=False).replace("+", "%20"), autocommit=True)


class InProcess(httpx.BaseTransport):
    """Calls an ASGI application in a loop of its own thread; the caller waits."""

    def __init__(self, app: Any) -> None:
        self._app, self._loop = app, asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="api", daemon=True)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(self._call(request, request.read()), self._loop).result(60)

    async def _call(self, request: httpx.Request, body: bytes) -> httpx.Response:
        sent: list[dict[str, Any]] = []
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
            "method": request.method, "path": request.url.path, "raw_path": request.url.raw_path.split(b"?")[0],
            "query_string": request.url.query, "client": ("127.0.0.1", 1), "server": ("simulation", 80),
            "headers": [(name.lower(), value) for name, value in request.headers.raw], "state": {},
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent[1:])
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"], content=content)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
