"""How events come in, and what became of them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import Query, Request, Response
from starlette.concurrency import run_in_threadpool

from services.metrics.events import clock, frappe, schemas, store
from services.metrics.events.accept import identity, look_up
from services.metrics.events.cloudevents import alone, read_request
from services.metrics.events.intake import Intake
from services.metrics.events.receipts import as_json, take
from services.metrics.mappings.store import calendar
from shared.configuration import latest, require
from shared.contracts.base import Code
from shared.contracts.metrics import Source
from shared.database.unit_of_work import unit_of_work
from shared.errors import NotFound
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router, Wiring

READ_IN_THE_LOOP = 64 * 1024  # [bytes] above it, reading would hold up every other request
READERS = ("analyst", "finance", "auditor")
SourceText = Annotated[str, Query(max_length=500)]
IdText = Annotated[str, Query(max_length=300)]

pushed = Router(tags=["events"], transactional=False)
signed = Router(tags=["sources"], transactional=False, authenticated=False)
router = Router(tags=["events"])


class EventNotFound(NotFound):
    """No event was accepted under that source and id."""


@pushed.post("/events", operation_id="postEvents", summary="Push events; a receipt for each", status_code=202,
             response_model=schemas.Receipts, openapi_extra=schemas.EVENTS_BODY)  # fmt: skip
async def post_events(request: Request, context: Context) -> Any:
    """Answers when the events are durable, before they are processed. One bad event does not touch the others."""
    context.require("source")
    body, headers = await request.body(), request.headers
    most = request.app.state.wiring.settings.intake_max_events
    found = await _off_the_loop(body, lambda: read_request(headers, body, most, datetime.now(UTC)))
    return await take(_intake(request), context.company, context.traceparent, found)


@signed.post("/sources/{code}/frappe", operation_id="postFrappeWebhook", status_code=202,
             response_model=schemas.Receipts, openapi_extra=schemas.WEBHOOK_BODY,
             summary="Take a signed webhook of Frappe or ERPNext")  # fmt: skip
async def post_frappe(
    request: Request, context: Context, code: Code, company: Annotated[str, Query(min_length=1, max_length=80)]
) -> Any:
    """No token: the header X-Frappe-Webhook-Signature is checked with the source's secret."""
    body, wiring = await request.body(), request.app.state.wiring
    secret, uri, dates = await run_in_threadpool(_source, wiring, company, code)
    frappe.check_signature(secret, body, request.headers.get(frappe.SIGNATURE, ""))
    event = await _off_the_loop(body, lambda: alone(frappe.event_of, body, uri, dates, datetime.now(UTC)))
    return await take(_intake(request), company, context.traceparent, [event])


def _source(wiring: Wiring, company: str, code: str) -> tuple[str | None, str, Any]:
    with unit_of_work(wiring.runtime, actor=code, read_only=True) as uow:
        source = latest(uow, Source, company, code)
        secret = store.secret_of(uow, company, code) if source else None
        return secret, source.content.uri if source else code, calendar(uow, company)


async def _off_the_loop(body: bytes, read: Callable[[], Any]) -> Any:
    return read() if len(body) <= READ_IN_THE_LOOP else await run_in_threadpool(read)


def _intake(request: Request) -> Intake:
    state = request.app.state
    if not hasattr(state, "intake"):
        state.intake = Intake(state.wiring.runtime)
    found: Intake = state.intake
    return found


@router.put("/sources/{code}/secret", tags=["sources"], operation_id="putSourceSecret", status_code=204,
            summary="Set the secret a source signs with")  # fmt: skip
def put_secret(context: Context, code: Code, body: schemas.Secret) -> Response:
    """Never shown again, in no event and no export."""
    context.require()
    require(context.uow, Source, context.company, code)
    store.keep_secret(context.uow, context.company, code, body.secret)
    return Response(status_code=204)


@router.get("/events", operation_id="getEvent", summary="One accepted event and what became of it",
            response_model=schemas.EventView)  # fmt: skip
def get_event(context: Context, source: SourceText, id: IdText) -> Any:
    context.require(*READERS)
    key = identity(context.company, source, id)
    seen = look_up(context.uow, [key]).get(key)
    if seen is None:
        raise EventNotFound(
            "No event was accepted under this source and id.", field="id", remedy="Look at its receipt."
        )
    found = store.event_at(context.uow, context.company, (seen.partition, seen.pos))
    return as_json({**found, "event": msgspec.Raw(found["event"].encode())})


@router.get("/events/quarantined", operation_id="listQuarantinedEvents", response_model=Page[schemas.Quarantined],
            summary="Events whose source and id were taken by another content")  # fmt: skip
def list_quarantined(context: Context, page: Paging, source: SourceText | None = None, id: IdText | None = None) -> Any:
    context.require(*READERS)
    found = page.of(
        store.quarantined(context.uow, context.company, source, id, page.after or 0, page.fetch), lambda row: row.number
    )
    items = [
        {**row._asdict(), "event": msgspec.Raw(row.event.encode()), "first": msgspec.Raw(row.first.encode())}
        for row in found.items
    ]
    return as_json({"items": items, "next_cursor": found.next_cursor})


@router.get("/events/faults", operation_id="listEventFaults", response_model=Page[schemas.Faulty],
            summary="Events in which a mapping found no usable value, and why")  # fmt: skip
def list_faults(context: Context, page: Paging) -> Any:
    context.require(*READERS)
    rows = store.with_faults(context.uow, context.company, page.after or [-1, -1, -1], page.fetch)
    return page.of(rows, lambda row: [row.partition, row.pos, row.number])


@router.get("/waiting", operation_id="listWaiting", summary="Events that wait for something not known yet",
            response_model=Page[schemas.Waiting])  # fmt: skip
def list_waiting(
    context: Context,
    page: Paging,
    reference: Annotated[
        str | None, Query(max_length=400, description="Such as `mapping:TYPE`, `metric:CODE`, `rate:EUR-CNY`.")
    ] = None,
) -> Any:
    context.require(*READERS)
    rows = store.waiting(context.uow, context.company, reference, page.after or ["", -1, -1], page.fetch)
    return page.of(rows, lambda row: [row.reference, row.partition, row.pos])


@router.get("/waiting/summary", operation_id="summariseWaiting", response_model=Page[schemas.WaitingCount],
            summary="What events wait for, and how many")  # fmt: skip
def summarise_waiting(context: Context, page: Paging) -> Any:
    context.require_reader()
    rows = store.waiting_counts(context.uow, context.company, page.after or "", page.fetch)
    return page.of(rows, lambda row: row.reference)


@router.post("/ticks", tags=["ticks"], operation_id="postTick", summary="Let time reach an instant")
def post_tick(request: Request, context: Context, body: schemas.SetClock) -> schemas.Clock:
    """Only where the clock is settable: in tests and the demo."""
    context.require()
    clock.set_clock(context.uow, request.app.state.wiring.settings.settable_clock, context.company, body.at)
    return schemas.Clock(at=body.at)


@router.get("/ticks", tags=["ticks"], operation_id="getClock", summary="The instant of the last tick")
def get_clock(context: Context) -> schemas.Clock:
    context.require_reader()
    return schemas.Clock(at=store.last_tick(context.uow, context.company))
