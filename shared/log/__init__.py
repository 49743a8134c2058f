"""The log: what one service publishes and others read, at their own pace and exactly once in effect.

On one machine the log is the owner's table (`shared.log.postgres`); on a cluster a forwarder copies that table to Kafka
(`shared.log.forward`) and the same records come from there (`shared.log.kafka`). No handler knows which.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.log.position import Position

Place = tuple[str, int]
"""A topic and a partition of it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One event in a log.

    Args:
        pos: the position its owner gave it, gapless within (topic, partition).
        copies: on how many partitions of the topic the same event stands: 1, or all of them for a tick.
        epoch: the log in which `pos` was counted; empty where it is not known.
        offset: where Kafka keeps it; None on another log.
    """

    topic: str
    partition: int
    pos: int
    key: str
    type: str
    company: str
    data: str
    traceparent: str | None
    recorded_at: datetime
    copies: int = 1
    epoch: str = ""
    offset: int | None = None

    @property
    def place(self) -> Place:
        """Where it stands, but for the position."""
        return self.topic, self.partition


class Log(Protocol):
    """What any thread may ask about the log of one owner."""

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 where it does not exist yet."""

    def epoch(self) -> str:
        """Changes when positions lose their meaning: after a restore or a rebuild. Empty where only records tell."""

    def lag(self, positions: "Mapping[Place, Position | None]") -> dict[Place, int]:
        """How many records lie beyond these positions; None stands for a reader that has not begun."""


class Feed(Protocol):
    """What one worker reads from: the logs of all owners it listens to. Belongs to one thread."""

    def waiting(self, positions: "Mapping[Place, Position]") -> set[Place]:
        """The places that have records beyond these positions."""

    def read(self, place: Place, position: "Position", limit: int) -> Sequence[Record]:
        """Up to `limit` records from a position on, in order, without moving anything."""

    def wait(self, seconds: float) -> None:
        """Returns when something may have arrived, or after `seconds`."""

    def close(self) -> None:
        """Gives its connections back."""
