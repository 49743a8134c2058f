"""Objections in the database: raised and answered by people, overdue by the company's clock."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from shared.contracts.objections import ObjectionAnswered, ObjectionOverdue, ObjectionRaised
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.errors import NotFound
from shared.organisation import superior
from shared.periods import business_day
from shared.service import Received

from ..accruals.store import calendar_of
from .schemas import Claim

_ENCODE = msgspec.json.Encoder(decimal_format="number").encode


class ObjectionNotFound(NotFound):
    """There is no such objection, or the caller may not see it."""


def next_number(uow: UnitOfWork, company: str, period: str) -> int:
    """Counts the objections about a period from 1; the company's lock is held."""
    sql = "SELECT count(*) + 1 FROM objection WHERE company = :company AND period = :period"
    return int(uow.value(sql, company=company, period=period))


def raised(uow: UnitOfWork, company: str, event: ObjectionRaised) -> None:
    """Keeps an objection that was accepted, and says so."""
    uow.run(
        "INSERT INTO objection (company, id, number, payee, plan, period, text, claim, raised_by, raised_at, due, "
        "overdue, amount) VALUES (:company, :objection, :number, :payee, :plan, :period, :text, :claim, :by, "
        ":at, :due, false, :amount)",
        company=company, number=next_number(uow, company, event.period), **dict(event),
    )  # fmt: skip
    uow.publish(event, company=company, key=event.objection)


def answered(uow: UnitOfWork, company: str, event: ObjectionAnswered) -> None:
    """Keeps an answer that was accepted, and says so."""
    uow.run(
        "UPDATE objection SET status = :outcome, answer = :answer WHERE company = :company AND id = :id",
        company=company, id=event.objection, outcome=event.outcome,
        answer=Jsonb(event.model_dump(mode="json", exclude={"objection"})),
    )  # fmt: skip
    uow.publish(event, company=company, key=event.objection)


_AGAIN: Mapping[type[Any], Callable[[UnitOfWork, str, Any], None]] = {
    ObjectionRaised: raised, ObjectionAnswered: answered,
}  # fmt: skip


def accepted_again(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """What was accepted once, where databases are rebuilt."""
    for received in events:
        uow.lock_company(received.company)
        _AGAIN[type(received.event)](uow, received.company, received.event)


ACCEPTED = dict.fromkeys(_AGAIN, accepted_again)


def escalate_overdue(uow: UnitOfWork, company: str, at: datetime) -> None:
    """Objections without an answer that are due go to the payee's superior, once; they stay open."""
    rows = uow.rows(
        "SELECT id, payee FROM objection WHERE company = :company AND status = 'open' AND due <= :at AND NOT overdue "
        "ORDER BY id",
        company=company, at=at,
    )  # fmt: skip
    for row in rows:
        kind, code = row.payee.split(":", 1)
        day = business_day(calendar_of(uow, company), at)
        to = superior(uow, company, code, day) if kind == "person" else None
        uow.run("UPDATE objection SET overdue = true, escalated_to = :to WHERE company = :company AND id = :id",
                company=company, id=row.id, to=to)  # fmt: skip
        uow.publish(ObjectionOverdue(objection=row.id, to=to, at=at), company=company, key=row.id)


def get(uow: UnitOfWork, company: str, id: str) -> Any:
    """Raises ObjectionNotFound."""
    if row := uow.row("SELECT * FROM objection WHERE company = :company AND id = :id", company=company, id=id):
        return row
    raise not_found(id)


def not_found(id: str) -> ObjectionNotFound:
    """In the same words for what is not there and for what is not shown."""
    remedy = "List your own with GET /incentives/v1/people/{code}/objections."
    return ObjectionNotFound(f"There is no objection {id!r} that you may see.", field="id", remedy=remedy)


def find(uow: UnitOfWork, company: str, *, after: Sequence[Any], limit: int, **filters: Any) -> Sequence[Any]:
    """Objections by period and number; `filters` are columns, null for all."""
    conditions = "".join(
        f"AND (CAST(:{name} AS text) IS NULL OR CAST({name} AS text) = CAST(:{name} AS text)) " for name in filters
    )
    return uow.rows(
        f"SELECT * FROM objection WHERE company = :company AND (period, number) > (:period_, :number_) {conditions}"
        "ORDER BY period, number LIMIT :limit",
        company=company, period_=after[0], number_=after[1], limit=limit, **filters,
    )  # fmt: skip


def now(uow: UnitOfWork, company: str) -> datetime:
    """The last tick; a closed period was closed by one."""
    at: datetime = uow.value("SELECT at FROM payout_clock WHERE company = :company", company=company)
    return at


def written(claim: Claim) -> str:
    """A claim as it is kept and published: numbers in events stay what they were."""
    return _ENCODE(claim.model_dump(exclude_defaults=True)).decode()


def read(text: str) -> Claim:
    """A claim as it was written."""
    return Claim.model_validate(json.loads(text, parse_float=Decimal))
