"""From payout lines and the calculations behind them to a statement; docs/statements.md says what is in it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from hashlib import sha256
from typing import Any

from shared.numbers import add, plain, subtract, total
from shared.periods import Period

ZERO = Decimal(0)
OPENING = ("payable", "held", "carried", "draw", "expense")
DUE = ("payable", "held", "carried")
BOOKED = ("regular", "adjustment", "advance", "granted", "recovered", "clawed_back", "amount")
# As SQL says them of a payout line: the accounts before and after it, and what it books. `closing` says the same.
FIGURES = (
    *OPENING, *(f"CASE WHEN account = '{name}' THEN amount ELSE 0 END" for name in DUE), "draw + advance - recovered",
    "expense + regular + adjustment + clawed_back", *BOOKED,
)  # fmt: skip
DRIVERS = ("goal", "scorecard", "reading")
PAYING = ("plan", "pool", "award")
Json = dict[str, Any]


def canonical(statement: Any) -> str:
    """The text that is hashed: JSON with sorted keys and no blanks."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def hash_of(statement: Json) -> str:
    """SHA-256 of a statement."""
    return sha256(canonical(statement).encode()).hexdigest()


def source(company: str, what: str, code: str, subject: str | None, period: str | None) -> str:
    """How `statement.sources` names a score or reading, whatever its version."""
    return " ".join((company, what, code, subject or "-", period or "-"))


# --- one part: what a closed period brings into a line ---


def part_of(row: Mapping[str, Any], steps: Sequence[Json], inputs: Sequence[Json], causes: Any) -> Json:
    """What a period brings, with its whole calculation.

    Args:
        row: a part of the payout line.
        steps: of the entitlement's version.
        inputs: what these cite.
        causes: what `moved` says; nothing where no version was booked before.
    """
    return {name: row[name] for name in ("period", "payee", "version", "before", "after")} | {
        "steps": steps, "inputs": inputs, "summary": summary(steps), "moved": causes,
    }  # fmt: skip


def summary(steps: Sequence[Json]) -> Json:
    """What of a calculation is read first: drivers, curves with the segment that counted, rounding, override."""
    values = {f"@{step['id']}": step["value"] for step in steps}
    told = [step for step in steps if step["value"] is not None]
    drivers = [
        {"step": step["id"], "name": step["name"], "what": cite["what"], "code": cite["code"], "value": step["value"]}
        for step in told if step["op"] == "given" for cite in step.get("cites", ()) if cite["what"] in DRIVERS
    ]  # fmt: skip
    curves = [
        {"step": step["id"], "name": step["name"], "at": values.get(step["of"][0], step["of"][0]),
         "segment": step["how"], "gives": step["value"]}
        for step in told if step["op"] in ("curve", "tiers")
    ]  # fmt: skip
    rounding = [
        {"step": step["id"], "before": values.get(step["of"][0], step["of"][0]), "after": step["value"],
         "digits": step["of"][1]}
        for step in told if step["op"] == "round"
    ]  # fmt: skip
    return {"drivers": drivers, "curves": curves, "rounding": rounding, "override": _override(told)}


def _override(steps: Sequence[Json]) -> Json | None:
    found = [step for step in steps if step["id"] == "override"]
    return {"amount": found[0]["value"], "how": found[0]["how"]} if found else None


def moved(was: Sequence[Json], now: Sequence[Json]) -> list[Json]:
    """Which inputs of a calculation are others than before: the causes of an adjustment."""
    before, after = ({_name(cite): cite for cite in cites} for cites in (was, now))
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return [
        dict(zip(("what", "code", "subject", "period"), name, strict=True))
        | {"before": _version(before.get(name)), "after": _version(after.get(name))}
        for name in changed
    ]


def _name(cite: Json) -> tuple[str, str, str, str]:
    return (cite["what"], cite["code"], cite.get("subject") or "", cite.get("period") or "")


def _version(cite: Json | None) -> Json | None:
    return cite and {key: cite.get(key) for key in ("version", "value", "source_version")}


# --- one line ---


def line_of(row: Any, figures: Sequence[str], parts: Sequence[Json], known: Mapping[str, Any] | None) -> Json:
    """A payout line as a statement shows it.

    Args:
        row: of `payout_line`.
        figures: of the line, in the order of `FIGURES`.
        known: kind and name of what pays; None where nothing is known of it.
    """
    cites = [cite for part in parts for cite in part["inputs"] if cite["what"] in PAYING and cite["code"] == row.plan]
    return {
        "line": row.line, "plan": row.plan, "kind": known["kind"] if known else None,
        "plan_name": known["name"] if known else None, "plan_versions": sorted({cite["version"] for cite in cites}),
        "currency": row.currency, "account": row.account, "why": row.why, "promised": str(row.promised),
        "merged": row.moved, "parts": parts,
    } | figures_of(figures)  # fmt: skip


