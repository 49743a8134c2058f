"""How the demo tells: titles, sentences, numbers for people, and waiting until what was sent has rippled through."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from threading import Event as Flag
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from services.client import ValueLoopClient

QUARTER, NEXT = "2025-Q1", "2025-Q2"
BATCH = 2_000


def shown(value: str | None, unit: str = "") -> str:
    """A number for people: thousands apart, rates in per cent, decimals cut; the API has all of them."""
    if value is None:
        return "–"
    number = Decimal(value)
    if unit == "ratio":
        return f"{number * 100:.2f} %"
    digits = 0 if number == number.to_integral_value() else 4 if abs(number) < 10 else 2
    text = f"{number:,.{digits}f}"
    return f"{text} {unit}".strip()


def moved(before: str | None, after: str | None, unit: str = "") -> str:
    """Before and after."""
    return f"{shown(before, unit)} → {shown(after, unit)}"


class Interrupted(Exception):
    """Somebody pressed Ctrl-C."""


@dataclass
class Teller:
    """Acts through the public API, and prints.

    Args:
        token: makes a token of a person with roles.
        stop: set when the story shall end early.
        events: what the ERP has to tell, by id.
    """

    client: ValueLoopClient
    token: Callable[..., str]
    stop: Flag
    console: Console
    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    def title(self, text: str, what: str) -> None:
        if self.stop.is_set():
            raise Interrupted
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left")
        self.say(what)

    def say(self, text: str) -> None:
        self.console.print(text)

    def speaking_as(self, person: str, *roles: str) -> ValueLoopClient:
        """A client with the rights of that person alone."""
        return self.client.as_(self.token(person, *roles))

    def tick(self, instant: str) -> None:
        self.client.wait_until_settled()
        self.client.post("/metrics/v1/ticks", {"at": instant})
        self.client.wait_until_settled()

    def send(self, events: Sequence[dict[str, Any]], what: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        left, counts = iter(events), {"accepted": 0}
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task(what, total=len(events))
            while batch := list(islice(left, BATCH)):
                if self.stop.is_set():
                    raise Interrupted
                for receipt in self.client.push(batch):
                    counts[receipt["status"]] = counts.get(receipt["status"], 0) + 1
                bar.advance(task, len(batch))
            bar.update(task, description=f"{what}, rippling through")
            self.client.wait_until_settled(timeout=300)
            bar.update(task, description=what)
        self.say("Receipts: " + ", ".join(f"{number} {status}" for status, number in counts.items()) + ".")
