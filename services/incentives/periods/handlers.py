"""Ticks in incentives: time is noted, and a tick that closes a period freezes what people are entitled to in it."""

from shared.closing import close as close_period
from shared.closing import state_hash
from shared.contracts.base import Tick
from shared.contracts.incentives import Plan
from shared.contracts.payouts import PayoutReleased
from shared.database.unit_of_work import UnitOfWork
from shared.periods import Period

from ..entitlements.store import freeze
from ..objections.store import escalate_overdue
from ..payouts.store import time_has_come
from ..state import STATE


def on_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Closes the period on exactly the scores and readings that were published before the tick, and passes it on."""
    uow.lock_company(company)
    time_has_come(uow, company, tick)
    escalate_overdue(uow, company, tick.at)
    if closing := tick.closes:
        freeze(uow, company, Period(closing.kind, closing.start, closing.end, closing.period))
        close_period(uow, company, tick, {"state": state_hash(uow, company, closing, STATE)})
    uow.publish_everywhere(tick, company=company, topic=Plan.TOPIC)
    uow.publish_everywhere(tick, company=company, topic=PayoutReleased.TOPIC)
