"""What a measurement is, and the report made of all of them."""

import json
import math
import platform
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

Unit = Literal["1/s", "ms"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, and the floor it stands beside: what the same hardware did in the same run with nothing around it.

    Args:
        value: None where it could not be measured; the note says why.
        unit: `1/s` (more is better) or `ms` (less is better).
        note: how many, and what the floor is.
    """

    name: str
    value: float | None
    unit: Unit
    floor: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value over floor, in whatever direction the unit has."""
        return self.value / self.floor if self.floor and self.value is not None else None


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: a time that was really seen.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def show(figures: Sequence[Figure], seconds: float) -> None:
    """Prints the table."""
    table = Table(title="ValueLoop beside the floors of this machine, fsync on", title_justify="left")
    table.add_column("what")
    for heading in ("figure", "floor", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("of what, and which floor", style="dim")
    for one in figures:
        ratio = "" if one.ratio is None else f"{one.ratio:.2f}"
        table.add_row(one.name, _words(one.value, one.unit), _words(one.floor, one.unit), ratio, one.note)
    console = Console()
    console = console if console.is_terminal else Console(width=150)
    console.print(table)
    console.print(f"{seconds:.0f} s in all. 1/s: a ratio near 1 is as fast as the floor. ms: a ratio is times slower.")


def _words(value: float | None, unit: Unit) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}/s" if unit == "1/s" else f"{value:,.2f} ms"


def write(figures: Sequence[Figure], path: Path, **about: Any) -> None:
    """Writes the same as JSON, with what it was measured on."""
    machine = {"cpu": _cpu(), "python": platform.python_version(), "system": platform.platform()}
    report = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "machine": machine, **about,
        "figures": [asdict(one) | {"ratio": one.ratio} for one in figures],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.processor()
