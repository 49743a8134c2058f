"""Ticks in incentives: time is noted, and a tick that closes a period freezes what people are entitled to in it."""

from collections.abc import Callable, Sequence

from shared.closing import close as close_period
from shared.closing import state_hash
from shared.contracts.base import Tick
from shared.contracts.incentives import Plan
from shared.database.unit_of_work import UnitOfWork
from shared.periods import Period

from ..entitlements.store import freeze
from ..payouts.store import time_has_come
from ..state import STATE

OnTick = Callable[[UnitOfWork, str, Tick], None]
OnClose = Callable[[UnitOfWork, str, Period], None]

AT_EACH_TICK: Sequence[OnTick] = (time_has_come,)
"""What else happens at every tick, such as noting how far time has come."""
ON_CLOSE: Sequence[OnClose] = (freeze,)
"""What is stored of a period when it closes, before the certificate is written."""


def on_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Closes the period on exactly the scores and readings that were published before the tick, and passes it on."""
    uow.lock_company(company)
    for happens in AT_EACH_TICK:
        happens(uow, company, tick)
    if tick.closes:
        closing = tick.closes
        for store in ON_CLOSE:
            store(uow, company, Period(closing.kind, closing.start, closing.end, closing.period))
        close_period(uow, company, tick, {"state": state_hash(uow, company, tick.closes, STATE)})
    uow.publish_everywhere(tick, company=company, topic=Plan.TOPIC)
