"""Receipts: what became of each event of a request."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import Response

from services.metrics.events.accept import incoming
from services.metrics.events.cloudevents import CloudEvent
from services.metrics.events.intake import Intake
from services.metrics.events.schemas import Position, Receipt
from shared.errors import DomainError
from shared.http.problems import clean, status_of, words_of


async def take(
    intake: Intake, company: str, traceparent: str | None, found: Sequence[CloudEvent | DomainError]
) -> Response:
    """Accepts the events among what was read, and answers with a receipt for each after COMMIT."""
    fates = iter(
        await intake.accept([incoming(company, each, traceparent) for each in found if isinstance(each, CloudEvent)])
    )
    receipts, counts = [], Counter(accepted=0, duplicate=0, quarantined=0, rejected=0)
    for index, each in enumerate(found):
        if isinstance(each, CloudEvent):
            fate = next(fates)
            place = Position(fate.partition, fate.pos)
            receipts.append(Receipt(index, each.id, each.source, fate.status, place))
        else:
            receipts.append(Receipt(index, None, None, "rejected", problem=problem_of(each)))
        counts[receipts[-1].status] += 1
    return as_json({"receipts": receipts, "counts": counts}, 202)


def as_json(content: Any, status: int = 200) -> Response:
    """An answer that may contain JSON as it was stored (`msgspec.Raw`)."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def problem_of(fault: DomainError) -> dict[str, Any]:
    """What is told of a refusal, as in an answer to a request."""
    words = words_of(type(fault).__name__)
    return {
        "type": "urn:valueloop:problem:" + "-".join(words), "title": " ".join(words).capitalize(),
        "status": status_of(fault), "detail": clean(fault.rule), "field": fault.field, "remedy": fault.remedy,
    }  # fmt: skip
