"""What must hold at the end of a run, whatever happened: each line of the answer names something that does not."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from shared.contracts.base import Tick
from shared.database.unit_of_work import UnitOfWork
from shared.log import Place, Record
from shared.log.leases import FORWARD, READ
from tests.simulation.broker import Broker
from tests.simulation.world import World

_COLUMNS = ("topic", "partition", "pos", "type", "company", "key", "tick")


def witnessed(uow: UnitOfWork, records: Sequence[Record]) -> None:
    """Notes what is applied, in the transaction that applies it."""
    rows = [
        (r.topic, r.partition, r.pos, r.type, r.company, r.key, r.data if r.type == Tick.TYPE else None)
        for r in records
    ]
    uow.copy("witness", _COLUMNS, rows)


class Seen(NamedTuple):
    """A record as it was applied, or as it stands in its log."""

    topic: str
    partition: int
    pos: int
    type: str
    tick: str | None

    @property
    def place(self) -> Place:
        return self.topic, self.partition


def verdict(world: World, broker: Broker | None) -> list[str]:
    """Everything that is wrong with who applied what; empty where every record had one effect, in order."""
    logs = _logs(world)
    found = [line for name, runtime in world.workers.items() for line in _of_service(world, name, runtime, logs)]
    return [*_parked(world), *found, *(_copied(world, broker, logs) if broker else ())]


def _copied(world: World, broker: Broker, logs: Mapping[Place, list[Seen]]) -> Iterator[str]:
    """Whatever a forwarder's cursor has passed is in Kafka."""
    cursors = {place: at for name in world.workers for place, at in world.stands(name, FORWARD).items()}
    for place, records in sorted(logs.items()):
        there = {int(dict(raw.headers)["ce_position"]) for raw in broker.records(place)}
        if lost := sorted({each.pos for each in records if each.pos < cursors.get(place, 0)} - there):
            yield f"{place[0]}/{place[1]}: {lost} counted as copied, and not in Kafka"


def _parked(world: World) -> Iterator[str]:
    for name, eye in world.eyes.items():
        for topic, partition, pos, error in eye.execute("SELECT topic, partition, pos, error FROM log.parked"):
            yield f"{name} parked {topic}/{partition}/{pos}: {error}"


def _logs(world: World) -> dict[Place, list[Seen]]:
    """Every log as its owner has it."""
    found: dict[Place, list[Seen]] = defaultdict(list)
    for eye in world.eyes.values():
        sql = (
            f"SELECT topic, partition, pos, type, CASE WHEN type = '{Tick.TYPE}' THEN data END FROM log.record "
            "ORDER BY topic, partition, pos"
        )
        for row in eye.execute(sql.encode()):
            found[row[0], row[1]].append(Seen(*row))
    return found


def _of_service(world: World, name: str, runtime: Any, logs: Mapping[Place, list[Seen]]) -> Iterator[str]:
    service = runtime.service
    sql = "SELECT topic, partition, pos, type, tick FROM witness ORDER BY seq"
    seen = [Seen(*row) for row in world.eyes[name].execute(sql)]
    together = {place for place in logs if place[0] in service.tick_inputs}
    by_place: dict[Place, list[int]] = defaultdict(list)
    for each in seen:
        if not _is_barrier(each, together):
            by_place[each.place].append(each.pos)
    for place, records in sorted(logs.items()):
        if place[0] in service.inputs:
            wanted = [each.pos for each in records if not _is_barrier(each, together)]
            yield from _compared(f"{name} applied {place[0]}/{place[1]}", wanted, by_place[place])
    yield from _barriers(name, seen, {place: logs[place] for place in together}, together)
    stands, ends = world.stands(name, READ), world.ends()
    for place in sorted(place for place in ends if place[0] in service.inputs):
        if stands.get(place, 0) != ends[place]:
            yield f"{name} stands at {stands.get(place, 0)} of {ends[place]} in {place[0]}/{place[1]}"


def _is_barrier(each: Seen, together: set[Place]) -> bool:
    return each.tick is not None and each.place in together


def _compared(what: str, wanted: Sequence[int], got: Sequence[int]) -> Iterator[str]:
    if list(wanted) == list(got):
        return
    twice = sorted({pos for pos in got if got.count(pos) > 1})
    lost = sorted(set(wanted) - set(got))
    if twice:
        yield f"{what}: {twice} more than once"
    if lost:
        yield f"{what}: {lost} never"
    if not twice and not lost:
        yield f"{what} in another order: {got}"


def _barriers(name: str, seen: Sequence[Seen], logs: Mapping[Place, list[Seen]], together: set[Place]) -> Iterator[str]:
    """Each tick was handled once, with everything before it applied, and nothing behind it."""
    stands: dict[str, dict[Place, int]] = defaultdict(dict)
    for place, records in logs.items():
        for each in records:
            if each.tick:
                stands[each.tick][place] = each.pos
    records = {place: [each.pos for each in found if each.tick is None] for place, found in logs.items()}
    applied: dict[Place, int] = dict.fromkeys(together, 0)
    handled: list[str] = []
    for each in seen:
        if not _is_barrier(each, together):
            if each.place in applied:
                applied[each.place] += 1
            continue
        assert each.tick
        handled.append(each.tick)
        for place, pos in sorted(stands.get(each.tick, {}).items()):
            before = bisect_left(records[place], pos)
            if applied[place] != before:
                yield f"{name}: at a tick {applied[place]} records of {place[0]}/{place[1]} were applied, not {before}"
    for tick in sorted(stands):
        if handled.count(tick) != 1:
            yield f"{name} handled the tick {tick} {handled.count(tick)} times"
