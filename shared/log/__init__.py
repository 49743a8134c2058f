"""The log: what one service publishes and others read, at their own pace and exactly once in effect.

`Log` is the reading side. On one machine it is the owner's table (`shared.log.postgres`); on a cluster the same records
come from Kafka. No handler knows which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """One event in a log. `pos` is the position its owner gave it, gapless within (topic, partition)."""

    topic: str
    partition: int
    pos: int
    key: str
    type: str
    company: str
    data: str
    traceparent: str | None
    recorded_at: datetime


class Log(Protocol):
    """Where a reader finds the records of one owner."""

    def epoch(self) -> str:
        """Changes when positions lose their meaning: after a restore, a failover with loss, or a rebuild."""

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has; 0 where it does not exist yet."""

    def read(self, topic: str, partition: int, pos: int, limit: int) -> Sequence[Record]:
        """Up to `limit` records from `pos` on, in order."""

    def ends(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        """The next position of each partition."""

    def listen(self) -> "Subscription":
        """A wake-up for when something was appended."""


class Subscription(Protocol):
    """A wake-up: a hint only, polling stays the fallback."""

    def fileno(self) -> int:
        """For select(); readable when something was appended."""

    def drain(self) -> None:
        """Forgets what has been signalled so far."""

    def close(self) -> None: ...
