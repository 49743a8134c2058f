"""The value chain over HTTP."""

from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import Query

from services.metrics.chain import store
from services.metrics.chain.handlers import check_linkage, check_node
from services.metrics.chain.rules import NodeFinding, gaps, in_order, ranked
from services.metrics.chain.schemas import Chain, ChainNode, Edge, Incomplete, LinkageView, NodeReading, Ranked, shown
from services.metrics.chain.store import NodeVersion
from services.metrics.readings.routes import LONGEST_SERIES, PeriodText, may_see, period_named
from services.metrics.readings.rules import Definitions, Finding
from services.metrics.readings.schemas import Input, explanation_link
from services.metrics.readings.store import definitions, latest
from shared.configuration import configuration_router
from shared.contracts.base import Code
from shared.contracts.metrics import Linkage, Node
from shared.errors import NotFound
from shared.http.context import Context, RequestContext
from shared.http.routing import Router
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
    nodes = found.nodes.all_on(place.end - timedelta(days=1) if place else date.max)
    readings = _readings(context, nodes, place)
    return Chain(
        period=period,
        nodes=[_node(code, nodes[code], readings.get(code)) for code in in_order(nodes)],
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
    return {key[0]: version for key, version in store.latest(context.uow, context.company, keys).items()}  # type: ignore[arg-type]


def _node(code: str, node: Node, version: NodeVersion | None) -> ChainNode:
    return ChainNode(
        code=code, name=node.name, labels=node.labels, kind=node.kind, subject=node.subject, input=node.input,
        output=node.output, goal=node.goal, hand_over=node.hand_over,
        reading=shown(version, node) if version else None,
    )  # fmt: skip


def _linkages(
    context: RequestContext, found: Definitions, nodes: dict[str, Node], period: Period | None
) -> list[LinkageView]:
    linkages = found.linkages.all_on(period.end - timedelta(days=1) if period else date.max)
    subjects = {code: nodes[each.from_node].subject for code, each in linkages.items() if each.from_node in nodes}
    places = {code: subject for code, subject in subjects.items() if period and may_see(context, subject)}
    keys = [(metric, subject, period.kind, period.start) for code, subject in places.items()
            for metric in linkages[code].metrics if period]  # fmt: skip
    values = latest(context.uow, context.company, keys)  # type: ignore[arg-type]

    def step(code: str, metric: str) -> Input:
        subject = subjects.get(code)
        version, finding = (0, None) if period is None else values.get(
            (metric, subject or "", period.kind, period.start), (0, None)
        )  # fmt: skip
        return _step(metric, subject, period.label if period else None, version, finding)

    return [
        LinkageView(code=code, name=each.name, from_node=each.from_node, to_node=each.to_node,
                    subject=subjects.get(code), steps=[step(code, metric) for metric in each.metrics])
        for code, each in linkages.items()
    ]  # fmt: skip


def _step(metric: str, subject: str | None, period: str | None, version: int, finding: Finding | None) -> Input:
    value = None if finding is None or finding.value is None else plain(published(finding.value))
    cited = explanation_link(metric, subject, period, version) if subject and period and version else None
    return Input(role="linkage", code=metric, subject=subject, period=period, version=version, value=value, link=cited)


@router.get("/nodes/compare", operation_id="compareNodes", summary="Nodes from the weakest, in a period")
def compare_nodes(context: Context, period: PeriodText) -> list[Ranked]:
    """By output per input, then trend, then code; a node without a ratio is not ranked. No verdict (mechanism L4)."""
    context.require_reader()
    found = definitions(context.uow, context.company)
    place = period_named(found, period)
    nodes = {code: node for code, node in found.nodes.all_on(place.end - timedelta(days=1)).items()
             if node.period == place.kind}  # fmt: skip
    readings = _readings(context, nodes, place)
    nothing = NodeFinding(None, None, None, None, None)
    order, unranked = ranked({code: readings[code].finding if code in readings else nothing for code in nodes})
    places: list[tuple[int | None, str]] = [*enumerate(order, 1), *((None, code) for code in unranked)]
    return [
        Ranked(rank=rank, node=code, name=nodes[code].name,
               reading=shown(readings[code], nodes[code]) if code in readings else None)
        for rank, code in places
    ]  # fmt: skip


@router.get("/nodes/{code}/readings", operation_id="getNodeReading", summary="A node's reading of a period")
def get_node_reading(
    context: Context, code: Code, period: PeriodText, version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None
) -> NodeReading:
    return _shown(context, code, store.of_period(context.uow, context.company, code, period, version))[0]


@router.get("/nodes/{code}/readings/series", operation_id="listNodeReadings", summary="A node's readings over time")
def list_node_readings(
    context: Context,
    code: Code,
    from_: Annotated[date, Query(alias="from", description="Periods that begin on this day or later.")],
    to: Annotated[date, Query(description="Periods that begin on this day or earlier.")],
) -> list[NodeReading]:
    return _shown(context, code, store.between(context.uow, context.company, code, from_, to, LONGEST_SERIES))


def _shown(context: RequestContext, code: str, versions: list[NodeVersion]) -> Any:
    context.require_reader()
    found = definitions(context.uow, context.company)
    seen = []
    for version in versions:
        node = found.nodes.on(code, found.period(version.key[1], version.key[2]).end - timedelta(days=1))
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
