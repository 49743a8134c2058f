"""Time enters as recorded ticks: by an administrator where the clock is settable, else at each full hour."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import structlog

from services.metrics.events import store
from shared.contracts.base import Tick
from shared.database.outage import is_outage
from shared.database.unit_of_work import UnitOfWork, unit_of_work
from shared.errors import Conflict, Forbidden
from shared.service import Runtime

log = structlog.get_logger(__name__)
LOOKS_EVERY = 60  # [s]


class ClockIsNotSettable(Forbidden):
    """Ticks come from the wall clock here."""


class TimeOnlyMovesOn(Conflict):
    """The company's clock already stands later."""


def set_clock(uow: UnitOfWork, settable: bool, company: str, at: datetime) -> None:
    """Lets time reach an instant; again the same instant changes nothing. Raises ClockIsNotSettable, TimeOnlyMovesOn"""
    if not settable:
        raise ClockIsNotSettable("The clock follows the wall clock.", remedy="Set VALUELOOP_SETTABLE_CLOCK for tests.")
    if not tick(uow, company, at) and (last := store.last_tick(uow, company)) and last > at:
        raise TimeOnlyMovesOn(
            f"Time only moves on, and it is {last.isoformat()} already.", field="at", remedy="Send a later instant."
        )


def tick(uow: UnitOfWork, company: str, at: datetime) -> bool:
    """Moves a company's clock on and puts the tick behind everything accepted so far; whether it was behind."""
    moved = store.advance(uow, company, at)
    if moved:
        instant = at.astimezone(UTC)
        event = Tick(at=instant, id=f"{company} {instant.isoformat()}")
        uow.publish_everywhere(event, company=company, topic=Tick.TOPIC)
    return moved


def tick_if_due(uow: UnitOfWork, company: str, now: datetime) -> bool:
    """The tick of the full hour that `now` is in; at most once, however many processes ask."""
    return tick(uow, company, now.replace(minute=0, second=0, microsecond=0))


@asynccontextmanager
async def ticking(runtime: Runtime) -> AsyncIterator[None]:
    """While it lasts, ticks follow the wall clock, unless the clock is settable."""
    if runtime.settings.settable_clock:
        yield
        return
    ticker = asyncio.create_task(_tick_for_ever(runtime))
    try:
        yield
    finally:
        ticker.cancel()
        with suppress(asyncio.CancelledError):
            await ticker


async def _tick_for_ever(runtime: Runtime) -> None:
    while True:
        try:
            await asyncio.to_thread(_tick_all, runtime, datetime.now(UTC))
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("ticks wait for the database", error=type(error).__name__)
        await asyncio.sleep(LOOKS_EVERY)


def _tick_all(runtime: Runtime, now: datetime) -> None:
    with unit_of_work(runtime, actor="clock") as uow:
        for company in store.companies(uow):
            tick_if_due(uow, company, now)
