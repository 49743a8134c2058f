"""Dependency graphs: node → what it depends on. For formulas, goal trees and value chains."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from shared.errors import Invalid


class CycleFound(Invalid):
    """Something depends on itself; `more["path"]` names the way round."""


def find_cycle(graph: Mapping[str, Iterable[str]]) -> list[str] | None:
    """The path of a cycle, its first node repeated at the end; None where there is none.

    >>> find_cycle({"a": ["b"], "b": ["a"]})
    ['a', 'b', 'a']
    """
    try:
        topological_order(graph)
    except CycleFound as error:
        path: list[str] = error.more["path"]
        return path
    return None


def topological_order(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Every node after all it depends on, in an order that depends on the names only. Raises CycleFound.

    >>> topological_order({"profit": ["revenue", "cost"], "cost": []})
    ['cost', 'revenue', 'profit']
    """
    try:
        return list(TopologicalSorter({node: sorted(graph[node]) for node in sorted(graph)}).static_order())
    except CycleError as error:
        around = error.args[1][:0:-1]  # it names each after what needs it, and the first twice
        start = around.index(min(around))
        cycle = [*around[start:], *around[: start + 1]]
    path = " -> ".join(cycle[:20]) + (" -> …" if len(cycle) > 20 else "")
    raise CycleFound(f"Nothing may depend on itself: {path}.", remedy="Remove one of these dependencies.", path=cycle)
