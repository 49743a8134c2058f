"""Receipts: what became of each event of a request."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import Response

from services.metrics.events.accept import TOPIC, Fate, incoming
from services.metrics.events.cloudevents import CloudEvent
from services.metrics.events.intake import Intake
from shared.errors import DomainError
from shared.http.problems import clean, status_of, words_of

STATUSES = ("accepted", "duplicate", "quarantined", "rejected")


async def take(
    intake: Intake, company: str, actor: str, traceparent: str | None, found: Sequence[CloudEvent | DomainError]
) -> Response:
    """Accepts the events among what was read, and answers with a receipt for each after COMMIT."""
    events = [incoming(company, each, traceparent) for each in found if isinstance(each, CloudEvent)]
    fates = iter(await intake.accept(events, actor, traceparent))
    receipts = [
        _rejected(index, each) if isinstance(each, DomainError) else _receipt(index, each, next(fates))
        for index, each in enumerate(found)
    ]
    counts = Counter(receipt["status"] for receipt in receipts)
    return as_json({"receipts": receipts, "counts": {status: counts[status] for status in STATUSES}}, 202)


def as_json(content: Any, status: int = 200) -> Response:
    """An answer that may contain JSON as it was stored (`msgspec.Raw`)."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def position(partition: int, pos: int) -> dict[str, Any]:
    """A place in the log, as the API shows it."""
    return {"topic": TOPIC, "partition": partition, "pos": pos}


def _receipt(index: int, event: CloudEvent, fate: Fate) -> dict[str, Any]:
    return {
        "index": index, "id": event.id, "source": event.source, "status": fate.status,
        "position": position(fate.partition, fate.pos), "problem": None,
    }  # fmt: skip


def _rejected(index: int, fault: DomainError) -> dict[str, Any]:
    words = words_of(type(fault).__name__)
    problem = {
        "type": "urn:valueloop:problem:" + "-".join(words), "title": " ".join(words).capitalize(),
        "status": status_of(fault), "detail": clean(fault.rule), "field": fault.field, "remedy": fault.remedy,
    }  # fmt: skip
    return {
        "index": index, "id": fault.more.get("id"), "source": fault.more.get("source"), "status": "rejected",
        "position": None, "problem": problem,
    }  # fmt: skip
