"""Applies accepted events and commands to empty databases, by the handlers that applied them first.

Events go in in big batches, and ticks are barriers by themselves. What is judged by the state of the moment waits until
everything before it has rippled through: see `Replay`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import groupby
from typing import Any

from shared.configuration import decode, store
from shared.contracts.base import Configuration, Contract, Tick
from shared.contracts.goals import Goal, Target
from shared.contracts.metrics import EventAccepted
from shared.contracts.reviews import DecisionMade
from shared.database.unit_of_work import UnitOfWork, unit_of_work
from shared.log import Record
from shared.log.repair import Resolved, resolve_again
from shared.log.worker import received, tick_of
from shared.service import Runtime


@dataclass
class Replay:
    """Applies accepted records to empty databases.

    Settings carry their versions, so their order among themselves and among events decides about nothing. Order counts
    for: settings before a tick, which judges by them; whatever follows a tick, above all one that closes a period; a
    goal that stops being active, which keeps the scores it has; plans and decisions; and an operator's repairs. A
    decision that made a target waits for it.

    Args:
        settle: waits until everything has rippled through.
        answered: the decisions whose targets are among the records.
    """

    runtimes: Mapping[str, Runtime]
    settle: Callable[[], None]
    answered: set[tuple[str, str]]
    batch: int = 5_000
    _pending: dict[tuple[str, bool], list[Record]] = field(default_factory=dict)
    _held: dict[tuple[str, str], Record] = field(default_factory=dict)
    _active: set[tuple[str, str]] = field(default_factory=set)
    _moved: bool = False  # anything was applied since all had rippled through
    _set: bool = False  # … a setting or command
    _ticked: bool = False  # … a tick

    def __post_init__(self) -> None:
        self.kinds = {name: kinds_of(runtime) for name, runtime in self.runtimes.items()}

    def play(self, records: Iterable[Record]) -> Iterator[Record]:
        """Applies records, and gives each back when it is taken in; at its end everything has rippled through."""
        for record in records:
            if record.type == Tick.TYPE:
                self._tick(record)
            elif kind := self.kinds[_owner(record)].get(record.type):
                self._take(record, kind)
            yield record
        self._drain()
        for held in list(self._held):
            self._release(held)
        self._drain()

    def _tick(self, record: Record) -> None:
        closes = tick_of(record).closes
        self._drain() if self._set or closes else self._flush()
        self.apply(_owner(record), [record])
        self._ticked = self._moved = True
        if closes:
            self._drain()

    def _take(self, record: Record, kind: type[Contract]) -> None:
        if kind is EventAccepted:
            self._add(record)
        elif kind is DecisionMade:
            self._decision(record)
        elif issubclass(kind, Configuration):
            self._setting(record, kind)
        else:
            self._alone(record)

    def _setting(self, record: Record, kind: type[Configuration]) -> None:
        recorded: Any = decode(kind, record.data)
        stops = kind is Goal and self._stops(record.company, recorded)
        if self._ticked or stops:
            self._alone(record)
        else:
            self._add(record)
        self._set = True
        if kind is Target and (decision := (record.company, recorded.content.decision or "")) in self._held:
            self._release(decision)

    def _stops(self, company: str, goal: Any) -> bool:
        key, active = (company, goal.code), goal.content.status == "active"
        was = key in self._active
        (self._active.add if active else self._active.discard)(key)
        return was and not active

    def _decision(self, record: Record) -> None:
        made = DecisionMade.model_validate_json(record.data)
        key = (record.company, made.decision)
        if key in self.answered:
            self._held[key] = record
        else:
            self._alone(record)
            self._drain()

    def _release(self, decision: tuple[str, str]) -> None:
        self.answered.discard(decision)
        self._alone(self._held.pop(decision))

    def _alone(self, record: Record) -> None:
        """After everything before it, and before everything after it."""
        if self._moved or self._pending:
            self._drain()
        self.apply(_owner(record), [record])
        self._moved = self._set = True

    def _add(self, record: Record) -> None:
        batch = self._pending.setdefault((_owner(record), record.type == EventAccepted.TYPE), [])
        batch.append(record)
        self._moved = True
        if len(batch) >= self.batch:
            self._flush()

    def _flush(self) -> None:
        # Settings first: an event that finds its mapping need not wait under it.
        for (owner, _), records in sorted(self._pending.items(), key=lambda each: each[0][1]):
            self.apply(owner, records)
        self._pending.clear()

    def _drain(self) -> None:
        self._flush()
        if self._moved:
            self.settle()
        self._moved = self._set = self._ticked = False

    def apply(self, owner: str, records: Sequence[Record]) -> None:
        """Applies records of one service in one transaction."""
        runtime, kinds = self.runtimes[owner], self.kinds[owner]
        by_company = sorted(records, key=lambda record: record.company)
        with unit_of_work(runtime, actor="rebuild") as uow:
            for (_, name), run in groupby(by_company, key=lambda record: (record.company, record.type)):
                kind = kinds[name]
                apply = _settings if issubclass(kind, Configuration) else _commands
                apply(uow, kind, list(run))
            uow.accepted_at = None


def kinds_of(runtime: Runtime) -> dict[str, type[Contract]]:
    """What a service accepts, by name on the wire: its settings, its other events and commands, and repairs."""
    events: tuple[type[Contract], ...] = import_module(f"shared.contracts.{runtime.service.name}").EVENTS
    settings = [kind for kind in events if issubclass(kind, Configuration)]
    kinds: list[type[Contract]] = [*settings, *runtime.service.accepted, Resolved]
    return {kind.TYPE: kind for kind in kinds}


def _owner(record: Record) -> str:
    return record.topic.split(".", 1)[0]


def _settings(uow: UnitOfWork, kind: type[Any], records: Sequence[Record]) -> None:
    """Like `shared.configuration.define`, without checks and with the versions that they have."""
    company, events = records[0].company, [received(kind, record) for record in records]
    uow.lock_company(company)
    for record, each in zip(records, events, strict=True):
        store(uow, company, each.event)
        uow.accepted_at = record.recorded_at
        uow.publish_raw(kind, record.data, company=company, key=record.key)
    if handler := uow.service.commands.get(kind):
        handler(uow, [replace(each, key=each.event.code) for each in events])


def _commands(uow: UnitOfWork, kind: type[Any], records: Sequence[Record]) -> None:
    uow.accepted_at = records[0].recorded_at
    if kind is Resolved:
        for record in records:
            resolve_again(uow, record)
    else:
        uow.service.accepted[kind](uow, [received(kind, record) for record in records])