def figures_of(figures: Sequence[str]) -> Json:
    """A line's amounts by name, from the order of `FIGURES`."""
    opening, after, booked = figures[: len(OPENING)], figures[len(OPENING) : 2 * len(OPENING)], figures[-len(BOOKED) :]
    return {
        "opening": dict(zip(OPENING, opening, strict=True)), "closing": dict(zip(OPENING, after, strict=True)),
        **dict(zip(BOOKED, booked, strict=True)),
    }  # fmt: skip


def closing(row: Mapping[str, Any]) -> dict[str, str]:
    """What the payee's accounts of a plan hold after a line, without what was on its way to the bank before it."""
    found = dict.fromkeys(DUE, ZERO) | {row["account"]: row["amount"]}
    found["draw"] = subtract(add(row["draw"], row["advance"]), row["recovered"])
    found["expense"] = total((row["expense"], row["regular"], row["adjustment"], row["clawed_back"]))
    return {name: plain(found[name]) for name in OPENING}


def reversed_of(row: Mapping[str, Any]) -> Json:
    """An earlier line that was taken back since the statement before."""
    parts = [
        {key: part[key] for key in ("period", "payee", "version")}
        | {key: _amount(part[key]) for key in ("before", "after")}
        for part in row["parts"]
    ]
    return {
        "run": row["run"], "line": row["line"], "plan": row["plan"], "currency": row["currency"],
        "regular": plain(row["regular"]), "adjustment": plain(row["adjustment"]), "amount": plain(row["amount"]),
        "why": row["answer"], "parts": parts, "opening": {"payable": plain(row["payable"])},
        "closing": {"payable": closing(row)["payable"]},
    }  # fmt: skip


# --- the statement ---


def statement_of(
    head: Json, year: Period, lines: Sequence[Json], taken_back: Sequence[Json], before: Json | None
) -> Json:
    """A payee's statement.

    Args:
        head: company, payee, name, run, period, currency, released_on, code_version.
        year: the fiscal year in which it is released.
        before: the payee's statement before, with number, hash and year_to_date.
    """
    sums = {name: plain(total(Decimal(one["amount"]) for one in lines if one["account"] == name)) for name in DUE}
    return head | {
        "format": "valueloop-statement-1", "number": before["number"] + 1 if before else 1,
        "previous": before["hash"] if before else None, "lines": list(lines), "reversed": list(taken_back),
        "totals": sums, "year_to_date": year_to_date(year, lines, taken_back, before),
    }  # fmt: skip


def year_to_date(year: Period, lines: Iterable[Json], taken_back: Iterable[Json], before: Json | None) -> Json:
    """By plan and currency: what was entitled, and what became payable, in runs released in a fiscal year."""
    last, starts = before["year_to_date"] if before else None, str(year.start)
    same = last["plans"] if last and last.get("starts") == starts else ()
    sums = {(one["plan"], one["currency"]): _both(one) for one in same}
    for line in lines:
        _take(sums, line, add)
    for line in taken_back:
        _take(sums, line, subtract)
    plans = [
        {"plan": plan, "currency": currency, "entitled": plain(entitled), "payable": plain(payable)}
        for (plan, currency), (entitled, payable) in sorted(sums.items())
    ]
    return {"year": year.label, "starts": starts, "plans": plans}


def _both(one: Json) -> tuple[Decimal, Decimal]:
    return Decimal(one["entitled"]), Decimal(one["payable"])


def _take(sums: dict[tuple[str, str], tuple[Decimal, Decimal]], line: Json, operation: Any) -> None:
    key = (line["plan"], line["currency"])
    entitled, payable = sums.get(key, (ZERO, ZERO))
    new = add(Decimal(line["regular"]), Decimal(line["adjustment"]))
    due = subtract(Decimal(line["closing"]["payable"]), Decimal(line["opening"]["payable"]))
    sums[key] = (operation(entitled, new), operation(payable, due))


def _amount(text: Any) -> str | None:
    return None if text is None else plain(Decimal(text))


# --- from a source to the lines it moved ---


def moved_lines(statement: Json, what: str, code: str, subject: str | None, period: str, version: int) -> list[Json]:
    """The lines into which a version of a score or reading went: by a first payment, or by an adjustment."""
    name = (what, code, subject or "", period)
    return [
        line for line in statement["lines"]
        if any(_moved_by(part, name, version) for part in line["parts"])
    ]  # fmt: skip


def _moved_by(part: Json, name: tuple[str, str, str, str], version: int) -> bool:
    for cite in part["moved"]:
        if _name(cite) == name:
            return _source(cite["before"]) < version <= _source(cite["after"])
    first = part["before"] is None
    return first and any(_name(cite) == name and version <= _source(cite) for cite in part["inputs"])


def _source(cite: Json | None) -> int:
    return (cite and cite.get("source_version")) or 0
