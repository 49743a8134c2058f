"""Dependency graphs: node → what it depends on. For formulas, goal trees and value chains."""

from collections.abc import Iterable, Iterator, Mapping

from shared.errors import Invalid


class CycleFound(Invalid):
    """Something depends on itself; `more["path"]` names the way round."""


def find_cycle(graph: Mapping[str, Iterable[str]]) -> list[str] | None:
    """The path of a cycle, its first node repeated at the end; None where there is none.

    >>> find_cycle({"a": ["b"], "b": ["a"]})
    ['a', 'b', 'a']
    """
    return _walk(graph)[1]


def topological_order(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Every node after all it depends on, in an order that depends on the names only. Raises CycleFound.

    >>> topological_order({"profit": ["revenue", "cost"], "cost": []})
    ['cost', 'revenue', 'profit']
    """
    order, cycle = _walk(graph)
    if cycle:
        path = " -> ".join(cycle[:20]) + (" -> …" if len(cycle) > 20 else "")
        raise CycleFound(
            f"Nothing may depend on itself: {path}.", remedy="Remove one of these dependencies.", path=cycle
        )
    return order


def _walk(graph: Mapping[str, Iterable[str]]) -> tuple[list[str], list[str] | None]:
    """Depth-first without recursion: a chain of 100,000 goals must not exhaust the stack."""
    order: list[str] = []
    done: set[str] = set()
    for root in sorted(graph):
        path: dict[str, Iterator[str]] = {} if root in done else {root: _edges(graph, root)}
        while path:
            node, edges = next(reversed(path.items()))
            target = next(edges, None)
            if target is None:
                del path[node]
                done.add(node)
                order.append(node)
            elif target in path:
                names = list(path)
                return order, [*names[names.index(target) :], target]
            elif target not in done:
                path[target] = _edges(graph, target)
    return order, None


def _edges(graph: Mapping[str, Iterable[str]], node: str) -> Iterator[str]:
    return iter(sorted(graph.get(node, ())))
