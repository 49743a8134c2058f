"""The value chain over HTTP."""

from datetime import date
from typing import Annotated

from fastapi import Query

from services.metrics.chain import store
from services.metrics.chain.handlers import check_linkage, check_node
from services.metrics.chain.rules import NodeFinding, gaps, in_order, ranked
from services.metrics.chain.schemas import Chain, ChainNode, Edge, Incomplete, LinkageView, NodeReading, Ranked, shown
from services.metrics.chain.store import NodeVersion
from services.metrics.readings.definitions import Definitions
from services.metrics.readings.routes import LONGEST_SERIES, Closed, PeriodText, calendar_in, may_see, period_named
from services.metrics.readings.schemas import Input, explanation_link
from services.metrics.readings.store import Version, definitions, readings
from shared.closing import change_at_close
from shared.configuration import configuration_router
from shared.contracts.base import Code
from shared.contracts.metrics import Linkage, Node
from shared.errors import NotFound
from shared.http.context import Context, RequestContext
from shared.http.routing import Router
from shared.http.times import AskedPeriod, KnownAt
from shared.numbers import plain, published
from shared.periods import Period

router = Router(tags=["nodes"])


class NodeReadingNotFound(NotFound):
    """The node has no reading of that period."""


@router.get("/chain", tags=["chain"], operation_id="getChain", summary="The value chain, with the readings of a period")
def get_chain(context: Context, period: Annotated[str | None, Query(max_length=20)] = None) -> Chain:
    context.require_reader()
    found = definitions(context.uow, context.company)
    place = period_named(found, period) if period else None
    nodes = found.nodes.all_on(found.last_day(place.kind, place.start) if place else date.max)
    seen = _readings(context, nodes, place)
    return Chain(
        period=period,
        nodes=[_node(code, nodes[code], seen.get(code)) for code in in_order(nodes)],
        edges=[Edge(source=code, target=feed.node, next_period=feed.next_period)
               for code, node in nodes.items() for feed in node.feeds],
        incomplete=[Incomplete(node=code, lacking=lacking) for code, lacking in gaps(nodes).items()],
        linkages=_linkages(context, found, nodes, place),
    )  # fmt: skip


def _readings(context: RequestContext, nodes: dict[str, Node], period: Period | None) -> dict[str, NodeVersion]:
    """The readings of the period, of those nodes that the caller may see."""
    if period is None:
        return {}
    keys = [(code, period.kind, period.start) for code, node in nodes.items() if may_see(context, node.subject)]
    return {key[0]: version for key, version in store.nodes.latest(context.uow, context.company, keys).items()}


def _node(code: str, node: Node, version: NodeVersion | None) -> ChainNode:
    reading = shown(version, node) if version else None
    return ChainNode(code=code, reading=reading, **node.model_dump(include=set(ChainNode.model_fields)))


def _linkages(
    context: RequestContext, found: Definitions, nodes: dict[str, Node], period: Period | None
) -> list[LinkageView]:
    linkages = found.linkages.all_on(found.last_day(period.kind, period.start) if period else date.max)
    subjects = {code: nodes[each.from_node].subject for code, each in linkages.items() if each.from_node in nodes}
    keys = [(metric, subject, period.kind, period.start) for code, subject in subjects.items()
            if period and may_see(context, subject) for metric in linkages[code].metrics]  # fmt: skip
    versions = {key[:2]: version for key, version in readings.latest(context.uow, context.company, keys).items()}
    label = period.label if period else None
    return [
        LinkageView(code=code, name=each.name, from_node=each.from_node, to_node=each.to_node,
                    subject=(subject := subjects.get(code)),
                    steps=[_step(metric, subject, label, versions.get((metric, subject))) for metric in each.metrics])
        for code, each in linkages.items()
    ]  # fmt: skip


def _step(metric: str, subject: str | None, period: str | None, found: Version | None) -> Input:
    if found is None:
        return Input(role="linkage", code=metric, subject=subject, period=period, version=0)
    value = None if found.value is None else plain(published(found.value))
    way = explanation_link(metric, found.subject, found.period, found.version)
    return Input(role="linkage", code=metric, subject=subject, period=period, version=found.version, value=value,
                 link=way)  # fmt: skip


@router.get("/nodes/compare", operation_id="compareNodes", summary="Nodes from the weakest, in a period")
def compare_nodes(context: Context, period: PeriodText) -> list[Ranked]:
    """By output per input, then trend, then code; a node without a ratio is not ranked. No verdict (mechanism L4)."""
    context.require_reader()
    found = definitions(context.uow, context.company)
    place = period_named(found, period)
    nodes = {code: node for code, node in found.nodes.all_on(found.last_day(place.kind, place.start)).items()
             if node.period == place.kind}  # fmt: skip
    seen = _readings(context, nodes, place)
    nothing = NodeFinding(None, None, None, None, None)
    order, unranked = ranked({code: seen[code].finding if code in seen else nothing for code in nodes})
    places: list[tuple[int | None, str]] = [*enumerate(order, 1), *((None, code) for code in unranked)]
    return [
        Ranked(rank=rank, node=code, name=nodes[code].name,
               reading=shown(seen[code], nodes[code]) if code in seen else None)
        for rank, code in places
    ]  # fmt: skip


@router.get("/nodes/{code}/readings", operation_id="getNodeReading", summary="A node's reading of a period")
def get_node_reading(
    context: Context,
    code: Code,
    asked: AskedPeriod,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    known_at: KnownAt = None,
    closed: Closed = False,
) -> NodeReading:
    uow, company = context.uow, context.company
    period = asked.label(lambda: calendar_in(definitions(uow, company)))
    change = change_at_close(uow, company, period) if closed else None
    found = store.nodes.one(uow, version, known_at, change, company=company, node=code, period=period)
    return _shown(context, code, [found] if found else [])[0]


@router.get("/nodes/{code}/readings/series", operation_id="listNodeReadings", summary="A node's readings over time")
def list_node_readings(
    context: Context,
    code: Code,
    from_: Annotated[date, Query(alias="from", description="Periods that begin on this day or later.")],
    to: Annotated[date, Query(description="Periods that begin on this day or earlier.")],
    known_at: KnownAt = None,
) -> list[NodeReading]:
    found = store.nodes.series(context.uow, from_, to, LONGEST_SERIES, known_at, company=context.company, node=code)
    return _shown(context, code, found)


def _shown(context: RequestContext, code: str, versions: list[NodeVersion]) -> list[NodeReading]:
    context.require_reader()
    found = definitions(context.uow, context.company)
    seen = []
    for version in versions:
        node = found.nodes.on(code, found.last_day(version.kind, version.start))
        if node is None or may_see(context, node[1].subject):
            seen.append(shown(version, node[1] if node else None))
    if not seen:
        raise NodeReadingNotFound(
            f"The node {code} has no reading there.", field="period",
            remedy="It appears with the first reading of one of its metrics; its `period` is in /metrics/v1/nodes.",
        )  # fmt: skip
    return seen


# Last, so that /nodes/compare is not taken for a node's code.
router.include_router(configuration_router(Node, write_roles=("analyst", "strategist"), check=check_node))
router.include_router(configuration_router(Linkage, write_roles=("analyst", "strategist"), check=check_linkage))
