"""Recomputes what became dirty: measured goals, up the tree, scorecards; writes and tells only what changed."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from decimal import Decimal
from typing import Any

from shared.contracts.base import Citation
from shared.contracts.goals import Goal, Scorecard, ScoreChanged
from shared.database.unit_of_work import UnitOfWork
from shared.formula.graph import topological_order
from shared.numbers import plain, published, total
from shared.periods import Period, parse_period

from ..goals.store import at, subject_of
from . import rules, store
from .book import ONE_DAY, Book, adds_up, open_book
from .dirty import Dirty
from .rules import Member, Scored, TargetInForce
from .store import Score

Todo = dict[str, dict[str, Period]]
Result = tuple[Scored, list[Citation]]


def settle(uow: UnitOfWork) -> None:
    """Called once before the transaction commits. The company's lock comes before the first read."""
    for company, dirty in uow.state.pop("dirty", {}).items():
        change = uow.lock_company(company)
        if book := open_book(uow, company, dirty):
            written = _recompute(book, dirty, change)
            store.keep_scores(uow, company, written)
            for score in written:
                uow.publish(_event(score), company=company, key=f"{score.kind}/{score.code}")


def _recompute(book: Book, dirty: Dirty, change: int) -> list[Score]:
    """Level by level, children first, so that each score is computed once."""
    todo = _todo(book, dirty)
    written: list[Score] = []
    for node in _order(book):
        for period in sorted(todo.get(node, {}).values(), key=lambda p: (p.start, p.end)):
            before = book.scores.get(node, {}).get(period.label)
            result = _scored(book, node, period, before)
            if result is None or (before and before.says(result[0])):
                continue
            score = _next_version(node, period, before, change, *result)
            book.scores.setdefault(node, {})[period.label] = score
            written.append(score)
            for above in book.above.get(node, ()):
                _mark(book, todo, above, period)
    return written


def _order(book: Book) -> list[str]:
    """Goals after their children, then scorecards. Only versions that are not superseded count as parents."""
    children: dict[str, set[str]] = {f"goal:{code}": set() for code in book.goals}
    for code, versions in book.goals.items():
        for found in {v.content.effective_from: v.content for v in versions}.values():
            if found.parent:
                children.setdefault(f"goal:{found.parent}", set()).add(f"goal:{code}")
    return [*topological_order(children), *(f"scorecard:{code}" for code in sorted(book.scorecards))]


def _todo(book: Book, dirty: Dirty) -> Todo:
    todo: Todo = {}
    for metric, subject, label in dirty.readings:
        period = parse_period(book.calendar, label)
        for node in book.above.get(f"reading:{metric}/{subject}", ()):
            goal = book.goal(node.removeprefix("goal:"), period)
            if goal and (goal.metric, subject_of(goal)) == (metric, subject):
                todo.setdefault(node, {})[label] = period
    measured: dict[tuple[str, str], list[str]] = {}
    for metric, subject, label in book.readings:
        measured.setdefault((metric, subject), []).append(label)
    for node in dirty.nodes:
        for label in book.scores.get(node, {}):
            todo.setdefault(node, {})[label] = parse_period(book.calendar, label)
        for found in book.goals.get(node.removeprefix("goal:"), []) if node.startswith("goal:") else []:
            for label in measured.get((found.content.metric or "", subject_of(found.content)), []):
                todo.setdefault(node, {})[label] = parse_period(book.calendar, label)
        for child in book.below.get(node, ()):
            for label in book.scores.get(child, {}):
                _mark(book, todo, node, parse_period(book.calendar, label))
    return todo


def _mark(book: Book, todo: Todo, node: str, part: Period) -> None:
    """A child's score has changed: the periods of `node` in which it counts are to be computed."""
    kind, code = node.split(":", 1)
    versions: Iterable[Any] = (book.goals if kind == "goal" else book.scorecards).get(code, [])
    for period_kind in {found.content.period for found in versions}:
        for whole in rules.wholes_of(book.calendar, part, period_kind):
            goal = book.goal(code, whole) if kind == "goal" else None
            if goal is None or goal.metric is None:
                todo.setdefault(node, {})[whole.label] = whole


def _scored(book: Book, node: str, period: Period, before: Score | None) -> Result | None:
    """The score of a node now; None where there is nothing to say, and what there is stays."""
    kind, code = node.split(":", 1)
    if kind == "scorecard":
        return _scorecard(book, code, period, before)
    goal = book.goal(code, period)
    if goal is None or goal.status != "active":
        return None
    within = goal.starts < period.end and (goal.due is None or period.start <= goal.due)
    if goal.period != period.kind or not within:
        return (Scored(None, reason="The goal is not judged for this period."), []) if before else None
    return _measured(book, code, goal, period, before) if goal.metric else _rolled_up(book, code, goal, period, before)


def _measured(book: Book, code: str, goal: Goal, period: Period, before: Score | None) -> Result | None:
    last = period.end - ONE_DAY
    reading = book.readings.get((goal.metric or "", subject_of(goal), period.label))
    target, chosen_by = book.target(code, period)
    direction = book.direction(goal, target, last)
    if direction is None or (reading is None and before is None):
        return None
    curve, curve_version = book.policy("attainment_curve", last)
    value, why = (reading.value, reading.reason) if reading else (None, None)
    qualified = tuple(reading.qualified) if reading else ()
    scored = rules.score_measured(value, target, direction, curve, reason=why, qualified=qualified)
    inputs = [*_target_cited(book, code, target, period, chosen_by), _policy("attainment_curve", curve_version)]
    if reading:
        cited = Citation(what="reading", code=reading.metric, subject=reading.subject, period=reading.period,
                         version=reading.version, value=rules.as_text(reading.value))  # fmt: skip
        inputs.insert(0, cited)
    return scored, inputs


