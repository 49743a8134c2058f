"""What a driver is for a period, and where its number comes from."""

from urllib.parse import quote, urlencode

from shared.periods import Calendar, PeriodKind, parse_period


def period_kind(label: str) -> PeriodKind:
    """The kind of period a label names, which is the same in every calendar."""
    return parse_period(Calendar("UTC"), label).kind


def source_link(kind: str, code: str, subject: str, period: str, version: int) -> str:
    """Where the score or reading behind a driver explains itself."""
    if kind == "reading":
        query = urlencode({"metric": code, "subject": subject, "period": period, "version": version})
        return f"/metrics/v1/readings/explanation?{query}"
    return f"/goals/v1/scores/{kind}/{quote(code)}/{quote(period)}/explanation?version={version}"
