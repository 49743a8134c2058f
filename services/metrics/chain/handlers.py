"""Readings of value nodes follow from readings of metrics; the last step of a transaction."""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta

from services.metrics.chain import store
from services.metrics.chain.rules import NodeFinding, in_order, metrics_of, node_finding, refuse_broken, refuse_loop
from services.metrics.chain.store import NodeKey, NodeVersion
from services.metrics.readings import handlers as readings
from services.metrics.readings.handlers import Book, marked
from services.metrics.readings.rules import Definitions
from services.metrics.readings.store import definitions, now
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


def linkages_from(found: Definitions, node: str, key: NodeKey) -> list[Linkage]:
    """The linkages that start at a node, as in force on the last day of a period."""
    last_day = found.period(key[1], key[2]).end - timedelta(days=1)
    return [linkage for linkage in found.linkages.all_on(last_day).values() if linkage.from_node == node]


def _settle_nodes(book: Book, change: int, wholly: Collection[str]) -> None:
    keys = _touched(book, wholly)
    if not keys:
        return
    found = book.found
    keys |= {_shifted(found, key, "next") for key in keys}
    known = store.latest(book.uow, book.company, keys | {_shifted(found, key, "previous") for key in keys})
    _load_inputs(book, keys)
    order = {code: index for index, code in enumerate(in_order(found.nodes.all_on()))}
    written: dict[NodeKey, NodeVersion] = {}
    for key in sorted(keys, key=lambda key: (key[2], order.get(key[0], 0), key)):
        earlier = _shifted(found, key, "previous")
        before = written.get(earlier) or known.get(earlier)
        version = _judged(book, change, key, known.get(key), before.finding if before else None)
        if version:
            written[key] = version
    store.add_versions(book.uow, book.company, list(written.values()))
    for version in written.values():
        book.uow.publish(told(version), company=book.company, key=version.key[0])


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
    node = found.nodes.on(key[0], found.period(key[1], key[2]).end - timedelta(days=1))
    return node if node and node[1].period == key[1] else None


def _inputs(found: Definitions, key: NodeKey) -> list[tuple[str, str, str, object]]:
    if (node := _node_on(found, key)) is None:
        return []
    metrics = metrics_of(node[1], linkages_from(found, key[0], key))
    return [(metric, node[1].subject, key[1], key[2]) for metric in metrics]


def _load_inputs(book: Book, keys: Iterable[NodeKey]) -> None:
    book.load([each for key in keys for each in _inputs(book.found, key)])  # type: ignore[misc]


def _judged(
    book: Book, change: int, key: NodeKey, stored: NodeVersion | None, before: NodeFinding | None
) -> NodeVersion | None:
    """The new version of a node's reading; None where nothing changed."""
    node = _node_on(book.found, key)
    finding = None
    if node:
        subject = node[1].subject
        finding = node_finding(
            node[1], linkages_from(book.found, key[0], key),
            lambda metric: book.reading((metric, subject, key[1], key[2])), before.ratio if before else None,
        )  # fmt: skip
    if finding is None:
        if stored is None:
            return None
        finding = NodeFinding(None, None, None, None, "the node has no readings of this period")
    inputs = [book.citation(each, "input") for each in _inputs(book.found, key)]  # type: ignore[arg-type]
    if stored and stored.finding == finding and _values(stored.inputs) == _values(inputs):
        return None
    version = stored.version + 1 if stored else 1
    label = book.found.period(key[1], key[2]).label
    return NodeVersion(key, label, version, change, finding, inputs, node[0] if node else 0, now())


def _values(inputs: Iterable[dict[str, object]]) -> list[tuple[object, object]]:
    """What quality readings say belongs to the node's reading, so their change is a change of it."""
    return [(each["metric"], each["value"]) for each in inputs]


def told(version: NodeVersion) -> NodeReadingChanged:
    """The event that tells of a version of a node's reading."""
    finding = version.finding
    return NodeReadingChanged(
        node=version.key[0], period=version.period, version=version.version, change=version.change,
        ratio=finding.ratio, trend=finding.trend,
        effect=None if finding.effect is None else published(finding.effect), currency=finding.currency,
        reason=finding.reason,
        inputs=[
            Citation(what="reading", code=each["metric"], subject=each["subject"], period=each["period"],
                     version=each["version"], value=each["value"])
            for each in version.inputs
        ],
    )  # fmt: skip
