"""Checks statements of payment: computes every amount again from what the statement itself says.

    python check_statement.py FILE...        (`-` reads standard input)

A file is what `GET /incentives/v1/people/{code}/statements/{number}` answers, or a list of such answers. Checked are
the hash, every step of every calculation, what lines, sums, balances and the year to date say, and, over several
statements of one payee, that each goes on where the one before ended. Prints where something differs; the exit code
is then 1.

It needs Python alone and nothing of ValueLoop: the format is docs/statements.md, the operations are docs/plans.md.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from itertools import pairwise
from typing import Any

EXACT = Context(prec=50_000, rounding=ROUND_HALF_UP)
QUOTIENT = Context(prec=34, rounding=ROUND_HALF_EVEN)
ZERO = Decimal(0)
OPENING = ("payable", "held", "carried", "draw", "expense")
DUE = ("payable", "held", "carried")


# --- numbers ---


def number(text: Any) -> Decimal:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is not a number in plain text")
    found = Decimal(text)
    if not found.is_finite() or "e" in text.lower():
        raise ValueError(f"{text!r} is not a plain number")
    return found


def total(numbers: Sequence[Decimal]) -> Decimal:
    found = ZERO
    for one in numbers:
        found = EXACT.add(found, one)
    return found


def shown(value: Any) -> str:
    if not isinstance(value, Decimal):
        return str(value)
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


# --- operations (docs/plans.md, docs/curves.md) ---


def product(numbers: Sequence[Decimal]) -> Decimal:
    found = Decimal(1)
    for one in numbers:
        found = EXACT.multiply(found, one)
    return found


def rounded(value: Decimal, digits: Decimal) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-int(digits)), ROUND_HALF_UP, context=EXACT)


def on_curve(x: Decimal, curve: Mapping[str, Any]) -> Decimal:
    if curve["kind"] == "linear":
        y = EXACT.multiply(number(curve.get("slope") or "1"), x)
    elif curve["kind"] == "step":
        y = number(_band(x, curve["bands"])["value"])
    else:
        y = _between(x, [(number(a), number(b)) for a, b in curve["points"]])
    y = y if curve.get("cap") is None else min(y, number(curve["cap"]))
    return y if curve.get("floor") is None else max(y, number(curve["floor"]))


def _band(x: Decimal, bands: Sequence[Any]) -> Any:
    below = [band for band in bands if band["from"] is None or x >= number(band["from"])]
    return (below or bands[:1])[-1]


def _between(x: Decimal, points: Sequence[tuple[Decimal, Decimal]]) -> Decimal:
    x = min(max(x, points[0][0]), points[-1][0])
    (x0, y0), (x1, y1) = next(pair for pair in pairwise(points) if x <= pair[1][0])
    width = EXACT.subtract(x1, x0)
    rise = EXACT.multiply(EXACT.subtract(x, x0), EXACT.subtract(y1, y0))
    return QUOTIENT.divide(EXACT.add(EXACT.multiply(y0, width), rise), width)


def on_tiers(x: Decimal, table: Mapping[str, Any]) -> Decimal:
    tiers = table["tiers"]
    if table["mode"] == "whole" or x < 0:
        return EXACT.multiply(x, number(_band(x, tiers)["rate"]))
    inside = ZERO
    for tier in tiers:
        start, end = number(tier["from"]), tier.get("to")
        if x > start:
            upto = x if end is None else min(x, number(end))
            inside = EXACT.add(inside, EXACT.multiply(EXACT.subtract(upto, start), number(tier["rate"])))
    return inside


def split(whole: Decimal, digits: Decimal, who: str, pairs: Sequence[Any]) -> Decimal:
    weights = dict(zip(pairs[::2], (number(weight) for weight in pairs[1::2]), strict=True))
    units, all_ = int(whole.copy_abs().scaleb(int(digits), context=EXACT)), total(list(weights.values()))
    cut = {name: int(EXACT.divide_int(EXACT.multiply(Decimal(units), part), all_)) for name, part in weights.items()}
    rest = {
        name: EXACT.subtract(EXACT.multiply(Decimal(units), part), EXACT.multiply(Decimal(cut[name]), all_))
        for name, part in weights.items()
    }
    more = sorted(rest, key=lambda name: (-rest[name], name))[: units - sum(cut.values())]
    found = Decimal(cut[who] + (who in more)).scaleb(-int(digits), context=EXACT)
    return found.copy_negate() if whole < 0 else found


def scale(whole: Decimal, weight: Decimal, of: Decimal, extra: Decimal, digits: Decimal) -> Decimal:
    unit = Decimal(1).scaleb(-int(digits))
    units = ZERO if of == 0 else EXACT.divide_int(EXACT.multiply(whole, weight), EXACT.multiply(of, unit))
    return EXACT.multiply(EXACT.add(units, extra), unit)


def compute(op: str, of: Sequence[Any]) -> Decimal:
    """The value of an operation. Raises ValueError for one that is not known."""
    if op == "curve":
        return on_curve(number_of(of[0]), json.loads(of[1]))
    if op == "tiers":
        return on_tiers(number_of(of[0]), json.loads(of[1]))
    if op == "split":
        return split(number_of(of[0]), number_of(of[1]), of[2], of[3:])
    if op not in PLAIN:
        raise ValueError(f"no operation {op!r} is known")
    return PLAIN[op](*[number_of(one) for one in of])


def number_of(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else number(value)


PLAIN: Mapping[str, Any] = {
    "given": lambda value: value,
    "constant": lambda value: value,
    "sum": lambda *values: total(values),
    "difference": EXACT.subtract,
    "product": lambda *values: product(values),
    "quotient": QUOTIENT.divide,
    "minimum": min,
    "maximum": max,
    "at_least": lambda value, bound: Decimal(1 if value >= bound else 0),
    "round": rounded,
    "scale": scale,
}


# --- one statement ---


class Findings:
    """Collects what differs, with the place where it does."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def same(self, where: str, found: Any, expected: Any) -> None:
        if found != expected:
            self.found.append(f"{where}: found {shown(found)}, expected {shown(expected)}")

    def amount(self, where: str, found: Any, expected: Decimal) -> None:
        self.same(where, number(found), expected)


