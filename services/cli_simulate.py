"""`valueloop simulate`: proves with as many seeds as wished that nothing is lost or counted twice."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli_options import console
from shared.database.directory import BrokenEnvironment
from shared.telemetry import configure_logging

app = typer.Typer()


class NoSimulation(BrokenEnvironment):
    """The simulation is not installed with the program."""


@app.command()
def simulate(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to play.")] = 100,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    seed: Annotated[int | None, typer.Option(help="Play this one alone, and print its course.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Tell only so many acts of the story.")] = None,
    log: Annotated[
        Literal["postgres", "kafka"] | None, typer.Option(help="The log to play on; the seed decides if not named.")
    ] = None,
    without: Annotated[list[str] | None, typer.Option(help="Leave out a kind of fault; may be repeated.")] = None,
    defect: Annotated[str | None, typer.Option(help="Build a known defect in, and see that it is found.")] = None,
) -> None:
    """Play seeded stories with crashes, takeovers, lost answers and a failing broker, and compare every number.

    Needs a checkout: the simulation lives in its tests. Ends with 1 at the first seed with a difference, after
    shrinking it to the shortest that still fails, and prints the command that plays it again.
    """
    engine, built_in = _engine(), _defect(defect)
    numbers = [seed] if seed is not None else list(range(first, first + seeds))
    given: dict[str, Any] = {"log": log or (built_in.log if built_in else ""), "without": frozenset(without or ())}
    if unknown := given["without"] - set(engine.FAULTS):
        raise typer.BadParameter(f"no such fault: {min(unknown)}; there are {', '.join(engine.FAULTS)}")
    cases = [engine.Case(number, **given, **({"steps": steps} if steps else {})) for number in numbers]
    configure_logging("error", json=False)
    with _simulator(engine) as simulator, built_in.built_in() if built_in else nullcontext():
        failed = _play(simulator, cases, told=seed is not None)
        if failed and steps is None and not without:
            console.print("Shrinking it …")
            shrunk = engine.shrink(lambda case: bool(simulator.play(case).wrong), failed.case)
            console.print(f"The shortest that still fails: {_with(shrunk.command, defect)}", markup=False)
    if bool(failed) != bool(defect):
        raise typer.Exit(1)


def _play(simulator: Any, cases: list[Any], *, told: bool) -> Any | None:
    """Plays until one fails, and says what happened; the failed one."""
    total, began, failed, played = Counter[str](), time.monotonic(), None, 0
    columns = (TextColumn("seed {task.fields[seed]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=told, transient=True) as progress:
        task = progress.add_task("", total=len(cases), seed="")
        for case in cases:
            progress.update(task, seed=case.seed)
            outcome = simulator.play(case)
            total, played = total + outcome.counts, played + 1
            progress.advance(task)
            if outcome.wrong:
                failed = outcome
                break
    if told:
        console.print("\n".join(outcome.trace), f"Course {outcome.digest}.", sep="\n", markup=False)
    _say(failed)
    console.print(
        f"{played} seeds, {total['steps']} steps, {total['died']} crashes, {total['takeovers']} takeovers, "
        f"{total['suspended']} stopped and gone on, {total['waits']} lost connections or locks, {total['troubles']} "
        f"failed sends, {total['unanswered']} lost answers, {total['duplicates']} duplicates, "
        f"{len(failed.wrong) if failed else 0} differences, {time.monotonic() - began:.0f} s"
    )
    return failed


def _say(failed: Any | None) -> None:
    if failed:
        console.print(f"Seed {failed.case.seed} differs:", *failed.wrong[:20], sep="\n  ", markup=False)
        console.print(f"Play it again: {failed.case.command}", markup=False)


def _with(command: str, defect: str | None) -> str:
    return f"{command} --defect {defect}" if defect else command


def _engine() -> Any:
    if find_spec("tests") is None or find_spec("tests.simulation") is None:
        raise NoSimulation(
            "The simulation is part of the tests, and they are not here.",
            remedy="Run `valueloop simulate` from a checkout of the repository.",
        )
    return import_module("tests.simulation.engine")


def _defect(name: str | None) -> Any:
    if name is None:
        return None
    known = import_module("tests.simulation.defects").BY_NAME
    if name not in known:
        raise typer.BadParameter(f"no such defect: {name}; there are {', '.join(known)}")
    return known[name]


@contextmanager
def _simulator(engine: Any) -> Iterator[Any]:
    """A simulator over a PostgreSQL of its own, whose data may be lost."""
    from shared.database.embedded import FOR_TESTS, EmbeddedPostgres

    with tempfile.TemporaryDirectory(prefix="valueloop-") as directory:
        postgres = EmbeddedPostgres(Path(directory), FOR_TESTS)
        try:
            with engine.simulator(postgres.start(), Path(directory)) as made:
                yield made
        finally:
            postgres.stop()
