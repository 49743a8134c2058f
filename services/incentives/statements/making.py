"""Makes statements of many payees at once, from released lines and the calculations behind them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from shared.closing import code_version
from shared.database.unit_of_work import UnitOfWork
from shared.periods import period_of

from ..accruals.store import calendar_of
from ..entitlements.steps import Program, from_json
from ..entitlements.versions import ran
from . import rules
from .forms import Form, Holes, Name, Own, filled, form_of, marked, name_of, name_of_cite, own_of, told, with_source

_OWN_OF_PART = ("payee", "version", "before", "after")
Key = tuple[str, str, str, int]
"""A version of an entitlement: period, plan, payee, version."""


@dataclass(frozen=True, slots=True)
class Told:
    """A statement as it is kept: its lines are forms of `forms`, by name, filled with their own values."""

    payee: str
    number: int
    period: str
    previous: str | None
    content: str
    sha256: str
    sources: Sequence[str]
    forms: Mapping[str, Form]


@dataclass
class Shared:
    """What statements of a step have in common: calculations with what they cite, source versions, and forms."""

    programs: dict[str, Program] = field(default_factory=dict)
    versions: dict[Name, int] = field(default_factory=dict)
    forms: dict[tuple[Any, ...], tuple[str, Form, list[Any]]] = field(default_factory=dict)

    def cites(self, calculation: str) -> list[dict[str, Any]]:
        """What everybody's calculation cites."""
        steps = self.programs[calculation].steps
        return [with_source(cite.model_dump(exclude_none=True), self.versions) for step in steps for cite in step.cites]


