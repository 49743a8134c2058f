"""The value chain: nodes, what feeds what, and what a node's reading says (mechanisms T2, T3, L1, L4)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from services.metrics.readings.definitions import compiled
from services.metrics.readings.rules import Finding
from shared.contracts.metrics import Linkage, Metric, Node
from shared.errors import Invalid
from shared.formula import find_cycle, topological_order
from shared.numbers import divide, published, subtract, total
from shared.units import is_money, parse_unit

Reading = Callable[[str], Finding | None]


class ChainLoop(Invalid):
    """Nodes feed one another in a loop within one period; `more["path"]` names the way round."""


class LinkageBroken(Invalid):
    """The metrics of a linkage do not follow from one another, or do not end in money."""


@dataclass(frozen=True, slots=True)
class NodeFinding:
    """A node's reading: output per input, its change since the period before, and its effect in money."""

    ratio: Decimal | None
    trend: Decimal | None
    effect: Decimal | None
    currency: str | None
    reason: str | None


def node_finding(
    node: Node, effects: Iterable[Linkage], reading: Reading, before: Decimal | None
) -> NodeFinding | None:
    """The reading of a node in a period; None where none of its metrics has a reading (T2).

    Args:
        effects: the linkages that start at the node.
        reading: the readings of its subject in that period, by metric.
        before: its ratio in the period before.
    """
    linked = list(effects)
    if not any(reading(metric) for metric in metrics_of(node, linked)):
        return None
    ratio, reason = _ratio(node, reading)
    effect, currency, conflict = _effect(linked, reading)
    trend = None if ratio is None or before is None else subtract(ratio, before)
    return NodeFinding(ratio, trend, effect, currency, reason or conflict)


def metrics_of(node: Node, effects: Iterable[Linkage]) -> list[str]:
    """The metrics whose readings a node's reading is made of, without repetition."""
    named = [node.input, node.output, *node.quality, *(linkage.metrics[-1] for linkage in effects)]
    return list(dict.fromkeys(metric for metric in named if metric))


def _ratio(node: Node, reading: Reading) -> tuple[Decimal | None, str | None]:
    values = []
    for what, metric in (("output", node.output), ("input", node.input)):
        if metric is None:
            return None, f"the node has no {what} metric"
        found = reading(metric)
        if found is None or found.value is None:
            return None, f"{metric}: {found.reason if found else 'no reading'}"
        values.append(found)
    output, input_ = values
    if is_money(parse_unit(output.unit)) and is_money(parse_unit(input_.unit)) and output.unit != input_.unit:
        return None, f"{output.unit} is not divided by {input_.unit}"
    assert output.value is not None and input_.value is not None
    if not input_.value:
        return None, "the input is zero"
    return published(divide(output.value, input_.value)), None


def _effect(linked: Iterable[Linkage], reading: Reading) -> tuple[Decimal | None, str | None, str | None]:
    found = [reading(metric) for metric in dict.fromkeys(linkage.metrics[-1] for linkage in linked)]
    amounts = [each for each in found if each and each.value is not None]
    currencies = sorted({each.unit for each in amounts})
    if len(currencies) > 1:
        return None, None, f"effects in {' and '.join(currencies)} are not added"
    if not amounts:
        return None, None, None
    return total(each.value for each in amounts if each.value is not None), currencies[0], None


# --- the graph ---


def feeding(nodes: Mapping[str, Node]) -> dict[str, list[str]]:
    """By node, the nodes that feed it within a period; those not defined yet included."""
    found: dict[str, list[str]] = {code: [] for code in nodes}
    for code, node in nodes.items():
        for feed in node.feeds:
            if not feed.next_period:
                found.setdefault(feed.node, []).append(code)
    return found


def in_order(nodes: Mapping[str, Node]) -> list[str]:
    """Every node after those that feed it within a period."""
    return [code for code in topological_order(feeding(nodes)) if code in nodes]


def refuse_loop(nodes: Mapping[str, Node]) -> None:
    """Raises ChainLoop where nodes feed one another in a loop that no edge takes into the next period (L1)."""
    if cycle := find_cycle(feeding(nodes)):
        path = list(reversed(cycle))
        raise ChainLoop(
            f"Nodes may not feed one another in a loop within one period: {' -> '.join(path)}.",
            field="feeds", remedy="Mark the edge that closes the loop with next_period.", path=path,
        )  # fmt: skip


def refuse_broken(linkage: Linkage, metrics: Mapping[str, Metric]) -> None:
    """Raises LinkageBroken where a metric does not follow from the one before, or the last is not money (T3).

    Metrics that are not defined yet are taken on trust.
    """
    for index, (before, code) in enumerate(pairwise(linkage.metrics), 1):
        metric = metrics.get(code)
        if metric and (not metric.formula or (None, before) not in compiled(metric.formula).reads):
            raise LinkageBroken(
                f"Each metric of a linkage is derived from the one before; that of {code} does not use {before}.",
                field=f"metrics.{index}", remedy=f"Use {before} in the formula of {code}, or leave one of them out.",
            )  # fmt: skip
    last = metrics.get(linkage.metrics[-1])
    if last and not is_money(parse_unit(last.unit)):
        raise LinkageBroken(
            f"A linkage ends in money; the unit of {linkage.metrics[-1]} is {last.unit}.",
            field=f"metrics.{len(linkage.metrics) - 1}", remedy="End it with a metric in a currency.",
        )  # fmt: skip


def gaps(nodes: Mapping[str, Node]) -> dict[str, list[str]]:
    """By primary node, what it lacks: a goal, a hand-over standard, a fed node that exists (L1)."""
    found: dict[str, list[str]] = {}
    for code, node in nodes.items():
        lacking = []
        if node.kind == "primary":
            lacking += ["goal"] if node.goal is None else []
            lacking += ["hand-over standard"] if not node.hand_over else []
        lacking += [f"node {feed.node}" for feed in node.feeds if feed.node not in nodes]
        if lacking:
            found[code] = lacking
    return found


def ranked(findings: Mapping[str, NodeFinding]) -> tuple[list[str], list[str]]:
    """Nodes from the weakest: by ratio, then trend (unknown first), then code; and those without a ratio (L4)."""
    with_ratio = [(found.ratio, found.trend is not None, found.trend or Decimal(0), code)
                  for code, found in findings.items() if found.ratio is not None]  # fmt: skip
    return [each[-1] for each in sorted(with_ratio)], sorted(c for c, found in findings.items() if found.ratio is None)
