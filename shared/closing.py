"""Closing a period: the certificate that each service writes of it, chained to the one before, and what it forbids.

A service closes a period when it meets the tick that closes it. Closed figures need no copy: of every number the
certificate's change tells which version was closed. From then on a setting that changes what was in force on a closed
day is a correction, and says so.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row, text

from shared.contracts.base import Closing, Configuration, Missing, PeriodClosed, PeriodLabel, Tick
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.errors import Conflict, Invalid, NotFound
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.state import Place, Queries, digest_at

LISTED = 500  # settings of one kind; of more, only their number and hash go into a certificate
_HASHED = ("company", "period", "kind", "start", "until", "change", "at", "content", "previous")
_SETTINGS = """
SELECT kind, count(*) AS count, encode(sha256(convert_to(string_agg(code || ' ' || version, E'\\n' ORDER BY code COLLATE
"C"), 'UTF8')), 'hex') AS sha256, CASE WHEN count(*) <= :listed THEN jsonb_object_agg(code, version) END AS versions
FROM (SELECT DISTINCT ON (kind, code) kind, code, version FROM configuration
WHERE company = :company AND effective_from < :until ORDER BY kind, code, effective_from DESC, version DESC) AS in_force
GROUP BY kind"""


class DateClosed(Conflict):
    """A setting would change what was in force on a day of a closed period."""


class CorrectionUnexplained(Invalid):
    """A correction says why."""


class NotClosed(NotFound):
    """The service has not closed that period."""


# --- closing ---


def close(uow: UnitOfWork, company: str, tick: Tick, content: dict[str, Any], missing: Sequence[Missing] = ()) -> None:
    """Writes the certificate of the period that a tick closes, and says so; a period closes once.

    Args:
        content: what this service certifies, as JSON; what every service certifies is added.
    """
    closing = tick.closes
    if closing is None or closed(uow, company, closing.period):
        return
    row = {
        "company": company, "period": closing.period, "kind": closing.kind, "start": closing.start,
        "until": closing.end, "change": uow.lock_company(company), "at": tick.at,
        "content": _common(uow, company, closing) | content | {"missing": [each.model_dump() for each in missing]},
        "previous": uow.value(
            "SELECT hash FROM certificate WHERE company = :company ORDER BY change DESC LIMIT 1", company=company
        ),
    }  # fmt: skip
    sha256 = hash_of(row)
    uow.run(
        'INSERT INTO certificate (company, period, kind, start, until, change, "at", content, previous, hash, '
        "recorded_at) VALUES (:company, :period, :kind, :start, :until, :change, :at, :content, :previous, :hash, "
        "clock_timestamp())", **row | {"content": Jsonb(row["content"])}, hash=sha256,
    )  # fmt: skip
    service: Any = uow.service.name
    event = PeriodClosed(
        service=service, period=closing.period, change=row["change"], at=tick.at, certificate=sha256,
        previous=row["previous"], missing=list(missing),
    )  # fmt: skip
    uow.publish_to(event, company=company, topic=f"{service}.configuration", key=f"periods/{closing.period}")


def state_hash(uow: UnitOfWork, company: str, closing: Closing, queries: Queries) -> str:
    """SHA-256 of what this service says of the period that is closed; see `shared.state`."""
    return digest_at(uow.connection, queries, Place(company, closing.period))


def _common(uow: UnitOfWork, company: str, closing: Closing) -> dict[str, Any]:
    """What every service certifies: who closed, what was set, parked and read, and the code."""
    settings = uow.rows(_SETTINGS, company=company, until=closing.end, listed=LISTED)
    parked = uow.rows("SELECT topic, count(*) AS n FROM log.parked WHERE company = :c GROUP BY topic", c=company)
    read = uow.rows("SELECT topic || '/' || partition AS place, next_pos FROM log.position")
    return {
        "by": closing.by, "override": closing.override, "code": code_version(),
        "settings": {row.kind: _without_nulls(row) for row in settings},
        "parked": {row.topic: row.n for row in parked}, "positions": {row.place: row.next_pos for row in read},
    }  # fmt: skip


def _without_nulls(row: Row[Any]) -> dict[str, Any]:
    told = {name: value for name, value in row._asdict().items() if name != "kind" and value is not None}
    return told


def hash_of(row: dict[str, Any]) -> str:
    """SHA-256 of a certificate, over its canonical JSON."""
    told = {name: row[name] for name in _HASHED}
    told |= {name: told[name].isoformat() for name in ("start", "until")}
    told["at"] = told["at"].astimezone(UTC).isoformat()
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@cache
def code_version() -> str:
    """The version of the code that runs; 0 where it is run from a checkout."""
    try:
        return version("valueloop")
    except PackageNotFoundError:
        return "0"


# --- what is closed ---


def closed(uow: UnitOfWork, company: str, label: str) -> Row[Any] | None:
    """The certificate of a period, or None while it is open."""
    return uow.row("SELECT * FROM certificate WHERE company = :c AND period = :p", c=company, p=label)


def closed_until(uow: UnitOfWork, company: str) -> date | None:
    """The first day after all closed periods; None where none is closed."""
    found: date | None = uow.value("SELECT max(until) FROM certificate WHERE company = :company", company=company)
    return found


def refuse_closed_day(until: date | None, content: Configuration) -> None:
    """For another version of a setting that is there already. Raises DateClosed."""
    if until and content.effective_from < until and not content.correction:
        raise DateClosed(
            f"Days before {until} are closed; a setting that changes what was in force then is a correction.",
            field="effective_from",
            remedy=f"Take {until} or later; or send correction: true with the reason, and the period is restated.",
        )


def refuse_unexplained(content: Configuration) -> None:
    """Raises CorrectionUnexplained."""
    if content.correction and not content.reason:
        raise CorrectionUnexplained("A correction says why.", field="reason", remedy="Give the reason.")


def change_at_close(uow: UnitOfWork, company: str, label: str) -> int:
    """The last change that the closed figures of a period include. Raises NotClosed."""
    return int(_required(uow, company, label).change)


def _required(uow: UnitOfWork, company: str, label: str) -> Row[Any]:
    found = closed(uow, company, label)
    if found is None:
        raise NotClosed(
            f"{uow.service.name} has not closed {label}.", field="period",
            remedy=f"See where it is with GET /metrics/v1/periods/{label}.",
        )  # fmt: skip
    return found


# --- the chain ---


def broken_links(connection: Connection) -> Iterator[str]:
    """What is wrong with the certificates of a service's database, in sentences; nothing where they are untouched.

    Each row must have the hash of what it says, name the one before it, and be what was published when it was written.
    """
    rows = connection.execute(text("SELECT * FROM certificate ORDER BY company, change")).mappings().all()
    told = connection.execute(
        text("SELECT company, data FROM log.record WHERE type = :type"), {"type": PeriodClosed.TYPE}
    ).all()
    events = [(row.company, json.loads(row.data)) for row in told]
    published = {(company, event["period"]): event["certificate"] for company, event in events}
    before: dict[str, str | None] = {}
    for row in rows:
        name = f"the certificate of {row['company']} for {row['period']}"
        if hash_of(dict(row)) != row["hash"]:
            yield f"{name} was edited: it does not have the hash it names"
        if row["previous"] != before.get(row["company"]):
            yield f"{name} does not name the one before it: one was deleted, inserted or moved there"
        if published.pop((row["company"], row["period"]), None) != row["hash"]:
            yield f"{name} is not the one that was published"
        before[row["company"]] = row["hash"]
    for company, period in sorted(published):
        yield f"the certificate of {company} for {period} was published and is gone"


# --- over HTTP ---


class ClosedPeriod(BaseModel):
    """A period that a service has closed."""

    model_config = ConfigDict(from_attributes=True)
    period: str
    kind: str
    start: date
    until: date = Field(description="The day after its last.")
    change: int = Field(description="The last change that the closed figures include.")
    at: datetime = Field(description="The company's clock when it was closed.")
    recorded_at: datetime
    hash: str = Field(description="SHA-256 of the certificate.")
    previous: str | None = Field(description="SHA-256 of the certificate before; null for the first.")


class CertificateView(ClosedPeriod):
    """A certificate: what the closed figures were made from."""

    content: dict[str, Any] = Field(
        description="Who closed, what was missing, waiting and parked, the versions in force, positions, state hash."
    )


def closing_router() -> Router:
    """The periods that a service has closed, and their certificates."""
    router = Router(tags=["periods"])

    @router.get("/periods", operation_id="listClosedPeriods", summary="The periods that this service has closed")
    def list_periods(
        context: Context,
        page: Paging,
        kind: Annotated[str | None, Query(max_length=20, description="Such as `month`.")] = None,
    ) -> Page[ClosedPeriod]:
        context.require_reader()
        rows = context.uow.rows(
            "SELECT * FROM certificate WHERE company = :company AND change > :after "
            "AND (CAST(:kind AS text) IS NULL OR kind = :kind) ORDER BY change LIMIT :limit",
            company=context.company, kind=kind, after=page.after or 0, limit=page.fetch,
        )  # fmt: skip
        return page.of([ClosedPeriod.model_validate(row) for row in rows], lambda item: item.change)

    @router.get("/periods/{period}/certificate", operation_id="getCertificate",
                summary="What this service closed a period with")  # fmt: skip
    def get_certificate(context: Context, period: PeriodLabel) -> CertificateView:
        context.require("finance", "auditor")
        return CertificateView.model_validate(_required(context.uow, context.company, period))

    return router
