"""Every number that a story must end in, recomputed from the accepted acts alone, the slow and obvious way.

It shares no code with the services: nothing of `services` or `shared` is imported here or below.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from tests.simulation.story import Act

Key = tuple[str, ...]


@dataclass(slots=True)
class Numbers:
    """What can be seen at the end. Values are plain decimal text; None where there is no number.

    `readings` by (company, metric, subject, period), `nodes` by (company, node, period), `scores` and `cases` by
    (company, goal, period), `scorecards` by (company, scorecard, period), `accruals` by (company, person, plan,
    period), `waiting` by (company, reference). A case is told in words, such as `planned`, `closed: decided`.
    """

    readings: dict[Key, str | None] = field(default_factory=dict)
    nodes: dict[Key, str | None] = field(default_factory=dict)
    scores: dict[Key, str | None] = field(default_factory=dict)
    scorecards: dict[Key, str | None] = field(default_factory=dict)
    accruals: dict[Key, str | None] = field(default_factory=dict)
    cases: dict[Key, str | None] = field(default_factory=dict)
    waiting: dict[Key, str | None] = field(default_factory=dict)


def differences(expected: Numbers, actual: Numbers) -> list[str]:
    """A line for each number that is not the same on both sides, such as
    `reading sim1a/yield/unit:plant/2025-01: oracle 0.93, services 0.92`."""
    found = []
    for kind in fields(Numbers):
        ours, theirs = getattr(expected, kind.name), getattr(actual, kind.name)
        for key in sorted(ours.keys() | theirs.keys()):
            left, right = ours.get(key, "nothing"), theirs.get(key, "nothing")
            if left != right:
                found.append(f"{kind.name} {'/'.join(key)}: oracle {left}, services {right}")
    return found


def expected(accepted: Sequence[Act]) -> Numbers:
    """The numbers that these accepted acts make. Acts that were refused must not be among them."""
    raise NotImplementedError
