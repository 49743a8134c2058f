"""What an operator decides about parked records is a command: it stands in the service's configuration topic."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from shared.contracts.base import Contract
from shared.log import Record
from shared.log.append import Outgoing
from shared.log.parking import StillBroken, take_key
from shared.log.worker import handle, types_of

if TYPE_CHECKING:
    from shared.database.unit_of_work import UnitOfWork


class Resolved(Contract):
    """An operator retried or discarded a parked record. Key: the topic and key of the record."""

    TYPE, TOPIC = "valueloop.parked-resolved.v1", "metrics.configuration"
    topic: str
    partition: int
    pos: int
    key: str
    type: str
    was: str = Field(description="Its payload.")
    by: str = Field(description="Who resolved it.")
    discarded: bool = Field(description="For good; else it was applied with those of its key behind it.")
    data: str | None = Field(default=None, description="The repaired payload it was applied with.")


def resolve(uow: "UnitOfWork", company: str, parked: Any, *, discarded: bool, data: str | None = None) -> int:
    """Discards a parked record, or applies it and those of its key behind it; how many were applied.

    Raises:
        StillBroken: one of them fails again; nothing was applied.
    """
    place = {name: getattr(parked, name) for name in ("topic", "partition", "pos", "key", "type")}
    made = Resolved(**place, was=parked.data, by=uow.actor, discarded=discarded, data=data)
    records = [] if discarded else take_key(uow, parked.topic, parked.partition, company, parked.key)
    if discarded:
        _discard(uow, made)
    apply_parked(uow, [replace(r, data=data) if data is not None and r.pos == parked.pos else r for r in records])
    _note(uow, company, made)
    return len(records)


def resolve_again(uow: "UnitOfWork", record: Record) -> None:
    """The same where databases are rebuilt; nothing, where the record is not parked there: then it was applied."""
    made = Resolved.model_validate_json(record.data)
    found: Any = uow.row(
        "SELECT * FROM log.parked WHERE company = :company AND topic = :topic AND key = :key AND type = :type "
        "AND data = :was ORDER BY partition, pos LIMIT 1",
        company=record.company, topic=made.topic, key=made.key, type=made.type, was=made.was,
    )  # fmt: skip
    if found is None:
        _note(uow, record.company, made)
    else:
        uow.actor, actor = made.by, uow.actor
        resolve(uow, record.company, found, discarded=made.discarded, data=made.data)
        uow.actor = actor


def apply_parked(uow: "UnitOfWork", records: Sequence[Record]) -> None:
    """Handles records that were parked. Raises `StillBroken` where one fails again."""
    kinds = types_of(uow.service)
    for record in records:
        try:
            handle(uow, kinds, [record])
        except Exception as error:
            raise StillBroken(
                f"Record {record.topic}/{record.partition}/{record.pos} failed again: {type(error).__name__}: {error}",
                remedy="Repair its payload or the code, then retry; nothing was applied.",
            ) from error


def _discard(uow: "UnitOfWork", made: Resolved) -> None:
    uow.run(
        "DELETE FROM log.parked WHERE topic = :topic AND partition = :partition AND pos = :pos",
        topic=made.topic, partition=made.partition, pos=made.pos,
    )  # fmt: skip


def _note(uow: "UnitOfWork", company: str, made: Resolved) -> None:
    topic, key = f"{uow.service.name}.configuration", f"parked/{made.topic}/{made.key}"
    data = made.model_dump_json()
    uow.outgoing.append(Outgoing(topic, key, Resolved.TYPE, company, data, uow.traceparent, uow.accepted_at))
