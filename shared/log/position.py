"""Where a reader stands: a row in the reader's own database, moved in the transaction of the effect."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection, text

from shared.log import Place, Record

if TYPE_CHECKING:
    from shared.database.unit_of_work import UnitOfWork


class ReaderFault(Exception):
    """The reader cannot go on here, and no record is to blame: nothing is parked."""


class LostOwnership(ReaderFault):
    """Somebody else owns the partition or has moved its position. Neither done nor failed: read again, park nothing."""


class NotYet(ReaderFault):
    """A tick came before something that it must find done, which is on its way. Nothing is kept; it is met again."""


class LogReplaced(ReaderFault):
    """The log read from is another one than the position was counted in."""


class GapInLog(ReaderFault):
    """A record is missing between the position and what was read."""


@dataclass(frozen=True, slots=True)
class Position:
    """The next record to apply.

    Args:
        epoch: the log in which `next_pos` is counted; empty until a first record tells.
        offset: where Kafka keeps that record; None where it is not known, and the reader starts at the beginning.
    """

    epoch: str
    next_pos: int
    offset: int | None = None

    def after(self, records: Sequence[Record]) -> "Position":
        """The position once these are applied.

        Raises:
            GapInLog: they do not follow on without a gap.
            LogReplaced: they were counted in another log.
        """
        epoch = self.epoch
        for pos, record in enumerate(records, self.next_pos):
            if record.pos != pos:
                raise GapInLog(
                    f"{record.topic}/{record.partition}: expected record {pos}, the log has {record.pos}. Records were "
                    "lost or trimmed before they were read; rebuild this service from its sources."
                )
            epoch = epoch or record.epoch
            if record.epoch not in ("", epoch):
                raise replaced(record.place, epoch, record.epoch)
        last = records[-1].offset
        return Position(epoch, self.next_pos + len(records), None if last is None else last + 1)


def replaced(place: Place, counted: str, now: str) -> LogReplaced:
    """The error for a position of another log."""
    return LogReplaced(
        f"{place[0]}/{place[1]}: the position was counted in log {counted[:8]}, the log is now {now[:8]}. It was "
        "restored or rebuilt; rebuild this service as well, so that both count the same records."
    )


def claim(connection: Connection, topic: str, partition: int, epoch: str) -> Position:
    """The stored position, made at the log's start where there is none. `epoch` may be empty: the records will tell."""
    connection.execute(
        text("INSERT INTO log.position (topic, partition, epoch, next_pos) VALUES (:t, :p, :epoch, 0) "
             "ON CONFLICT DO NOTHING"),
        {"t": topic, "p": partition, "epoch": epoch},
    )  # fmt: skip
    row = connection.execute(
        text("SELECT epoch, next_pos, kafka_offset FROM log.position WHERE topic = :t AND partition = :p"),
        {"t": topic, "p": partition},
    ).one()
    if epoch and row.epoch not in ("", epoch):
        raise replaced((topic, partition), row.epoch, epoch)
    return Position(row.epoch, row.next_pos, row.kafka_offset)


def move(uow: "UnitOfWork", place: Place, old: Position, new: Position, owner: str, part: str = "read") -> None:
    """Moves the position by compare-and-set, under the lease. The row stays locked until the transaction ends.

    Raises:
        LostOwnership: the position has moved, or the lease has passed to somebody else.
    """
    moved = uow.run(
        "UPDATE log.position SET next_pos = :new, epoch = :new_epoch, kafka_offset = :offset "
        "WHERE topic = :t AND partition = :p AND epoch = :epoch "
        "AND next_pos = :old AND EXISTS (SELECT 1 FROM log.lease l WHERE l.part = :part AND l.topic = :t "
        "AND l.partition = :p AND l.owner = :owner)",
        new=new.next_pos, old=old.next_pos, epoch=old.epoch, t=place[0], p=place[1], owner=owner,
        new_epoch=new.epoch, offset=new.offset, part=part,
    )  # fmt: skip
    if not moved:
        raise LostOwnership(f"{place[0]}/{place[1]}")
