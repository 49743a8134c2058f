"""Closing periods and reading entitlements through the public API; and the steps, computed by plain arithmetic."""

import json
from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from itertools import count, pairwise
from typing import Any

from tests.acceptance.conftest import Loop

EXACT = Context(prec=50_000)
QUOTIENT = Context(prec=34, rounding=ROUND_HALF_EVEN)
_keys = count(1)


def close(loop: Loop, period: str, after: str = "2026-01-01") -> None:
    """Closes a period whatever is missing, once the company's clock is past it."""
    loop.time_reaches(after)
    key = {"Idempotency-Key": f"close-{loop.company}-{next(_keys)}"}
    loop.client.post(f"/metrics/v1/periods/{period}/close", {"override": "For the test."}, **key)
    loop.settle()


def recalculate(loop: Loop, period: str = "2025-Q1", currency: str = "CNY") -> None:
    """A run of a period is opened and calculated, which restates what has moved in closed periods."""
    code = f"run-{next(_keys)}"
    loop.settle()
    for path, body in (("", {"code": code, "period": period, "currency": currency, "promised": "2026-01-31"}),
                       (f"/{code}/calculations", {})):  # fmt: skip
        loop.client.post(f"/incentives/v1/payout-runs{path}", body, **{"Idempotency-Key": f"{code}{path}"})
    while loop.settle().get(f"incentives/payout-runs/{code}")["status"] == "calculating":
        pass


def entitled(loop: Loop, person: str, period: str = "2025-Q1") -> list[Any]:
    """Every version of what a person is entitled to in a period."""
    found: list[Any] = loop.get(f"incentives/people/{person}/entitlements", period=period)
    return found


def explained(loop: Loop, view: Any) -> Any:
    return loop.client.get(view["links"]["explanation"])


def recompute(steps: Sequence[Any]) -> str:
    """The last step's value by plain arithmetic on what docs/plans.md says; every step on the way must agree."""
    values: dict[str, Any] = {}
    for step in steps:
        if step["op"] == "missing":
            assert step["value"] is None
            continue
        of = [values[arg] if arg[0] == "@" else arg for arg in step["of"]]
        values["@" + step["id"]] = found = compute(step["op"], of)
        assert found == Decimal(step["value"]), step
    return f"{Decimal(steps[-1]['value']).normalize():f}"


def compute(op: str, of: Sequence[Any]) -> Decimal:
    if op == "curve":
        return on_curve(Decimal(of[0]), json.loads(of[1]))
    if op == "tiers":
        return on_tiers(Decimal(of[0]), json.loads(of[1]))
    if op == "split":
        return part_of(Decimal(of[0]), int(of[1]), of[2], list(zip(of[3::2], of[4::2], strict=True)))
    numbers = [Decimal(one) for one in of]
    match op:
        case "given" | "constant":
            return numbers[0]
        case "sum":
            return added(numbers)
        case "difference":
            return EXACT.subtract(*numbers)
        case "product":
            result = numbers[0]
            for number in numbers[1:]:
                result = EXACT.multiply(result, number)
            return result
        case "quotient":
            return QUOTIENT.divide(*numbers)
        case "minimum":
            return min(numbers)
        case "maximum":
            return max(numbers)
        case "at_least":
            return Decimal(1 if numbers[0] >= numbers[1] else 0)
        case "round":
            return numbers[0].quantize(Decimal(1).scaleb(-int(numbers[1])), ROUND_HALF_UP, context=EXACT)
        case "scale":
            whole, weight, total, extra, digits = numbers
            unit = Decimal(1).scaleb(-int(digits))
            exact = EXACT.multiply(whole, weight)
            cut = Decimal(0) if total == 0 else EXACT.divide_int(exact, EXACT.multiply(total, unit))
            return EXACT.multiply(EXACT.add(cut, extra), unit)
    raise AssertionError(f"docs/plans.md knows no {op}")


def added(numbers: Sequence[Decimal]) -> Decimal:
    result = Decimal(0)
    for number in numbers:
        result = EXACT.add(result, number)
    return result


def on_curve(x: Decimal, curve: Any) -> Decimal:
    if curve["kind"] == "linear":
        y = EXACT.multiply(Decimal(curve.get("slope") or "1"), x)
    elif curve["kind"] == "step":
        bands = curve["bands"]
        y = Decimal(
            next((b for b in reversed(bands) if b["from"] is None or x >= Decimal(b["from"])), bands[0])["value"]
        )
    else:
        points = [(Decimal(a), Decimal(b)) for a, b in curve["points"]]
        x = min(max(x, points[0][0]), points[-1][0])
        (x0, y0), (x1, y1) = next((a, b) for a, b in pairwise(points) if a[0] <= x <= b[0])
        rise = EXACT.add(EXACT.multiply(y0, x1 - x0), EXACT.multiply(EXACT.subtract(x, x0), y1 - y0))
        y = QUOTIENT.divide(rise, x1 - x0)
    if curve.get("cap") is not None:
        y = min(y, Decimal(curve["cap"]))
    return y if curve.get("floor") is None else max(y, Decimal(curve["floor"]))


def on_tiers(x: Decimal, table: Any) -> Decimal:
    tiers = [(Decimal(t["from"]), None if t.get("to") is None else Decimal(t["to"]), Decimal(t["rate"]))
             for t in table["tiers"]]  # fmt: skip
    if table["mode"] == "whole" or x < 0:
        rate = next((rate for start, _, rate in reversed(tiers) if x >= start), tiers[0][2])
        return EXACT.multiply(x, rate)
    inside = [
        (EXACT.subtract(x if end is None else min(x, end), start), rate) for start, end, rate in tiers if x > start
    ]
    return added([EXACT.multiply(width, rate) for width, rate in inside])


def part_of(whole: Decimal, digits: int, who: str, weights: list[tuple[str, str]]) -> Decimal:
    units, all_ = abs(whole).scaleb(digits, context=EXACT), added([Decimal(weight) for _, weight in weights])
    cut, rest = {}, {}
    for name, weight in weights:
        exact = EXACT.multiply(units, Decimal(weight))
        cut[name] = EXACT.divide_int(exact, all_)
        rest[name] = EXACT.subtract(exact, EXACT.multiply(cut[name], all_))
    left = int(EXACT.subtract(units, added(list(cut.values()))).to_integral_value(ROUND_DOWN))
    more = sorted(rest, key=lambda name: (-rest[name], name))[:left]
    part = EXACT.add(cut[who], Decimal(who in more)).scaleb(-digits, context=EXACT)
    return -part if whole < 0 else part
