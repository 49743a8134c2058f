"""Parking: a bad record is set aside with its trace, its key's successors behind it, and everything else goes on."""

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared.errors import Conflict, NotFound
from shared.log import Record
from shared.log.position import ReaderFault

if TYPE_CHECKING:
    from shared.database.unit_of_work import UnitOfWork

_COLUMNS = (
    "topic", "partition", "pos", "key", "type", "company", "data", "traceparent", "record_time", "error", "trace",
)  # fmt: skip
_RECORD = "topic, partition, pos, key, type, company, data, traceparent, record_time"
_AS_RECORD = _RECORD.replace("record_time", "record_time AS recorded_at")


class TooManyParked(ReaderFault):
    """So many records are parked that going on would hide a fault; the worker waits for an operator."""


class ParkedRecordNotFound(NotFound):
    """No parked record stands at that place."""


class StillBroken(Conflict):
    """A retried record failed again."""


def parked_keys(uow: "UnitOfWork", place: tuple[str, int], records: Sequence[Record]) -> set[tuple[str, str]]:
    """The (company, key) of these records behind which others are parked."""
    rows = uow.rows(
        "SELECT DISTINCT company, key FROM log.parked WHERE topic = :topic AND partition = :partition "
        "AND key = ANY(:keys)",
        topic=place[0], partition=place[1], keys=list({record.key for record in records}),
    )  # fmt: skip
    return {(row.company, row.key) for row in rows}


def refuse_when_too_many(uow: "UnitOfWork", limit: int) -> None:
    """Raises `TooManyParked` at the limit."""
    if parked_of(uow, uow.service.inputs) >= limit:
        raise TooManyParked(
            f"{limit} records are parked. Look at them with `valueloop parked list`, repair the cause, then retry or "
            "discard them; the worker goes on by itself."
        )


def parked_of(uow: "UnitOfWork", topics: Sequence[str]) -> int:
    """How many records of these topics are parked."""
    return int(uow.value("SELECT count(*) FROM log.parked WHERE topic = ANY(:topics)", topics=list(topics)))


def park(uow: "UnitOfWork", records: Sequence[Record], error: Exception | None) -> None:
    """Sets records aside. Without an error they are parked behind an earlier one of their key."""
    said = f"{type(error).__name__}: {error}"[:4000] if error else None
    trace = "".join(traceback.format_exception(error))[-20000:] if error else None
    rows = [
        (r.topic, r.partition, r.pos, r.key, r.type, r.company, r.data, r.traceparent, r.recorded_at, said, trace)
        for r in records
    ]
    uow.copy("log.parked", _COLUMNS, rows)


def parked_error(uow: "UnitOfWork", company: str, topic: str, key: str) -> str | None:
    """Why the first parked record of a key could not be applied; None where none is parked."""
    found: str | None = uow.value(
        "SELECT error FROM log.parked WHERE company = :company AND topic = :topic AND key = :key ORDER BY pos LIMIT 1",
        company=company, topic=topic, key=key,
    )  # fmt: skip
    return found


def list_parked(uow: "UnitOfWork", company: str, after: tuple[str, int, int] | None, limit: int) -> Sequence[Any]:
    """A company's parked records by place, without their payloads."""
    topic, partition, pos = after or ("", 0, 0)
    return uow.rows(
        "SELECT topic, partition, pos, key, type, error, record_time, recorded_at FROM log.parked "
        "WHERE company = :company AND (topic, partition, pos) > (:topic, :partition, :pos) "
        "ORDER BY topic, partition, pos LIMIT :limit",
        company=company, topic=topic, partition=partition, pos=pos, limit=limit,
    )  # fmt: skip


def get_parked(uow: "UnitOfWork", company: str, topic: str, partition: int, pos: int) -> Any:
    """One parked record with its payload and trace."""
    row = uow.row(
        f"SELECT {_RECORD}, error, trace, recorded_at FROM log.parked WHERE company = :company AND topic = :topic "
        "AND partition = :partition AND pos = :pos",
        company=company, topic=topic, partition=partition, pos=pos,
    )  # fmt: skip
    if row is None:
        raise ParkedRecordNotFound(
            f"No record is parked at {topic}/{partition}/{pos}.", remedy="List the parked records; it may be done."
        )
    return row


def take_key(uow: "UnitOfWork", topic: str, partition: int, company: str, key: str) -> list[Record]:
    """Takes the parked records of a key out, in order. Holds the position, so that no worker parks behind them."""
    uow.value(
        "SELECT next_pos FROM log.position WHERE topic = :topic AND partition = :partition FOR UPDATE",
        topic=topic, partition=partition,
    )  # fmt: skip
    rows = uow.rows(
        f"DELETE FROM log.parked WHERE topic = :topic AND partition = :partition AND company = :company AND key = :key "
        f"RETURNING {_AS_RECORD}",
        topic=topic, partition=partition, company=company, key=key,
    )  # fmt: skip
    return sorted((Record(**row._mapping) for row in rows), key=lambda record: record.pos)
