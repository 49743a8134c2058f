"""What a change does: cells, roll-ups, readings, derived readings, and the events that tell of them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from services.metrics.observations.rules import CellKey
from services.metrics.readings import store
from services.metrics.readings.definitions import Definitions, Key, Tree
from services.metrics.readings.rules import (
    Cell,
    Derived,
    Finding,
    additive,
    base_finding,
    derive,
    folded,
    guards_on,
    qualifications,
)
from services.metrics.readings.store import Version
from services.metrics.readings.versions import now
from shared.contracts.metrics import Metric, ReadingChanged
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import add, plain, published
from shared.service import Received

MARKED = "metrics.marked"
EXTREMES = ("minimum", "maximum", "last")
_ROUNDS = 10_000


@dataclass
class Marked:
    """What one company's readings must be recomputed from."""

    rollups: set[Key] = field(default_factory=set)
    derived: set[Key] = field(default_factory=set)
    guarded: set[Key] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


def marked(uow: UnitOfWork, company: str) -> Marked:
    """Where a transaction notes what `settle` has to recompute."""
    found: Marked = uow.state.setdefault(MARKED, {}).setdefault(company, Marked())
    return found


# --- cells and roll-ups ---

Differences = Mapping[CellKey, tuple[int, Decimal]]


def apply(uow: UnitOfWork, company: str, found: Definitions, tree: Tree, changes: Differences) -> None:
    """Applies differences to cells and, along the organisation of each day, to roll-ups."""
    moved = {key: change for key, change in changes.items() if change[0] or change[1]}
    store.add_to_cells(uow, company, moved)
    extremes = {key for key in changes if (m := found.base(key[0])) and m.over_time in EXTREMES}
    store.refresh_extremes(uow, company, extremes)
    roll(uow, company, found, [(tree, moved | {key: changes[key] for key in extremes})])


def roll(uow: UnitOfWork, company: str, found: Definitions, changes: Iterable[tuple[Tree, Differences]]) -> None:
    """Applies differences to the roll-ups of every subject above, as each tree has them; folds anew what cannot be."""
    sums: dict[store.RollupKey, tuple[int, Decimal]] = {}
    anew: set[Key] = set()
    for tree, cells in changes:
        for (code, subject, day, dims, _), (n, amount) in cells.items():
            metric, keys = found.latest[code], keys_above(found, tree, code, subject, day)
            if not additive(metric):
                anew.update(keys)
                continue
            currency = currency_of(metric, dims)
            for key in [(*above, currency) for above in keys]:
                held, sum_ = sums.get(key, (0, Decimal(0)))
                sums[key] = held + n, add(sum_, amount)
    sums = {key: change for key, change in sums.items() if change[0] or change[1]}
    store.add_to_rollups(uow, company, sums)
    refold(uow, company, found, anew)
    marked(uow, company).rollups.update(anew, (key[:4] for key in sums))


def keys_above(found: Definitions, tree: Tree, metric: str, subject: str, day: date) -> list[Key]:
    """Where a metric of a subject and day is rolled up: every subject above, in the period of every grain."""
    starts = [(kind, found.period(kind, day).start) for kind in found.latest[metric].grains]
    return [(metric, above, *start) for above in tree.path(subject, day)[0] for start in starts]


def currency_of(metric: Metric, dims: str) -> str:
    """The currency of a cell of a metric that is money in any currency; else empty."""
    return _currency(dims) if metric.unit == "money" else ""


@lru_cache(maxsize=4096)
def _currency(dims: str) -> str:
    return str(msgspec.json.decode(dims).get("currency", ""))


def refold(uow: UnitOfWork, company: str, found: Definitions, keys: Collection[Key]) -> None:
    """Folds roll-ups anew from the cells of their subtrees."""
    if not keys:
        return
    cells = store.cells_in(uow, company, {(key[0], key[3], found.period(*key[2:]).end) for key in keys})
    tree = store.tree_with(uow, company, found, {cell.subject for cell in cells})
    held: dict[store.RollupKey, list[Cell]] = {}
    for cell in cells:
        metric = found.latest[cell.metric]
        for key in keys_above(found, tree, *cell[:3]):
            if key in keys:
                held.setdefault((*key, currency_of(metric, cell.dims)), []).append(cell)
    store.remove_rollups(uow, company, keys)
    store.add_to_rollups(uow, company, {key: folded(found.latest[key[0]], group) for key, group in held.items()})


# --- readings ---


