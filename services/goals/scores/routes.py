"""Scores, why they are what they are, and what a reading has changed."""

from datetime import date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, computed_field

from shared.contracts.base import Citation, Code, MetricCode, PeriodLabel, Subject
from shared.errors import NotFound
from shared.http.context import Context
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.http.times import KnownAt
from shared.numbers import DecimalString, published

from ..organisation.store import visible_people
from . import store
from .rules import Part

router = Router(tags=["scores"])
Kind = Literal["goal", "scorecard"]
Version = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="A certain version; default: the latest.")]
Published = Annotated[DecimalString, AfterValidator(published)]

# Whose own figure it is, as `persons_of` says of the goal in force on the period's last day: who takes a goal over does
# not open what was scored before. A version that was made from somebody's reading stays theirs, whatever is set later.
_PERSONS = (
    " LEFT JOIN LATERAL (SELECT ARRAY[content->>'owner_person', substring(content->>'subject' FROM '^person:(.*)$')] "
    "AS codes FROM configuration c WHERE c.company = s.company AND c.kind = s.kind || 's' AND c.code = s.code "
    "AND c.effective_from < s.period_end ORDER BY c.effective_from DESC, c.version DESC LIMIT 1) person ON true "
)
_VISIBLE = (
    " AND (:everybody OR array_remove(person.codes, NULL) <@ CAST(:people AS text[]) AND NOT EXISTS (SELECT 1 "
    "FROM jsonb_array_elements(s.inputs) AS i WHERE i->>'what' = 'reading' AND i->>'subject' LIKE 'person:%' "
    "AND substr(i->>'subject', 8) <> ALL(CAST(:people AS text[])))) "
)

_NEWEST = (
    "s.version = (SELECT max(v.version) FROM score v {join} WHERE (v.company, v.kind, v.code, v.period) = "
    "(s.company, s.kind, s.code, s.period) AND {condition})"
)


class ScoreNotFound(NotFound):
    """There is no such score, or it is not the caller's to see."""


class Scorelike(BaseModel):
    """Which version of which score."""

    model_config = ConfigDict(from_attributes=True)
    kind: Kind
    code: str
    period: str
    version: int
    change: int = Field(description="The change of this service that made it.")

    @computed_field(description="Where it is explained.")  # type: ignore[prop-decorator]
    @property
    def explanation(self) -> str:
        return f"/goals/v1/scores/{self.kind}/{self.code}/{self.period}/explanation?version={self.version}"


class ScoreView(Scorelike):
    """One version of a score."""

    score: Published | None = Field(description="0–120; null where it cannot be scored.")
    attainment: Published | None = Field(description="[ratio]")
    actual: Published | None
    target: Published | None
    reason: str | None = Field(description="Why there is no score.")
    qualified: list[str] = Field(description="What qualifies the figure, in words.")


class Input(Citation):
    """What a score was made from, with the way to its own explanation."""

    link: str | None = None


class Explanation(BaseModel):
    """Why a score is what it is."""

    score: ScoreView
    rule: str = Field(description="Direction of the target, or how children or lines add up.")
    parts: list[Part]
    inputs: list[Input]


class Effect(Scorelike):
    """A version of a score that a reading moved."""

    before: Published | None = Field(description="The score of the version before; null also where there was none.")
    after: Published | None
    caused_by: str = Field(description="What below moved it: the reading, or the score of a goal.")

    @computed_field(description="What it moved in turn: drivers and plans.")  # type: ignore[prop-decorator]
    @property
    def link(self) -> str:
        named = {"kind": self.kind, "code": self.code, "period": self.period, "version": self.version}
        return f"/incentives/v1/effects?{urlencode(named)}"


class Effects(BaseModel):
    """The scores that a version of a reading moved, through tree and scorecards."""

    scores: list[Effect]


def _visibility(context: Context) -> dict[str, Any]:
    """The parameters of the condition that hides other people's figures."""
    people = visible_people(context.uow, context.company, context.principal)
    return {"everybody": people is None, "people": sorted(people or ())}


@router.get("/scores", operation_id="listScores", summary="Scores of goals and scorecards")
def list_scores(
    context: Context,
    page: Paging,
    goal: Annotated[Code | None, Query(description="Scores of this goal.")] = None,
    scorecard: Annotated[Code | None, Query(description="Scores of this scorecard.")] = None,
    period: Annotated[PeriodLabel | None, Query()] = None,
    version: Version = None,
    as_of: Annotated[date | None, Query(description="Of periods that hold this day.")] = None,
    known_at: KnownAt = None,
    closed: Annotated[bool, Query(description="The versions that periods were closed with.")] = False,
) -> Page[ScoreView]:
    """The latest versions, unless others are named."""
    context.require_reader()
    after = dict(zip(("k", "c", "p", "v"), page.after or ("", "", "", 0), strict=True))
    rows = context.uow.rows(
        f"{store.SELECT}{_PERSONS} WHERE s.company = :company AND {_which(version, known_at, closed)} "
        "AND (CAST(:as_of AS date) IS NULL OR s.period_start <= :as_of AND s.period_end > :as_of) "
        "AND (CAST(:goal AS text) IS NULL AND CAST(:scorecard AS text) IS NULL OR s.kind = 'goal' AND s.code = :goal "
        "OR s.kind = 'scorecard' AND s.code = :scorecard) AND (CAST(:period AS text) IS NULL OR s.period = :period) "
        f"{_VISIBLE} AND (s.kind, s.code, s.period, s.version) > (:k, :c, :p, :v) "
        "ORDER BY s.kind, s.code, s.period, s.version LIMIT :limit",
        company=context.company, goal=goal, scorecard=scorecard, period=period, version=version, limit=page.fetch,
        as_of=as_of, known_at=known_at, **after, **_visibility(context),
    )  # fmt: skip
    found = [ScoreView.model_validate(row) for row in rows]
    return page.of(found, lambda item: [item.kind, item.code, item.period, item.version])


