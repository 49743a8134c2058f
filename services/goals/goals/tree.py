"""The goal tree as it is on a day: who supports whom, what is covered, padded or left alone (mechanisms G1, G6, T1)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.configuration import in_force
from shared.contracts.base import Subject
from shared.contracts.goals import Goal, Target
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import DecimalString, subtract, total

from . import rules, store

DEEPEST = 30  # JSON nests as deep as the tree: readers and writers of it have their limits


class GoalNode(BaseModel):
    """A goal in its place."""

    code: str
    name: str
    parent: str | None
    owner: Subject
    status: Literal["draft", "active", "closed"]
    metric: str | None
    period: str
    starts: date
    due: date | None = Field(description="Null: continuous.")
    contribution: str
    weight: DecimalString
    target: DecimalString | None
    ceiling: DecimalString | None = None
    ceiling_remaining: DecimalString | None = Field(default=None, description="Not yet given to a child.")
    coverage: rules.Coverage | None = Field(default=None, description="Where children contribute by sum.")


class GoalBranch(GoalNode):
    """A goal with what is below it."""

    children: list["GoalBranch"] = Field(description="By code. Below 30 levels ask for the tree of a lower goal.")


class GoalTree(GoalBranch):
    """A goal with everything below it, and what each level adds to the targets (mechanism G6)."""

    levels: list[rules.Level] = Field(description="Where all contribute by sum; else empty.")
    padding: DecimalString | None = Field(description="By how much the lowest level exceeds the top [ratio].")


class GoalPath(BaseModel):
    """From a goal up to the top one."""

    goals: list[GoalNode]


@dataclass(frozen=True)
class Picture:
    """Some goals as they are on a day, with their targets and who is below whom."""

    goals: Mapping[str, Goal]
    targets: Mapping[str, Decimal]
    below: Mapping[str, Sequence[str]]


def tree(uow: UnitOfWork, company: str, root: str, on: date) -> GoalTree:
    """A goal and all below it."""
    picture = _picture(uow, company, store.descendants(uow, company, root), on)
    levels, padding = rules.padding(_levels(picture, root))
    return GoalTree(**_node(picture, root), children=_branches(picture, root, DEEPEST), levels=levels, padding=padding)


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
    """From a goal up to the top one. What its siblings cover is no part of it."""
    chain: list[str] = []
    above: str | None = code
    while above and above not in chain and (found := in_force(uow, Goal, company, above, on)):
        chain.append(above)
        above = found.content.parent
    picture = _picture(uow, company, chain, on)
    alone = {"coverage": None, "ceiling_remaining": None}
    return GoalPath(goals=[GoalNode(**_node(picture, code) | alone) for code in chain])


def _picture(uow: UnitOfWork, company: str, codes: Collection[str], on: date) -> Picture:
    goals = store.contents_at(store.histories(uow, Goal, company, codes), on)
    targets = store.contents_at(store.histories(uow, Target, company, goals), on)
    below: dict[str, list[str]] = {}
    for code in sorted(goals):
        below.setdefault(goals[code].parent or "", []).append(code)
    return Picture(goals, {code: target.value for code, target in targets.items()}, below)


def _branches(picture: Picture, code: str, deepest: int) -> list[GoalBranch]:
    return [
        GoalBranch(**_node(picture, child), children=_branches(picture, child, deepest - 1))
        for child in picture.below.get(code, ()) if deepest > 0
    ]  # fmt: skip


def _node(picture: Picture, code: str) -> dict[str, Any]:
    goal, target = picture.goals[code], picture.targets.get(code)
    children = _open(picture, code)
    given = [ceiling for child in children if (ceiling := picture.goals[child].ceiling) is not None]
    aims = [picture.targets[child] for child in children if child in picture.targets]
    covered = goal.contribution == "sum" and target is not None and aims
    return dict(goal) | {
        "code": code, "owner": store.owner_of(goal), "target": target,
        "ceiling_remaining": None if goal.ceiling is None else subtract(goal.ceiling, total(given)),
        "coverage": rules.coverage(target, aims, goal.reserve) if covered and target is not None else None,
    }  # fmt: skip


def _open(picture: Picture, code: str) -> list[str]:
    return [child for child in picture.below.get(code, ()) if picture.goals[child].status != "closed"]


def _levels(picture: Picture, root: str) -> list[Decimal]:
    """Targets by depth; only where every goal that has children takes their sum, or they could not be added."""
    levels, row = [], [root]
    while row:
        if any(picture.below.get(code) and picture.goals[code].contribution != "sum" for code in row):
            return []
        levels.append(total(picture.targets[code] for code in row if code in picture.targets))
        row = [child for code in row for child in _open(picture, code)]
    return levels if len(levels) > 1 else []
