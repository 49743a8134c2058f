"""What a goal may be, and whether a tree of goals covers and pads its targets (mechanisms T1, G1, G6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from shared.errors import Conflict, Invalid
from shared.numbers import DecimalString, add, divide, multiply, plain, published, subtract, total

_STEPS = {
    None: {"draft", "active"},
    "draft": {"draft", "active"},
    "active": {"active", "closed"},
    "closed": {"closed"},
}


class OneOwner(Invalid):
    """A goal or scorecard has exactly one owner: a unit or a person."""


class StatusNotPossible(Conflict):
    """A goal goes from draft to active to closed, and never back."""


class CeilingExceeded(Invalid):
    """The resource ceilings of a goal's children add up to at most its own."""


def check_owner(owner_unit: str | None, owner_person: str | None) -> None:
    """Raises `OneOwner` unless exactly one is given (mechanism T1)."""
    if (owner_unit is None) == (owner_person is None):
        raise OneOwner(
            f"It has exactly one owner, a unit or a person; this has {'none' if owner_unit is None else 'two'}.",
            field="owner_person" if owner_unit else "owner_unit", remedy="Give either owner_unit or owner_person.",
        )  # fmt: skip


def check_status(before: str | None, after: str) -> None:
    """Raises `StatusNotPossible` for any step but draft → active → closed; a goal may be defined active."""
    if after not in _STEPS[before]:
        raise StatusNotPossible(
            f"A goal goes from draft to active to closed. This one is {before or 'new'} and cannot become {after}.",
            field="status", remedy=f"Take {' or '.join(sorted(_STEPS[before]))}, or define a new goal.",
        )  # fmt: skip


def check_ceilings(parent: str, ceiling: Decimal | None, children: Sequence[Decimal]) -> None:
    """Raises `CeilingExceeded` with the remaining amount where the children's ceilings exceed the parent's (T1).

    Args:
        children: the ceilings of all children, in the company's currency; the one that is being set stands last.
    """
    if ceiling is None or total(children) <= ceiling:
        return
    remaining = plain(subtract(ceiling, total(children[:-1])))
    raise CeilingExceeded(
        f"The ceilings of the children of {parent} add up to at most its ceiling {plain(ceiling)}; "
        f"with this one they are {plain(total(children))}. {remaining} remains.",
        field="ceiling", remedy="Ask for less, raise the ceiling above, or lower another one.", remaining=remaining,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coverage:
    """How the targets of a goal's children, added up, stand to its own [metric's unit]; information only (G1, G6).

    `gap` is what they leave uncovered, `padding` by how much they exceed it [ratio], `over_reserve` whether they exceed
    it by more than its reserve.
    """

    children: DecimalString
    gap: DecimalString
    padding: DecimalString | None
    over_reserve: bool


def coverage(target: Decimal, children: Sequence[Decimal], reserve: Decimal) -> Coverage:
    """What the children's targets leave uncovered, and by how much they exceed the parent's (mechanisms G1, G6).

    Args:
        reserve: the share by which they may exceed it [ratio]; exactly that is allowed.

    >>> coverage(Decimal(100), [Decimal(20)] * 4, Decimal(0)).gap
    Decimal('20')
    """
    covered = total(children)
    allowed = add(target, multiply(target.copy_abs(), reserve))
    return Coverage(covered, max(subtract(target, covered), Decimal(0)), _excess(target, covered), covered > allowed)


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a goal tree: its targets added up, and by how much they exceed the level above [ratio]."""

    depth: int
    total: DecimalString
    padding: DecimalString | None


def padding(levels: Sequence[Decimal]) -> tuple[list[Level], Decimal | None]:
    """How much each level adds on top of the one above, and all of them together (mechanism G6).

    >>> [plain(level.padding) for level in padding([Decimal(10), Decimal(12), Decimal(15)])[0] if level.padding]
    ['0.2', '0.25']
    """
    if not levels:
        return [], None
    excesses = [None, *(_excess(above, below) for above, below in pairwise(levels))]
    found = [Level(depth, *level) for depth, level in enumerate(zip(levels, excesses, strict=True))]
    return found, _excess(levels[0], levels[-1])


def _excess(above: Decimal, below: Decimal) -> Decimal | None:
    return published(divide(subtract(below, above), above.copy_abs())) if above else None
