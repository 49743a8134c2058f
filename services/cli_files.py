"""Commands for configuration as files: apply and export."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from services import files
from services.cli_options import Directory, address_of, console, local_token, problems, settings_with
from services.client import ValueLoopClient

app = typer.Typer()

Url = Annotated[
    str | None, typer.Option(help="Address of ValueLoop; if not named, of the one that runs from the data directory.")
]
Token = Annotated[
    str | None,
    typer.Option(envvar="VALUELOOP_TOKEN", help="Bearer token; if not named, one is made with the local issuer's key."),
]
Company = Annotated[str | None, typer.Option(help="Code of the company, where no token says it.")]


def client_for(data_directory: Path | None, url: str | None, token: str | None, company: str | None) -> ValueLoopClient:
    """A client of the address and token that the options name, or of what runs here."""
    settings = settings_with(data_directory=data_directory)
    if not (token or company):
        raise typer.BadParameter("Name the company, or give a token, which names it.", param_hint="--company")
    bearer = token or local_token(settings, company or "", "administrator", ["admin"])
    return ValueLoopClient(url or address_of(settings), bearer)


@app.command()
def apply(
    directory: Annotated[Path, typer.Argument(exists=True, help="Directory of YAML files, or one file.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="List also what stays as it is.")] = False,
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Make the company's configuration what the YAML files say.

    Lists what is created, what gets a new version, and what stays. Settings that no file names are left alone.
    Repeating it changes nothing.
    """
    items, faults = files.read(directory)
    _stop_at(faults, "Nothing was changed.")
    client = client_for(data_directory, url, token, company)
    done, faults = apply_items(client, items, dry_run)
    console.print(table_of(done, everything))
    console.print(summary_of(done, dry_run))
    _stop_at(faults, "All others were applied; correct these and apply again.")


def apply_items(
    client: ValueLoopClient, items: list[files.Item], dry_run: bool = False
) -> tuple[list[files.Change], list[files.FileFault]]:
    """Applies what differs, in order; what was done, and what was refused. Raises ApiProblem."""
    recorded, done, faults = files.Recorded(client), [], []
    for item in items:
        change = files.compare(item, recorded)
        try:
            if change.what != "unchanged" and not dry_run:
                files.put(client, item)
            done.append(change)
        except files.FileFault as fault:
            faults.append(fault)
    return done, faults


def table_of(done: list[files.Change], everything: bool = False) -> Table:
    """One line for each setting that changes."""
    table = Table("setting", "code", "from", "", "file")
    for change in done:
        if everything or change.what != "unchanged":
            item = change.item
            day = item.content.effective_from
            begins = "" if day == files.ALWAYS else day.isoformat()
            table.add_row(item.kind.KIND, item.code, begins, change.what, item.place())
    return table


def summary_of(done: list[files.Change], dry_run: bool = False) -> str:
    """A sentence with the counts."""
    counts = Counter(change.what for change in done)
    words = "would be " if dry_run else ""
    return (
        f"{counts['created']} {words}created, {counts['versioned']} {words}versioned, {counts['unchanged']} unchanged."
    )


def _stop_at(faults: list[files.FileFault], then: str) -> None:
    if not faults:
        return
    for fault in faults:
        problems.print(str(fault), style="red", markup=False)
    problems.print(f"{len(faults)} fault{'s' if len(faults) > 1 else ''}. {then}")
    raise typer.Exit(1)


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(file_okay=False, help="Where to write; made if it does not exist.")],
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Write the company's configuration as YAML files, a file for each kind, with every dated version.

    Applying the files again changes nothing.
    """
    written = export_to(client_for(data_directory, url, token, company), directory)
    console.print(f"{sum(written.values())} settings written to {len(written)} files in {directory}.")


def export_to(client: ValueLoopClient, directory: Path) -> dict[str, int]:
    """Writes the files; how many settings each has. Files of kinds that have nothing are removed. Raises ApiProblem."""
    directory.mkdir(parents=True, exist_ok=True)
    recorded, written = files.Recorded(client), {}
    for kind in files.ORDER:
        file = directory / f"{kind.KIND}.yaml"
        if found := recorded.of(kind):
            file.write_text(files.as_yaml(kind, found), "utf-8")
            written[file.name] = len(found)
    return written