@dataclass
class Making:
    """Statements of some payees of a run, from what is read for all of them at once."""

    uow: UnitOfWork
    company: str
    run: Any
    lines: Mapping[str, Sequence[Any]]
    shared: Shared
    _own: dict[Key, tuple[str, Own]] = field(default_factory=dict)
    _paying: dict[str, dict[str, str]] = field(default_factory=dict)
    _was: dict[tuple[str, ...], int] = field(default_factory=dict)

    def statements(self) -> list[Told]:
        names, before, taken_back = self._names(), self._before(), self._taken_back()
        self._paying, self._was = self._known(), self._booked()
        self._calculate()
        year = period_of(calendar_of(self.uow, self.company), "year", self.run.released_on)
        return [
            self._told(rules.statement_of(
                self._head(payee, names), year, [_short(row) for row in rows], taken_back.get(payee, ()),
                before.get(payee),
            ), rows)
            for payee, rows in self.lines.items()
        ]  # fmt: skip

    def _head(self, payee: str, names: Mapping[str, str]) -> dict[str, Any]:
        run = self.run
        return {
            "company": self.company, "payee": payee, "name": names.get(payee, payee.split(":", 1)[1]),
            "run": run.code, "period": run.period, "currency": run.currency, "released_on": str(run.released_on),
            "code_version": code_version(),
        }  # fmt: skip

    def _told(self, statement: dict[str, Any], rows: Sequence[Any]) -> Told:
        """The text that is hashed, and the short one that is kept."""
        lines, kept, sources, forms = list[str](), list[str](), set[str](), dict[str, Form]()
        for row in rows:
            name, form, own, cites = self._line(row)
            lines.append(filled(form, own))
            kept.append(f'{{"form":"{name}","own":[{",".join(own)}]}}')
            sources.update(sources_of(self.company, cites))
            forms[name] = form
        around = rules.canonical(statement | {"lines": Holes()()}).split(told(Holes()()))
        text = f"[{','.join(lines)}]".join(around)
        return Told(
            statement["payee"], statement["number"], statement["period"], statement["previous"],
            f"[{','.join(kept)}]".join(around), sha256(text.encode()).hexdigest(), sorted(sources), forms,
        )  # fmt: skip

    def _line(self, row: Any) -> tuple[str, Form, list[str], list[Any]]:
        """The form of a line, its own values in the order of `_form`, and all that it cites."""
        own, cites = [told(row.line), *map(told, row.figures)], list[Any]()
        shape: list[Any] = [row.plan, row.account, row.why, row.promised, rules.canonical(row.moved)]
        for part in row.parts:
            name, mine = self._own[part["period"], row.plan, part["payee"], part["version"]]
            own += [told(part[key]) for key in _OWN_OF_PART] + list(mine.texts)
            cites += mine.cites
            if part["before"] is not None:
                own.append(rules.canonical(rules.moved(self._cited_before(row, part), self._cited(name, mine))))
            shape.append((part["period"], part["before"] is None, name, mine.shape))
        key = tuple(shape)
        if key not in self.shared.forms:
            self.shared.forms[key] = self._form(row)
        named, form, common = self.shared.forms[key]
        return named, form, own, common + cites

    def _form(self, row: Any) -> tuple[str, Form, list[Any]]:
        hole, common, parts = Holes(), list[Any](), list[dict[str, Any]]()
        line, figures = hole(), [hole() for _ in row.figures]
        for part in row.parts:
            name, mine = self._own[part["period"], row.plan, part["payee"], part["version"]]
            marks = {key: hole() for key in _OWN_OF_PART}
            steps, inputs = marked(self.shared.programs[name], mine.shape, self.shared.versions, hole)
            causes = [] if part["before"] is None else hole()
            parts.append(rules.part_of(part | marks, steps, inputs, causes))
            common += self.shared.cites(name)
        form = form_of(rules.line_of(row, figures, parts, self._paying.get(row.plan)) | {"line": line})
        return name_of(form), form, common

    def _cited(self, name: str, own: Own) -> list[Any]:
        return [*self.shared.cites(name), *own.cites]

    def _cited_before(self, row: Any, part: Mapping[str, Any]) -> list[Any]:
        """What the version cited that was booked before."""
        key = (part["period"], row.plan, part["payee"])
        found = self._own.get((*key, self._was.get(key, 0)))
        return self._cited(*found) if found else []

    def _names(self) -> dict[str, str]:
        rows = self.uow.rows(
            "SELECT DISTINCT ON (code) code, content->>'name' AS name FROM configuration WHERE company = :company "
            "AND kind = 'people' AND code = ANY(:codes) AND effective_from <= :day "
            "ORDER BY code, effective_from DESC, version DESC",
            company=self.company, day=self.run.released_on,
            codes=[payee[7:] for payee in self.lines if payee.startswith("person:")],
        )  # fmt: skip
        return {f"person:{row.code}": row.name for row in rows}

    def _known(self) -> dict[str, dict[str, str]]:
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
        if not adjusted:
            return {}
        rows = self.uow.rows(
            "SELECT p.period, l.plan, p.payee, max(p.version) AS version FROM payout_line l, "
            "jsonb_to_recordset(l.parts) AS p(period text, payee text, version int) WHERE l.company = :company "
            "AND l.payee = ANY(:payees) AND l.run <> :run AND l.status NOT IN ('open', 'reversed') "
            "AND p.payee = ANY(:adjusted) GROUP BY 1, 2, 3",
            company=self.company, run=self.run.code, payees=sorted({*self.lines, *adjusted}), adjusted=sorted(adjusted),
        )  # fmt: skip
        return {(row.period, row.plan, row.payee): row.version for row in rows}

    def _calculate(self) -> None:
        """What is a person's own in every version that the lines name, or named before."""
        wanted = {(part["period"], row.plan, part["payee"], part["version"])
                  for rows in self.lines.values() for row in rows for part in row.parts}  # fmt: skip
        wanted |= {(*key[:3], self._was[key[:3]]) for key in wanted if key[:3] in self._was}
        periods, plans, payees, versions = zip(*sorted(wanted), strict=True) if wanted else ((), (), (), ())
        rows = self.uow.rows(
            "SELECT e.* FROM unnest(CAST(:periods AS text[]), CAST(:plans AS text[]), CAST(:payees AS text[]), "
            "CAST(:versions AS int[])) AS w(period, plan, payee, version) JOIN entitlement e "
            "ON (e.company, e.period, e.plan, e.payee, e.version) = (:company, w.period, w.plan, w.payee, w.version)",
            company=self.company, periods=list(periods), plans=list(plans), payees=list(payees),
            versions=list(versions),
        )  # fmt: skip
        self._load({row.content["calculation"] for row in rows})
        self._sources(one[1] for row in rows for one in row.content["given"] if isinstance(one, list) and one[1])
        for row in rows:
            name, given = row.content["calculation"], row.content["given"]
            program = self.shared.programs[name]
            ran(program, row)
            self._own[row.period, row.plan, row.payee, row.version] = name, own_of(program, given, self.shared.versions)

    def _load(self, ids: set[str]) -> None:
        rows = self.uow.rows(
            "SELECT id, steps FROM calculation WHERE company = :company AND id = ANY(:ids)",
            company=self.company, ids=sorted(ids - self.shared.programs.keys()),
        )  # fmt: skip
        self.shared.programs |= {row.id: Program([from_json(step) for step in row.steps]) for row in rows}
        self._sources(cite for row in rows for cite in self.shared.cites(row.id))

    def _sources(self, cites: Iterable[Mapping[str, Any]]) -> None:
        """The versions of scores and readings that driver versions took in."""
        names = sorted({name_of_cite(cite) for cite in cites if cite["what"] in rules.DRIVERS})
        columns = list(zip(*names, strict=True)) or [()] * 5
        rows = self.uow.rows(
            "SELECT d.kind, d.code, d.subject, d.period, d.version, d.source_version FROM unnest(CAST(:k AS text[]), "
            "CAST(:c AS text[]), CAST(:s AS text[]), CAST(:p AS text[]), CAST(:v AS int[])) "
            "AS w(kind, code, subject, period, version) JOIN driver d ON (d.company, d.kind, d.code, d.subject, "
            "d.period, d.version) = (:company, w.kind, w.code, w.subject, w.period, w.version)",
            company=self.company, **{key: list(column) for key, column in zip("kcspv", columns, strict=True)},
        )  # fmt: skip
        self.shared.versions |= {
            (row.kind, row.code, row.subject, row.period, row.version): row.source_version for row in rows
        }


def _short(row: Any) -> dict[str, Any]:
    """What a statement adds up of a line."""
    told = rules.figures_of(row.figures)
    return told | {"plan": row.plan, "currency": row.currency, "account": row.account}


def sources_of(company: str, cites: Iterable[Mapping[str, Any]]) -> list[str]:
    """How `statement.sources` names the scores and readings among what is cited."""
    return sorted({
        rules.source(company, cite["what"], cite["code"], cite.get("subject"), cite.get("period"))
        for cite in cites if cite["what"] in rules.DRIVERS
    })  # fmt: skip
