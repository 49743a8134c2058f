"""Appending to a service's own log: the outbox is the log."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zlib import crc32

from sqlalchemy import text

if TYPE_CHECKING:
    from shared.database.unit_of_work import UnitOfWork

COLUMNS = ("topic", "partition", "pos", "key", "type", "company", "data", "traceparent", "copies")
CHANNEL = "valueloop_log"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way into the log. Without a key it goes to every partition.

    `recorded_at` is when it was first accepted, where a log is rebuilt from another; else it is now.
    """

    topic: str
    key: str | None
    type: str
    company: str
    data: str
    traceparent: str | None = None
    recorded_at: datetime | None = None


class UnknownTopic(Exception):
    """A topic was published to that was never created."""


class TopicWidened(ConnectionError):
    """The topic got more partitions meanwhile, so keys have moved; the same transaction succeeds when repeated."""


def partition_of(company: str, key: str, partitions: int) -> int:
    """The partition of a key: the same in every process and on every log."""
    return crc32(f"{company}\x1f{key}".encode()) % partitions


def append(uow: "UnitOfWork", events: Sequence[Outgoing]) -> list[tuple[str, int, int]]:
    """Writes events with gapless positions; returns (topic, partition, pos) of each, in the order given.

    The counters' rows stay locked until COMMIT, so positions are in commit order and a reader never meets a gap.
    Call it last: the locks are held for the rest of the transaction.
    """
    if not events:
        return []
    counts = _partition_counts(uow, {event.topic for event in events})
    placed: list[tuple[str, int, Outgoing]] = []
    for event in events:
        for partition in _targets(event, counts[event.topic]):
            placed.append((event.topic, partition, event))
    next_pos = _reserve(uow, placed, counts)
    rows, places = [], []
    for topic, partition, event in placed:
        pos = next_pos[topic, partition]
        next_pos[topic, partition] = pos + 1
        places.append((topic, partition, pos))
        key = event.key or ""
        copies = 1 if event.key is not None else counts[topic]
        rows.append((topic, partition, pos, key, event.type, event.company, event.data, event.traceparent, copies))
    if any(event.recorded_at for event in events):
        now = datetime.now(UTC)
        times = (event.recorded_at or now for _, _, event in placed)
        uow.copy("log.record", (*COLUMNS, "recorded_at"), ((*row, at) for row, at in zip(rows, times, strict=True)))
    else:
        uow.copy("log.record", COLUMNS, rows)
    for topic in sorted(counts):
        uow.run("SELECT pg_notify(:channel, :topic)", channel=CHANNEL, topic=topic)
    return places


def _targets(event: Outgoing, partitions: int) -> Iterable[int]:
    return range(partitions) if event.key is None else (partition_of(event.company, event.key, partitions),)


def _partition_counts(uow: "UnitOfWork", topics: set[str]) -> dict[str, int]:
    rows = uow.rows(
        "SELECT topic, count(*) FROM log.partition WHERE topic = ANY(:topics) GROUP BY topic", topics=list(topics)
    )
    counts: dict[str, int] = {row._mapping["topic"]: row._mapping["count"] for row in rows}
    if missing := topics - counts.keys():
        raise UnknownTopic(f"The topic {sorted(missing)[0]} does not exist. Run `valueloop migrate`.")
    return counts


def _reserve(
    uow: "UnitOfWork", placed: list[tuple[str, int, Any]], counts: dict[str, int]
) -> dict[tuple[str, int], int]:
    wanted: dict[tuple[str, int], int] = {}
    for topic, partition, _ in placed:
        wanted[topic, partition] = wanted.get((topic, partition), 0) + 1
    first = {}
    # One statement a counter, in one order everywhere: the counters are locks, and an order prevents deadlock.
    for (topic, partition), count in sorted(wanted.items()):
        end = uow.connection.execute(
            text(
                "UPDATE log.partition SET next_pos = next_pos + :count "
                'WHERE topic = :topic AND partition = :partition AND "of" = :partitions RETURNING next_pos'
            ),
            {"topic": topic, "partition": partition, "count": count, "partitions": counts[topic]},
        ).scalar()
        if end is None:
            raise TopicWidened(f"{topic} got more partitions while this transaction ran")
        first[topic, partition] = end - count
    return first
