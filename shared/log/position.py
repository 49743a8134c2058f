"""Where a reader stands: a row in the reader's own database, moved in the transaction of the effect."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from shared.log import Record

if TYPE_CHECKING:
    from shared.database.unit_of_work import UnitOfWork


class ReaderFault(Exception):
    """The reader cannot go on here, and no record is to blame: nothing is parked."""


class LostOwnership(ReaderFault):
    """Somebody else owns the partition or has moved its position. Neither done nor failed: read again, park nothing."""


class LogReplaced(ReaderFault):
    """The log read from is another one than the position was counted in."""


class GapInLog(ReaderFault):
    """A record is missing between the position and what was read."""


@dataclass(frozen=True, slots=True)
class Position:
    """The next record to apply, and the epoch it is counted in."""

    epoch: str
    next_pos: int

    def after(self, records: Sequence[Record]) -> "Position":
        """The position once these are applied. Raises `GapInLog` unless they follow on without a gap."""
        for pos, record in enumerate(records, self.next_pos):
            if record.pos != pos:
                raise GapInLog(
                    f"{record.topic}/{record.partition}: expected record {pos}, the log has {record.pos}. Records were "
                    "lost or trimmed before they were read; rebuild this service from its sources."
                )
        return Position(self.epoch, self.next_pos + len(records))


def claim(connection: Connection, topic: str, partition: int, epoch: str) -> Position:
    """The stored position, made at the log's start where there is none."""
    connection.execute(
        text("INSERT INTO log.position (topic, partition, epoch, next_pos) VALUES (:t, :p, :epoch, 0) "
             "ON CONFLICT DO NOTHING"),
        {"t": topic, "p": partition, "epoch": epoch},
    )  # fmt: skip
    row = connection.execute(
        text("SELECT epoch, next_pos FROM log.position WHERE topic = :t AND partition = :p"),
        {"t": topic, "p": partition},
    ).one()
    if row.epoch != epoch:
        raise LogReplaced(
            f"{topic}/{partition}: the position was counted in log {row.epoch[:8]}, the log is now {epoch[:8]}. It was "
            "restored or rebuilt; rebuild this service as well, so that both count the same records."
        )
    return Position(row.epoch, row.next_pos)


def move(uow: "UnitOfWork", place: tuple[str, int], old: Position, new: Position, owner: str) -> None:
    """Moves the position by compare-and-set, under the lease. The row stays locked until the transaction ends.

    Raises:
        LostOwnership: the position has moved, or the lease has passed to somebody else.
    """
    moved = uow.run(
        "UPDATE log.position SET next_pos = :new WHERE topic = :t AND partition = :p AND epoch = :epoch "
        "AND next_pos = :old AND EXISTS (SELECT 1 FROM log.lease l WHERE l.topic = :t AND l.partition = :p "
        "AND l.owner = :owner)",
        new=new.next_pos, old=old.next_pos, epoch=old.epoch, t=place[0], p=place[1], owner=owner,
    )  # fmt: skip
    if not moved:
        raise LostOwnership(f"{place[0]}/{place[1]}")
