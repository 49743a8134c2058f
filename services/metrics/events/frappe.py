"""Webhooks of Frappe and ERPNext as CloudEvents: they carry no id, no type and no zone, but enough to make them."""

import base64
import hashlib
import hmac
import re
from datetime import datetime
from typing import Any

from services.metrics.events.cloudevents import CloudEvent, EnvelopeFault, checked, read_data
from shared.errors import Unauthenticated
from shared.formula.values import Null, to_timestamp
from shared.periods import Calendar, zone

SIGNATURE = "x-frappe-webhook-signature"
_HAPPENED = {0: "saved", 1: "submitted", 2: "cancelled"}


class SignatureInvalid(Unauthenticated):
    """The signature of a webhook is not that of its body under the source's secret."""


def check_signature(secret: str | None, body: bytes, given: str) -> None:
    """Compares in constant time. Raises SignatureInvalid, also where the source has no secret or does not exist."""
    expected = base64.b64encode(hmac.new((secret or "").encode(), body, hashlib.sha256).digest())
    if not hmac.compare_digest(expected, given.strip().encode("latin-1", "replace")) or not secret:
        raise SignatureInvalid(
            "The webhook's signature does not fit its body.", challenge="HMAC-SHA256",
            remedy="Set the same secret in the webhook and by PUT /metrics/v1/sources/{code}/secret.",
        )  # fmt: skip


def event_of(body: bytes, source: str, calendar: Calendar | None, now: datetime) -> CloudEvent:
    """The event that a document tells of. Its id is made of what identifies the document's revision, so that a repeated
    delivery is a duplicate. A time without a zone is in the company's.

    Raises:
        EnvelopeFault: the body is not JSON, or doctype, name, modified or docstatus is missing.
    """
    document = read_data(body)
    if not isinstance(document, dict):
        raise EnvelopeFault("A webhook's body is a document: a JSON object.", remedy="Choose JSON in the webhook.")
    doctype, name, modified = (_text(document, member) for member in ("doctype", "name", "modified"))
    status = document.get("docstatus", 0)
    if type(status) is not int or status not in _HAPPENED:
        raise EnvelopeFault("docstatus is 0, 1 or 2.", field="docstatus", remedy="Send the document's own.")
    kind = re.sub(r"[^a-z0-9]+", "-", doctype.lower()).strip("-") or "document"
    event: dict[str, Any] = {
        "specversion": "1.0", "source": source, "subject": f"{doctype}/{name}", "data": document,
        "id": f"{doctype}/{name}/{modified}/{status}", "type": f"frappe.{kind}.{_HAPPENED[status]}",
    }  # fmt: skip
    if calendar:
        event["time"] = _instant(modified, calendar)
    return checked(event, now)


def _text(document: dict[str, Any], member: str) -> str:
    found = document.get(member)
    if not isinstance(found, str) or not found:
        raise EnvelopeFault(f"A document has a {member}.", field=member, remedy="Add the field to the webhook's data.")
    return found


def _instant(modified: str, calendar: Calendar) -> str:
    try:
        found = to_timestamp(modified)
    except Null as null:
        rule, remedy = f"modified: {null.reason}.", "Send it as Frappe stores it."
        raise EnvelopeFault(rule, field="modified", remedy=remedy) from None
    return (found if found.tzinfo else found.replace(tzinfo=zone(calendar.time_zone))).isoformat()
