"""What metrics would make of settings, and of events that were not sent."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from services.metrics.events import store
from services.metrics.events.accept import TOPIC, Incoming, Seen, incoming, key_of, look_up
from services.metrics.events.cloudevents import EnvelopeFault, from_json
from shared.contracts.metrics import EventAccepted
from shared.database.unit_of_work import UnitOfWork
from shared.log import Record
from shared.log.append import partition_of
from shared.log.worker import handle, types_of
from shared.rehearsal import Asked, EventFate, Rehearsed, ends, finish, play

_ENCODE = msgspec.json.Encoder(decimal_format="number", enc_hook=Decimal).encode


def rehearse(uow: UnitOfWork, company: str, asked: Asked) -> Rehearsed:
    """Settings first: an event that waits for one is taken up from the log, where these are not."""
    play(uow, company, asked)
    fates = suppose(uow, company, asked.events)
    return finish(uow).model_copy(update={"events": fates})


def suppose(uow: UnitOfWork, company: str, events: Sequence[dict[str, Any]]) -> list[EventFate]:
    """Handles events as if they stood at the ends of the log. Raises EnvelopeFault with the event's number."""
    arriving = [_read(company, index, event) for index, event in enumerate(events)]
    known = look_up(uow, [each.id_hash for each in arriving])
    next_pos = ends(uow, [TOPIC])
    fates, records = [], list[Record]()
    for index, each in enumerate(arriving):
        if seen := known.get(each.id_hash):
            same = seen.content_hash == each.event.content_hash
            fates.append(EventFate(index=index, status="duplicate" if same else "quarantined"))
            continue
        record = _placed(each, next_pos)
        known[each.id_hash] = Seen(each.event.content_hash, record.partition, record.pos)
        records.append(record)
        fates.append(EventFate(index=index, status="accepted"))
    handle(uow, types_of(uow.service), records)
    places = iter(store.outcomes(uow, company, [(record.partition, record.pos) for record in records]))
    for fate in fates:
        if fate.status == "accepted":
            fate.waits_for, fate.faults = next(places)
    return fates


def _read(company: str, index: int, event: dict[str, Any]) -> Incoming:
    try:
        return incoming(company, from_json(_ENCODE(event), datetime.now(UTC)))
    except EnvelopeFault as fault:
        fault.field = f"events.{index}.{fault.field}" if fault.field else f"events.{index}"
        raise


def _placed(each: Incoming, next_pos: dict[str, int]) -> Record:
    partition = partition_of(each.company, key_of(each.event), len(next_pos))
    pos = next_pos[f"{TOPIC}/{partition}"]
    next_pos[f"{TOPIC}/{partition}"] += 1
    return Record(TOPIC, partition, pos, key_of(each.event), EventAccepted.TYPE, each.company, each.event.text,
                  each.traceparent, datetime.now(UTC))  # fmt: skip
