"""What a driver is for a period, and where its number comes from."""

import re
from urllib.parse import quote, urlencode

_KINDS = (
    (re.compile(r"\d{4}"), "year"),
    (re.compile(r"\d{4}-H[12]"), "half_year"),
    (re.compile(r"\d{4}-Q[1-4]"), "quarter"),
    (re.compile(r"\d{4}-\d{2}"), "month"),
    (re.compile(r"\d{4}-W\d{2}"), "week"),
)


def period_kind(label: str) -> str:
    """The kind of period a label names.

    >>> period_kind("2025-Q1"), period_kind("2025-03-14")
    ('quarter', 'day')
    """
    return next((kind for pattern, kind in _KINDS if pattern.fullmatch(label)), "day")


def cited(kind: str) -> str:
    """What a driver of a kind reads, as citations call it."""
    return {"goal": "score", "scorecard": "scorecard", "reading": "reading"}[kind]


def source_link(kind: str, code: str, subject: str, period: str, version: int) -> str:
    """Where the score or reading behind a driver explains itself.

    >>> source_link("goal", "yield", "", "2025-Q1", 3)
    '/goals/v1/scores/goal/yield/2025-Q1/explanation?version=3'
    """
    if kind == "reading":
        query = urlencode({"metric": code, "subject": subject, "period": period, "version": version})
        return f"/metrics/v1/readings/explanation?{query}"
    return f"/goals/v1/scores/{kind}/{quote(code)}/{quote(period)}/explanation?version={version}"


def why_missing(kind: str, code: str, subject: str, period: str) -> str:
    """Why a component has no value where nothing has come."""
    if kind == "reading":
        return f"No reading of {code} for {subject} in {period} has come."
    return f"No score of the {kind} {code} for {period} has come."
