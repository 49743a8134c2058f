"""The command that sends the rows of a CSV file as events."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from services import files
from services.cli_files import Company, Token, Url, apply_items, client_for, summary_of
from services.cli_options import Directory, console, problems, settings_with
from services.client import ValueLoopClient
from services.rows import BadRow, Counted, EventMaker, NotReadable, Recipe, fingerprint, opened, rows

LARGEST_BODY = 7 * 1024 * 1024  # [bytes] the intake takes 8 MiB
SHOWN = 20  # faults on the screen; the file has them all

app = typer.Typer()


@dataclass
class State:
    """How far an import got, kept in a file beside the data."""

    fingerprint: str
    rows: int = 0
    finished: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path, print_: str) -> "State":
        """What the file says of this very import; a fresh state where it says nothing or is of another."""
        try:
            found = cls(**json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return cls(print_)
        return found if found.fingerprint == print_ else cls(print_)

    def save(self, file: Path) -> None:
        """Replaces the file in one step, so that an interruption leaves the old one or the new one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self)), "utf-8")
        draft.replace(file)


@dataclass
class Import:
    """One run over a file.

    Args:
        push: sends encoded events and gives their receipts, in order.
        tell: gets (row number, what happened) for each row that did not become an accepted event or a duplicate.
        batch: most events in one request.
    """

    push: Callable[[list[bytes]], list[dict[str, Any]]]
    state: State
    state_file: Path
    tell: Callable[[int, str], None]
    batch: int = 1000

    def run(self, table: Iterator[list[str]], recipe: Recipe, progress: Callable[[], None] = lambda: None) -> None:
        """Sends every row after those that the state says were sent. The row of column names counts as 1."""
        maker = EventMaker(recipe, self._columns(table))
        for _ in islice(table, self.state.rows):
            pass
        waiting: list[tuple[int, bytes]] = []
        size, number = 0, self.state.rows
        for number, values in enumerate(table, self.state.rows + 1):
            event = self._event(maker, number + 1, values)
            if event and waiting and (len(waiting) == self.batch or size + len(event) > LARGEST_BODY):
                self._send(waiting, number - 1, progress)
                waiting, size = [], 0
            if event:
                waiting.append((number + 1, event))
                size += len(event) + 1
        self._send(waiting, number, progress)
        self.state.finished = True
        self.state.save(self.state_file)

    def _columns(self, table: Iterator[list[str]]) -> list[str]:
        try:
            return next(table)
        except StopIteration:
            raise NotReadable("The file is empty.", remedy="Its first line holds the column names.") from None

    def _event(self, maker: EventMaker, line: int, values: list[str]) -> bytes | None:
        if not values:  # an empty line
            return None
        try:
            return maker.event(values)
        except BadRow as fault:
            self._count("bad row")
            self.tell(line, f"bad row: {fault}")
            return None

    def _send(self, waiting: list[tuple[int, bytes]], number: int, progress: Callable[[], None]) -> None:
        receipts = self.push([event for _, event in waiting]) if waiting else []
        for (line, _), receipt in zip(waiting, receipts, strict=True):
            self._count(receipt["status"])
            if receipt["status"] not in ("accepted", "duplicate"):
                self.tell(line, f"{receipt['status']}: {_why(receipt)}")
        self.state.rows = number
        self.state.save(self.state_file)
        progress()

    def _count(self, what: str) -> None:
        self.state.counts[what] = self.state.counts.get(what, 0) + 1


