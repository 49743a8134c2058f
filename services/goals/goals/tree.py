"""The goal tree as it is on a day: who supports whom, what is covered, padded or left alone (mechanisms G1, G6, T1)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from shared.configuration import Recorded
from shared.contracts.goals import Goal, Target
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import published, subtract, total

from . import rules, store
from .schemas import GoalBranch, GoalCoverage, GoalNode, GoalPath, GoalTree, PaddingLevel

DEEPEST = 30  # JSON nests as deep as the tree: readers and writers of it have their limits


@dataclass(frozen=True)
class Picture:
    """Some goals as they are on a day, with their targets and who is below whom."""

    goals: Mapping[str, Goal]
    targets: Mapping[str, Decimal]
    below: Mapping[str, Sequence[str]]


def tree(uow: UnitOfWork, company: str, root: str, on: date) -> GoalTree:
    """A goal and all below it."""
    picture = _picture(uow, company, store.descendants(uow, company, root), on)
    found, padding = rules.padding(_levels(picture, root))
    levels = [PaddingLevel(depth=level.depth, total=level.total, padding=_out(level.padding)) for level in found]
    return GoalTree(
        **_node(picture, root), children=_branches(picture, root, DEEPEST), levels=levels, padding=_out(padding)
    )


def orphans(uow: UnitOfWork, company: str, on: date, after: str, limit: int) -> list[GoalNode]:
    """Goals without a parent that the top unit does not own: they support nothing."""
    rows = uow.rows(
        "WITH now AS (SELECT DISTINCT ON (kind, code) kind, code, content FROM configuration "
        " WHERE company = :company AND kind IN ('goals', 'units') AND effective_from <= :day "
        " ORDER BY kind, code, effective_from DESC, version DESC) "
        "SELECT g.code FROM now g LEFT JOIN now u ON u.kind = 'units' AND u.code = g.content->>'owner_unit' "
        "WHERE g.kind = 'goals' AND g.content->>'parent' IS NULL AND g.content->>'status' <> 'closed' "
        "AND (u.code IS NULL OR u.content->>'parent' IS NOT NULL) AND g.code > :after ORDER BY g.code LIMIT :limit",
        company=company, day=on, after=after, limit=limit,
    )  # fmt: skip
    picture = _picture(uow, company, [row.code for row in rows], on)
    return [GoalNode(**_node(picture, row.code)) for row in rows]


def path(uow: UnitOfWork, company: str, code: str, on: date) -> GoalPath:
    """From a goal up to the top one."""
    chain: list[str] = []
    current: str | None = code
    while current and current not in chain:
        found = _in_force(store.histories(uow, Goal, company, [current]), on)
        chain += [current] if found else []
        current = found[current].parent if found else None
    picture = _picture(uow, company, chain, on)
    return GoalPath(goals=[GoalNode(**_node(picture, code) | {"coverage": None, "ceiling_remaining": None})
                           for code in chain])  # fmt: skip


def _picture(uow: UnitOfWork, company: str, codes: Collection[str], on: date) -> Picture:
    goals: dict[str, Goal] = _in_force(store.histories(uow, Goal, company, codes), on)
    targets = _in_force(store.histories(uow, Target, company, goals), on)
    below: dict[str, list[str]] = {}
    for code in sorted(goals):
        below.setdefault(goals[code].parent or "", []).append(code)
    return Picture(goals, {code: target.value for code, target in targets.items()}, below)


def _in_force(versions: Mapping[str, list[Recorded[Any]]], on: date) -> dict[str, Any]:
    found = {code: store.at(known, on) for code, known in versions.items()}
    return {code: recorded.content for code, recorded in found.items() if recorded}


def _branches(picture: Picture, code: str, deepest: int) -> list[GoalBranch]:
    if deepest == 0:
        return []
    return [
        GoalBranch(**_node(picture, child), children=_branches(picture, child, deepest - 1))
        for child in picture.below.get(code, ())
    ]


def _node(picture: Picture, code: str) -> dict[str, Any]:
    goal, target = picture.goals[code], picture.targets.get(code)
    children = [child for child in picture.below.get(code, ()) if picture.goals[child].status != "closed"]
    given = [ceiling for child in children if (ceiling := picture.goals[child].ceiling) is not None]
    shown = ("name", "parent", "status", "metric", "period", "starts", "due", "contribution", "weight", "ceiling")
    return {name: getattr(goal, name) for name in shown} | {
        "code": code, "owner": store.owner_of(goal), "target": target,
        "ceiling_remaining": None if goal.ceiling is None else subtract(goal.ceiling, total(given)),
        "coverage": _coverage(goal, target, [picture.targets[c] for c in children if c in picture.targets]),
    }  # fmt: skip


def _coverage(goal: Goal, target: Decimal | None, children: list[Decimal]) -> GoalCoverage | None:
    if goal.contribution != "sum" or target is None or not children:
        return None
    found = rules.coverage(target, children, goal.reserve)
    return GoalCoverage(
        children=found.children, gap=found.gap, padding=_out(found.padding), over_reserve=found.over_reserve
    )


def _levels(picture: Picture, root: str) -> list[Decimal]:
    """Targets by depth; only where every goal that has children takes their sum, or they could not be added."""
    levels, row = [], [root]
    while row:
        below = [child for code in row for child in picture.below.get(code, ())]
        if any(picture.below.get(code) and picture.goals[code].contribution != "sum" for code in row):
            return []
        levels.append(total(picture.targets[code] for code in row if code in picture.targets))
        row = [code for code in below if picture.goals[code].status != "closed"]
    return levels if len(levels) > 1 else []


def _out(value: Decimal | None) -> Decimal | None:
    return None if value is None else published(value)
