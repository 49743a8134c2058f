"""Commands of an operator: migrate, look, repair, and make tokens."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import httpx
import typer
from rich.table import Column, Table

from services.cli_options import (
    DatabaseUrl,
    Directory,
    ServiceName,
    address_of,
    console,
    local_token,
    settings_with,
)
from services.runtime import SERVICES, build_runtimes, database_urls, prepare, service_named
from shared.database import migrations
from shared.database.directory import BrokenEnvironment, held, running
from shared.database.embedded import FOR_TESTS, EmbeddedPostgres
from shared.database.provision import ServiceUrls, engine_for, provision
from shared.log.postgres import PostgresLog
from shared.settings import Settings

app = typer.Typer()
parked = typer.Typer(no_args_is_help=True, help="Records that could not be applied: look, retry, discard.")
schema = typer.Typer(no_args_is_help=True, help="For developers: check and draft migrations.")
app.add_typer(parked, name="parked")
app.add_typer(schema, name="migrations", hidden=True)


class RequestRefused(BrokenEnvironment):
    """The API answered with a problem, or not at all."""


class NoDatabasesYet(BrokenEnvironment):
    """Nothing was started here yet."""


class SchemaDiffers(BrokenEnvironment):
    """Migrations do not build what the code speaks of."""


@contextmanager
def administrator(settings: Settings, make: bool = False) -> Iterator[str | None]:
    """URL of the database administrator; an embedded PostgreSQL is started where `valueloop up` does not run.

    Args:
        make: whether to make an embedded database where there is none yet.
    """
    postgres = EmbeddedPostgres(settings.data_directory)
    if settings.database_url or all(settings.service_database_url(name) for name in SERVICES):
        yield settings.database_url
    elif running(settings.data_directory):
        yield postgres.url
    elif make or postgres.data.exists():
        with held(settings.data_directory, "a command that needs the database"):
            admin_url = postgres.start()
            try:
                yield admin_url
            finally:
                postgres.stop()
    else:
        raise NoDatabasesYet(
            f"There are no databases in {settings.data_directory} yet.",
            remedy="`valueloop up` makes them; or give --database-url or another --data-directory.",
        )


@app.command()
def migrate(data_directory: Directory = None, database_url: DatabaseUrl = None) -> None:
    """Make or update the databases of all services.

    `valueloop up` does this by itself; a cluster does it once before new processes start.
    """
    settings = settings_with(data_directory=data_directory, database_url=database_url)
    with administrator(settings, make=True) as admin_url:
        for name in prepare(settings, admin_url):
            console.print(f"{name}: version {migrations.head(name)}")


@app.command()
def status(data_directory: Directory = None, database_url: DatabaseUrl = None) -> None:
    """Show schema versions, positions, lag and parked.

    Reads the databases, so it works while the services are down.
    """
    settings = settings_with(data_directory=data_directory, database_url=database_url)
    with administrator(settings) as admin_url:
        urls = database_urls(settings, admin_url)
        tables = settings.model_copy(update={"kafka_bootstrap": None})
        runtimes = build_runtimes(tables, urls, purpose="worker")
        engines = {owner: engine_for(at.log_reader) for owner, at in urls.items()}
        versions = Table("service", "schema", "newest", "parked", title="Services")
        readers = Table(
            "service",
            Column("reads", overflow="fold"),
            "partition",
            "position",
            "end",
            "left",
            "worker",
            title="Readers",
        )
        for name, runtime in runtimes.items():
            now = migrations.current(urls[name].owner)
            with runtime.engine.connect() as connection:
                count = connection.exec_driver_sql("SELECT count(*) FROM log.parked").scalar_one()
                at = {(row[0], row[1]): (row[2], row[3]) for row in connection.exec_driver_sql(_POSITIONS)}
            versions.add_row(name, now or "none", migrations.head(name) or "none", str(count))
            for owner in sorted({topic.split(".", 1)[0] for topic in runtime.service.inputs}):
                topics = [topic for topic in runtime.service.inputs if topic.startswith(f"{owner}.")]
                for (topic, partition), end in sorted(PostgresLog(engines[owner]).ends(topics).items()):
                    position, worker = at.get((topic, partition), (0, None))
                    cells = (name, topic, partition, position, end, end - position, (worker or "none")[:8])
                    readers.add_row(*(str(cell) for cell in cells))
            runtime.engine.dispose()
        console.print(versions)
        console.print(readers)


_POSITIONS = """
SELECT p.topic, p.partition, p.next_pos, CASE WHEN l.until > now() THEN l.owner END
FROM log.position p LEFT JOIN log.lease l
ON l.part = 'read' AND (l.topic, l.partition) = (p.topic, p.partition)
"""


@app.command()
def token(
    person: Annotated[str, typer.Argument(help="Code of the person or source that the token stands for.")],
    company: Annotated[
        str, typer.Option(help="Code of the company; everything it shows and changes is that company's.")
    ],
    role: Annotated[
        list[str],
        typer.Option(
            help="admin, strategist, analyst, compensation, finance, manager, employee, auditor or source; repeatable."
        ),
    ],
    hours: Annotated[int, typer.Option(min=1, max=8760, help="How long it is good for.")] = 8,
    data_directory: Directory = None,
) -> None:
    """Print a bearer token of this machine's issuer.

    With an identity provider, get tokens from there.
    """
    try:
        made = local_token(settings_with(data_directory=data_directory), company, person, role, hours)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(made)


@app.command()
def openapi(service: Annotated[ServiceName, typer.Argument(help="The service.")]) -> None:
    """Print a service's OpenAPI 3.1 document. Nothing needs to run."""
    from shared.http.application import create_service_app
    from shared.identity import identity_of

    settings = settings_with(data_directory=None)
    nowhere = {name: ServiceUrls.of_login("postgresql://nowhere/none") for name in SERVICES}  # engines connect lazily
    runtime = build_runtimes(settings, nowhere, [service])[service]
    document = create_service_app(runtime, settings, identity_of(settings)).openapi()
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


