"""What a service is made of, and what it needs to run."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, MetaData

from shared.contracts.base import Contract, Tick

if TYPE_CHECKING:
    from shared.database.unit_of_work import UnitOfWork
    from shared.log import Feed, Log
    from shared.policy import PolicyDefinition
    from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Received:
    """One event as a handler gets it. `event` is the decoded contract; for a dated setting, its `Recorded` version."""

    company: str
    key: str
    topic: str
    partition: int
    pos: int
    recorded_at: datetime
    event: Any
    traceparent: str | None = None


Handler = Callable[["UnitOfWork", Sequence[Received]], None]


def nothing_to_settle(_uow: "UnitOfWork") -> None:
    """For a service, or a test, that derives nothing."""


@dataclass(frozen=True)
class Service:
    """One service, as its `app.py` wires it.

    Args:
        topics: the topics it publishes, each with whether it has several partitions.
        inputs: the topics it reads, its own configuration included where its workers act on it.
        handlers: what to do when events of a type arrive; a setting not named here is neither copied nor handled.
        commands: what to mark when one of its own settings is defined, in the same transaction.
        accepted: how its other accepted events and commands are applied again, as its log holds them, when databases
            are rebuilt; they are not checked again.
        derived: the topics that can be recomputed, and so are trimmed; all others are kept for ever.
        settle: recomputes what the transaction has marked, once, before it commits.
        on_tick: called once per tick, when every partition of `tick_inputs` has reached it.
        close_inputs: the topics that must have reached a tick as well where it closes a period: settings that closed
            figures hang on. Any other tick passes through them.
        overtaken: by events of others that have versions, SQL that tells whether one of `:rows`, their payloads, is
            not newer than what is known here of `:company`: then a rehearsal was told what is out of date.
    """

    name: str
    metadata: MetaData
    topics: Mapping[str, bool]
    inputs: tuple[str, ...] = ()
    handlers: Mapping[type[Contract], Handler] = field(default_factory=dict)
    commands: Mapping[type[Contract], Handler] = field(default_factory=dict)
    accepted: Mapping[type[Contract], Handler] = field(default_factory=dict)
    derived: tuple[str, ...] = ()
    settle: Callable[["UnitOfWork"], None] = nothing_to_settle
    tick_inputs: tuple[str, ...] = ()
    close_inputs: tuple[str, ...] = ()
    on_tick: Callable[["UnitOfWork", str, Tick], None] | None = None
    routers: Sequence[Any] = ()
    policies: "tuple[PolicyDefinition, ...]" = ()
    overtaken: Mapping[type[Contract], str] = field(default_factory=dict)
    lifespan: Callable[["Runtime"], Any] | None = None


def barriers(service: Service, tick: Tick) -> tuple[str, ...]:
    """The topics on which a service must have met a tick to handle it."""
    return (*service.tick_inputs, *(service.close_inputs if tick.closes else ()))


@dataclass
class Runtime:
    """A service with its connections: made where the process starts, never at import."""

    service: Service
    engine: Engine
    settings: "Settings"
    logs: "Mapping[str, Log]" = field(default_factory=dict)
    """By owning service: where the topics it reads are."""
    feed: "Callable[[], Feed] | None" = None
    """Opens what a worker reads from; None where that is the owners' tables."""

    def log_of(self, topic: str) -> "Log":
        """The log that holds `topic`; the owner is the part before the first dot."""
        return self.logs[topic.split(".", 1)[0]]
