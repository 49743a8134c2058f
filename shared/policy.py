"""Dated parameters: no threshold, rate, weight or cap of a rule is a number in code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, Field

from shared.configuration import Recorded, Versioned, configuration_router, history, in_force, shown
from shared.contracts.base import Policy
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Invalid
from shared.http.context import Context
from shared.http.routing import Router
from shared.numbers import NumberOutOfRange, parse_decimal


@dataclass(frozen=True, slots=True)
class PolicyDefinition:
    """A parameter that the code knows.

    Args:
        code: its name, such as `deviation_limit`.
        meaning: what it decides, in a sentence.
        unit: `ratio`, `h`, `choice`, `curve` …
        default: the value where a company has set none, as text.
        source: the mechanism or paper it comes from.
        read: turns the text into the value the rules use; raises `Invalid` for a bad one.
    """

    code: str
    meaning: str
    unit: str
    default: str
    source: str
    read: Callable[[str], Any]


class BadPolicyValue(Invalid):
    """The value of a policy is not one it can have."""


class UnknownPolicy(Invalid):
    """No policy has that code."""


def decimal_between(low: str, high: str) -> Callable[[str], Decimal]:
    """Reads decimal text within bounds, both included."""

    def read(text: str) -> Decimal:
        try:
            value = parse_decimal(text)
        except NumberOutOfRange as error:
            raise BadPolicyValue(error.rule, field="value", remedy=error.remedy) from error
        if not Decimal(low) <= value <= Decimal(high):
            raise BadPolicyValue(f"The value lies between {low} and {high}; this is {text}.", field="value")
        return value

    return read


def one_of(*words: str) -> Callable[[str], str]:
    """Reads one of some words."""

    def read(text: str) -> str:
        if text not in words:
            raise BadPolicyValue(f"The value is one of {', '.join(words)}; this is {text!r}.", field="value")
        return text

    return read


def policy_in_force(
    uow: UnitOfWork, definitions: tuple[PolicyDefinition, ...], kind: type[Policy], company: str, code: str, day: date
) -> tuple[Any, int]:
    """The value on a day and the version it comes from; version 0 is the default."""
    definition = next(d for d in definitions if d.code == code)
    found = in_force(uow, kind, company, code, day)
    text, version = (found.content.value, found.version) if found else (definition.default, 0)
    return definition.read(text), version


class PolicyView(BaseModel):
    """A policy with its history."""

    code: str
    meaning: str | None
    unit: str | None
    source: str | None
    default: str | None = Field(description="Where nothing is set; null for a parameter of the company's own.")
    history: list[Versioned[Any]]
    value: str | None = Field(description="The latest value.")
    recorded_at: datetime | None = None


def policy_router(
    kind: type[Policy], definitions: tuple[PolicyDefinition, ...], *, own_parameters: bool = False
) -> Router:
    """GET the list with meaning, unit, source and history; and the routes of a dated setting.

    Args:
        own_parameters: whether a company may define parameters that the code does not know, for use in its formulas.
    """
    by_code: Mapping[str, PolicyDefinition] = {d.code: d for d in definitions}

    def check(_uow: UnitOfWork, _company: str, code: str, new: Policy, _before: Policy | None) -> None:
        if definition := by_code.get(code):
            definition.read(new.value)
        elif not own_parameters:
            raise UnknownPolicy(
                f"There is no policy {code!r}.", field="code", remedy=f"The policies are {', '.join(sorted(by_code))}."
            )
        elif new.meaning is None or new.unit is None:
            raise BadPolicyValue(
                "A parameter of the company's own has a meaning and a unit.", field="meaning", remedy="Add both."
            )
        else:
            decimal_between("-1e18", "1e18")(new.value)

    router = Router(tags=["policies"])

    @router.get("/policies", operation_id="listPolicies", summary="Every parameter with meaning, unit, source, history")
    def list_policies(context: Context) -> list[PolicyView]:
        context.require_reader()
        stored: dict[str, list[Recorded[Policy]]] = {}
        for recorded in history(context.uow, kind, context.company):
            stored.setdefault(recorded.code, []).append(recorded)
        return [_view(code, by_code.get(code), stored.get(code, [])) for code in sorted(by_code.keys() | stored.keys())]

    # The list above also shows what is at its default.
    roles = ("strategist", "compensation")
    router.include_router(configuration_router(kind, write_roles=roles, check=check, path="/policies", listed=False))
    return router


def _view(code: str, definition: PolicyDefinition | None, versions: list[Recorded[Policy]]) -> PolicyView:
    latest = versions[-1].content if versions else None
    return PolicyView(
        code=code,
        meaning=definition.meaning if definition else latest and latest.meaning,
        unit=definition.unit if definition else latest and latest.unit,
        source=(latest and latest.source) or (definition.source if definition else None),
        default=definition.default if definition else None,
        history=[shown(version) for version in versions],
        value=latest.value if latest else definition and definition.default,
        recorded_at=versions[-1].recorded_at if versions else None,
    )
