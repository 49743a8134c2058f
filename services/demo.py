"""The demo: a fresh ValueLoop on this machine plays a quarter of an EV maker's business through its public API."""

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from services.cli_options import local_token, settings_with
from services.client import SERVICES, ValueLoopClient

COMPANY = "ev-maker"
EXAMPLE = Path(__file__).parents[1] / "examples" / "ev-maker"
EVERY_ROLE = ["admin", "strategist", "analyst", "compensation", "finance", "auditor"]

app = typer.Typer()
# A log file is no terminal, and 80 columns would cut the trees.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@app.command()
def demo(
    port: Annotated[int | None, typer.Option(help="Port to listen on; 8700 if not named.")] = None,
    keep_serving: Annotated[
        bool | None,
        typer.Option("--serve/--exit", help="What to do after the story; serve where somebody watches."),
    ] = None,
) -> None:
    """Play a quarter of an EV maker's business, from ERP event to bonus and back.

    Starts everything in a fresh directory that is removed at the end. Everything shown comes from the public API.
    """
    serve = keep_serving if keep_serving is not None else _somebody_watches()
    Path(".valueloop").mkdir(exist_ok=True)
    with TemporaryDirectory(prefix="demo-", dir=".valueloop", ignore_cleanup_errors=True) as directory:
        _run(Path(directory), port, serve)


def _somebody_watches() -> bool:
    return sys.stdin.isatty() and os.environ.get("CI", "").lower() not in ("true", "1")


def _run(directory: Path, port: int | None, serve: bool) -> None:
    from services.demo_story import Story
    from services.processes import Supervisor, stop_on_signals
    from shared.database.embedded import FOR_TESTS
    from shared.identity import LocalIssuer

    settings = settings_with(
        data_directory=directory, database_url=None, port=port, settable_clock=True, log_level="error", log_json=False
    )
    stop, begun = stop_on_signals(), time.monotonic()
    supervisor = Supervisor(settings, lambda sentence: console.print(f"[dim]{sentence}[/]"), FOR_TESTS)
    with supervisor.running() as address:
        issuer = LocalIssuer(directory, settings.issuer, settings.audience)
        client = ValueLoopClient(address, issuer.issue("demo", COMPANY, EVERY_ROLE))
        story = Story(client, lambda person, *roles: issuer.issue(person, COMPANY, roles), stop, console)
        if story.play(EXAMPLE):
            console.print(f"\n[dim]Played in {time.monotonic() - begun:.0f} s.[/]")
            _addresses(address, local_token(settings, COMPANY, "demo", EVERY_ROLE))
            if serve:
                console.print("\nStill serving: look around. Ctrl-C stops everything.")
                supervisor.watch(stop)
        console.print("Stopping.")
    console.print("Stopped.")


def _addresses(address: str, token: str) -> None:
    console.rule("[bold]Look for yourself", align="left")
    for service in SERVICES:
        console.print(f"{service:<11} {address}/{service}/docs")
    console.print(f"{'health':<11} {address}/readyz")
    console.print("\nA token for the pages above (Authorize) and for curl:")
    console.print(f"[dim]{token}[/]", soft_wrap=True)
