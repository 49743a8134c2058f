"""Statements in the database: made in bulk where lines are released, kept as they were told, and found."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import groupby
from typing import Any

from shared.closing import code_version
from shared.contracts.statements import StatementsIssued
from shared.database.unit_of_work import UnitOfWork
from shared.periods import period_of
from shared.service import Received

from ..accruals.store import calendar_of
from ..entitlements.steps import Program, from_json
from ..entitlements.store import expanded
from . import rules

PAYEES = 1_000  # whose statements are made at once
IN_EVENT = 400_000  # characters in one event: below what brokers take by default, even if each is two bytes
Key = tuple[str, str, str, int]
"""A version of an entitlement: period, plan, payee, version."""


def issue(uow: UnitOfWork, company: str, run: Any, after: int, last: int) -> None:
    """Makes the statements of the payees whose lines are all posted now that those up to `last` are, and tells them."""
    uow.lock_company(company)
    programs = dict[str, Program]()
    lines = _lines(uow, company, run, after, last)
    groups = [(payee, list(rows)) for payee, rows in groupby(lines, key=lambda row: row.payee)]
    for start in range(0, len(groups), PAYEES):
        made = _Making(uow, company, run, dict(groups[start : start + PAYEES]), programs).statements()
        for chunk in _chunks([_told(one) for one in made]):
            _insert(uow, company, run.code, chunk)
            uow.publish_raw(StatementsIssued, _event(run.code, chunk), company=company, key=run.code)


@dataclass(frozen=True, slots=True)
class _Told:
    content: Mapping[str, Any]
    text: str
    sha256: str


def _told(content: dict[str, Any]) -> _Told:
    text = rules.canonical(content)
    return _Told(content, text, sha256(text.encode()).hexdigest())


def _event(run: str, told: Sequence[_Told]) -> str:
    """A `StatementsIssued` as JSON; models of a million would take minutes."""
    issued = [{"payee": one.content["payee"], "number": one.content["number"], "hash": one.sha256, "content": one.text}
              for one in told]  # fmt: skip
    return json.dumps({"run": run, "statements": issued}, ensure_ascii=False)


def _insert(uow: UnitOfWork, company: str, run: str, told: Sequence[_Told]) -> None:
    uow.copy(
        "statement",
        ("company", "payee", "number", "run", "period", "content", "hash", "previous", "sources"),
        ((company, one.content["payee"], one.content["number"], run, one.content["period"], one.text, one.sha256,
          one.content["previous"], _sources(company, one.content)) for one in told),
    )  # fmt: skip


def issued_again(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Where databases are rebuilt statements are those that were told, whatever the code would make of them now."""
    for received in events:
        event: StatementsIssued = received.event
        told = [_Told(json.loads(one.content), one.content, one.hash) for one in event.statements]
        _insert(uow, received.company, event.run, told)
        uow.publish(event, company=received.company, key=event.run)


def _sources(company: str, content: Mapping[str, Any]) -> list[str]:
    cites = [cite for line in content["lines"] for part in line["parts"] for cite in part["inputs"]]
    return sorted({
        rules.source(company, cite["what"], cite["code"], cite.get("subject"), cite.get("period"))
        for cite in cites if cite["what"] in rules.DRIVERS
    })  # fmt: skip


def _chunks(told: Sequence[_Told]) -> Iterator[list[_Told]]:
    chunk, size = list[_Told](), 0
    for one in told:
        if chunk and size + len(one.text) > IN_EVENT:
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += len(one.text)
    if chunk:
        yield chunk


def _lines(uow: UnitOfWork, company: str, run: Any, after: int, last: int) -> Sequence[Any]:
    """Whole payees: one whose lines go on behind `last` waits for the rest."""
    payee_of = "(SELECT payee FROM payout_line WHERE company = :company AND run = :run AND line = {})"
    return uow.rows(
        "SELECT * FROM payout_line WHERE company = :company AND run = :run AND line <= :last AND line >= coalesce("
        f"(SELECT min(line) FROM payout_line WHERE company = :company AND run = :run AND payee = {payee_of})"
        f", 1) AND (:final OR payee <> {payee_of}) ORDER BY line".format(":after", ":last"),
        company=company, run=run.code, after=after, last=last, final=last >= run.lines,
    )  # fmt: skip


