"""`valueloop simulate`: proves with as many seeds as wished that nothing is lost or counted twice."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli_options import console
from shared.database.directory import BrokenEnvironment

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
    defect: Annotated[
        str | None, typer.Option(help="Build a known defect in, and see that it is found; `all`: each in turn.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Seeds at a time; as many as there are cores.")] = None,
) -> None:
    """Play seeded stories with crashes, takeovers, lost answers and a failing broker, and compare every number.

    Needs a checkout: the simulation lives in its tests. Stops at the first seed that differs, shrinks it to the
    shortest that still does, prints the command that plays it again, and ends with 1. With a defect it ends with 1
    where that is not found.
    """
    parts = _Parts(processes or os.cpu_count() or 1)
    given: dict[str, Any] = {"log": log or "", "without": parts.faults(without or []), "steps": steps}
    numbers = [seed] if seed is not None else list(range(first, first + seeds))
    if defect:
        missed = [each.name for each in parts.defects(defect) if not _found(parts, each, numbers, given)]
        raise typer.Exit(1 if missed else 0)
    failed = _play(parts, parts.cases(numbers, **given), told=seed is not None)
    if failed and steps is None and not without:
        console.print("Shrinking it …")
        console.print(f"The shortest that still fails: {parts.crew.shortest(failed.case, None).command}", markup=False)
    raise typer.Exit(1 if failed else 0)


class _Parts:
    """What the checkout's tests bring: imported here only, so that the command is there without them."""

    def __init__(self, processes: int) -> None:
        if find_spec("tests") is None or find_spec("tests.simulation") is None:
            raise NoSimulation(
                "The simulation is part of the tests, and they are not here.",
                remedy="Run `valueloop simulate` from a checkout of the repository.",
            )
        self.processes = processes
        self.crew, self.engine, self._defects = (
            import_module(f"tests.simulation.{name}") for name in ("crew", "engine", "defects")
        )

    def faults(self, named: list[str]) -> frozenset[str]:
        """Raises BadParameter for one that is none."""
        if unknown := set(named) - set(self.engine.FAULTS):
            raise typer.BadParameter(f"no such fault: {min(unknown)}; there are {', '.join(self.engine.FAULTS)}")
        return frozenset(named)

    def defects(self, name: str) -> list[Any]:
        """Raises BadParameter for one that is none."""
        known = self._defects.BY_NAME
        if name != "all" and name not in known:
            raise typer.BadParameter(f"no such defect: {name}; there are all, {', '.join(known)}")
        return list(known.values()) if name == "all" else [known[name]]

    def cases(self, numbers: list[int], *, steps: int | None, **given: Any) -> list[Any]:
        return [self.engine.Case(number, **given, **({"steps": steps} if steps else {})) for number in numbers]

    @contextmanager
    def outcomes(self, cases: list[Any], defect: str | None = None) -> Iterator[Iterator[Any]]:
        """Their outcomes in order, each when it is there."""
        with closing(self.crew.outcomes(cases, defect, min(self.processes, len(cases)))) as found:
            yield found


def _found(parts: _Parts, defect: Any, numbers: list[int], given: dict[str, Any]) -> bool:
    """Whether a defect is found within the seeds it may take; says how many it took."""
    began, given = time.monotonic(), given | {"log": given["log"] or defect.log}
    cases = parts.cases(numbers[: defect.within], **given)
    with parts.outcomes(cases, defect.name) as outcomes:
        seeds = next((n for n, outcome in enumerate(outcomes, 1) if outcome.wrong), None)
    told = f"found with {seeds} seeds" if seeds else f"NOT found with {len(cases)} seeds"
    console.print(f"{defect.name} ({defect.says}): {told}, {time.monotonic() - began:.0f} s", markup=False)
    return seeds is not None


def _play(parts: _Parts, cases: list[Any], *, told: bool) -> Any | None:
    """Plays until one fails, and says what happened; the failed one."""
    total, began, failed, played = Counter[str](), time.monotonic(), None, 0
    columns = (TextColumn("seed {task.fields[seed]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, disable=told, transient=True) as progress,
        parts.outcomes(cases) as outcomes,
    ):
        task = progress.add_task("", total=len(cases), seed=cases[0].seed)
        for outcome in outcomes:
            total, played = total + outcome.counts, played + 1
            progress.update(task, seed=outcome.case.seed, advance=1)
            if outcome.wrong:
                failed = outcome
                break
    if told:
        console.print("\n".join(outcome.trace), f"Course {outcome.digest}.", sep="\n", markup=False)
    if failed:
        console.print(f"Seed {failed.case.seed} differs:", *failed.wrong[:20], sep="\n  ", markup=False)
        console.print(f"Play it again: {failed.case.command}", markup=False)
    console.print(
        f"{played} seeds, {total['steps']} steps, {total['died']} crashes, {total['takeovers']} takeovers, "
        f"{total['suspended']} stopped and gone on, {total['waits']} lost connections or locks, {total['troubles']} "
        f"failed sends, {total['unanswered']} lost answers, {total['duplicates']} duplicates, "
        f"{len(failed.wrong) if failed else 0} differences, {time.monotonic() - began:.0f} s"
    )
    return failed