@app.command()
def asyncapi(
    service: Annotated[ServiceName | None, typer.Argument(help="The service; the whole loop if not named.")] = None,
) -> None:
    """Print the AsyncAPI 3.1 document of what is sent and received over Kafka. Nothing needs to run."""
    from shared.http.application import asyncapi_of

    services = [service_named(name) for name in ([service] if service else SERVICES)]
    typer.echo(json.dumps(asyncapi_of(services, settings_with(data_directory=None)), indent=2, ensure_ascii=False))


# --- parked records ---

Company = Annotated[str, typer.Option(help="Code of the company whose records are meant.")]
Url = Annotated[str | None, typer.Option(help="Address of the API; the one that runs here if not named.")]
Token = Annotated[
    str | None,
    typer.Option(envvar="VALUELOOP_TOKEN", help="Bearer token of an administrator; made here if not given."),
]
Which = Annotated[str, typer.Argument(help="TOPIC/PARTITION/POSITION, as `parked list` prints it.")]


def _call(method: str, service: str, path: str, company: str, url: str | None, bearer: str | None, **more: Any) -> Any:
    settings = settings_with(data_directory=None)
    bearer = bearer or local_token(settings, company, "operator", ["admin"], 1)
    address = f"{(url or address_of(settings)).rstrip('/')}/{service}/v1{path}"
    try:
        answer = httpx.request(method, address, headers={"Authorization": f"Bearer {bearer}"}, timeout=60, **more)
    except httpx.HTTPError as error:
        raise RequestRefused(
            f"{address} does not answer: {error}.", remedy="Start it with `valueloop up`, or name another --url."
        ) from error
    if answer.is_error:
        problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
        raise RequestRefused(
            problem.get("detail") or f"{address} answered {answer.status_code}.",
            remedy=problem.get("remedy") or "See the service's log.",
        )
    return answer.json() if answer.content else None


@parked.command("list")
def parked_list(
    company: Company,
    service: Annotated[ServiceName | None, typer.Argument(help="The service; all if not named.")] = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """List records that were set aside, with the reason; those that only wait behind one of the same key have none."""
    table = Table("service", "record", "key", "type", "why")
    for name in [service] if service else SERVICES:
        cursor: str | None = ""
        while cursor is not None:
            params = {"limit": 200} | ({"cursor": cursor} if cursor else {})
            page = _call("GET", name, "/parked", company, url, token, params=params)
            for one in page["items"]:
                place = f"{one['topic']}/{one['partition']}/{one['pos']}"
                table.add_row(name, place, one["key"], one["type"], one["error"] or "waits behind an earlier one")
            cursor = page.get("next_cursor")
    console.print(table if table.row_count else "Nothing is parked.")


@parked.command("show")
def parked_show(service: ServiceName, which: Which, company: Company, url: Url = None, token: Token = None) -> None:
    """Show one record in full: its payload, and where and why it failed."""
    typer.echo(json.dumps(_call("GET", service, f"/parked/{which}", company, url, token), indent=2, ensure_ascii=False))


@parked.command("retry")
def parked_retry(
    service: ServiceName,
    which: Which,
    company: Company,
    repaired: Annotated[
        Path | None, typer.Option(exists=True, help="File with the repaired payload (JSON); as it was if not named.")
    ] = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Apply a record again, and those of its key that wait behind it: all in one transaction, or none."""
    body = {"data": repaired.read_text()} if repaired else {}
    done = _call("POST", service, f"/parked/{which}/retry", company, url, token, json=body)
    console.print(f"Applied {done['applied']} record(s).")


@parked.command("discard")
def parked_discard(
    service: ServiceName,
    which: Which,
    company: Company,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Discard a record for good: what it says will never count."""
    yes or typer.confirm(f"Discard {which} of {service} for good?", abort=True)
    _call("DELETE", service, f"/parked/{which}", company, url, token)
    console.print("Discarded.")


# --- for developers ---


@contextmanager
def _scratch() -> Iterator[dict[str, ServiceUrls]]:
    with TemporaryDirectory(prefix="valueloop-") as directory:
        postgres = EmbeddedPostgres(Path(directory), FOR_TESTS)
        urls = provision(postgres.start(), SERVICES)
        try:
            for name in SERVICES:
                migrations.upgrade(name, urls[name].owner)
            yield urls
        finally:
            postgres.stop()


@schema.command("check")
def schema_check() -> None:
    """Build every database anew from its migrations and compare it with the tables in the code."""
    with _scratch() as urls:
        differences = {name: migrations.check(name, urls[name].owner) for name in SERVICES}
    for name, found in differences.items():
        console.print(f"{name}: version {migrations.head(name)}, {len(found)} differences")
    if any(differences.values()):
        lines = [f"{name}: {one}" for name, found in differences.items() for one in found]
        raise SchemaDiffers("\n".join(lines), remedy='Draft the migration: make migration SERVICE=… M="why".')


@schema.command("draft")
def schema_draft(service: ServiceName, message: str) -> None:
    """Write the next migration of a service from the difference between its tables in code and its migrations."""
    with _scratch() as urls:
        console.print(str(migrations.revision(service, message, urls[service].owner)))


@schema.command("sql")
def schema_sql(service: ServiceName) -> None:
    """Print the SQL of a service's whole history, for a linter."""
    typer.echo(migrations.statements(service))