def canonical(statement: Any) -> str:
    """The text that is hashed: JSON with sorted keys and no blanks."""
    return json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def check_one(answer: Mapping[str, Any], out: Findings) -> None:
    """What can be checked of a statement by itself."""
    statement = answer["statement"]
    where = f"{statement['payee']} {statement['number']}"
    out.same(f"{where}, hash", answer["hash"], hashlib.sha256(canonical(statement).encode()).hexdigest())
    if statement["number"] == 1:
        out.same(f"{where}, previous", statement["previous"], None)
    for line in statement["lines"]:
        check_line(f"{where}, line {line['line']}", line, statement, out)
    for account in DUE:
        sums = total([number(line["amount"]) for line in statement["lines"] if line["account"] == account])
        out.amount(f"{where}, totals.{account}", statement["totals"][account], sums)


def check_line(where: str, line: Mapping[str, Any], statement: Mapping[str, Any], out: Findings) -> None:
    regular, adjustment = ZERO, ZERO
    for part in line["parts"]:
        place = f"{where}, {part['period']} of {part['payee']} version {part['version']}"
        after = number(part["after"])
        check_steps(place, part, out)
        if part["before"] is None and part["period"] == statement["period"]:
            regular = EXACT.add(regular, after)
        else:
            before = ZERO if part["before"] is None else number(part["before"])
            adjustment = EXACT.add(adjustment, EXACT.subtract(after, before))
    out.amount(f"{where}, regular", line["regular"], regular)
    out.amount(f"{where}, adjustment", line["adjustment"], adjustment)
    check_booking(where, line, EXACT.add(regular, adjustment), out)


def check_booking(where: str, line: Mapping[str, Any], difference: Decimal, out: Findings) -> None:
    """What is due before, what is new and what is advanced come together in one account."""
    opening = {name: number(line["opening"][name]) for name in OPENING}
    advance, granted, recovered, clawed_back = (
        number(line[name]) for name in ("advance", "granted", "recovered", "clawed_back")
    )
    amount = total([*(opening[name] for name in DUE), difference, advance, granted, recovered.copy_negate()])
    out.amount(f"{where}, amount", line["amount"], amount)
    closing = dict.fromkeys(DUE, ZERO) | {line["account"]: amount}
    closing["draw"] = total([opening["draw"], advance, recovered.copy_negate()])
    closing["expense"] = total([opening["expense"], difference, clawed_back])
    for name in OPENING:
        out.amount(f"{where}, closing.{name}", line["closing"][name], closing[name])
    unpaid = total([opening["payable"], opening["held"], max(opening["carried"], ZERO)])
    back = max(EXACT.subtract(difference.copy_negate(), min(unpaid, max(opening["expense"], ZERO))), ZERO)
    out.amount(f"{where}, clawed_back", line["clawed_back"], back)
    if amount < 0:
        out.same(f"{where}, account", line["account"], "carried")
    if line["account"] != "payable" and not line["why"]:
        out.same(f"{where}, why", line["why"], "a reason")


