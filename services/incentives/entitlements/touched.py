"""What has moved since a period was closed: settings are noted here, drivers carry their own change numbers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from shared.database.unit_of_work import UnitOfWork
from shared.service import Received

from ..plans.rules import OWN, DriverKey

EVERY_PLAN, EVERYBODY = "*", ""


@dataclass(frozen=True, slots=True)
class Moved:
    """Whose entitlements in a plan may have moved: everybody's, or those of some payees."""

    everybody: bool
    payees: frozenset[str] = frozenset()


def touch(uow: UnitOfWork, company: str, plan: str, first: date, payees: Collection[str] = (EVERYBODY,)) -> None:
    """Notes that a setting of a plan was changed from a day on; nothing where no period is closed after it."""
    uow.run(
        "INSERT INTO touched (company, plan, payee, change) SELECT :company, :plan, payee, :change "
        "FROM unnest(CAST(:payees AS text[])) AS payee "
        "WHERE EXISTS (SELECT 1 FROM frozen WHERE company = :company AND ends > :first) ORDER BY payee "
        "ON CONFLICT (company, plan, payee) DO UPDATE SET change = excluded.change",
        company=company, plan=plan, first=first, payees=sorted(set(payees)), change=uow.lock_company(company),
    )  # fmt: skip


def touch_all(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A policy or a rate was changed: it may count for any plan."""
    touch(uow, events[0].company, EVERY_PLAN, min(received.event.content.effective_from for received in events))


def hang(uow: UnitOfWork, company: str, code: str, period_kind: str, keys: Collection[DriverKey]) -> None:
    """Remembers what a plan, pool or award hangs on, and has what has already come taken up."""
    for key in sorted(keys):
        uow.run(
            "INSERT INTO plan_driver (company, kind, code, subject, period_kind, plan) "
            "VALUES (:company, :kind, :code, :subject, :period_kind, :plan) ON CONFLICT DO NOTHING",
            company=company, kind=key.kind, code=key.code, subject=key.subject, period_kind=period_kind, plan=code,
        )  # fmt: skip
    uow.state.setdefault("wanted", {}).setdefault(company, set()).update(keys)


def moved(
    uow: UnitOfWork, company: str, period: str, codes: Collection[str], keys: Collection[DriverKey], since: int
) -> Moved:
    """What has moved of a plan (and of the pool it is paid from) since a change.

    Changes of the very transaction that computed last count too: they may have come after it.
    """
    rows = uow.rows(
        "SELECT payee FROM touched WHERE company = :company AND plan = ANY(:plans) AND change >= :since",
        company=company, plans=[*codes, EVERY_PLAN], since=since,
    )  # fmt: skip
    payees = {row.payee for row in rows}
    subjects = {row.subject for row in _drivers(uow, company, period, keys, since)}
    shared = {key.subject for key in keys if key.subject != OWN}
    if EVERYBODY in payees or subjects & shared:
        return Moved(True)
    return Moved(False, frozenset(payees | subjects))


def _drivers(
    uow: UnitOfWork, company: str, period: str, keys: Collection[DriverKey], since: int
) -> Sequence[Any]:  # fmt: skip
    """The subjects of the drivers that have a version since a change; of people's own, the people."""
    return uow.rows(
        "SELECT DISTINCT d.subject FROM unnest(CAST(:kinds AS text[]), CAST(:codes AS text[]), "
        "CAST(:subjects AS text[])) AS wanted(kind, code, subject) JOIN driver d ON d.company = :company "
        "AND d.period = :period AND (d.kind, d.code) = (wanted.kind, wanted.code) AND d.change >= :since AND "
        "(d.subject = wanted.subject OR wanted.subject = 'self' AND d.subject LIKE 'person:%')",
        company=company, period=period, since=since, kinds=[key.kind for key in keys],
        codes=[key.code for key in keys], subjects=[key.subject for key in keys],
    )  # fmt: skip
