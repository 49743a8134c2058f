"""The `valueloop` command."""

import os
import socket
import sys
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from services.cli_options import DatabaseUrl, Directory, ServiceName, console, problems, settings_with
from shared.database.directory import BrokenEnvironment
from shared.errors import DomainError

PARTS = (
    "services.cli_operate",
    "services.cli_files",
    "services.cli_import",
    "services.cli_topics",
    "services.cli_simulate",
    "services.cli_verify",
    "services.cli_payout",
    "services.cli_close",
    "services.demo",
)

cli = typer.Typer(
    name="valueloop",
    help="Turns ERP events into readings, goal scores, accrued bonuses and decisions.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)


@cli.command()
def up(
    data_directory: Directory = None,
    database_url: DatabaseUrl = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 if not named.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 8700 if not named.")] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes; 2 if not named.")] = None,
) -> None:
    """Run everything on this machine until Ctrl-C.

    The database, the four services on one address, and the workers. A second start takes up where this one stopped.
    """
    from services.processes import Supervisor, stop_on_signals

    settings = settings_with(
        data_directory=data_directory, database_url=database_url, host=host, port=port, workers=workers
    )
    stop = stop_on_signals()
    supervisor = Supervisor(settings, lambda sentence: console.print(sentence, markup=False))
    with supervisor.running() as address:
        console.print(f"ValueLoop is ready at {address} (API docs: {address}/metrics/docs). Ctrl-C stops it.")
        supervisor.watch(stop)
        console.print("Stopping: running requests and transactions are finished first.")
    console.print("Stopped.")


@cli.command()
def serve(
    service: Annotated[ServiceName | None, typer.Argument(help="The service; all four if not named.")] = None,
    database_url: DatabaseUrl = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; 127.0.0.1 if not named.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 8700 if not named.")] = None,
    supervised: Annotated[bool, typer.Option(hidden=True)] = False,
    descriptor: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve the API of one service, or of all.

    The databases must exist (`valueloop migrate`); workers run apart (`valueloop work`).
    """
    from services import processes
    from services.runtime import SERVICES

    settings = settings_with(database_url=database_url, host=host, port=port)
    if supervised:
        processes.end_with_the_parent(sys.stdin.fileno())
    on = socket.socket(fileno=descriptor) if descriptor else processes.listener(settings.host, settings.port)
    processes.serve(settings, [service] if service else list(SERVICES), on)


@cli.command()
def work(
    service: Annotated[ServiceName | None, typer.Argument(help="The service; all four if not named.")] = None,
    database_url: DatabaseUrl = None,
    host: Annotated[str | None, typer.Option(help="Address to answer probes on; 127.0.0.1 if not named.")] = None,
    port: Annotated[int | None, typer.Option(help="Port for probes and Prometheus; none if not named.")] = None,
    supervised: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run one worker process, for one service or all.

    Start as many as there are partitions to share; they divide the work among themselves.
    """
    from services import processes
    from services.runtime import SERVICES

    settings = settings_with(database_url=database_url, host=host, health_port=port)
    if supervised:
        processes.end_with_the_parent(sys.stdin.fileno())
    processes.work(settings, [service] if service else list(SERVICES))


@cli.command()
def version() -> None:
    """Print the version."""
    try:
        console.print(version_of("valueloop"))
    except PackageNotFoundError:  # run from a checkout
        import tomllib

        project = Path(__file__).parent.parent / "pyproject.toml"
        console.print(tomllib.loads(project.read_text())["project"]["version"])


def _add_parts() -> None:
    for name in PARTS:
        if find_spec(name):
            cli.add_typer(__import__(name, fromlist=["app"]).app)


def explain(error: Exception) -> tuple[str, str | None]:
    """A sentence and a remedy for whatever ended a command."""
    match error:
        case BrokenEnvironment():
            return error.sentence, error.remedy
        case DomainError():
            return error.rule, error.remedy
        case ValidationError():
            first = error.errors()[0]
            name = "VALUELOOP_" + "_".join(str(part) for part in first["loc"]).upper()
            return f"The setting {name} is not valid: {first['msg']}.", "docs/operations.md lists all settings."
        case OperationalError():
            return (
                f"The database does not answer: {str(error.orig).splitlines()[0]}",
                "Start it (`valueloop up` runs one), or check --database-url.",
            )
        case _ if type(error).__module__ == "kafka.errors":  # by name: most commands need no Kafka
            return (
                f"Kafka does not answer, or does not let us in: {error}",
                "Start it, or check VALUELOOP_KAFKA_BOOTSTRAP, VALUELOOP_KAFKA_SECURITY, and the user and password or"
                " certificates; the lines above tell what it answered.",
            )
        case _:
            return (
                f"{type(error).__name__}: {error}",
                "This was not foreseen. VALUELOOP_LOG_LEVEL=debug shows where it happened; please report it.",
            )


def main() -> None:
    """Runs the command; whatever goes wrong is told in a sentence, with exit code 1."""
    try:
        cli(prog_name="valueloop")
    except Exception as error:
        if os.environ.get("VALUELOOP_LOG_LEVEL") == "debug":
            raise
        sentence, remedy = explain(error)
        problems.print(sentence, style="red", markup=False)
        if remedy:
            problems.print(remedy, markup=False)
        sys.exit(1)


_add_parts()

if __name__ == "__main__":
    main()
