"""Scores, why they are what they are, and what a reading has changed."""

from collections.abc import Set
from decimal import Decimal
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Query

from shared.contracts.base import Code, MetricCode, PeriodLabel, Subject
from shared.database.unit_of_work import UnitOfWork
from shared.errors import NotFound
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.numbers import published

from ..organisation.store import visible_people
from . import store
from .schemas import Effect, Effects, Explanation, Input, ScoreView, Step
from .store import Score

router = Router(tags=["scores"])
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="A certain version; default: the latest.")]

# Whose figure it is: the owner's as last recorded, so that a handed-over goal follows its new owner.
_OWNER = (
    " LEFT JOIN LATERAL (SELECT content->>'owner_person' AS person FROM configuration c WHERE c.company = s.company "
    "AND c.kind = s.kind || 's' AND c.code = s.code ORDER BY c.effective_from DESC, c.version DESC LIMIT 1) owner "
    "ON true "
)
_VISIBLE = " AND (:everybody OR owner.person IS NULL OR owner.person = ANY(:people)) "


class ScoreNotFound(NotFound):
    """There is no such score, or it is not the caller's to see."""


def visibility(context: Context) -> dict[str, Any]:
    """The parameters of the condition that hides other people's figures."""
    people: Set[str] | None = visible_people(context.uow, context.company, context.principal)
    return {"everybody": people is None, "people": sorted(people or ())}


@router.get("/scores", operation_id="listScores", summary="Scores of goals and scorecards")
def list_scores(
    context: Context,
    page: Paging,
    goal: Annotated[Code | None, Query(description="Scores of this goal.")] = None,
    scorecard: Annotated[Code | None, Query(description="Scores of this scorecard.")] = None,
    period: Annotated[PeriodLabel | None, Query()] = None,
    version: Version = None,
) -> Page[ScoreView]:
    context.require_reader()
    after = dict(zip(("k", "c", "p", "v"), page.after or ("", "", "", 0), strict=True))
    rows = context.uow.rows(
        f"{store.SELECT}{_OWNER} WHERE s.company = :company "
        "AND (CAST(:version AS int) IS NULL AND s.latest OR s.version = :version) "
        "AND (CAST(:goal AS text) IS NULL AND CAST(:scorecard AS text) IS NULL OR s.kind = 'goal' AND s.code = :goal "
        "OR s.kind = 'scorecard' AND s.code = :scorecard) AND (CAST(:period AS text) IS NULL OR s.period = :period) "
        f"{_VISIBLE} AND (s.kind, s.code, s.period, s.version) > (:k, :c, :p, :v) "
        "ORDER BY s.kind, s.code, s.period, s.version LIMIT :limit",
        company=context.company, goal=goal, scorecard=scorecard, period=period, version=version, limit=page.fetch,
        **after, **visibility(context),
    )  # fmt: skip
    return page.of(
        [view(Score(*tuple(row))) for row in rows], lambda item: [item.kind, item.code, item.period, item.version]
    )


@router.get("/scores/{kind}/{code}/{period}/explanation", operation_id="explainScore", summary="Why a score is so")
def explain_score(
    context: Context, kind: Literal["goal", "scorecard"], code: Code, period: PeriodLabel, version: Version = None
) -> Explanation:
    context.require_reader()
    allowed = visibility(context)
    row = context.uow.row(
        f"{store.SELECT}{_OWNER} WHERE s.company = :company AND s.kind = :kind AND s.code = :code "
        "AND s.period = :period "
        f"AND (CAST(:version AS int) IS NULL AND s.latest OR s.version = :version) {_VISIBLE}",
        company=context.company, kind=kind, code=code, period=period, version=version, **allowed,
    )  # fmt: skip
    if row is None:
        raise ScoreNotFound(f"There is no score of the {kind} {code!r} for {period} that you may see.",
                            remedy="List the scores with GET /goals/v1/scores.")  # fmt: skip
    score = Score(*tuple(row))
    hidden = _hidden(context.uow, context.company, score, allowed)
    parts = [Step(**part) for part in score.parts]
    inputs = [Input(**cited, link=_link(cited, score)) for cited in score.inputs]
    return Explanation(
        score=view(score), rule=score.rule,
        parts=[_masked(p) if p.name in ("child", "line") and p.code in hidden else p for p in parts],
        inputs=[i.model_copy(update={"value": None, "link": None}) if i.what == "score" and i.code in hidden else i
                for i in inputs],
    )  # fmt: skip


