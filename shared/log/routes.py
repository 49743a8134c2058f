"""Routes every service has: where its log ends, where its readers stand, and what is parked."""

from datetime import datetime

from pydantic import BaseModel, Field

from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.log.parking import get_parked, list_parked
from shared.log.repair import resolve

OPERATORS = ("admin",)


class End(BaseModel):
    """A partition of the service's own log."""

    topic: str
    partition: int
    next_pos: int = Field(description="Position the next record will get.")


class ReaderPosition(BaseModel):
    """How far the service has read a partition of a log."""

    topic: str
    partition: int
    next_pos: int = Field(description="Position of the next record it will apply.")
    owner: str | None = Field(description="The worker that owns the partition now.")


class Positions(BaseModel):
    """A reader has handled a record when its `next_pos` is greater than the record's position."""

    ends: list[End]
    readers: list[ReaderPosition]
    parked: int = Field(description="Records set aside in this service, over all companies.")


class ParkedRecord(BaseModel):
    """A record that could not be applied, or that waits behind one of the same key."""

    topic: str
    partition: int
    pos: int
    key: str
    type: str
    error: str | None = Field(description="Why it could not be applied; null where it waits behind an earlier one.")
    record_time: datetime
    recorded_at: datetime


class ParkedRecordInFull(ParkedRecord):
    """With its payload and the trace of the failure."""

    data: str
    trace: str | None


class Repair(BaseModel):
    """What to retry with."""

    data: str | None = Field(default=None, description="The repaired payload (JSON text); absent: as it was.")


class Retried(BaseModel):
    """What a retry did."""

    applied: int = Field(description="Records applied: the repaired one and those of its key behind it.")


def log_router() -> Router:
    """The platform's routes, for any service."""
    router = Router(tags=["platform"])
    place = "/parked/{topic}/{partition}/{pos}"

    @router.get("/positions", operation_id="getPositions", summary="Log ends and reader positions")
    def get_positions(context: Context) -> Positions:
        """By these a caller knows that what it sent has rippled through."""
        context.require_reader()
        ends = context.uow.rows("SELECT topic, partition, next_pos FROM log.partition ORDER BY topic, partition")
        readers = context.uow.rows(
            "SELECT p.topic, p.partition, p.next_pos, CASE WHEN l.until > now() THEN l.owner END AS owner "
            "FROM log.position p LEFT JOIN log.lease l "
            "ON l.part <> 'forward' AND (l.topic, l.partition) = (p.topic, p.partition) ORDER BY p.topic, p.partition"
        )
        begun = {row.topic for row in readers}
        # A topic not yet begun stands at 0, so that nobody takes its reader for one that is done.
        waiting = [
            ReaderPosition(topic=topic, partition=0, next_pos=0, owner=None)
            for topic in context.uow.service.inputs
            if topic not in begun
        ]
        return Positions(
            ends=[End(**row._mapping) for row in ends],
            readers=[ReaderPosition(**row._mapping) for row in readers] + waiting,
            parked=context.uow.value("SELECT count(*) FROM log.parked"),
        )

    @router.get("/parked", operation_id="listParked", summary="List records set aside")
    def list_parked_records(context: Context, page: Paging) -> Page[ParkedRecord]:
        context.require(*OPERATORS, "auditor")
        after = tuple(page.after) if page.after else None
        rows = list_parked(context.uow, context.company, after, page.limit + 1)
        items = [ParkedRecord(**row._mapping) for row in rows]
        return page.of(items, lambda item: [item.topic, item.partition, item.pos])

    @router.get(place, operation_id="getParked", summary="Show a parked record with its trace")
    def get_parked_record(context: Context, topic: str, partition: int, pos: int) -> ParkedRecordInFull:
        context.require(*OPERATORS, "auditor")
        row = get_parked(context.uow, context.company, topic, partition, pos)
        fields = ParkedRecordInFull.model_fields
        return ParkedRecordInFull(**{name: row._mapping[name] for name in fields})

    @router.post(place + "/retry", operation_id="retryParked", summary="Apply a parked record again")
    def retry_parked_record(context: Context, topic: str, partition: int, pos: int, repair: Repair) -> Retried:
        """Applies it and those of its key behind it, in order, in one transaction: all or none."""
        context.require(*OPERATORS)
        parked = get_parked(context.uow, context.company, topic, partition, pos)
        return Retried(applied=resolve(context.uow, context.company, parked, discarded=False, data=repair.data))

    @router.delete(place, operation_id="discardParked", summary="Discard a parked record for good", status_code=204)
    def discard_parked_record(context: Context, topic: str, partition: int, pos: int) -> None:
        context.require(*OPERATORS)
        parked = get_parked(context.uow, context.company, topic, partition, pos)
        resolve(context.uow, context.company, parked, discarded=True)

    return router