def _rolled_up(book: Book, code: str, goal: Goal, period: Period, before: Score | None) -> Result | None:
    last = period.end - ONE_DAY
    children = [
        (child, found) for child in sorted(book.below.get(f"goal:{code}", ()))
        if (found := book.goal(child.split(":", 1)[1], period)) and found.parent == code and found.status != "draft"
    ]  # fmt: skip
    members, inputs = [], []
    for child, found in children:
        rows = _rows(book, child, period)
        if rows or found.status == "active":
            members.append(_member(book, child, found.weight, rows, add_up=goal.contribution == "sum"))
            inputs += [_cited(row) for row in (rows if goal.contribution == "sum" else _best(rows))]
    if not inputs and before is None:
        return None
    curve, curve_version = book.policy("attainment_curve", last)
    if goal.contribution == "weighted_average":
        return rules.weighted_average(members), inputs
    if goal.contribution == "minimum":
        return rules.minimum(members), inputs
    inputs.append(_policy("attainment_curve", curve_version))
    if goal.contribution == "milestone":
        return rules.milestone(members, curve), inputs
    target, chosen_by = book.target(code, period)
    direction = book.direction(goal, target, last) or "higher"
    scored = rules.sum_of_actuals(members, target, direction, curve)
    return scored, inputs + _target_cited(book, code, target, period, chosen_by)


def _scorecard(book: Book, code: str, period: Period, before: Score | None) -> Result | None:
    found = at(book.scorecards.get(code), period.end - ONE_DAY)
    if found is None or found.content.period != period.kind:
        gone = Scored(None, reason="The scorecard is not made up for this period.")
        return (gone, []) if before else None
    card: Scorecard = found.content
    rows = {line.goal: _rows(book, f"goal:{line.goal}", period) for line in card.lines}
    if before is None and not any(rows.values()):
        return None
    members = [_member(book, f"goal:{line.goal}", line.weight, rows[line.goal]) for line in card.lines]
    inputs = [_cited(row) for line in card.lines for row in _best(rows[line.goal])]
    inputs.append(Citation(what="scorecard", code=code, version=found.version))
    return rules.scorecard(members, card.missing), inputs


def _rows(book: Book, node: str, whole: Period) -> list[Score]:
    """The scores of a goal that count in a period, oldest first."""
    found = [row for row in book.scores.get(node, {}).values()
             if rules.counts_in(parse_period(book.calendar, row.period), whole)]  # fmt: skip
    return sorted(found, key=lambda row: row.period_end)


def _best(rows: Sequence[Score]) -> list[Score]:
    """Of several the latest that has a score, else the latest."""
    return ([row for row in rows if row.score is not None] or list(rows))[-1:]


def _member(book: Book, node: str, weight: Decimal, rows: Sequence[Score], *, add_up: bool = False) -> Member:
    code = node.split(":", 1)[1]
    if not rows:
        return Member(code, weight, None, reason="no data")
    row = _best(rows)[0]
    actual = row.actual
    known = [r.actual for r in rows if r.actual is not None]
    if add_up and len(known) > 1:
        actual = total(known) if _adds_up(book, code, row) else known[-1]
    return Member(code, weight, row.score, row.attainment, actual, row.reason, tuple(row.qualified))


def _adds_up(book: Book, code: str, row: Score) -> bool:
    found = at(book.goals.get(code), row.period_end - ONE_DAY)
    metric = book.metric(found.content, row.period_end - ONE_DAY) if found else None
    return metric is None or adds_up(metric)


def _cited(row: Score) -> Citation:
    return Citation(
        what="score", code=row.code, period=row.period, version=row.version, value=rules.as_text(_out(row.score))
    )


def _policy(code: str, version: int) -> Citation:
    return Citation(what="policy", code=code, version=version)


def _target_cited(
    book: Book, code: str, target: TargetInForce | None, period: Period, chosen_by: int
) -> list[Citation]:
    if target is None:
        return []
    versions = {t.version: t.content.value for t in book.targets[code]}
    cited = [int(part.code) for part in target.parts if part.code] or [target.version.version]
    return [
        *(Citation(what="target", code=code, version=v, value=plain(versions[v])) for v in cited),
        _policy("target_change", chosen_by),
    ]


def _next_version(
    node: str, period: Period, before: Score | None, change: int, scored: Scored, inputs: list[Citation]
) -> Score:
    kind, code = node.split(":", 1)
    parts = [
        {name: rules.as_text(_out(value)) if isinstance(value, Decimal) else value
         for name, value in asdict(part).items() if value is not None}
        for part in scored.parts
    ]  # fmt: skip
    return Score(
        "goal" if kind == "goal" else "scorecard", code, period.label,
        before.version + 1 if before else 1, period.start, period.end, change,
        scored.score, scored.attainment, scored.actual, scored.target, scored.reason, scored.qualified, scored.rule,
        [citation.model_dump(exclude_none=True) for citation in inputs], parts,
    )  # fmt: skip


def _event(score: Score) -> ScoreChanged:
    return ScoreChanged(
        kind=score.kind, code=score.code, period=score.period, version=score.version, change=score.change,
        score=_out(score.score), attainment=_out(score.attainment), actual=_out(score.actual),
        target=_out(score.target), reason=score.reason, qualified=list(score.qualified), inputs=list(score.inputs),
    )  # fmt: skip


def _out(value: Decimal | None) -> Decimal | None:
    return None if value is None else published(value)
