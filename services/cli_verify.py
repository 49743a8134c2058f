"""`valueloop verify` and `valueloop rebuild`: the proof that what is stored is what was accepted."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from services.cli_operate import administrator
from services.cli_options import DatabaseUrl, Directory, console, settings_with
from services.incentives.ledger.checks import findings
from services.incentives.statements.checks import broken_statements
from services.rebuild import behind, copy_secrets, rebuild, refuse_unless_empty
from services.runtime import SERVICES, build_runtimes, database_urls, migrate
from shared.closing import broken_links
from shared.database.directory import BrokenEnvironment
from shared.database.provision import provision, service_urls
from shared.log.postgres import PostgresLog
from shared.service import Runtime
from shared.settings import Settings
from shared.state import Queries, difference, digests

app = typer.Typer()
Runtimes = Mapping[str, Runtime]
Prefix = Annotated[str, typer.Option(help="What the names of the other databases begin with.")]
CHANGES_PASS = ("metrics", "goals", "incentives", "reviews")
ONE_MACHINE = {f"{name}_database_url": None for name in SERVICES} | {"kafka_bootstrap": None}


class LedgerBroken(BrokenEnvironment):
    """Postings, balances, runs and entitlements do not say the same."""


class StatementsBroken(BrokenEnvironment):
    """A statement is not as it was told."""


class StatesDiffer(BrokenEnvironment):
    """Two installations do not say the same."""


class ChainBroken(BrokenEnvironment):
    """A certificate of a closed period is not as it was written."""


@app.command()
def verify(
    against: Annotated[
        str | None,
        typer.Option(help="Another installation: an administrator's URL of its PostgreSQL, or its data directory."),
    ] = None,
    prefix: Prefix = "valueloop",
    data_directory: Directory = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Check certificates, ledger and statements, and print a hash of what each service says of each period.

    With --against, compare two installations: where they differ, the first differing row of each service is named.
    """
    settings = settings_with(data_directory=data_directory, database_url=database_url)
    with _live(settings) as here, ExitStack() as stack:
        _show(here)
        check_chains(here)
        _check_ledger(here)
        check_statements(here)
        if against:
            _compare(here, stack.enter_context(_other(settings, against, prefix)))


@app.command("rebuild")
def rebuild_command(
    into: Annotated[
        str, typer.Option(help="Where to: an administrator's URL of a PostgreSQL, or a data directory to be made.")
    ],
    prefix: Prefix = "valueloop",
    workers: Annotated[int, typer.Option(min=1, max=16, help="Workers for each service.")] = 2,
    data_directory: Directory = None,
    database_url: DatabaseUrl = None,
) -> None:
    """Make databases anew from what was accepted, and compare them with the live ones.

    The live services may go on; what they accept meanwhile is taken in too.
    """
    settings = settings_with(data_directory=data_directory, database_url=database_url)
    with _live(settings) as here, _other(settings, into, prefix, make=True) as there:
        refuse_unless_empty(there)
        started = time.monotonic()
        count = _with_progress(here, there, workers)
        secrets = copy_secrets(here["metrics"], there["metrics"])
        seconds = time.monotonic() - started
        console.print(f"{count} records in {seconds:.1f} s; {secrets} secrets of sources copied.")
        _compare(here, there)


def _with_progress(here: Runtimes, there: Runtimes, workers: int) -> int:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress("{task.description}", *columns, console=console, transient=True) as bar:
        task = bar.add_task("Replaying", total=None)
        sources = {name: PostgresLog(runtime.engine) for name, runtime in here.items()}
        return rebuild(sources, there, workers, lambda done, of: bar.update(task, completed=done, total=of))


@contextmanager
def _live(settings: Settings) -> Iterator[Runtimes]:
    with administrator(settings) as admin_url:
        quiet = settings.model_copy(update={"kafka_bootstrap": None})  # the tables hold all that is asked for here
        with _disposed(build_runtimes(quiet, database_urls(settings, admin_url), purpose="worker")) as made:
            yield made


