"""`valueloop payout`: payout runs, and how far the work on one is."""

import time
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from services.cli_files import Company, Token, Url, client_for
from services.cli_options import Directory, console

app = typer.Typer()
payout = typer.Typer(no_args_is_help=True, help="Payout runs: list them, and follow the work on one.")
app.add_typer(payout, name="payout")
RUNS = "/incentives/v1/payout-runs"
WORKING = ("calculating", "releasing")
LOOKS_EVERY = 0.2  # [s]


@payout.command("list")
def list_runs(url: Url = None, token: Token = None, company: Company = None, data_directory: Directory = None) -> None:
    """List payout runs with what they pay."""
    table = Table("run", "period", "promised", "status", "done", Column("lines", justify="right"),
                  Column("pays", justify="right"), "currency")  # fmt: skip
    for run in client_for(data_directory, url, token, company).items(RUNS):
        cells = (run["code"], run["period"], run["promised"], run["status"], _done(run), run["lines"], run["total"])
        table.add_row(*(str(cell) for cell in cells), run["currency"])
    console.print(table)


@payout.command()
def progress(
    run: Annotated[str, typer.Argument(help="Code of the run.")],
    follow: Annotated[bool, typer.Option(help="Go on until the work under way is done.")] = True,
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Show how far the calculation or release of a run is."""
    client = client_for(data_directory, url, token, company)
    found = client.get(f"{RUNS}/{run}")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(run, total=100)
        while follow and found["status"] in WORKING and not found["problem"]:
            bar.update(task, completed=found["progress"]["percent"], description=found["progress"]["phase"] or run)
            time.sleep(LOOKS_EVERY)
            found = client.get(f"{RUNS}/{run}")
    console.print(f"{run}: {found['status']}, {_done(found)}, {found['lines']} lines, "
                  f"pays {found['total']} {found['currency']}.")  # fmt: skip
    if found["problem"]:
        console.print(found["problem"], markup=False)


def _done(run: Any) -> str:
    phase = run["progress"]["phase"]
    return f"{run['progress']['percent']} %" + (f" ({phase})" if phase else "")