def check_steps(where: str, part: Mapping[str, Any], out: Findings) -> None:
    """Every step again from its arguments; the last one's value is the amount."""
    values: dict[str, Decimal] = {}
    steps = {step["id"]: step for step in part["steps"]}
    for step in part["steps"]:
        place = f"{where}, step {step['id']}"
        if step["op"] == "missing":
            out.same(place, step["value"], None)
            continue
        found = compute(step["op"], [values[arg[1:]] if arg[:1] == "@" else arg for arg in step["of"]])
        out.amount(place, step["value"], found)
        values[step["id"]] = found
        check_cites(place, step, part, out)
    last = values[part["steps"][-1]["id"]]
    out.amount(f"{where}, after", part["after"], last)
    check_summary(where, part, steps, values, out)
    for cause in part["moved"]:
        check_cause(f"{where}, moved {cause['what']} {cause['code']}", cause, part["inputs"], out)


def check_cause(where: str, cause: Mapping[str, Any], inputs: Sequence[Mapping[str, Any]], out: Findings) -> None:
    """What moved is now what the calculation cites."""
    now = [
        {key: one.get(key) for key in ("version", "value", "source_version")}
        for one in inputs
        if all((one.get(key) or "") == cause[key] for key in ("what", "code", "subject", "period"))
    ]
    if cause["after"] not in (now or [None]):
        out.same(f"{where}, after", canonical(cause["after"]), canonical(now[-1] if now else None))


def check_cites(where: str, step: Mapping[str, Any], part: Mapping[str, Any], out: Findings) -> None:
    """What a step cites is among the inputs, and a given value is the one that is cited."""
    for cite in step.get("cites", ()):
        known = [one for one in part["inputs"] if all(one.get(name) == value for name, value in cite.items())]
        out.same(f"{where}, cited {cite['what']} {cite['code']}", bool(known), True)
        if step["op"] == "given" and cite.get("value") is not None:
            out.amount(f"{where}, value", step["value"], number(cite["value"]))


def check_summary(
    where: str, part: Mapping[str, Any], steps: Mapping[str, Any], values: Mapping[str, Decimal], out: Findings
) -> None:
    """What the summary shows of drivers, curves, rounding and overrides is what the steps say."""
    for one in part["summary"]["drivers"]:
        out.amount(f"{where}, driver {one['step']}", one["value"], values[one["step"]])
    for one in part["summary"]["curves"]:
        step = steps[one["step"]]
        place = f"{where}, curve {one['step']}"
        out.amount(f"{place}, at", one["at"], number_of(_argument(step["of"][0], values)))
        out.amount(f"{place}, gives", one["gives"], values[one["step"]])
        out.same(f"{place}, segment", one["segment"], step["how"])
    for one in part["summary"]["rounding"]:
        step = steps[one["step"]]
        place = f"{where}, rounding {one['step']}"
        out.amount(f"{place}, before", one["before"], number_of(_argument(step["of"][0], values)))
        out.amount(f"{place}, after", one["after"], values[one["step"]])
        out.same(f"{place}, digits", one["digits"], step["of"][1])
    if override := part["summary"]["override"]:
        out.amount(f"{where}, override", override["amount"], values["override"])


def _argument(text: str, values: Mapping[str, Decimal]) -> Any:
    return values[text[1:]] if text[:1] == "@" else text


# --- several statements of one payee ---


def check_chain(answers: Sequence[Mapping[str, Any]], out: Findings) -> None:
    """What a statement takes over from the one before. `answers` are of one payee, by number."""
    booked: dict[tuple[str, ...], Decimal] = {}
    balances: dict[str, Mapping[str, str]] = {}
    whole = answers[0]["statement"]["number"] == 1
    check_year(None, answers[0]["statement"], out) if whole else None
    for answer in answers:
        check_before(answer["statement"], booked, whole, out)
        check_balances(answer["statement"], balances, whole, out)
    for before, answer in pairwise(answers):
        one, other = before["statement"], answer["statement"]
        where = f"{other['payee']} {other['number']}"
        if other["number"] == one["number"]:
            out.same(f"{where}, two statements of one number, hash", answer["hash"], before["hash"])
        elif other["number"] == one["number"] + 1:
            out.same(f"{where}, previous", other["previous"], before["hash"])
            check_year(one, other, out)


def check_before(
    statement: Mapping[str, Any], booked: dict[tuple[str, ...], Decimal], whole: bool, out: Findings
) -> None:
    """`before` of each part is what an earlier statement said `after`, less what was reversed since."""
    for line in statement["reversed"]:
        for part in line["parts"]:
            key = (line["plan"], part["period"], part["payee"])
            back = EXACT.subtract(number(part["after"]), number(part["before"] or "0"))
            booked[key] = EXACT.subtract(booked.get(key, ZERO), back)
    for line in statement["lines"]:
        for part in line["parts"]:
            key = (line["plan"], part["period"], part["payee"])
            if whole and key in booked and part["payee"] == statement["payee"]:
                where = f"{statement['payee']} {statement['number']}, line {line['line']}, {part['period']}, before"
                out.amount(where, part["before"] or "0", booked[key])
            booked[key] = number(part["after"])