@contextmanager
def _other(settings: Settings, where: str, prefix: str, *, make: bool = False) -> Iterator[Runtimes]:
    """The services over databases elsewhere, of which nobody need know how this installation is set up."""
    place = {"database_url": where} if "://" in where else {"database_url": None, "data_directory": Path(where)}
    # A rebuild goes on behind whatever is parked.
    other = settings.model_copy(update={**ONE_MACHINE, **place, "parked_limit": 1_000_000_000})
    with administrator(other, make=make) as admin_url:
        assert admin_url, "no service has a URL of its own"
        if make:
            migrate(other, provision(admin_url, SERVICES, prefix))
        urls = {name: service_urls(admin_url, name, f"{prefix}_{name}") for name in SERVICES}
        with _disposed(build_runtimes(other, urls, purpose="worker")) as made:
            yield made


@contextmanager
def _disposed(runtimes: dict[str, Runtime]) -> Iterator[Runtimes]:
    try:
        yield runtimes
    finally:
        for runtime in runtimes.values():
            runtime.engine.dispose()
            for log in runtime.logs.values():
                if isinstance(log, PostgresLog):
                    log.engine.dispose()


def _queries(service: str) -> Queries:
    found: Queries = import_module(f"services.{service}.state").STATE
    return found


def _show(runtimes: Runtimes) -> None:
    table = Table("service", "company", "period", "rows", "SHA-256")
    for name in CHANGES_PASS:
        with runtimes[name].engine.connect() as connection:
            for place, digest in digests(connection, _queries(name)).items():
                table.add_row(name, place.company, place.period or "-", str(digest.rows), digest.sha256[:32])
    console.print(table)


def check_chains(runtimes: Runtimes) -> None:
    """Raises `ChainBroken`, after naming every broken link."""
    broken = []
    for name in CHANGES_PASS:
        with runtimes[name].engine.connect() as connection:
            broken += [f"{name}: {link}." for link in broken_links(connection)]
    for link in broken:
        console.print(link, markup=False)
    if broken:
        raise ChainBroken(
            f"{len(broken)} fault{'s' if len(broken) > 1 else ''} in the certificates of closed periods.",
            remedy="Somebody changed them in the database: compare with a backup, or with the log's copies elsewhere.",
        )


def _check_ledger(runtimes: Runtimes) -> None:
    """Raises `LedgerBroken`, after naming what contradicts what."""
    with runtimes["incentives"].engine.connect() as connection:
        found = list(findings(connection))
    for sentence in found:
        console.print(sentence, markup=False)
    if found:
        raise LedgerBroken("The ledger is not sound.", remedy="Restore it, or rebuild it from what was accepted.")
    console.print("The ledger is sound.")


def check_statements(runtimes: Runtimes) -> None:
    """Raises `StatementsBroken`, after naming every statement that was changed, moved or taken away."""
    with runtimes["incentives"].engine.connect() as connection:
        found = list(broken_statements(connection))
    for sentence in found:
        console.print(sentence, markup=False)
    if found:
        raise StatementsBroken(
            f"{len(found)} fault{'s' if len(found) > 1 else ''} in statements.",
            remedy="Somebody changed them in the database: rebuild it from what was accepted.",
        )
    console.print("The statements are as they were told.")


def _compare(here: Runtimes, there: Runtimes) -> None:
    """Raises `StatesDiffer`, after naming the first difference of each service."""
    differing = []
    for name in CHANGES_PASS:
        with here[name].engine.connect() as one, there[name].engine.connect() as other:
            if found := difference(one, other, _queries(name)):
                differing.append(name)
                of = f"{found.place.company} {found.place.period}".strip()
                console.print(f"{name}, {of}: {found.what} {found.key}", markup=False)
                console.print(f"  here:  {found.here or 'nothing'}\n  there: {found.there or 'nothing'}", markup=False)
    if differing:
        left = sum(behind(each) for each in (here, there))
        raise StatesDiffer(
            f"The states of {', '.join(differing)} differ.",
            remedy=f"{left} records are still on their way: compare again when they are through."
            if left
            else "The first service in this list is where to look: the others may only follow it.",
        )
    console.print("Both say the same.")
