"""What happens to a small company, as data: the commands, events, ticks and decisions of a simulated run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

FIRST_DAY, LAST_DAY = date(2025, 1, 1), date(2025, 6, 30)


@dataclass(frozen=True, slots=True)
class Configure:
    """One public command: `PUT /goals/v1/units/plant` is service `goals`, method `PUT`, path `units/plant`.

    Commands on one entity (one service and path) are sent in the order of the story, each after the answer to the last.
    """

    company: str
    service: str
    method: str
    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Push:
    """CloudEvents in one batch for `POST /metrics/v1/events`."""

    company: str
    events: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """The company's clock reaches an instant: `POST /metrics/v1/ticks`."""

    company: str
    at: str


@dataclass(frozen=True, slots=True)
class Decide:
    """What somebody does about the open case of a goal and period: `POST /reviews/v1/cases/{id}/{what}` with `body`,
    where `what` is `decisions` or `plans`.

    Where no such case is open, or the API refuses, it is not played, and is not among the accepted acts.
    """

    company: str
    goal: str
    period: str
    body: Mapping[str, Any]
    what: str = "decisions"


@dataclass(frozen=True, slots=True)
class Settle:
    """Whatever was sent has rippled through all services before the next act is played.

    It stands wherever the order of two acts matters for the numbers and no single log carries both: around a tick,
    which is judged on the settings of three services, and after decisions.
    """


Act = Configure | Push | Tick | Decide | Settle