def check_balances(
    statement: Mapping[str, Any], balances: dict[str, Mapping[str, str]], whole: bool, out: Findings
) -> None:
    """What is held, carried and advanced before a line is what it was after the line before, unless one was reversed.

    What is payable before a line depends on what the bank answered meanwhile, which statements do not tell.
    """
    reversed_ = {line["plan"] for line in statement["reversed"]}
    for plan in reversed_:
        balances[plan] = {}
    for line in statement["lines"]:
        before, plan = balances.get(line["plan"]), line["plan"]
        if whole and before and not line["merged"] and before["currency"] == line["currency"]:
            where = f"{statement['payee']} {statement['number']}, line {line['line']}, opening"
            for name in ("held", "carried", "draw"):
                out.amount(f"{where}.{name}", line["opening"][name], number(before[name]))
        if before is None or before:
            balances[plan] = line["closing"] | {"currency": line["currency"]}


def check_year(before: Mapping[str, Any] | None, statement: Mapping[str, Any], out: Findings) -> None:
    """The year to date is that of the statement before, while the fiscal year lasts, and what this one adds."""
    where = f"{statement['payee']} {statement['number']}, year to date"
    year = statement["year_to_date"]
    starts = date.fromisoformat(year["starts"])
    days = (date.fromisoformat(statement["released_on"]) - starts).days
    ends = date(starts.year + 1, starts.month, 1)
    out.same(f"{where}, a year that holds the day of release", 0 <= days < (ends - starts).days, True)
    out.same(f"{where}, starts", starts.day, 1)
    out.same(f"{where}, year", year["year"], str(ends.year if starts.month > 1 else starts.year))
    sums: dict[tuple[str, str], list[Decimal]] = {}
    if before and before["year_to_date"]["starts"] == year["starts"]:
        for one in before["year_to_date"]["plans"]:
            sums[one["plan"], one["currency"]] = [number(one["entitled"]), number(one["payable"])]
    for line, sign in [(line, 1) for line in statement["lines"]] + [(line, -1) for line in statement["reversed"]]:
        mine = sums.setdefault((line["plan"], line["currency"]), [ZERO, ZERO])
        entitled, payable = movement(line)
        mine[0] = EXACT.add(mine[0], EXACT.multiply(entitled, Decimal(sign)))
        mine[1] = EXACT.add(mine[1], EXACT.multiply(payable, Decimal(sign)))
    found = {(one["plan"], one["currency"]): one for one in year["plans"]}
    out.same(f"{where}, plans", sorted(found), sorted(sums))
    for key in sorted(sums.keys() & found.keys()):
        out.amount(f"{where}, {key[0]}, entitled", found[key]["entitled"], sums[key][0])
        out.amount(f"{where}, {key[0]}, payable", found[key]["payable"], sums[key][1])


def movement(line: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    """What a line adds to what is entitled, and to what is payable."""
    entitled = EXACT.add(number(line["regular"]), number(line["adjustment"]))
    return entitled, EXACT.subtract(number(line["closing"]["payable"]), number(line["opening"]["payable"]))


# --- files ---


def answers_of(text: str) -> Iterator[Mapping[str, Any]]:
    found = json.loads(text)
    yield from found if isinstance(found, list) else [found]


def check(answers: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is wrong with statements, in sentences; nothing where all is right."""
    out, chains = Findings(), dict[tuple[str, str], list[Any]]()
    for answer in answers:
        try:
            check_one(answer, out)
            statement = answer["statement"]
            chains.setdefault((statement["company"], statement["payee"]), []).append(answer)
        except (ArithmeticError, LookupError, StopIteration, TypeError, ValueError, AttributeError) as wrong:
            out.found.append(f"a statement cannot be read: {type(wrong).__name__} {wrong}")
    for chain in chains.values():
        try:
            check_chain(sorted(chain, key=lambda answer: answer["statement"]["number"]), out)
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as wrong:
            out.found.append(f"a chain cannot be read: {type(wrong).__name__} {wrong}")
    return out.found


def main(names: Sequence[str]) -> int:
    if not names:
        print(__doc__, file=sys.stderr)
        return 2
    answers: list[Mapping[str, Any]] = []
    for name in names:
        try:
            with sys.stdin if name == "-" else open(name, encoding="utf-8") as file:
                answers += answers_of(file.read())
        except (OSError, ValueError) as wrong:
            print(f"{name}: {wrong}", file=sys.stderr)
            return 2
    found = check(answers)
    for sentence in found:
        print(sentence)
    print(f"{len(answers)} statements, {len(found)} differences.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