def _why(receipt: dict[str, Any]) -> str:
    problem = receipt.get("problem") or {}
    if problem:
        return str(problem.get("detail") or problem.get("title"))
    return f"an event {receipt.get('id')} of this source was accepted before with another content"


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV file, or a zip archive with one.")],
    source: Annotated[str, typer.Option(help="CloudEvents source of the events.")],
    type_: Annotated[str, typer.Option("--type", help="CloudEvents type of the events; mappings take them by it.")],
    id_: Annotated[
        str, typer.Option("--id", help="What makes a row unique: columns (VBELN,POSNN) or a text ({VBELN}-{POSNN}).")
    ],
    time: Annotated[str, typer.Option(help='When it happened: a column, or a text such as "{ERDAT} {ERZET}".')],
    time_format: Annotated[
        str | None, typer.Option(help='How times are written ("%Y%m%d %H%M%S"); ISO 8601 if not named.')
    ] = None,
    time_zone: Annotated[str, typer.Option(help="Zone of times without an offset.")] = "UTC",
    subject: Annotated[str | None, typer.Option(help="CloudEvents subject, as a text like that of --id.")] = None,
    member: Annotated[
        list[str] | None, typer.Option(help="Member of the archive; again for an archive inside the archive.")
    ] = None,
    mapping: Annotated[
        Path | None, typer.Option(exists=True, help="YAML file or directory that is applied first.")
    ] = None,
    delimiter: Annotated[str, typer.Option(help="What separates fields.")] = ",",
    encoding: Annotated[str, typer.Option(help="Encoding of the file.")] = "utf-8-sig",
    batch: Annotated[int, typer.Option(min=1, max=5000, help="Events in one request.")] = 1000,
    state: Annotated[
        Path | None, typer.Option(help="File that remembers how far it got; in the data directory if not named.")
    ] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin again at the first row.")] = False,
    url: Url = None,
    token: Token = None,
    company: Company = None,
    data_directory: Directory = None,
) -> None:
    """Send each row of a CSV file as an event.

    The event's data is the row, every field as text without spaces around it. Sending a row again does no harm, so an
    interrupted import goes on where it stopped when it is given again. Rows that do not fit are listed; the others go
    on.
    """
    client = client_for(data_directory, url, token, company)
    recipe = Recipe(source, type_, id_, time, time_format, time_zone, subject)
    members = member or []
    print_ = fingerprint(file, recipe, members)
    kept = (
        state or settings_with(data_directory=data_directory).data_directory / "imports" / f"{file.name}.{print_[:12]}"
    )
    _apply_first(client, mapping)
    found = State(print_) if restart else State.load(kept, print_)
    if found.finished:
        console.print(f"{file} was imported already ({_counts(found)}). --restart sends it again.")
        return
    if found.rows:
        console.print(f"Going on after row {found.rows}.")
    refused = kept.with_suffix(kept.suffix + ".refused")
    with opened(file, members) as (stream, size), _listing(refused, bool(found.rows)) as listing:
        counted = Counted(stream)
        job = Import(client.push_encoded, found, kept, listing.tell, batch)
        with _bar() as bar:
            task = bar.add_task(file.name, total=size)
            job.run(rows(counted, delimiter, encoding), recipe, lambda: bar.update(task, completed=counted.done))  # type: ignore[arg-type]
            bar.update(task, completed=size)
    console.print(f"{found.rows} rows: {_counts(found)}.")
    if listing.told:
        console.print(f"{listing.told} rows were not accepted; {refused} has the reason for each.")


def _apply_first(client: ValueLoopClient, mapping: Path | None) -> None:
    if not mapping:
        return
    items, faults = files.read(mapping)
    done: list[files.Change] = []
    if not faults:
        done, faults = apply_items(client, items)
    for fault in faults:
        problems.print(str(fault), style="red", markup=False)
    if faults:
        raise typer.Exit(1)
    console.print(f"{mapping}: {summary_of(done)}")


def _counts(state: State) -> str:
    counts = Counter(state.counts)
    names = ["accepted", "duplicate", "quarantined", "rejected"] + (["bad row"] if counts["bad row"] else [])
    return ", ".join(f"{counts[name]} {name}" for name in names)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


class _listing:
    """Writes rows that were not accepted to a file, and the first of them to the screen."""

    def __init__(self, file: Path, more: bool) -> None:
        self._file, self._mode, self.told = file, "a" if more else "w", 0

    def __enter__(self) -> "_listing":
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = self._file.open(self._mode, encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def tell(self, line: int, what: str) -> None:
        self.told += 1
        self._stream.write(f"{line}\t{what}\n")
        if self.told <= SHOWN:
            problems.print(f"row {line}: {what}", markup=False)