class Book:
    """The readings under recomputation: as stored, and as they now are."""

    def __init__(self, uow: UnitOfWork, company: str, found: Definitions) -> None:
        self.uow, self.company, self.found = uow, company, found
        self.stored: dict[Key, tuple[int, Finding] | None] = {}
        self.now: dict[Key, Finding] = {}
        self.parts: dict[Key, Derived] = {}
        self.counts: dict[Key, int] = {}

    def load(self, keys: Iterable[Key]) -> None:
        """Reads what is not known yet, in one statement."""
        missing = {key for key in keys if key not in self.stored}
        known = store.readings.latest(self.uow, self.company, missing)
        self.stored |= {key: (known[key].version, known[key].finding) if key in known else None for key in missing}

    def reading(self, key: Key) -> Finding | None:
        if key in self.now:
            return self.now[key]
        stored = self.stored[key]
        return stored[1] if stored else None

    def put(self, key: Key, finding: Finding) -> bool:
        """Notes what a reading now says, its qualifications aside; whether that is new."""
        before = self.reading(key)
        after = replace(finding, qualified=before.qualified) if before else finding
        self.now[key] = after
        return before != after

    def changed(self) -> list[Key]:
        """What differs from what is stored, inputs before what is derived from them."""
        depth = {code: index for index, code in enumerate(self.found.order, 1)}
        found = [key for key, finding in self.now.items() if (old := self.stored[key]) is None or old[1] != finding]
        return sorted(found, key=lambda key: (key[2], key[3], depth.get(key[0], 0), key))

    def version(self, key: Key) -> int:
        """The number of the version that holds what a reading now says; 0 where there is none."""
        old, now = self.stored[key], self.now.get(key)
        number = old[0] if old else 0
        return number if now is None or (old and old[1] == now) else number + 1

    def citation(self, key: Key, role: str) -> dict[str, Any]:
        """How a reading is cited by what used it; version 0 says there was none."""
        found = self.reading(key)
        value = plain(found.value) if found and found.value is not None else None
        return {
            "role": role, "metric": key[0], "subject": key[1], "period": self.found.period(*key[2:]).label,
            "version": self.version(key), "value": value,
        }  # fmt: skip


def settle(uow: UnitOfWork) -> list[tuple[Book, int, set[str]]]:
    """Recomputes readings from what the transaction marked; writes and publishes what changed.

    Returns, by company: its readings, the change, and the nodes that were marked, for `chain.handlers.settle`.
    """
    settled = []
    for company, what in sorted(uow.state.pop(MARKED, {}).items()):
        change = uow.lock_company(company)
        book = Book(uow, company, store.definitions(uow, company))
        if book.found.calendar is None:
            continue
        changed = _base(book, what.rollups)
        pending: dict[str, set[Key]] = {}
        for key in what.derived:
            pending.setdefault(key[0], set()).add(key)
        _spread(book.found, changed, pending)
        _derive(book, pending)
        _qualify(book, what.guarded)
        _write(book, change)
        settled.append((book, change, what.nodes))
    return settled


def _base(book: Book, keys: Collection[Key]) -> list[Key]:
    book.load(keys)
    changed = []
    for key, rollups in store.rollups(book.uow, book.company, keys).items():
        metric = book.found.base(key[0])
        book.counts[key] = sum(rollup.n for rollup in rollups)
        if metric is None or (not book.counts[key] and book.stored[key] is None):
            continue
        if book.put(key, base_finding(metric, rollups)):
            changed.append(key)
    return changed


def _spread(found: Definitions, changed: Iterable[Key], pending: dict[str, set[Key]]) -> None:
    """Marks the derived readings that read what changed: of the same period, and of later ones that look back."""
    for key in changed:
        for how in (None, "previous", "same_period_last_year"):
            for code in found.dependents.get((how, key[0]), ()):
                if key[2] in found.latest[code].grains:
                    pending.setdefault(code, set()).update((code, *each[1:]) for each in found.following(key, how))


def _derive(book: Book, pending: dict[str, set[Key]]) -> None:
    """Metrics in dependency order; what looks back at a later metric of that order comes in the next round."""
    for _ in range(_ROUNDS):
        for code in book.found.order:
            if keys := pending.pop(code, None):
                _spread(book.found, _evaluate(book, code, keys), pending)
        if not pending:
            return
    raise RuntimeError(f"formulas do not come to rest: {', '.join(sorted(pending))}")


def _evaluate(book: Book, code: str, keys: Collection[Key]) -> list[Key]:
    reads = {read for formula in book.found.formulas(code) for read in formula.inputs}
    meant = {book.found.moved((name, *key[1:]), how) for how, name in reads for key in keys}
    book.load([*keys, *meant])
    changed = []
    for key in sorted(keys, key=lambda key: (key[3], key)):
        derived = derive(book.found, key, book.reading)
        if derived is None and book.reading(key) is None:
            continue
        if derived:
            book.parts[key] = derived
        unit = book.found.latest[code].unit
        if book.put(key, derived.finding if derived else Finding(None, unit, "no input has a reading")):
            changed.append(key)
    return changed


