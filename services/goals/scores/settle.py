"""Recomputes what became dirty: measured goals, up the tree, scorecards; writes and tells only what changed."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import date
from decimal import Decimal
from typing import Any

from shared.contracts.base import Citation
from shared.contracts.goals import Goal, ScoreChanged
from shared.database.unit_of_work import UnitOfWork
from shared.formula.graph import topological_order
from shared.numbers import plain, total
from shared.periods import Period, parse_period

from ..goals.store import at, code_of, subject_of
from . import rules, store
from .book import Book, adds_up, open_book
from .dirty import Dirty
from .rules import ONE_DAY, Member, Scored, TargetInForce
from .store import Score

_SOURCES = ("reading", "score")
_FIGURES = ("score", "attainment", "actual", "target", "reason")
Todo = defaultdict[str, set[Period]]
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
    """Level by level, children first, so that each score is computed once. A first version needs a reading or score."""
    todo = _todo(book, dirty)
    written: list[Score] = []
    for node in _order(book):
        for period in sorted(todo[node], key=lambda p: (p.start, p.end)):
            before = book.scores.get(node, {}).get(period.label)
            found, inputs = _scored(book, node, period) or (None, [])
            scored = found and rules.in_range(found)
            said = _says(before) == _says(scored) if before else not any(i.what in _SOURCES for i in inputs)
            if scored is None or said:
                continue
            score = _next_version(node, period, before, change, scored, inputs)
            book.scores.setdefault(node, {})[period.label] = score
            written.append(score)
            for above in book.above.get(node, ()):
                _mark(book, todo, above, period)
    return written


def _says(scored: Scored | None) -> list[Any]:
    """What a score tells: where it is the same as before there is nothing to write."""
    return [getattr(scored, name, None) for name in _FIGURES] + list(scored.qualified if scored else ())


def _order(book: Book) -> list[str]:
    """Goals after their children, then scorecards. Only versions that are not superseded count as parents."""
    children: dict[str, set[str]] = {f"goal:{code}": set() for code in book.goals}
    for code, versions in book.goals.items():
        for found in {v.content.effective_from: v.content for v in versions}.values():
            if found.parent:
                children.setdefault(f"goal:{found.parent}", set()).add(f"goal:{code}")
    return [*topological_order(children), *(f"scorecard:{code}" for code in sorted(book.scorecards))]


def _todo(book: Book, dirty: Dirty) -> Todo:
    """The periods in which a goal's reading was read, and all in which a dirty node, or a child of it, has a score."""
    todo: Todo = defaultdict(set)
    measured: dict[tuple[str | None, str], set[str]] = defaultdict(set)
    for code, versions in book.goals.items():
        for found in versions:
            measured[found.content.metric, subject_of(found.content)].add(code)
    for metric, subject, label in book.readings:
        period = parse_period(book.calendar, label)
        for code in measured[metric, subject]:
            goal = book.goal(code, period)
            if goal and (goal.metric, subject_of(goal)) == (metric, subject):
                todo[f"goal:{code}"].add(period)
    for node in dirty.nodes:
        todo[node] |= {parse_period(book.calendar, label) for label in book.scores.get(node, ())}
        for child in book.below.get(node, ()):
            for label in book.scores.get(child, ()):
                _mark(book, todo, node, parse_period(book.calendar, label))
    return todo


def _mark(book: Book, todo: Todo, node: str, part: Period) -> None:
    """A child's score has changed: the periods of `node` in which it counts are to be computed."""
    is_goal, code = node.startswith("goal:"), code_of(node)
    versions: Iterable[Any] = (book.goals if is_goal else book.scorecards).get(code, [])
    for period_kind in {found.content.period for found in versions}:
        for whole in rules.wholes_of(book.calendar, part, period_kind):
            goal = book.goal(code, whole) if is_goal else None
            if goal is None or goal.metric is None:
                todo[node].add(whole)


def _scored(book: Book, node: str, period: Period) -> Result | None:
    """The score of a node now; None where what there is stays."""
    code = code_of(node)
    if node.startswith("scorecard:"):
        return _scorecard(book, code, period)
    goal = book.goal(code, period)
    if goal is None or goal.status != "active":
        return None
    within = goal.starts < period.end and (goal.due is None or period.start <= goal.due)
    if goal.period != period.kind or not within:
        return Scored(None, reason="The goal is not judged for this period."), []
    return _measured(book, code, goal, period) if goal.metric else _rolled_up(book, code, goal, period)


