"""Readings of value nodes in the database."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from services.metrics.chain.rules import NodeFinding
from services.metrics.readings.versions import Records, Versions
from shared.database.unit_of_work import UnitOfWork

NodeKey = tuple[str, str, date]
"""Node, kind of period, first day of the period."""


@dataclass(frozen=True, slots=True)
class NodeVersion:
    """One version of a node's reading; `inputs` are citations of the readings it is made of."""

    node: str
    kind: str
    start: date
    period: str
    version: int
    change: int
    ratio: Decimal | None
    trend: Decimal | None
    effect: Decimal | None
    currency: str | None
    reason: str | None
    inputs: list[dict[str, Any]]
    definition: int
    recorded_at: datetime

    @property
    def key(self) -> NodeKey:
        return self.node, self.kind, self.start

    @property
    def finding(self) -> NodeFinding:
        return NodeFinding(self.ratio, self.trend, self.effect, self.currency, self.reason)


nodes = Versions("node_reading", NodeVersion, Records("node text, kind text, start date"))
_PLACES = Records("metric text, subject text, kind text")


def periods_of(
    uow: UnitOfWork, company: str, wanted: Collection[tuple[str, str, str]]
) -> set[tuple[str, str, str, date]]:
    """The first days of the periods for which (metric, subject, kind) have readings."""
    rows: Any = uow.rows(
        f"SELECT {_PLACES.names}, start FROM {_PLACES.named('w')} JOIN reading USING ({_PLACES.names}) "
        "WHERE company = :company AND latest",
        company=company, rows=_PLACES.json(wanted),
    )  # fmt: skip
    return {tuple(row) for row in rows}


def starts_of(uow: UnitOfWork, company: str, codes: Collection[str]) -> set[NodeKey]:
    """The periods for which nodes have readings."""
    return nodes.keys(uow, "node = ANY(:codes)", company=company, codes=sorted(codes))
