"""Deliberate defects: traps that systems of this kind fell into, built into the product for the length of a test.

They replace the product's functions from here; the product knows nothing of them. Each must be found by the simulation
within the seeds that it names, or the simulation proves nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any
from unittest.mock import patch

from services.metrics.events import handlers as mapping
from services.metrics.events import intake
from services.metrics.events import store as events
from services.metrics.observations import handlers as observing
from services.metrics.observations import rules as observed
from services.metrics.readings import handlers as reading
from services.metrics.readings import rules as computed
from services.metrics.readings import store as readings
from shared.contracts.base import Tick
from shared.database.unit_of_work import UnitOfWork, unit_of_work
from shared.log import kafka, worker
from shared.log.forward import Forwarder
from shared.log.position import Position
from shared.log.position import move as really_move

Patches = Callable[[], Iterator[AbstractContextManager[Any]]]
WINDOW = 5  # events that the forgetful intake remembers: 1,000 scaled to a story


@dataclass(frozen=True, slots=True)
class Defect:
    """A trap, the log on which one falls into it (any, if none is named), and the most seeds it may take to find."""

    name: str
    says: str
    patches: Patches
    log: str = ""
    within: int = 10

    @contextmanager
    def built_in(self) -> Iterator[None]:
        """The product has the defect until the block ends."""
        with ExitStack() as stack:
            for each in self.patches():
                stack.enter_context(each)
            yield


# --- positions and ownership ---


def _position_apart() -> Iterator[AbstractContextManager[Any]]:
    def move(uow: UnitOfWork, *given: Any) -> None:
        with uow.connection.engine.begin() as other:
            really_move(UnitOfWork(other, uow.service, uow.actor, None), *given)

    yield patch.object(worker, "move", move)


def _unfenced() -> Iterator[AbstractContextManager[Any]]:
    def move(uow: UnitOfWork, place: Any, _old: Any, new: Position, _owner: str) -> None:
        uow.run(
            "UPDATE log.position SET next_pos = :new, epoch = :epoch, kafka_offset = :offset "
            "WHERE topic = :t AND partition = :p",
            new=new.next_pos, epoch=new.epoch, offset=new.offset, t=place[0], p=place[1],
        )  # fmt: skip

    yield patch.object(worker, "move", move)


def _outage_is_poison() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(worker, "is_outage", lambda _error: False)


def _tick_by_partition() -> Iterator[AbstractContextManager[Any]]:
    def meet_tick(self: Any, connection: Any, place: Any, record: Any) -> bool:
        old, tick = self.positions[place], Tick.model_validate_json(record.data)
        with unit_of_work(self.runtime, actor=self._name, connection=connection) as uow:
            worker.move(uow, place, old, old.after([record]), self.leases.owner)
            if uow.run("INSERT INTO log.tick_done (tick) VALUES (:tick) ON CONFLICT DO NOTHING", tick=tick.id):
                self._handle_tick(uow, place, record)
        self.positions[place] = old.after([record])
        return True

    yield patch.object(worker.Worker, "_meet_tick", meet_tick)


# --- Kafka ---


def _sent_before_acknowledged() -> Iterator[AbstractContextManager[Any]]:
    def step(self: Any, connection: Any, places: Any) -> None:
        chunks = {place: self.log.read(place, self._cursors[place], 5_000) for place in places}
        sent = [self._send(record) for chunk in chunks.values() for record in chunk]
        self._move(connection, {place: chunk[-1].pos + 1 for place, chunk in chunks.items() if chunk})
        for acknowledgement in sent:
            acknowledgement.get(1)

    yield patch.object(Forwarder, "step", step)


def _last_offset(self: Position, records: Sequence[Any]) -> Position:
    """A position that believes whatever comes."""
    after = max(self.next_pos, records[-1].pos + 1)
    return Position(self.epoch or records[0].epoch, after, records[-1].offset + 1)


def _doubles_applied() -> Iterator[AbstractContextManager[Any]]:
    def following(self: kafka.Stream, _pos: int, limit: int) -> list[Any]:
        return [self.records.popleft() for _ in range(min(limit, len(self.records)))]

    yield patch.object(kafka.Stream, "following", following)
    yield patch.object(kafka.Stream, "forget_below", lambda _self, _pos: None)
    yield patch.object(Position, "after", _last_offset)


def _gap_tolerated() -> Iterator[AbstractContextManager[Any]]:
    def following(self: kafka.Stream, pos: int, limit: int) -> list[Any]:
        found: list[Any] = []
        for record in self.records:
            if record.pos >= (found[-1].pos + 1 if found else pos):
                found.append(record)
        return list(islice(found, limit))

    yield patch.object(kafka.Stream, "following", following)
    yield patch.object(Position, "after", _last_offset)


# --- numbers ---


def _short_memory() -> Iterator[AbstractContextManager[Any]]:
    accept = intake.accept

    def forgetful(uow: UnitOfWork, events: Any) -> Any:
        uow.run(
            "DELETE FROM event_seen WHERE id_hash NOT IN (SELECT s.id_hash FROM event_seen s JOIN log.record r "
            "USING (partition, pos) WHERE r.topic = 'metrics.source-events' ORDER BY r.recorded_at DESC LIMIT :window)",
            window=WINDOW,
        )
        return accept(uow, events)

    yield patch.object(intake, "accept", forgetful)


def _last_by_arrival() -> Iterator[AbstractContextManager[Any]]:
    arrived: dict[Any, int] = {}
    refresh, over_time = readings.refresh_extremes, computed._over_time

    def noting(uow: UnitOfWork, company: str, keys: Any) -> None:
        arrived.update(dict.fromkeys((key[:4] for key in keys), max(arrived.values(), default=0) + 1))
        refresh(uow, company, keys)

    def by_arrival(metric: Any, cells: list[Any]) -> Any:
        if metric.over_time != "last":
            return over_time(metric, cells)
        return max(cells, key=lambda cell: arrived.get(cell[:4], 0)).last or Decimal(0)

    yield patch.object(readings, "refresh_extremes", noting)
    yield patch.object(computed, "_over_time", by_arrival)


def _revision_by_arrival() -> Iterator[AbstractContextManager[Any]]:
    yield patch.object(observed.Observation, "rank", property(lambda each: (each.pos, each.event_time, "", "")))


def _early_retraction_lost() -> Iterator[AbstractContextManager[Any]]:
    fold = mapping.fold

    def forgetting(uow: UnitOfWork, company: str, batch: Sequence[Any]) -> Any:
        for event in batch:
            event.facts[:] = [fact for fact in event.facts if fact.effect != "retract" or _known(uow, company, fact)]
        return fold(uow, company, batch)

    yield patch.object(mapping, "fold", forgetting)


def _known(uow: UnitOfWork, company: str, fact: Any) -> bool:
    sql = (
        "SELECT 1 FROM observation WHERE company = :c AND effect <> 'retract' AND (key = :key OR document = :document)"
    )
    return bool(uow.value(f"{sql} LIMIT 1", c=company, key=fact.key, document=fact.document))


def _late_rate_ignored() -> Iterator[AbstractContextManager[Any]]:
    waiting = events.waiting_under

    def but_for_rates(uow: UnitOfWork, company: str, references: Any) -> Any:
        return waiting(uow, company, {each for each in references if not each.startswith("rate:")})

    yield patch.object(observing, "_convert_again", lambda *_given: None)
    yield patch.object(events, "waiting_under", but_for_rates)


def _dirty_key_dropped() -> Iterator[AbstractContextManager[Any]]:
    base = reading._base

    def all_but_one(book: Any, keys: Any) -> Any:
        return base(book, set(sorted(keys)[:-1]) if len(keys) > 12 else keys)

    yield patch.object(reading, "_base", all_but_one)


DEFECTS = (
    Defect("position-apart", "the position is moved in a transaction of its own", _position_apart),
    Defect("unfenced", "the position is moved without asking whose it is, and from where", _unfenced),
    Defect("outage-is-poison", "a lost connection parks the record at hand", _outage_is_poison),
    Defect("tick-by-partition", "a tick is handled when the first partition reaches it", _tick_by_partition),
    Defect("sent-early", "what is sent counts as copied before it is acknowledged", _sent_before_acknowledged, "kafka"),
    Defect("doubles-applied", "what was delivered before is applied again", _doubles_applied, "kafka"),
    Defect("gap-tolerated", "a missing record is passed over", _gap_tolerated, "kafka"),
    Defect("short-memory", "the intake knows only the last events again", _short_memory),
    Defect("last-by-arrival", "of a stock the value that came last counts, not the latest", _last_by_arrival),
    Defect("revision-by-arrival", "the revision that came last counts, not the highest", _revision_by_arrival),
    Defect("early-retraction-lost", "a retraction before what it retracts is forgotten", _early_retraction_lost),
    Defect("late-rate-ignored", "a rate that comes late changes nothing", _late_rate_ignored, within=30),
    Defect("dirty-key-dropped", "of many figures to be computed anew one is forgotten", _dirty_key_dropped),
)
BY_NAME: Mapping[str, Defect] = {defect.name: defect for defect in DEFECTS}
