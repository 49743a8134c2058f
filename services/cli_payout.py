"""`valueloop payout`: payout runs from the first calculation to the bank's answer, and how far the work on one is."""

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import uuid4

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from services.cli_files import Company, Token, Url, client_for
from services.cli_options import Directory, console
from services.client import ValueLoopClient
from shared.errors import Conflict

app = typer.Typer()
payout = typer.Typer(no_args_is_help=True, help="Payout runs: prepare, approve, release and settle them.")
app.add_typer(payout, name="payout")
RUNS = "/incentives/v1/payout-runs"
WORKING = ("calculating", "releasing")
LOOKS_EVERY = 0.2  # [s]
SHOWN = 12  # digits of a content hash
Run = Annotated[str, typer.Argument(help="Code of the run.")]


class ContentDiffers(Conflict):
    """The run is not what was looked at."""


@payout.command("list")
def list_runs(url: Url = None, token: Token = None, company: Company = None, data_directory: Directory = None) -> None:
    """List payout runs with what they pay."""
    table = Table("run", "period", "promised", "status", "done", Column("lines", justify="right"),
                  Column("pays", justify="right"), "currency")  # fmt: skip
    for run in client_for(data_directory, url, token, company).items(RUNS):
        cells = (run["code"], run["period"], run["promised"], run["status"], _done(run), run["lines"], run["total"])
        table.add_row(*(str(cell) for cell in cells), run["currency"])
    console.print(table)


@payout.command("open")
def open_run(
    run: Run,
    period: Annotated[str, typer.Option(help="Everything closed up to its end is paid, such as 2025-Q1.")],
    promised: Annotated[str, typer.Option(help="The day by which it is paid, such as 2025-04-15.")],
    currency: Annotated[str, typer.Option(help="Such as CNY.")],
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Open a run as a draft."""
    client = client_for(data_directory, url, token, company)
    _post(client, "", code=run, period=period, promised=promised, currency=currency)
    _follow(client, run)


def _step(path: str) -> Callable[..., None]:
    def step(run: Run, url: Url = None, token: Token = None, company: Company = None,
             data_directory: Directory = None) -> None:  # fmt: skip
        client = client_for(data_directory, url, token, company)
        _post(client, f"/{run}/{path}")
        _follow(client, run)

    return step


payout.command("calculate", help="Calculate a run; an approval given before is void.")(_step("calculations"))
payout.command("submit", help="Submit a calculated run for approval.")(_step("submissions"))
payout.command("release", help="Post an approved run to the ledger.")(_step("releases"))


@payout.command()
def approve(
    run: Run,
    content: Annotated[str, typer.Argument(help="What you looked at: the first digits of its content, 8 or more.")],
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Approve a submitted run, as somebody who has not prepared it, for exactly this content."""
    client = client_for(data_directory, url, token, company)
    found = client.get(f"{RUNS}/{run}")["hash"] or ""
    if len(content) < 8 or not found.startswith(content):
        rule = f"The content of {run} is {found[:SHOWN] or 'not calculated yet'}, not {content}."
        raise ContentDiffers(rule, field="content", remedy="Look at the run as it is now, and approve that.")
    _post(client, f"/{run}/approvals", hash=found)
    _follow(client, run)


@payout.command("file")
def payment_file(
    run: Run,
    format: Annotated[Literal["csv", "pain.001"], typer.Option(help="CSV, or ISO 20022 pain.001.001.09.")] = "csv",
    part: Annotated[int, typer.Option(min=1, help="Long runs have several.")] = 1,
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Print the payments of a released run, for the bank or payroll."""
    client = client_for(data_directory, url, token, company)
    answer = client.request("GET", f"{RUNS}/{run}/payment-file", params={"format": format, "part": part})
    typer.echo(answer.content, nl=False)


@payout.command()
def settle(
    run: Run,
    day: Annotated[str, typer.Option(help="The day it was paid on, such as 2025-04-14.")],
    failed: Annotated[
        list[str] | None, typer.Option(help="A line that the bank refused, and why: 17=Account closed. Repeatable.")
    ] = None,
    returned: Annotated[
        list[str] | None, typer.Option(help="The same of a line that was paid before and came back; then of no others.")
    ] = None,
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Take the bank's answer: every line was paid on that day but those that failed, which the next run pays again."""
    answers = [("failed", *one.partition("=")) for one in failed or ()]
    answers += [("returned", *one.partition("=")) for one in returned or ()]
    if wrong := [(outcome, line) for outcome, line, _, reason in answers if not (line.isdecimal() and reason)]:
        raise typer.BadParameter(f"{wrong[0][1]} is no LINE=REASON.", param_hint=f"--{wrong[0][0]}")
    lines = [{"line": int(line), "outcome": outcome, "reason": reason} for outcome, line, _, reason in answers]
    client = client_for(data_directory, url, token, company)
    found = _post(client, f"/{run}/settlements", day=day, lines=lines, others=None if returned else "settled")
    console.print(f"{run}: {found['settled']} paid, {found['failed']} failed, {found['returned']} returned, "
                  f"{found['unchanged']} unchanged.")  # fmt: skip


@payout.command()
def progress(
    run: Run,
    follow: Annotated[bool, typer.Option(help="Go on until the work under way is done.")] = True,
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Show how far the calculation or release of a run is."""
    _follow(client_for(data_directory, url, token, company), run, follow)


def _post(client: ValueLoopClient, path: str, **body: Any) -> Any:
    return client.post(f"{RUNS}{path}", body, repeatable=True, **{"Idempotency-Key": uuid4().hex})


def _follow(client: ValueLoopClient, run: str, follow: bool = True) -> None:
    found = client.get(f"{RUNS}/{run}")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(run, total=100)
        while follow and found["status"] in WORKING and not found["problem"]:
            bar.update(task, completed=found["progress"]["percent"], description=found["progress"]["phase"] or run)
            time.sleep(LOOKS_EVERY)
            found = client.get(f"{RUNS}/{run}")
    content = f", content {found['hash'][:SHOWN]}" if found["hash"] else ""
    console.print(f"{run}: {found['status']}, {_done(found)}, {found['lines']} lines, "
                  f"pays {found['total']} {found['currency']}{content}.")  # fmt: skip
    if found["problem"]:
        console.print(found["problem"], markup=False)


def _done(run: Any) -> str:
    phase = run["progress"]["phase"]
    return f"{run['progress']['percent']} %" + (f" ({phase})" if phase else "")
