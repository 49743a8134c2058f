"""Statements in the database: made in bulk where lines are released, kept as they were told, and found."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from shared.contracts.statements import Issued, StatementsIssued
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.service import Received

from . import rules
from .forms import Form, told, whole
from .making import Making, Shared, Told, sources_of

PAYEES = 1_000  # whose statements are made at once
IN_EVENT = 400_000  # characters in one event: below what brokers take by default, even if each is two bytes


def issue(uow: UnitOfWork, company: str, run: Any, after: int, last: int) -> None:
    """Makes the statements of the payees whose lines are all posted now that those up to `last` are, and tells them."""
    uow.lock_company(company)
    shared = Shared()
    lines = _lines(uow, company, run, after, last)
    groups = [(payee, list(rows)) for payee, rows in groupby(lines, key=lambda row: row.payee)]
    for start in range(0, len(groups), PAYEES):
        made = Making(uow, company, run, dict(groups[start : start + PAYEES]), shared).statements()
        for chunk, forms in _chunks(made):
            _insert(uow, company, run.code, chunk, forms)
            uow.publish_raw(StatementsIssued, _event(run.code, chunk, forms), company=company, key=run.code)


def _event(run: str, chunk: Sequence[Told], forms: Mapping[str, Form]) -> str:
    """A `StatementsIssued` as JSON; models of a million would take minutes."""
    issued = [{"payee": one.payee, "number": one.number, "hash": one.sha256, "content": one.content} for one in chunk]
    return json.dumps({"run": run, "statements": issued, "forms": forms}, ensure_ascii=False)


def _insert(uow: UnitOfWork, company: str, run: str, chunk: Sequence[Told], forms: Mapping[str, Form]) -> None:
    uow.run(
        "INSERT INTO statement_form (company, id, pieces) SELECT :company, key, value FROM jsonb_each(:forms) "
        "ON CONFLICT DO NOTHING", company=company, forms=Jsonb(forms),
    )  # fmt: skip
    uow.copy(
        "statement",
        ("company", "payee", "number", "run", "period", "content", "hash", "previous", "sources"),
        ((company, one.payee, one.number, run, one.period, one.content, one.sha256, one.previous,
          f"{{{','.join(map(told, one.sources))}}}")
         for one in chunk),
    )  # fmt: skip


def issued_again(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Where databases are rebuilt statements are those that were told, whatever the code would make of them now."""
    for received in events:
        event: StatementsIssued = received.event
        again = [_told_again(received.company, one, event.forms) for one in event.statements]
        _insert(uow, received.company, event.run, again, event.forms)
        uow.publish(event, company=received.company, key=event.run)


def _told_again(company: str, one: Issued, forms: Mapping[str, Form]) -> Told:
    content = json.loads(one.content)
    cites = [cite for line in whole(content, forms)["lines"] for part in line["parts"] for cite in part["inputs"]]
    return Told(one.payee, one.number, content["period"], content["previous"], one.content, one.hash,
                sources_of(company, cites), forms)  # fmt: skip


def _chunks(made: Sequence[Told]) -> Iterator[tuple[list[Told], dict[str, Form]]]:
    """As many as go into an event, with the forms that these need."""
    chunk, forms, size = list[Told](), dict[str, Form](), 0
    for one in made:
        more = len(one.content) + sum(_size(form) for name, form in one.forms.items() if name not in forms)
        if chunk and size + more > IN_EVENT:
            yield chunk, forms
            chunk, forms, size = [], {}, 0
        chunk.append(one)
        forms |= one.forms
        size += more
    if chunk:
        yield chunk, forms


def _size(form: Form) -> int:
    return sum(len(piece) for piece in form if isinstance(piece, str))


_FIGURES = ", ".join(f"CAST(trim_scale({figure}) AS text)" for figure in rules.FIGURES)


def _lines(uow: UnitOfWork, company: str, run: Any, after: int, last: int) -> Sequence[Any]:
    """Whole payees: one whose lines go on behind `last` waits for the rest."""
    payee_of = "(SELECT payee FROM payout_line WHERE company = :company AND run = :run AND line = {})"
    return uow.rows(
        "SELECT line, payee, plan, currency, account, why, promised, moved, parts, "
        f"ARRAY[{_FIGURES}] AS figures "
        "FROM payout_line WHERE company = :company AND run = :run AND line <= :last AND line >= coalesce("
        f"(SELECT min(line) FROM payout_line WHERE company = :company AND run = :run AND payee = {payee_of})"
        f", 1) AND (:final OR payee <> {payee_of}) ORDER BY line".format(":after", ":last"),
        company=company, run=run.code, after=after, last=last, final=last >= run.lines,
    )  # fmt: skip


# --- found again ---


def whole_of(ask: Callable[..., Iterable[Any]], rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Statements as they were told, from rows of the table `statement`.

    Args:
        ask: gives the rows of a statement with parameters, such as `uow.rows`.
    """
    names = {line["form"] for row in rows for line in row.content["lines"] if "form" in line}
    forms: dict[str, dict[str, Form]] = {}
    for row in ask("SELECT company, id, pieces FROM statement_form WHERE id = ANY(:ids)", ids=sorted(names)):
        forms.setdefault(row.company, {})[row.id] = row.pieces
    return [whole(row.content, forms.get(row.company, {})) for row in rows]


def of_payee(uow: UnitOfWork, company: str, payee: str, *, after: int = 0, limit: int) -> Sequence[Any]:
    """A payee's statements by number; `whole_of` says all that their lines told."""
    return uow.rows(
        "SELECT * FROM statement WHERE company = :company AND payee = :payee AND number > :after "
        "ORDER BY number LIMIT :limit",
        company=company, payee=payee, after=after, limit=limit,
    )  # fmt: skip


def citing(
    uow: UnitOfWork, company: str, source: str, *, after: tuple[str, int], limit: int
) -> Sequence[Any]:  # fmt: skip
    """Statements whose calculations cite a score or reading, by payee and number, from those of `after` on."""
    return uow.rows(
        "SELECT * FROM statement WHERE company = :company AND sources @> ARRAY[:source] "
        "AND (payee, number) >= (:a, :n) ORDER BY payee, number LIMIT :limit",
        company=company, source=source, a=after[0], n=after[1], limit=limit,
    )  # fmt: skip
