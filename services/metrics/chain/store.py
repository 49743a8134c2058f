"""Readings of value nodes in the database."""

from collections.abc import Collection
from dataclasses import astuple, dataclass
from datetime import date, datetime
from typing import Any

from services.metrics.chain.rules import NodeFinding
from services.metrics.readings.store import records
from shared.database.unit_of_work import Jsonb, UnitOfWork

NodeKey = tuple[str, str, date]
"""Node, kind of period, first day of the period."""


@dataclass(frozen=True, slots=True)
class NodeVersion:
    """One version of a node's reading."""

    key: NodeKey
    period: str
    version: int
    change: int
    finding: NodeFinding
    inputs: list[dict[str, Any]]
    definition: int
    recorded_at: datetime


_COLUMNS = (
    "node, kind, start, period, version, change, ratio, trend, effect, currency, reason, inputs, definition, "
    "recorded_at"
)
_KEY = "node text, kind text, start date"


def _version(row: Any) -> NodeVersion:
    node, kind, start, period, version, change, *rest = row
    inputs, definition, recorded_at = rest[5:]
    return NodeVersion(
        (node, kind, start), period, version, change, NodeFinding(*rest[:5]), inputs, definition, recorded_at
    )


def _select(where: str) -> str:
    return f"SELECT {', '.join('r.' + column for column in _COLUMNS.split(', '))} FROM node_reading r {where}"


def latest(uow: UnitOfWork, company: str, keys: Collection[NodeKey]) -> dict[NodeKey, NodeVersion]:
    """The latest version of those nodes and periods that have a reading."""
    if not keys:
        return {}
    rows = uow.rows(
        _select(f"JOIN {records(_KEY, 'k')} ON r.node = k.node AND r.kind = k.kind AND r.start = k.start ")
        + "WHERE r.company = :company AND r.latest",
        company=company, rows=_keys(keys),
    )  # fmt: skip
    return {version.key: version for version in map(_version, rows)}


def _keys(keys: Collection[NodeKey]) -> str:
    return records.text([dict(zip(("node", "kind", "start"), key, strict=True)) for key in sorted(keys)])


def add_versions(uow: UnitOfWork, company: str, versions: Collection[NodeVersion]) -> None:
    """Writes new versions, each the latest of its node and period."""
    if older := [each.key for each in versions if each.version > 1]:
        uow.run(
            f"UPDATE node_reading r SET latest = false FROM {records(_KEY, 'k')} WHERE r.company = :company "
            "AND r.node = k.node AND r.kind = k.kind AND r.start = k.start AND r.latest",
            company=company, rows=_keys(older),
        )  # fmt: skip
    uow.copy(
        "node_reading", ("company", "latest", *_COLUMNS.split(", ")),
        (
            (
                company, True, *each.key, each.period, each.version, each.change, *astuple(each.finding),
                Jsonb(each.inputs), each.definition, each.recorded_at,
            )
            for each in versions
        ),
    )  # fmt: skip


def periods_of(
    uow: UnitOfWork, company: str, wanted: Collection[tuple[str, str, str]]
) -> set[tuple[str, str, str, date]]:
    """The first days of the periods for which (metric, subject, kind) have readings."""
    rows = uow.rows(
        "SELECT r.metric, r.subject, r.kind, r.start FROM "
        f"{records('metric text, subject text, kind text', 'w')} JOIN reading r ON r.company = :company "
        "AND r.metric = w.metric AND r.subject = w.subject AND r.kind = w.kind AND r.latest",
        company=company,
        rows=records.text([dict(zip(("metric", "subject", "kind"), each, strict=True)) for each in sorted(wanted)]),
    )  # fmt: skip
    return {tuple(row) for row in rows}  # type: ignore[misc]


def starts_of(uow: UnitOfWork, company: str, nodes: Collection[str]) -> set[NodeKey]:
    """The periods for which nodes have readings."""
    rows = uow.rows(
        "SELECT node, kind, start FROM node_reading WHERE company = :company AND node = ANY(:nodes) AND latest",
        company=company, nodes=sorted(nodes),
    )  # fmt: skip
    return {tuple(row) for row in rows}  # type: ignore[misc]


def of_period(uow: UnitOfWork, company: str, node: str, period: str, version: int | None = None) -> list[NodeVersion]:
    """The latest reading of a node in a period, or one version of it; none where there is none."""
    return [
        _version(row)
        for row in uow.rows(
            _select(
                "WHERE r.company = :company AND r.node = :node AND r.period = :period "
                "AND CASE WHEN CAST(:version AS int) IS NULL THEN r.latest ELSE r.version = :version END"
            ),
            company=company, node=node, period=period, version=version,
        )
    ]  # fmt: skip


def between(uow: UnitOfWork, company: str, node: str, start: date, end: date, limit: int) -> list[NodeVersion]:
    """The latest readings of a node for periods that begin between two days, the second included."""
    rows = uow.rows(
        _select(
            "WHERE r.company = :company AND r.node = :node AND r.start BETWEEN :start AND :end AND r.latest "
            "ORDER BY r.start LIMIT :limit"
        ),
        company=company, node=node, start=start, end=end, limit=limit,
    )  # fmt: skip
    return [_version(row) for row in rows]


def of_changes(uow: UnitOfWork, company: str, changes: Collection[int]) -> list[NodeVersion]:
    """The versions of node readings that changes made."""
    rows = uow.rows(
        _select("WHERE r.company = :company AND r.change = ANY(:changes) ORDER BY r.change, r.start, r.node"),
        company=company, changes=sorted(changes),
    )  # fmt: skip
    return [_version(row) for row in rows]
