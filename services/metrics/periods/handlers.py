"""Asking for a close, the tick that carries it, and what metrics certifies when it meets it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from services.metrics.events import clock
from services.metrics.mappings.store import calendar
from services.metrics.state import STATE
from shared.closing import close, state_hash
from shared.configuration import require
from shared.contracts.base import Closing, Tick
from shared.contracts.goals import Company
from shared.database.unit_of_work import UnitOfWork
from shared.log.position import NotYet
from shared.periods import Period, bounds, parse_period
from shared.service import Received

from . import rules, store


def ask(uow: UnitOfWork, company: str, label: str, override: str | None) -> None:
    """Puts a tick that closes a period behind everything accepted so far, unless it is closed or on its way.

    Raises:
        PeriodNotOver, PredecessorOpen, ShiftsAreNotClosed.
        PeriodIncomplete: something is missing, and `override` is None.
    """
    uow.lock_company(company)
    period = period_named(uow, company, label)
    if store.state_of(uow, company, period.label) in ("closed", "closing"):
        return
    now = _judged(uow, company, period)
    if override is None and (missing := store.missing(uow, company, period)):
        raise rules.PeriodIncomplete(
            f"{period.label} is not complete: {rules.in_words(missing)}.", field="period",
            remedy="See to what is missing, or close it with override and the reason.",
            missing=[each.model_dump() for each in missing],
        )  # fmt: skip
    assert period.kind != "shift"
    closing = Closing(
        period=period.label, kind=period.kind, start=period.start, end=period.end, by=uow.actor, override=override
    )
    send(uow, company, closing, now)


def period_named(uow: UnitOfWork, company: str, label: str) -> Period:
    """The period of a label in the company's calendar. Raises SettingNotFound, ShiftsAreNotClosed."""
    known = calendar(uow, company)
    if known is None:
        require(uow, Company, company, "company")
    assert known
    period = parse_period(known, label)
    if period.kind == "shift":
        raise rules.ShiftsAreNotClosed("Shifts are not closed.", field="period", remedy="Close their day.")
    return period


def _judged(uow: UnitOfWork, company: str, period: Period) -> datetime:
    """The company's clock, where it lets the period be closed. Raises PeriodNotOver, PredecessorOpen."""
    now, known = store.clock(uow, company), calendar(uow, company)
    assert known
    if now is None or now < bounds(known, period)[1]:
        said = f"the company's clock stands at {now.isoformat()}" if now else "the company's clock has not begun"
        raise rules.PeriodNotOver(
            f"{period.label} ends with {period.end - rules.ONE_DAY}; {said}.", field="period",
            remedy="Close it when it is over." if now else "A new company's clock begins within a minute.",
        )  # fmt: skip
    if before := store.open_before(uow, company, period):
        raise rules.PredecessorOpen(
            f"{before} has figures and is open.", field="period", remedy=f"Close {before} first.", predecessor=before
        )
    return now


def send(uow: UnitOfWork, company: str, closing: Closing, now: datetime) -> None:
    """The closing tick itself."""
    attempt = store.ask(uow, company, closing, now)
    tick = Tick(at=now.astimezone(UTC), id=f"{company} closes {closing.period} {attempt}", closes=closing)
    uow.publish_everywhere(tick, company=company, topic=Tick.TOPIC)


def on_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    """Everything accepted before the tick is folded: the readings' readers may judge up to it.

    Both topics carry it: who reads them knows which settings and readings came before. One that closes a period does so
    here, or goes on as any other tick where something turned out to be missing.
    """
    if tick.closes and not _closes(uow, company, tick, tick.closes):
        tick = tick.model_copy(update={"closes": None})
    uow.publish_everywhere(tick, company=company, topic="metrics.readings")
    uow.publish_everywhere(tick, company=company, topic="metrics.configuration")


def _closes(uow: UnitOfWork, company: str, tick: Tick, closing: Closing) -> bool:
    """The authoritative look at what is missing, on exactly what was accepted before the tick. Raises NotYet."""
    uow.lock_company(company)
    if not store.has_read_its_settings(uow, company):
        raise NotYet("settings that were accepted here have not all had their effect")
    period = Period(closing.kind, closing.start, closing.end, closing.period)
    missing = store.missing(uow, company, period)
    refused = bool(missing) and closing.override is None
    store.ended(uow, company, closing.period, "refused" if refused else "closed", missing)
    if not refused:
        close(uow, company, tick, _content(uow, company, closing), missing)
    return not refused


def _content(uow: UnitOfWork, company: str, closing: Closing) -> dict[str, Any]:
    sources = store.high_water(uow, company, closing.end)
    return {
        "sources": {row.source: {"events": row.events, "at": row.at.isoformat()} for row in sources},
        "marks": {row.source: row.pos for row in sources},
        "waiting": store.waiting_counts(uow, company),
        "state": state_hash(uow, company, closing, STATE),
    }  # fmt: skip


def ticked_again(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Ticks that came once, where the numbers are rebuilt."""
    for received in events:
        tick: Tick = received.event
        if tick.closes:
            send(uow, received.company, tick.closes, tick.at)
        else:
            clock.tick(uow, received.company, tick.at)


def services_closed(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """What the services say of themselves."""
    for received in events:
        store.service_closed(uow, received.company, received.event, received.recorded_at)
