"""A statement as headings and tables in a language, whatever they are printed on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .words import Language, word

HEAD = ("payee", "period", "run", "released_on", "code_version")
BOOKED = ("regular", "adjustment", "advance", "granted", "recovered", "clawed_back")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading; level 1 is the title."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells; an empty head for pairs of name and value."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


Block = Heading | Table


def blocks(statement: Json, sha256: str, language: Language) -> Iterator[Block]:
    """What is printed, from the total down to each step."""
    told = _Told(language)
    yield Heading(f"{told('statement')} {statement['number']}: {statement['name']}", 1)
    yield Table((), [(told(name), str(statement[name])) for name in HEAD])
    sums = statement["totals"]
    yield Table((told("total"), statement["currency"]), [(told(name), sums[name]) for name in sums])
    for line in statement["lines"]:
        yield from _line(told, line)
    if statement["reversed"]:
        yield Heading(told("reversed"))
        rows = [(f"{one['run']} {one['line']}", one["plan"], one["amount"], one["why"] or "") for one in
                statement["reversed"]]  # fmt: skip
        yield Table((told("run"), told("plan"), told("amount"), told("why")), rows)
    yield from _year(told, statement["year_to_date"])
    yield Table((), [(told("hash"), sha256), (told("previous"), statement["previous"] or told("none"))])


@dataclass(frozen=True)
class _Told:
    language: Language

    def __call__(self, name: str) -> str:
        return word(name, self.language)


def _line(told: _Told, line: Json) -> Iterator[Block]:
    versions = ", ".join(str(version) for version in line["plan_versions"])
    kind = told(line["kind"] or "unnamed")
    yield Heading(f"{kind} {line['plan']} {line['plan_name'] or ''}".strip())
    told_versions = [(told("version"), versions)] if versions else []
    why = [(told("why"), line["why"])] if line["why"] else []
    booked = [(told(name), line[name]) for name in BOOKED if line[name] != "0"]
    merged = [(told("merged"), one["payee"]) for one in line["merged"]]
    amount = (f"{told('amount')} ({told(line['account'])})", f"{line['amount']} {line['currency']}")
    yield Table((), [*told_versions, amount, *why, (told("promised"), line["promised"]), *booked, *merged])
    opening, closing = line["opening"], line["closing"]
    yield Table(("", told("opening"), told("closing")),
                [(told(name), opening[name], closing[name]) for name in opening])  # fmt: skip
    for part in line["parts"]:
        yield from _part(told, part)


def _part(told: _Told, part: Json) -> Iterator[Block]:
    yield Heading(f"{told('period')} {part['period']}, {told('version')} {part['version']}", 3)
    found = part["summary"]
    rows = [(told("before"), part["before"] or told("none")), (told("after"), part["after"])]
    rows += [(f"{told('driver')}: {one['name']}", one["value"]) for one in found["drivers"]]
    rows += [(f"{told('curve')}: {one['name']}, {told('at')} {one['at']} ({one['segment']})", one["gives"])
             for one in found["curves"]]  # fmt: skip
    rows += [(f"{told('rounding')}: {one['before']}, {one['digits']} {told('digits')}", one["after"])
             for one in found["rounding"]]  # fmt: skip
    if override := found["override"]:
        rows.append((f"{told('override')}: {override['how']}", override["amount"]))
    yield Table((), rows)
    if part["moved"]:
        yield Table((told("cause"), told("before"), told("after")), [_cause(one) for one in part["moved"]])
    yield Heading(told("calculation"), 4)
    head = (told("step"), told("value"), told("how"))
    yield Table(head, [(step["name"], step["value"] or "", _how(step)) for step in part["steps"]])


def _cause(one: Json) -> tuple[str, str, str]:
    name = " ".join(one[key] for key in ("what", "code", "subject", "period") if one[key])
    before, after = (f"v{side['version']} {side['value'] or ''}".strip() if side else "" for side in
                     (one["before"], one["after"]))  # fmt: skip
    return name, before, after


def _how(step: Json) -> str:
    cites = [f"{cite['what']} {cite['code']} v{cite['version']}" for cite in step.get("cites", ())]
    return "; ".join(part for part in (step["op"], step["how"], *cites) if part)


def _year(told: _Told, year: Json) -> Iterator[Block]:
    yield Heading(f"{told('year_to_date')} {year['year']}")
    rows = [(one["plan"], one["currency"], one["entitled"], one["payable"]) for one in year["plans"]]
    yield Table((told("plan"), "", told("entitled"), told("payable")), rows)