def _measured(book: Book, code: str, goal: Goal, period: Period) -> Result | None:
    last = period.end - ONE_DAY
    reading = book.readings.get((goal.metric or "", subject_of(goal), period.label))
    target = book.target(code, period)
    direction = book.direction(goal, target, last)
    if direction is None:
        return None
    curve, cited_curve = _curve(book, last)
    inputs = [*_target_cited(book, code, target, last), cited_curve]
    if reading is None:
        return rules.score_measured(None, target, direction, curve), inputs
    scored = rules.score_measured(
        reading.value, target, direction, curve, reason=reading.reason, qualified=tuple(reading.qualified)
    )
    cited = Citation(what="reading", code=reading.metric, subject=reading.subject, period=reading.period,
                     version=reading.version, value=_text(reading.value))  # fmt: skip
    return scored, [cited, *inputs]


def _rolled_up(book: Book, code: str, goal: Goal, period: Period) -> Result:
    last, add_up = period.end - ONE_DAY, goal.contribution == "sum"
    members: list[Member] = []
    inputs: list[Citation] = []
    for child in sorted(book.below.get(f"goal:{code}", ())):
        found, rows = book.goal(code_of(child), period), _rows(book, child, period)
        if found and found.parent == code and (found.status == "active" or (rows and found.status == "closed")):
            members.append(_member(book, child, found.weight, rows, add_up=add_up))
            inputs += [_cited(row) for row in (rows if add_up else _best(rows))]
    if goal.contribution == "weighted_average":
        return rules.weighted_average(members), inputs
    if goal.contribution == "minimum":
        return rules.minimum(members), inputs
    curve, cited_curve = _curve(book, last)
    inputs.append(cited_curve)
    if goal.contribution == "milestone":
        return rules.milestone(members, curve), inputs
    target = book.target(code, period)
    scored = rules.sum_of_actuals(members, target, book.direction(goal, target, last) or "higher", curve)
    return scored, inputs + _target_cited(book, code, target, last)


def _scorecard(book: Book, code: str, period: Period) -> Result:
    found = at(book.scorecards.get(code), period.end - ONE_DAY)
    if found is None or found.content.period != period.kind:
        return Scored(None, reason="The scorecard is not made up for this period."), []
    card = found.content
    lines = [(line, _rows(book, f"goal:{line.goal}", period)) for line in card.lines]
    members = [_member(book, f"goal:{line.goal}", line.weight, rows) for line, rows in lines]
    inputs = [_cited(row) for _, rows in lines for row in _best(rows)]
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
    code = code_of(node)
    if not rows:
        return Member(code, weight, None, reason="no data")
    [row] = _best(rows)
    actual, known = row.actual, [r.actual for r in rows if r.actual is not None]
    if add_up and any(r.actual is None and r.reason == rules.OUT_OF_RANGE for r in rows):
        return Member(code, weight, row.score, row.attainment, None, rules.OUT_OF_RANGE, tuple(row.qualified))
    if add_up and known:
        goal = at(book.goals.get(code), row.period_end - ONE_DAY)
        metric = book.metric(goal.content, row.period_end - ONE_DAY) if goal else None
        actual = total(known) if metric is None or adds_up(metric) else known[-1]
    return Member(code, weight, row.score, row.attainment, actual, row.reason, tuple(row.qualified))


def _cited(row: Score) -> Citation:
    return Citation(what="score", code=row.code, period=row.period, version=row.version, value=_text(row.score))


def _curve(book: Book, day: date) -> tuple[Any, Citation]:
    curve, version = book.policy("attainment_curve", day)
    return curve, Citation(what="policy", code="attainment_curve", version=version)


def _target_cited(book: Book, code: str, target: TargetInForce | None, day: date) -> list[Citation]:
    """The versions that make it up, and the policy that chose them."""
    if target is None:
        return []
    versions = {str(t.version): t for t in book.targets[code]}
    used = [versions[part.code] for part in target.parts if part.code] or [versions[str(target.version.version)]]
    _, chosen_by = book.policy("target_change", day)
    return [
        *(Citation(what="target", code=code, version=t.version, value=plain(t.content.value)) for t in used),
        Citation(what="policy", code="target_change", version=chosen_by),
    ]


def _next_version(
    node: str, period: Period, before: Score | None, change: int, scored: Scored, inputs: list[Citation]
) -> Score:
    return Score(
        **{field.name: getattr(scored, field.name) for field in fields(scored)},
        kind="goal" if node.startswith("goal:") else "scorecard", code=code_of(node), period=period.label,
        version=before.version + 1 if before else 1, period_start=period.start, period_end=period.end, change=change,
        inputs=[citation.model_dump(exclude_none=True) for citation in inputs],
    )  # fmt: skip


def _event(score: Score) -> ScoreChanged:
    """Figures leave with 10 decimals; inside they are not rounded."""
    told = {name: getattr(score, name) for name in ScoreChanged.model_fields}
    return ScoreChanged(**{n: rules.tellable(v) if isinstance(v, Decimal) else v for n, v in told.items()})


def _text(value: Decimal | None) -> str | None:
    told = rules.tellable(value)
    return None if told is None else plain(told)
