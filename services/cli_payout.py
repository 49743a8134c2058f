"""`valueloop payout`: payout runs, and how far the work on one is."""

import time
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from services.cli_options import Directory, address_of, console, local_token, settings_with
from services.client import ValueLoopClient

app = typer.Typer()
payout = typer.Typer(no_args_is_help=True, help="Payout runs: list them, and follow the work on one.")
app.add_typer(payout, name="payout")
RUNS = "/incentives/v1/payout-runs"
Company = Annotated[str, typer.Option(help="Code of the company.")]
Url = Annotated[str | None, typer.Option(help="Address of the API; the one that runs here if not named.")]
Token = Annotated[
    str | None, typer.Option(envvar="VALUELOOP_TOKEN", help="Bearer token of an auditor; made here if not given.")
]


@payout.command("list")
def list_runs(company: Company, url: Url = None, token: Token = None, data_directory: Directory = None) -> None:
    """List payout runs with what they pay."""
    table = Table("run", "period", "promised", "status", "done", Column("lines", justify="right"),
                  Column("pays", justify="right"), "currency")  # fmt: skip
    for run in _client(company, url, token, data_directory).items(RUNS):
        cells = (run["code"], run["period"], run["promised"], run["status"], _done(run), run["lines"], run["total"])
        table.add_row(*(str(cell) for cell in cells), run["currency"])
    console.print(table)


@payout.command()
def progress(
    run: Annotated[str, typer.Argument(help="Code of the run.")],
    company: Company,
    follow: Annotated[bool, typer.Option(help="Go on until the work under way is done.")] = True,
    url: Url = None,
    token: Token = None,
    data_directory: Directory = None,
) -> None:
    """Show how far the calculation or release of a run is."""
    client = _client(company, url, token, data_directory)
    found = client.get(f"{RUNS}/{run}")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(run, total=100)
        while follow and found["status"] in ("calculating", "releasing"):
            bar.update(task, completed=found["progress"]["percent"], description=found["progress"]["phase"] or run)
            time.sleep(0.5)
            found = client.get(f"{RUNS}/{run}")
    console.print(f"{run}: {found['status']}, {_done(found)}, {found['lines']} lines, "
                  f"pays {found['total']} {found['currency']}.")  # fmt: skip
    if found["problem"]:
        console.print(found["problem"], markup=False)


def _done(run: Any) -> str:
    phase = run["progress"]["phase"]
    return f"{run['progress']['percent']} %" + (f" ({phase})" if phase else "")


def _client(company: str, url: str | None, token: str | None, directory: Any) -> ValueLoopClient:
    settings = settings_with(data_directory=directory)
    return ValueLoopClient(
        url or address_of(settings), token or local_token(settings, company, "operator", ["auditor"])
    )
