"""What a change or an event moved, read off the versions that it made: nothing is recorded twice."""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

from services.metrics.chain import store as chain
from services.metrics.chain.rules import in_order
from services.metrics.chain.store import NodeVersion
from services.metrics.observations import store as observations
from services.metrics.readings import store
from services.metrics.readings.definitions import Definitions
from services.metrics.readings.schemas import Effect, link, links_of
from services.metrics.readings.store import Version
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import plain, published

Place = tuple[str, str, date]
"""Metric, subject, day: where an observation counts."""
Cited = tuple[str, str, str, int]
"""Metric, subject, period, version."""


def effects_of_change(uow: UnitOfWork, company: str, change: int) -> list[Effect]:
    """Everything that a change moved: cells, readings, nodes."""
    rows = observations.moved_by(uow, company, change)
    cells = {(row.metric, row.subject, row.day) for row in rows}
    steps = [
        Effect(step=number, what="cell", code=row.metric, subject=row.subject, period=row.day.isoformat(),
               change=change, because=[f"{row.added} observations in, {row.removed} out"])
        for number, row in enumerate(rows, 1)
    ]  # fmt: skip
    return steps + _ripple(uow, company, cells, change, len(steps), every=True)


def effects_of_event(uow: UnitOfWork, company: str, rows: Sequence[Any]) -> list[Effect]:
    """What the observations of one event moved, by each change in which they began or ceased to count."""
    changes: dict[int, set[Place]] = {}
    for row in rows:
        for change in (row.added, row.removed) if row.state == "counts" else ():
            if change is not None:
                changes.setdefault(change, set()).add((row.metric, row.subject, row.day))
    effects: list[Effect] = []
    for change, places in sorted(changes.items()):
        effects += _ripple(uow, company, places, change, len(effects), every=False)
    return effects


def _ripple(
    uow: UnitOfWork, company: str, places: Collection[Place], change: int, step: int, *, every: bool
) -> list[Effect]:
    """Readings and nodes of a change, in order; without `every` only those that the places lead to."""
    found = store.definitions(uow, company)
    depth = {code: number for number, code in enumerate(found.order, 1)}
    versions = sorted(
        store.readings.of_change(uow, company, change), key=lambda v: (depth.get(v.metric, 0), v.start, v.key)
    )
    tree = store.tree_with(uow, company, found, {subject for _, subject, _ in places})
    held: dict[tuple[str, str], list[Place]] = {}
    for metric, subject, day in sorted(places):
        for above in tree.path(subject, day)[0]:
            held.setdefault((metric, above), []).append((metric, subject, day))
    because = _reached(found, versions, held, every)
    reached = [version for version in versions if _cited(version) in because]
    earlier = store.readings.before(uow, company, reached)
    effects = [
        _reading_effect(number, version, earlier.get(version.key), because[_cited(version)])
        for number, version in enumerate(reached, step + 1)
    ]
    return effects + _nodes(uow, company, found, change, because.keys(), step + len(effects), every)


def _reached(
    found: Definitions, versions: Sequence[Version], held: Mapping[tuple[str, str], list[Place]], every: bool
) -> dict[Cited, list[str]]:
    """What moved each version, for those that anything did. Rounds: a formula may look back at a later metric."""
    because: dict[Cited, list[str]] = {_cited(version): [] for version in versions if every}
    while True:
        new = {
            _cited(version): causes
            for version in versions
            if not because.get(_cited(version)) and (causes := _causes(found, version, held, because))
        }
        if not new:
            return because
        because |= new


def _cited(version: Version) -> Cited:
    return version.metric, version.subject, version.period, version.version


def _causes(
    found: Definitions, version: Version, held: Mapping[tuple[str, str], list[Place]], because: Collection[Cited]
) -> list[str]:
    metric, subject, kind, start = version.key
    causes = []
    if version.formula is None:
        last = found.last_day(kind, start)
        causes = [f"cell {m}/{s}/{day}" for m, s, day in held.get((metric, subject), ()) if start <= day <= last]
    return causes + _readings_among(version.inputs, because)


def _readings_among(inputs: Sequence[Mapping[str, Any]], cited: Collection[Cited]) -> list[str]:
    return [
        f"reading {each['metric']}/{each['subject']}/{each['period']} v{each['version']}"
        for each in inputs
        if "metric" in each and (each["metric"], each["subject"], each["period"], each["version"]) in cited
    ]


def _text(version: Version | None) -> str | None:
    return None if version is None or version.value is None else plain(published(version.value))


def _reading_effect(number: int, version: Version, before: Version | None, because: list[str]) -> Effect:
    return Effect(
        step=number, what="reading", code=version.metric, subject=version.subject, period=version.period,
        version=version.version, change=version.change, before=_text(before), after=_text(version), unit=version.unit,
        reason=version.reason, because=because, links=links_of(*_cited(version)),
    )  # fmt: skip


def _nodes(
    uow: UnitOfWork, company: str, found: Definitions, change: int, readings: Collection[Cited], step: int, every: bool
) -> list[Effect]:
    nodes = found.nodes.all_on()
    order = {code: number for number, code in enumerate(in_order(nodes))}
    versions = sorted(chain.nodes.of_change(uow, company, change), key=lambda v: (v.start, order.get(v.node, 0), v.key))
    effects: list[Effect] = []
    moved: dict[tuple[str, date], str] = {}
    for version in versions:
        node, kind, start = version.key
        before = found.moved(("", "", kind, start), "previous")[3]
        feeding = [(code, before if feed.next_period else start) for code, each in nodes.items() for feed in each.feeds
                   if feed.node == node]  # fmt: skip
        because = _readings_among(version.inputs, readings)
        because += [moved[place] for place in [(node, before), *feeding] if place in moved]
        if because or every:
            moved[node, start] = f"node {node}/{version.period} v{version.version}"
            feeds = [feed.node for feed in nodes[node].feeds] if node in nodes else []
            effects.append(_node_effect(step + len(effects) + 1, version, because, feeds))
    return effects


def _node_effect(number: int, version: NodeVersion, because: list[str], feeds: list[str]) -> Effect:
    return Effect(
        step=number, what="node", code=version.node, period=version.period, version=version.version,
        change=version.change, after=None if version.ratio is None else plain(version.ratio), unit="ratio",
        reason=version.reason, because=because, feeds=feeds,
        links={"node": link(f"/metrics/v1/nodes/{version.node}/readings", period=version.period,
                            version=version.version)},
    )  # fmt: skip
