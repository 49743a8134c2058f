"""Readings of value nodes follow from readings of metrics; the last step of a transaction."""

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

from services.metrics.chain import store
from services.metrics.chain.rules import NodeFinding, in_order, metrics_of, node_finding, refuse_broken, refuse_loop
from services.metrics.chain.store import NodeKey, NodeVersion
from services.metrics.readings import handlers as readings
from services.metrics.readings.definitions import Definitions, Key
from services.metrics.readings.handlers import Book, marked
from services.metrics.readings.store import definitions
from services.metrics.readings.versions import now
from shared.contracts.base import Citation
from shared.contracts.metrics import Linkage, Node, NodeReadingChanged
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import published
from shared.service import Received


def settle(uow: UnitOfWork) -> None:
    """Recomputes what the transaction marked: readings, then the value nodes that they are readings of."""
    for book, change, nodes in readings.settle(uow):
        _settle_nodes(book, change, nodes)


def nodes_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A node has a new version: all its readings are judged again."""
    for event in events:
        marked(uow, event.company).nodes.add(event.event.code)


def linkages_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A linkage has a new version: the nodes at which it starts, or started, are judged again."""
    for event in events:
        linkages = definitions(uow, event.company).linkages.every(event.event.code)
        marked(uow, event.company).nodes |= {linkage.from_node for linkage in linkages}


def check_node(uow: UnitOfWork, company: str, code: str, new: Node, _before: Node | None) -> None:
    """Refuses a node that closes a loop within one period, on its first day or with what is defined for later."""
    nodes = definitions(uow, company).nodes
    for day in {new.effective_from, *(node.effective_from for c in nodes.codes() for node in nodes.every(c))}:
        if day >= new.effective_from:
            refuse_loop({**nodes.all_on(day), code: new})


def check_linkage(uow: UnitOfWork, company: str, _code: str, new: Linkage, _before: Linkage | None) -> None:
    """Refuses a linkage whose metrics do not follow from one another, or do not end in money."""
    refuse_broken(new, definitions(uow, company).latest)


def linkages_from(found: Definitions, key: NodeKey) -> list[Linkage]:
    """The linkages that start at a node, as in force on the last day of a period."""
    linkages = found.linkages.all_on(found.last_day(*key[1:])).values()
    return [linkage for linkage in linkages if linkage.from_node == key[0]]


def _settle_nodes(book: Book, change: int, wholly: Collection[str]) -> None:
    keys = _touched(book, wholly)
    if not keys:
        return
    found = book.found
    keys |= {_shifted(found, key, "next") for key in keys}
    known = store.nodes.latest(book.uow, book.company, keys | {_shifted(found, key, "previous") for key in keys})
    book.load([each for key in keys for each in _inputs(found, key)])
    order = {code: index for index, code in enumerate(in_order(found.nodes.all_on()))}
    written: dict[NodeKey, NodeVersion] = {}
    for key in sorted(keys, key=lambda key: (key[2], order.get(key[0], 0), key)):
        earlier = _shifted(found, key, "previous")
        before = written.get(earlier) or known.get(earlier)
        version = _judged(book, change, key, known.get(key), before.ratio if before else None)
        if version:
            written[key] = version
    store.nodes.add(book.uow, book.company, written.values())
    for version in written.values():
        book.uow.publish(told(version), company=book.company, key=version.node)


def _touched(book: Book, wholly: Collection[str]) -> set[NodeKey]:
    """Nodes and periods whose metrics changed; every period of those that are judged again as a whole."""
    found = book.found
    reads: dict[tuple[str, str, str], set[str]] = {}
    for code in found.nodes.codes():
        linked = [each for c in found.linkages.codes() for each in found.linkages.every(c) if each.from_node == code]
        for node in found.nodes.every(code):
            for metric in metrics_of(node, linked):
                reads.setdefault((metric, node.subject, node.period), set()).add(code)
    if not reads:
        return set()
    keys = {(code, key[2], key[3]) for key in book.changed() for code in reads.get(key[:3], ())}
    if wholly:
        wanted = {place for place, codes in reads.items() if codes & set(wholly)}
        for *place, start in store.periods_of(book.uow, book.company, wanted):
            keys |= {(code, place[2], start) for code in reads[place[0], place[1], place[2]] & set(wholly)}
        keys |= store.starts_of(book.uow, book.company, wholly)
    return keys


def _shifted(found: Definitions, key: NodeKey, where: str) -> NodeKey:
    place = ("", "", key[1], key[2])
    moved = found.moved(place, "previous") if where == "previous" else found.following(place, "previous")[0]
    return key[0], moved[2], moved[3]


def _node_on(found: Definitions, key: NodeKey) -> tuple[int, Node] | None:
    """The node as in force on the period's last day, where its readings are of that kind of period."""
    node = found.nodes.on(key[0], found.last_day(*key[1:]))
    return node if node and node[1].period == key[1] else None


def _inputs(found: Definitions, key: NodeKey) -> list[Key]:
    if (node := _node_on(found, key)) is None:
        return []
    return [(metric, node[1].subject, *key[1:]) for metric in metrics_of(node[1], linkages_from(found, key))]


def _judged(
    book: Book, change: int, key: NodeKey, stored: NodeVersion | None, before: Decimal | None
) -> NodeVersion | None:
    """The new version of a node's reading; None where nothing changed."""
    finding, (definition, node) = None, _node_on(book.found, key) or (0, None)
    if node:
        subject, linked = node.subject, linkages_from(book.found, key)
        finding = node_finding(node, linked, lambda metric: book.reading((metric, subject, *key[1:])), before)
    if finding is None:
        if stored is None:
            return None
        finding = NodeFinding(None, None, None, None, "the node has no readings of this period")
    inputs = [book.citation(each, "input") for each in _inputs(book.found, key)]
    if stored and stored.finding == finding and _values(stored.inputs) == _values(inputs):
        return None
    version, label = stored.version + 1 if stored else 1, book.found.period(*key[1:]).label
    return NodeVersion(
        *key, label, version, change, finding.ratio, finding.trend, finding.effect, finding.currency, finding.reason,
        inputs, definition, now(),
    )  # fmt: skip


def _values(inputs: Iterable[dict[str, object]]) -> list[tuple[object, object]]:
    """What quality readings say belongs to the node's reading, so their change is a change of it."""
    return [(each["metric"], each["value"]) for each in inputs]


def told(version: NodeVersion) -> NodeReadingChanged:
    """The event that tells of a version of a node's reading."""
    return NodeReadingChanged(
        node=version.node, period=version.period, version=version.version, change=version.change, ratio=version.ratio,
        trend=version.trend, effect=None if version.effect is None else published(version.effect),
        currency=version.currency, reason=version.reason,
        inputs=[
            Citation(what="reading", code=each["metric"], subject=each["subject"], period=each["period"],
                     version=each["version"], value=each["value"])
            for each in version.inputs
        ],
    )  # fmt: skip
