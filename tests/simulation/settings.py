"""What was set, from when on: accepted commands by kind and code; and exact arithmetic as the documents state it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Any, NamedTuple

from tests.simulation.acts import Configure
from tests.simulation.dates import Calendar

QUOTIENT = Context(prec=34, rounding=ROUND_HALF_EVEN)
EXACT = Context(prec=2000)
ALWAYS, EVER = date.min, date.max
ZERO = Decimal(0)


def over(a: Decimal, b: Decimal) -> Decimal:
    """A quotient of 34 digits, half-even: the only thing that rounds."""
    return QUOTIENT.divide(a, b)


def times(*values: Decimal) -> Decimal:
    product = Decimal(1)
    for value in values:
        product = EXACT.multiply(product, value)
    return product


def plus(*values: Decimal) -> Decimal:
    found = ZERO
    for value in values:
        found = EXACT.add(found, value)
    return found


def minus(a: Decimal, b: Decimal) -> Decimal:
    return EXACT.subtract(a, b)


def told(value: Decimal) -> Decimal:
    """With at most 10 decimals, half-even: how a number leaves a service."""
    return value.quantize(Decimal("1e-10"), ROUND_HALF_EVEN, EXACT)


def money(value: Decimal, currency: str) -> Decimal:
    """Half-up to the minor unit."""
    return value.quantize(Decimal(1) if currency == "JPY" else Decimal("0.01"), ROUND_HALF_UP, EXACT)


def text(value: Decimal | None) -> str | None:
    """Plain digits without trailing zeros, with at most 10 decimals."""
    if value is None:
        return None
    plain = f"{told(value):f}".rstrip("0").rstrip(".")
    return "0" if plain == "-0" else plain


class Version(NamedTuple):
    """One version of a setting. They sort by beginning, then number: the last that has begun is in force."""

    begins: date
    number: int
    body: Mapping[str, Any]


@dataclass(slots=True)
class Settings:
    """All versions of all settings of one company; `kind` is service and first part of the path, `goals/units`."""

    kinds: dict[str, dict[str, list[Version]]] = field(default_factory=lambda: defaultdict(dict))

    def record(self, act: Configure) -> int:
        """Takes a command in, and gives the number of the version that it made or found."""
        parts = act.path.split("/")
        kind = "targets" if parts[-1] == "targets" else parts[0]
        begins = date.fromisoformat(act.body.get("effective_from", "0001-01-01"))
        versions = self.kinds[f"{act.service}/{kind}"].setdefault(parts[1], [])
        standing = self.on(f"{act.service}/{kind}", parts[1], begins)
        if standing and standing.begins == begins and dict(standing.body) == dict(act.body):
            return standing.number
        versions.append(Version(begins, len(versions) + 1, act.body))
        versions.sort(key=lambda version: version[:2])
        return max(version.number for version in versions)

    def on(self, kind: str, code: str, day: date = EVER) -> Version | None:
        """The version of a setting that is in force on a day."""
        begun = [version for version in self.kinds[kind].get(code, ()) if version.begins <= day]
        return begun[-1] if begun else None

    def body(self, kind: str, code: str, day: date = EVER) -> Mapping[str, Any] | None:
        version = self.on(kind, code, day)
        return version.body if version else None

    def each(self, kind: str, day: date = EVER) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Every setting of a kind that is in force on a day, by code."""
        for code in sorted(self.kinds[kind]):
            if body := self.body(kind, code, day):
                yield code, body

    def policy(self, service: str, code: str, day: date, default: str) -> str:
        body = self.body(f"{service}/policies", code, day)
        return str(body["value"]) if body else default

    @property
    def calendar(self) -> Calendar | None:
        body = self.body("goals/companies", "company")
        return Calendar(body["time_zone"], body.get("fiscal_year_start_month", 1)) if body else None

    def path(self, subject: str, day: date) -> tuple[list[str], str | None]:
        """Whom a subject rolls up into on a day, itself first; or nobody, and the first that is unknown then."""
        nodes: list[str] = []
        above: str | None = subject
        while above:
            kind, _, code = above.partition(":")
            body = self.body("goals/units" if kind == "unit" else "goals/people", code, day)
            if body is None:
                return [], above
            nodes.append(above)
            superior = body.get("parent" if kind == "unit" else "unit")
            above = f"unit:{superior}" if superior else None
        return nodes, None
