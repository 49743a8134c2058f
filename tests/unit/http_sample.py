"""A small service on a real database, for tests of what every service shares."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import Depends, Header, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, text

from shared.database.embedded import FOR_TESTS, EmbeddedPostgres
from shared.database.provision import engine_for
from shared.database.tables import platform_tables
from shared.errors import Conflict, Invalid, NotFound
from shared.http.application import create_app
from shared.http.conditional import check_if_match, etag
from shared.http.context import Context
from shared.http.idempotency import idempotency_required
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.identity import Identity, JwksFile, LocalIssuer
from shared.numbers import DecimalString
from shared.service import Runtime, Service
from shared.settings import Settings


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")
    code: str
    text: str
    amount: DecimalString = Decimal(0)
    lines: list[dict[str, Any]] = []


class NoteTaken(Conflict):
    """A note with this code exists."""


class NoSuchNote(NotFound):
    """There is no such note."""


class NoteTooSad(Invalid):
    """A note is cheerful."""


@dataclass
class Sample:
    """Lets a test hold an endpoint in the middle of its transaction."""

    entered: asyncio.Event = field(default_factory=asyncio.Event)
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    effects: int = 0


def metadata() -> MetaData:
    tables = MetaData()
    platform_tables(tables)
    Table("note", tables, Column("company", Text, primary_key=True), Column("code", Text, primary_key=True),
          Column("text", Text, nullable=False), Column("version", Integer, nullable=False))  # fmt: skip
    return tables


def notes_router(sample: Sample) -> Router:
    router = Router(tags=["notes"])

    def insert(context: Context, note: Note) -> None:
        if context.uow.row("SELECT 1 FROM note WHERE company = :c AND code = :n", c=context.company, n=note.code):
            raise NoteTaken(f"There is a note {note.code}.", field="code", remedy="Take another code.")
        context.uow.run(
            "INSERT INTO note VALUES (:c, :n, :t, 1)", c=context.company, n=note.code, t=note.text
        )  # fmt: skip

    @router.get("/notes")
    def list_notes(context: Context, page: Paging) -> Page[Note]:
        context.require_reader()
        rows = context.uow.rows(
            "SELECT code, text FROM note WHERE company = :c AND code > :after ORDER BY code LIMIT :limit",
            c=context.company, after=page.after or "", limit=page.fetch,
        )  # fmt: skip
        return page.of([Note(code=row.code, text=row.text) for row in rows], lambda item: item.code)

    @router.get("/notes/{code}")
    def get_note(context: Context, code: str, response: Response) -> Note:
        row = context.uow.row("SELECT text, version FROM note WHERE code = :n", n=code)
        if row is None:
            raise NoSuchNote(f"There is no note {code}.")
        response.headers["ETag"] = etag(row.version)
        return Note(code=code, text=row.text)

    @router.put("/notes/{code}")
    def put_note(
        context: Context, code: str, note: Note, response: Response, if_match: Annotated[str | None, Header()] = None
    ) -> Note:
        version = context.uow.value("SELECT version FROM note WHERE code = :n", n=code)
        check_if_match(if_match, version)
        context.uow.run(
            "INSERT INTO note VALUES (:c, :n, :t, 1) ON CONFLICT (company, code) "
            "DO UPDATE SET text = :t, version = note.version + 1",
            c=context.company, n=code, t=note.text,
        )  # fmt: skip
        response.headers["ETag"] = etag((version or 0) + 1)
        return note

    @router.post("/notes", status_code=201)
    def create_note(context: Context, note: Note) -> Note:
        context.require("strategist")
        insert(context, note)
        if note.text == "sad":
            raise NoteTooSad("A note is cheerful.", field="text", remedy="Smile.")
        return note

    @router.post("/refused-notes", status_code=201)
    def refuse_note(context: Context, note: Note, response: Response) -> Note:
        insert(context, note)
        response.status_code = 409
        return note

    @router.post("/payments", status_code=201, dependencies=[Depends(idempotency_required)])
    def create_payment(context: Context, note: Note) -> dict[str, int]:
        insert(context, note)
        sample.effects += 1
        return {"number": sample.effects}

    @router.post("/slow-payments", status_code=201)
    async def create_slow_payment(context: Context, note: Note) -> dict[str, int]:
        sample.entered.set()
        await sample.leave.wait()
        sample.effects += 1
        return {"number": sample.effects}

    @router.post("/locks")
    def take_lock(context: Context) -> dict[str, int]:
        change = context.uow.lock_company(context.company)
        time.sleep(0.01)
        return {"change": change}

    @router.get("/fault")
    def get_fault(context: Context) -> None:
        raise RuntimeError("secret of the house")

    @router.get("/writing-reader")
    def get_writing_reader(context: Context) -> None:
        context.uow.run("INSERT INTO note VALUES ('c', 'x', 'x', 1)")

    return router


def intake_router() -> Router:
    from starlette.requests import Request

    router = Router(tags=["events"], transactional=False)

    @router.post("/events", status_code=202)
    async def push_events(request: Request) -> dict[str, int]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
        return {"size": size}

    hooks = Router(tags=["events"], transactional=False, authenticated=False)

    @hooks.post("/sources/{code}/frappe", status_code=202)
    async def push_frappe(request: Request, code: str) -> dict[str, int]:
        return {"size": len(await request.body())}

    router.include_router(hooks)
    return router


@contextlib.contextmanager
def database(directory: Path) -> Iterator[Engine]:
    server = EmbeddedPostgres(directory, FOR_TESTS)
    engine = engine_for(server.start())
    try:
        with engine.begin() as connection:
            connection.execute(text("CREATE SCHEMA log"))
            metadata().create_all(connection)
        yield engine
    finally:
        engine.dispose()
        server.stop()


@dataclass
class House:
    """The sample's application with somebody to call it."""

    app: Any
    issuer: LocalIssuer
    sample: Sample
    engine: Engine

    def headers(self, *roles: str, subject: str = "ada", company: str = "c1") -> dict[str, str]:
        return {"Authorization": f"Bearer {self.issuer.issue(subject, company, roles)}"}

    @contextlib.asynccontextmanager
    async def client(self, *roles: str, **who: str) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app=self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://test", headers=self.headers(*(roles or ("strategist",)), **who)
        ) as client:
            yield client

    def count(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM note")).scalar_one())


def house(engine: Engine, directory: Path, **settings: Any) -> House:
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE note, idempotency"))
    issuer, sample = LocalIssuer(directory), Sample()
    service = Service("metrics", metadata(), {}, routers=(notes_router(sample), intake_router()))
    values = Settings(_env_file=None, **settings)  # type: ignore[call-arg]
    identity = Identity(JwksFile(issuer.jwks_file), values.issuer, values.audience)
    return House(create_app({"metrics": Runtime(service, engine, values)}, values, identity), issuer, sample, engine)