@dataclass
class _Making:
    """Statements of some payees of a run, from what is read for all of them at once."""

    uow: UnitOfWork
    company: str
    run: Any
    lines: Mapping[str, Sequence[Any]]
    programs: dict[str, Program]
    _inputs: dict[Key, tuple[list[Any], list[Any]]] = field(default_factory=dict)

    def statements(self) -> list[dict[str, Any]]:
        names, before, taken_back = self._names(), self._before(), self._taken_back()
        paying, booked = self._paying(), self._booked()
        year = period_of(calendar_of(self.uow, self.company), "year", self.run.released_on)
        self._calculate(booked)
        made = []
        for payee, rows in self.lines.items():
            lines = [
                rules.line_of(
                    row._asdict(), [self._part(row, part, booked) for part in row.parts], paying.get(row.plan)
                )
                for row in rows
            ]
            made.append(
                rules.statement_of(self._head(payee, names), year, lines, taken_back.get(payee, ()), before.get(payee))
            )
        return made

    def _head(self, payee: str, names: Mapping[str, str]) -> dict[str, Any]:
        run = self.run
        return {
            "company": self.company, "payee": payee, "name": names.get(payee, payee.split(":", 1)[1]),
            "run": run.code, "period": run.period, "currency": run.currency, "released_on": str(run.released_on),
            "code_version": code_version(),
        }  # fmt: skip

    def _part(self, row: Any, part: Mapping[str, Any], booked: Mapping[tuple[str, ...], int]) -> dict[str, Any]:
        steps, inputs = self._inputs[part["period"], row.plan, part["payee"], part["version"]]
        was = None
        if part["before"] is not None:
            version = booked.get((part["period"], row.plan, part["payee"]), 0)
            was = self._inputs.get((part["period"], row.plan, part["payee"], version), ([], []))[1]
        return rules.part_of(part, steps, inputs, was)

    def _names(self) -> dict[str, str]:
        rows = self.uow.rows(
            "SELECT DISTINCT ON (code) code, content->>'name' AS name FROM configuration WHERE company = :company "
            "AND kind = 'people' AND code = ANY(:codes) AND effective_from <= :day "
            "ORDER BY code, effective_from DESC, version DESC",
            company=self.company, day=self.run.released_on,
            codes=[payee[7:] for payee in self.lines if payee.startswith("person:")],
        )  # fmt: skip
        return {f"person:{row.code}": row.name for row in rows}

    def _paying(self) -> dict[str, dict[str, str]]:
        rows = self.uow.rows(
            "SELECT DISTINCT ON (code) code, kind, content->>'name' AS name FROM configuration "
            "WHERE company = :company AND kind IN ('plans', 'pools', 'awards') AND code = ANY(:codes) "
            "AND effective_from <= :day ORDER BY code, effective_from DESC, version DESC",
            company=self.company, day=self.run.released_on,
            codes=sorted({row.plan for rows in self.lines.values() for row in rows}),
        )  # fmt: skip
        return {row.code: {"kind": row.kind[:-1], "name": row.name} for row in rows}

    def _before(self) -> dict[str, Any]:
        rows = self.uow.rows(
            "SELECT DISTINCT ON (payee) payee, number, hash, content->'year_to_date' AS year_to_date FROM statement "
            "WHERE company = :company AND payee = ANY(:payees) ORDER BY payee, number DESC",
            company=self.company, payees=list(self.lines),
        )  # fmt: skip
        return {row.payee: row._asdict() for row in rows}

    def _taken_back(self) -> dict[str, list[Any]]:
        """Lines of earlier runs that were reversed and that no statement has told yet."""
        rows = self.uow.rows(
            "SELECT l.* FROM payout_line l WHERE l.company = :company AND l.payee = ANY(:payees) "
            "AND l.status = 'reversed' AND l.run <> :run AND NOT EXISTS (SELECT 1 FROM statement s "
            "WHERE s.company = l.company AND s.payee = l.payee AND s.content->'reversed' @> "
            "jsonb_build_array(jsonb_build_object('run', l.run, 'line', l.line))) ORDER BY l.run, l.line",
            company=self.company, run=self.run.code, payees=list(self.lines),
        )  # fmt: skip
        found: dict[str, list[Any]] = {}
        for row in rows:
            found.setdefault(row.payee, []).append(rules.reversed_of(row._asdict()))
        return found

    def _booked(self) -> dict[tuple[str, ...], int]:
        """Which version of each adjusted entitlement was booked before."""
        adjusted = {part["payee"] for rows in self.lines.values() for row in rows for part in row.parts
                    if part["before"] is not None}  # fmt: skip
        rows = self.uow.rows(
            "SELECT p.period, l.plan, p.payee, max(p.version) AS version FROM payout_line l, "
            "jsonb_to_recordset(l.parts) AS p(period text, payee text, version int) WHERE l.company = :company "
            "AND l.payee = ANY(:payees) AND l.run <> :run AND l.status NOT IN ('open', 'reversed') "
            "AND p.payee = ANY(:adjusted) GROUP BY 1, 2, 3",
            company=self.company, run=self.run.code, payees=sorted({*self.lines, *adjusted}), adjusted=sorted(adjusted),
        )  # fmt: skip
        return {(row.period, row.plan, row.payee): row.version for row in rows}

    def _calculate(self, booked: Mapping[tuple[str, ...], int]) -> None:
        """The steps and inputs of every version that the lines name, or named before."""
        wanted = {(part["period"], row.plan, part["payee"], part["version"])
                  for rows in self.lines.values() for row in rows for part in row.parts}  # fmt: skip
        wanted |= {(*key[:3], booked[key[:3]]) for key in wanted if key[:3] in booked}
        periods, plans, payees, versions = zip(*sorted(wanted), strict=True) if wanted else ((), (), (), ())
        rows = self.uow.rows(
            "SELECT e.* FROM unnest(CAST(:periods AS text[]), CAST(:plans AS text[]), CAST(:payees AS text[]), "
            "CAST(:versions AS int[])) AS w(period, plan, payee, version) JOIN entitlement e "
            "ON (e.company, e.period, e.plan, e.payee, e.version) = (:company, w.period, w.plan, w.payee, w.version)",
            company=self.company, periods=list(periods), plans=list(plans), payees=list(payees),
            versions=list(versions),
        )  # fmt: skip
        self._load({row.content["calculation"] for row in rows})
        found = [(row, expanded(self.programs[row.content["calculation"]], row)) for row in rows]
        sources = self._sources([cite for _, told in found for cite in told["inputs"]])
        for row, told in found:
            inputs = [
                cite | {"source_version": sources[_name(cite)]} if _name(cite) in sources else cite
                for cite in told["inputs"]
            ]
            self._inputs[row.period, row.plan, row.payee, row.version] = told["steps"], inputs

    def _load(self, ids: set[str]) -> None:
        rows = self.uow.rows(
            "SELECT id, steps FROM calculation WHERE company = :company AND id = ANY(:ids)",
            company=self.company, ids=sorted(ids - self.programs.keys()),
        )  # fmt: skip
        self.programs |= {row.id: Program([from_json(step) for step in row.steps]) for row in rows}

    def _sources(self, cites: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, ...], int]:
        """The versions of scores and readings that driver versions took in."""
        names = sorted({_name(cite) for cite in cites if cite["what"] in rules.DRIVERS})
        columns = list(zip(*names, strict=True)) or [()] * 5
        rows = self.uow.rows(
            "SELECT d.kind, d.code, d.subject, d.period, d.version, d.source_version FROM unnest(CAST(:k AS text[]), "
            "CAST(:c AS text[]), CAST(:s AS text[]), CAST(:p AS text[]), CAST(:v AS int[])) "
            "AS w(kind, code, subject, period, version) JOIN driver d ON (d.company, d.kind, d.code, d.subject, "
            "d.period, d.version) = (:company, w.kind, w.code, w.subject, w.period, w.version)",
            company=self.company, **{key: list(column) for key, column in zip("kcspv", columns, strict=True)},
        )  # fmt: skip
        return {(row.kind, row.code, row.subject, row.period, row.version): row.source_version for row in rows}


def _name(cite: Mapping[str, Any]) -> tuple[str, str, str, str, int]:
    return (cite["what"], cite["code"], cite.get("subject") or "", cite.get("period") or "", cite["version"])


# --- found again ---


def of_payee(uow: UnitOfWork, company: str, payee: str, *, after: int = 0, limit: int) -> Sequence[Any]:
    """A payee's statements by number."""
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
