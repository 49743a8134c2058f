"""Statements over HTTP: as JSON, to print, and from what happened to the lines it moved."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlencode

from fastapi import Header, Path, Query, Response
from pydantic import BaseModel, Field

from shared.contracts.base import Code, PeriodLabel, Subject
from shared.errors import NotFound
from shared.http.context import Context, RequestContext
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.numbers import DecimalString

from ..access import require_drivers, require_pay_role, require_visible
from ..drivers.routes import Kind
from ..drivers.rules import source_link
from ..plans.rules import DriverSubject
from . import rules, store
from .html import page as html_page
from .pdf import pdf
from .words import Language

router = Router(tags=["statements"])
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="Counts the payee's statements from 1.")]
Format = Annotated[
    Literal["json", "html", "pdf"] | None, Query(description="Default: what `Accept` asks for, else JSON.")
]
Lang = Annotated[Language, Query(description="Of what is printed; JSON is the same in every language.")]
Accept = Annotated[str | None, Header(max_length=1000, include_in_schema=False)]
LAST_LINE = 2**31 - 1
MOST_READ = 2_000  # statements that are looked through for one answer
_KINDS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}},
                      "application/pdf": {"schema": {"type": "string", "format": "binary"}}}}
}  # fmt: skip


class NoSuchStatement(NotFound):
    """The payee has no statement of that number."""


class StatementView(BaseModel):
    """A statement in a list."""

    payee: str
    number: int
    run: str
    period: str
    currency: str
    payable: DecimalString = Field(description="What it says is paid.")
    held: DecimalString
    carried: DecimalString = Field(description="Carried forward; below zero: owed by the payee.")
    hash: str = Field(description="SHA-256 of the canonical JSON of the statement.")
    previous: str | None = Field(description="Hash of the payee's statement before.")
    recorded_at: datetime
    links: dict[str, str]


class LineLinks(BaseModel):
    """Where a line explains itself, down to what happened."""

    line: int
    entitlements: list[str] = Field(description="Every step and input of each version it pays.")
    sources: list[str] = Field(description="The scores and readings behind it, whose inputs lead on to events.")


class StatementInFull(BaseModel):
    """A statement as it was told. `tools/check_statement.py` computes it again."""

    hash: str = Field(description="SHA-256 of the canonical JSON of `statement`.")
    statement: dict[str, Any] = Field(description="docs/statements.md says what is in it.")
    links: list[LineLinks]


class MovedLine(BaseModel):
    """A released line that a version of a score or reading went into."""

    payee: str
    number: int
    run: str
    line: int
    plan: str
    currency: str
    amount: DecimalString
    links: dict[str, str]


@router.get("/people/{code}/statements", operation_id="listPersonStatements", summary="List a person's statements")
def list_person_statements(context: Context, page: Paging, code: Code) -> Page[StatementView]:
    """By number. For the person, those above them, and the roles that pay and check."""
    require_visible(context, f"person:{code}")
    return _list(context, page, f"person:{code}")


@router.get("/people/{code}/statements/{number}", operation_id="getPersonStatement", summary="Get a statement",
            response_model=StatementInFull, responses=_KINDS)  # fmt: skip
def get_person_statement(
    context: Context, code: Code, number: Number, format: Format = None, lang: Lang = "en", accept: Accept = None
) -> Any:
    """As it was told when the run was released; nothing of it changes later."""
    require_visible(context, f"person:{code}")
    return _answer(context, f"person:{code}", number, format or _wanted(accept), lang)


@router.get("/partners/{code}/statements", operation_id="listPartnerStatements", summary="List a partner's statements")
def list_partner_statements(context: Context, page: Paging, code: Code) -> Page[StatementView]:
    """By number. For compensation, finance, auditor and admin."""
    require_pay_role(context)
    return _list(context, page, f"partner:{code}")


@router.get("/partners/{code}/statements/{number}", operation_id="getPartnerStatement",
            summary="Get a partner's statement", response_model=StatementInFull, responses=_KINDS)  # fmt: skip
def get_partner_statement(
    context: Context, code: Code, number: Number, format: Format = None, lang: Lang = "en", accept: Accept = None
) -> Any:
    """As it was told when the run was released. For compensation, finance, auditor and admin."""
    require_pay_role(context)
    return _answer(context, f"partner:{code}", number, format or _wanted(accept), lang)


@router.get("/statement-lines", operation_id="listStatementLines",
            summary="Which released lines a version of a score or reading moved")  # fmt: skip
def list_statement_lines(
    context: Context,
    page: Paging,
    kind: Annotated[Kind, Query()],
    code: Annotated[Code, Query()],
    period: Annotated[PeriodLabel, Query(examples=["2025-Q1"])],
    version: Annotated[int, Query(ge=1, le=2**31 - 1, description="Of the score or reading.")],
    subject: Annotated[Subject | None, Query(description="For a reading: whose.")] = None,
) -> Page[MovedLine]:
    """By payee and number: the first payment that took it in, or the adjustment in whose causes it is.

    For those who may see drivers, and the amounts of everybody. A page can be shorter than its limit: the list ends
    where `next_cursor` is null.
    """
    require_drivers(context)
    require_pay_role(context)
    if kind == "reading" and subject is None:
        raise DriverSubject("A reading is about a subject.", field="subject", remedy="Add it, like unit:sales.")
    about = subject if kind == "reading" else None
    name = rules.source(context.company, kind, code, about, period)
    return _moved(context, page, name, (kind, code, about, period, version))


def _moved(context: RequestContext, page: Paging, name: str, what: Sequence[Any]) -> Page[MovedLine]:
    after: tuple[str, int, int] = tuple(page.after) if page.after else ("", 0, 0)
    rows = store.citing(context.uow, context.company, name, after=after[:2], limit=MOST_READ)
    found = [
        _moved_line(row, line)
        for row, content in zip(rows, store.whole_of(context.uow.rows, rows), strict=True)
        for line in rules.moved_lines(content, *what)
        if (row.payee, row.number, line["line"]) > after
    ]
    if len(rows) == MOST_READ and len(found) < page.fetch:
        return page.cut(found, [rows[-1].payee, rows[-1].number, LAST_LINE])
    return page.of(found[: page.fetch], lambda line: [line.payee, line.number, line.line])


def _moved_line(row: Any, line: dict[str, Any]) -> MovedLine:
    told = {key: line[key] for key in ("line", "plan", "currency", "amount")}
    links = {"statement": f"{_address(row.payee)}/{row.number}"}
    return MovedLine(payee=row.payee, number=row.number, run=row.run, links=links, **told)


def _list(context: RequestContext, page: Paging, payee: str) -> Page[StatementView]:
    rows = store.of_payee(context.uow, context.company, payee, after=page.after or 0, limit=page.fetch)
    return page.of([_view(row) for row in rows], lambda one: one.number)


def _view(row: Any) -> StatementView:
    links = {"statement": f"{_address(row.payee)}/{row.number}"}
    return StatementView(
        payee=row.payee, number=row.number, run=row.run, period=row.period, currency=row.content["currency"],
        hash=row.hash, previous=row.previous, recorded_at=row.recorded_at, links=links, **row.content["totals"],
    )  # fmt: skip


def _answer(context: RequestContext, payee: str, number: int, format: str, language: Language) -> Any:
    rows = store.of_payee(context.uow, context.company, payee, after=number - 1, limit=1)
    if not rows or rows[0].number != number:
        raise NoSuchStatement(
            f"{payee} has no statement {number}.",
            field="number",
            remedy="List them: each run makes one.",
        )
    row, [content] = rows[0], store.whole_of(context.uow.rows, rows)
    if format == "html":
        return Response(html_page(content, row.hash, language), media_type="text/html")
    if format == "pdf":
        name = f'inline; filename="{payee.replace(":", "-")}-{number}.pdf"'
        return Response(
            pdf(content, row.hash, language), media_type="application/pdf", headers={"Content-Disposition": name}
        )
    links = [_links(line) for line in content["lines"]]
    return StatementInFull(hash=row.hash, statement=content, links=links)


def _wanted(accept: str | None) -> str:
    """The first kind of answer that a client names and we have."""
    known = {"application/json": "json", "text/html": "html", "application/pdf": "pdf"}
    named = [part.split(";")[0].strip() for part in (accept or "").split(",")]
    return next((known[kind] for kind in named if kind in known), "json")


def _links(line: dict[str, Any]) -> LineLinks:
    named = [{"payee": part["payee"], "period": part["period"], "plan": line["plan"], "version": part["version"]}
             for part in line["parts"]]  # fmt: skip
    explained = [f"/incentives/v1/entitlements/explanation?{urlencode(one)}" for one in named]
    cites = [cite for part in line["parts"] for cite in part["inputs"] if cite.get("source_version")]
    sources = [source_link(c["what"], c["code"], c.get("subject") or "", c["period"], c["source_version"])
               for c in cites]  # fmt: skip
    return LineLinks(line=line["line"], entitlements=explained, sources=list(dict.fromkeys(sources)))


def _address(payee: str) -> str:
    kind, code = payee.split(":", 1)
    return f"/incentives/v1/{'people' if kind == 'person' else 'partners'}/{quote(code)}/statements"