@router.get("/effects", operation_id="listEffects", summary="Which scores a version of a reading moved")
def list_effects(
    context: Context,
    metric: MetricCode,
    subject: Subject,
    period: PeriodLabel,
    version: Annotated[int, Query(ge=1, le=2**31 - 1)],
) -> Effects:
    """From the goals it measures up through tree and scorecards.

    Versions that came in one batch make one score: then it is the score of the newest of them. What was moved above
    was moved by the same change.
    """
    context.require_reader()
    rows = context.uow.rows(
        "WITH RECURSIVE first AS (SELECT DISTINCT ON (s.kind, s.code, s.period) s.* FROM score s, "
        "  jsonb_array_elements(s.inputs) AS i WHERE s.company = :company AND s.inputs @> jsonb_build_array("
        "  jsonb_build_object('what', 'reading', 'code', CAST(:metric AS text), 'subject', CAST(:subject AS text), "
        "  'period', CAST(:period AS text))) AND i->>'what' = 'reading' AND i->>'code' = :metric "
        "  AND i->>'subject' = :subject AND i->>'period' = :period AND CAST(i->>'version' AS int) >= :version "
        "  ORDER BY s.kind, s.code, s.period, s.version), "
        "moved AS (SELECT kind, code, period, version, change, CAST('' AS text) AS cause FROM first "
        " UNION SELECT s.kind, s.code, s.period, s.version, s.change, 'score of ' || m.code || ' in ' || m.period "
        "  FROM moved m JOIN score s ON m.kind = 'goal' AND s.company = :company AND s.change = m.change "
        "  AND s.inputs @> "
        "  jsonb_build_array(jsonb_build_object('what', 'score', 'code', m.code, 'period', m.period, "
        "  'version', m.version))) "
        "SELECT s.kind, s.code, s.period, s.version, s.change, s.score, b.score AS before, moved.cause FROM moved "
        "JOIN score s ON s.company = :company AND (s.kind, s.code, s.period, s.version) = "
        " (moved.kind, moved.code, moved.period, moved.version) "
        "LEFT JOIN score b ON b.company = s.company AND (b.kind, b.code, b.period, b.version) = "
        " (s.kind, s.code, s.period, s.version - 1) "
        f"{_OWNER} WHERE true {_VISIBLE} ORDER BY s.kind, s.code, s.period, moved.cause LIMIT 1000",
        company=context.company, metric=metric, subject=subject, period=period, version=version,
        **visibility(context),
    )  # fmt: skip
    return Effects(scores=[_effect(row, row.cause or f"reading {metric} of {subject} in {period}") for row in rows])


def _effect(row: Any, cause: str) -> Effect:
    named = {"kind": row.kind, "code": row.code, "period": row.period, "version": row.version}
    return Effect(
        **named, change=row.change, before=_out(row.before), after=_out(row.score), caused_by=cause,
        explanation=_explanation(**named), link=f"/incentives/v1/effects?{urlencode(named)}",
    )  # fmt: skip


def view(score: Score) -> ScoreView:
    """The API's view of a score."""
    return ScoreView(
        kind=score.kind, code=score.code, period=score.period, version=score.version, change=score.change,
        score=_out(score.score), attainment=_out(score.attainment), actual=_out(score.actual),
        target=_out(score.target), reason=score.reason, qualified=list(score.qualified),
        explanation=_explanation(score.kind, score.code, score.period, score.version),
    )  # fmt: skip


def _explanation(kind: str, code: str, period: str, version: int) -> str:
    return f"/goals/v1/scores/{kind}/{code}/{period}/explanation?version={version}"


def _link(cited: dict[str, Any], score: Score) -> str | None:
    what, code = cited["what"], cited["code"]
    if what == "reading":
        named = {"metric": code} | {name: cited[name] for name in ("subject", "period", "version")}
        return f"/metrics/v1/readings/explanation?{urlencode(named, safe=':')}"
    if what == "score":
        return _explanation("goal", code, cited["period"], cited["version"])
    return {
        "target": f"/goals/v1/goals/{code}/targets",
        "policy": "/goals/v1/policies",
        "scorecard": f"/goals/v1/scorecards/{code}/versions",
    }.get(what)


def _hidden(uow: UnitOfWork, company: str, score: Score, allowed: dict[str, Any]) -> set[str]:
    """The goals among its inputs that are somebody's own and not the caller's to see."""
    rows = uow.rows(
        "SELECT DISTINCT ON (code) code, content->>'owner_person' AS person FROM configuration "
        "WHERE company = :company AND kind = 'goals' AND code = ANY(:codes) "
        "ORDER BY code, effective_from DESC, version DESC",
        company=company, codes=[cited["code"] for cited in score.inputs if cited["what"] == "score"],
    )  # fmt: skip
    if allowed["everybody"]:
        return set()
    return {row.code for row in rows if row.person and row.person not in allowed["people"]}


def _masked(part: Step) -> Step:
    return part.model_copy(update={"value": None, "note": "personal"})


def _out(value: Decimal | None) -> Decimal | None:
    return None if value is None else published(value)