def _qualify(book: Book, guarded: Collection[Key]) -> None:
    """Judges guards again wherever a guarded figure, its guard, or either's previous period changed."""
    found, keys = book.found, set(guarded)
    metrics_of: dict[str, set[str]] = {}
    for metric, codes in found.guards_of.items():
        for code in codes:
            for guard in found.guards.every(code):
                metrics_of.setdefault(guard.guard, set()).add(metric)
                metrics_of.setdefault(metric, set()).add(metric)
    for key in book.changed():
        for metric in metrics_of.get(key[0], ()):
            keys.update((metric, *each[1:]) for each in (key, *found.following(key, "previous")))
    needed = {each for key in keys for each in _guard_inputs(found, key)}
    book.load(keys | needed)
    for key in keys:
        if (now := book.reading(key)) is not None:
            book.now[key] = replace(now, qualified=qualifications(found, key, book.reading))


def _guard_inputs(found: Definitions, key: Key) -> list[Key]:
    """What the guards of a reading look at: it, each guard, and both a period before."""
    metrics = [key[0], *(guard.guard for _, _, guard in guards_on(found, key))]
    return [found.moved((metric, *key[1:]), how) for metric in metrics for how in (None, "previous")]


def _write(book: Book, change: int) -> None:
    changed = book.changed()
    for code in book.found.order:  # qualified anew only: their inputs are read again, to be cited
        _evaluate(book, code, {key for key in changed if key[0] == code and key not in book.parts})
    at, versions = now(), []
    for key in changed:
        parts, found = book.parts.get(key), book.now[key]
        formula, definition = (
            (parts.formula, parts.version) if parts else (None, (book.found.metrics.on(key[0]) or (0,))[0])
        )
        versions.append(Version(
            *key, book.found.period(*key[2:]).label, book.version(key), change, found.value, found.unit, found.reason,
            list(found.qualified), formula, definition, _cited(book, key, parts), at,
        ))  # fmt: skip
    store.readings.add(book.uow, book.company, versions)
    for each in versions:
        book.uow.publish(told(each), company=book.company, key=f"{each.metric}/{each.subject}")


def _cited(book: Book, key: Key, parts: Derived | None) -> list[dict[str, Any]]:
    if parts is None:
        cited: list[dict[str, Any]] = [{"role": "observations", "count": book.counts.get(key)}]
    else:
        cited = [book.citation(each, role) for role, each in parts.readings]
        cited += [{"role": r, "code": code, "version": v, "value": value} for r, code, v, value in parts.settings]
    if book.now[key].qualified:
        for code, version, guard in guards_on(book.found, key):
            cited.append({"role": "guard_rule", "code": code, "version": version, "value": guard.message})
        cited += [book.citation(each, "guard") for each in _guard_inputs(book.found, key) if each != key]
    return cited


def told(version: Version) -> ReadingChanged:
    """The event that tells of a version. On the wire every value has at most 10 decimals."""
    return ReadingChanged(
        metric=version.metric, subject=version.subject, period=version.period, version=version.version,
        change=version.change, value=None if version.value is None else published(version.value), unit=version.unit,
        reason=version.reason, qualified=version.qualified, recorded_at=version.recorded_at,
    )  # fmt: skip


# --- settings that change how readings come about ---


def derived_defined(uow: UnitOfWork, company: str, code: str) -> None:
    """Marks what a metric's new version can change: its own derived readings, those that use its benchmark, guards."""
    found, what = store.definitions(uow, company), marked(uow, company)
    formulas = found.formulas(code)
    inputs = {read for formula in formulas for read in formula.inputs}
    for key in store.keys_of(uow, company, {code, *(name for _, name in inputs)} if formulas else ()):
        for how in {how for how, name in inputs if name == key[0]} or {None}:
            what.derived.update((code, *each[1:]) for each in found.following(key, how))
    what.derived |= store.keys_of(uow, company, found.dependents.get(("benchmark", code), []))
    guards = [guard for each in found.guards.codes() for guard in found.guards.every(each)]
    what.guarded |= store.keys_of(uow, company, {g.metric for g in guards if code in (g.metric, g.guard)})


def policies_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A parameter has a new version: the derived readings that use it, from its first day on."""
    for event in events:
        codes = store.definitions(uow, event.company).dependents.get(("parameter", event.event.code), [])
        marked(uow, event.company).derived |= store.keys_of(uow, event.company, codes, _from(event))


def guards_defined(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """A guard has a new version: the figures that it qualifies, or did."""
    for event in events:
        guards = store.definitions(uow, event.company).guards.every(event.event.code)
        metrics = {guard.metric for guard in guards}
        marked(uow, event.company).guarded |= store.keys_of(uow, event.company, metrics, _from(event))


def _from(event: Received) -> date:
    """The earliest beginning of a period that ends on or after the day a setting takes effect."""
    start: date = event.event.content.effective_from
    return max(start, date.min + timedelta(days=366)) - timedelta(days=366)