def _which(version: int | None, known_at: datetime | None, closed: bool) -> str:
    """The condition for the versions that are asked for."""
    conditions = ["s.version = :version"] * (version is not None)
    if known_at is not None:
        conditions.append(_NEWEST.format(join="", condition="v.recorded_at <= :known_at"))
    if closed:
        join = "JOIN certificate c ON (c.company, c.period) = (v.company, v.period)"
        conditions.append(_NEWEST.format(join=join, condition="v.change <= c.change"))
    return " AND ".join(conditions or ["s.latest"])


@router.get("/scores/{kind}/{code}/{period}/explanation", operation_id="explainScore", summary="Why a score is so")
def explain_score(
    context: Context, kind: Kind, code: Code, period: PeriodLabel, version: Version = None
) -> Explanation:
    """Of a colleague's own score that went into it only that it did is shown."""
    context.require_reader()
    allowed = _visibility(context)
    row = context.uow.row(
        f"{store.SELECT}{_PERSONS} WHERE s.company = :company AND s.kind = :kind AND s.code = :code "
        "AND s.period = :period "
        f"AND (CAST(:version AS int) IS NULL AND s.latest OR s.version = :version) {_VISIBLE}",
        company=context.company, kind=kind, code=code, period=period, version=version, **allowed,
    )  # fmt: skip
    if row is None:
        raise ScoreNotFound(f"There is no score of the {kind} {code!r} for {period} that you may see.",
                            remedy="List the scores with GET /goals/v1/scores.")  # fmt: skip
    hidden = _hidden(context, [cited for cited in row.inputs if cited["what"] == "score"], allowed)
    goals = {goal for goal, _, _ in hidden}
    for part in row.parts:
        if part["name"] in ("child", "line") and part["code"] in goals:
            part |= {"value": None, "note": "personal"}
    for cited in row.inputs:
        masked = cited["what"] == "score" and (cited["code"], cited["period"], cited["version"]) in hidden
        cited |= {"value": None} if masked else {"link": _link(cited)}
    return Explanation(score=ScoreView.model_validate(row), rule=row.rule, parts=row.parts, inputs=row.inputs)


def _hidden(context: Context, cited: list[dict[str, Any]], allowed: dict[str, Any]) -> set[tuple[str, str, int]]:
    """Goal, period and version of those of some scores of goals that are not the caller's to see."""
    rows = context.uow.rows(
        "SELECT s.code, s.period, s.version FROM unnest(CAST(:codes AS text[]), CAST(:periods AS text[]), "
        "CAST(:versions AS int[])) AS cited (c, p, v) JOIN score s ON s.company = :company AND s.kind = 'goal' "
        f"AND s.code = c AND s.period = p AND s.version = v {_PERSONS} WHERE (true {_VISIBLE}) IS NOT TRUE",
        company=context.company, codes=[c["code"] for c in cited], periods=[c["period"] for c in cited],
        versions=[c["version"] for c in cited], **allowed,
    )  # fmt: skip
    return {(row.code, row.period, row.version) for row in rows}


def _link(cited: dict[str, Any]) -> str | None:
    what, code = cited["what"], cited["code"]
    if what == "reading":
        named = {"metric": code} | {name: cited[name] for name in ("subject", "period", "version")}
        return f"/metrics/v1/readings/explanation?{urlencode(named, safe=':')}"
    if what == "score":
        return f"/goals/v1/scores/goal/{code}/{cited['period']}/explanation?version={cited['version']}"
    return {
        "target": f"/goals/v1/goals/{code}/targets",
        "policy": "/goals/v1/policies",
        "scorecard": f"/goals/v1/scorecards/{code}/versions",
    }.get(what)


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
        "moved AS (SELECT kind, code, period, version, change, CAST(:reading AS text) AS caused_by FROM first "
        " UNION SELECT s.kind, s.code, s.period, s.version, s.change, 'score of ' || m.code || ' in ' || m.period "
        "  FROM moved m JOIN score s ON m.kind = 'goal' AND s.company = :company AND s.change = m.change "
        "  AND s.inputs @> jsonb_build_array(jsonb_build_object("
        "  'what', 'score', 'code', m.code, 'period', m.period, 'version', m.version))) "
        "SELECT moved.*, s.score AS after, b.score AS before FROM moved "
        "JOIN score s USING (kind, code, period, version) "
        "LEFT JOIN score b ON b.company = s.company AND (b.kind, b.code, b.period, b.version) = "
        " (s.kind, s.code, s.period, s.version - 1) "
        f"{_PERSONS} WHERE s.company = :company {_VISIBLE} ORDER BY s.kind, s.code, s.period, caused_by LIMIT 1000",
        company=context.company, metric=metric, subject=subject, period=period, version=version,
        reading=f"reading {metric} of {subject} in {period}", **_visibility(context),
    )  # fmt: skip
    return Effects(scores=[Effect.model_validate(row) for row in rows])
