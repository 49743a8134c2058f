"""Entitlements as they are read: every version, the latest at an instant or at the close, and its whole calculation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from shared.contracts.base import Citation
from shared.database.unit_of_work import UnitOfWork
from shared.numbers import plain

from .steps import Program, from_json


class StoredAmountDiffers(Exception):
    """An entitlement is not what its own steps say: somebody changed the database."""


@dataclass(frozen=True, slots=True)
class Which:
    """Which version of each entitlement: the latest at an instant, or as the period was closed; else none chosen."""

    known_at: datetime | None = None
    closed: bool = False

    def __bool__(self) -> bool:
        return self.closed or self.known_at is not None

    @property
    def newest(self) -> str:
        """The condition for an entitlement `e`."""
        join = "JOIN certificate c ON (c.company, c.period) = (v.company, v.period) AND v.change <= c.change"
        return (
            f"e.version = (SELECT max(v.version) FROM entitlement v {join * self.closed} WHERE (v.company, v.period, "
            "v.plan, v.payee) = (e.company, e.period, e.plan, e.payee) "
            "AND (CAST(:known_at AS timestamptz) IS NULL OR v.recorded_at <= :known_at))"
        )


def versions(
    uow: UnitOfWork, company: str, payee: str, *, period: str | None = None, plan: str | None = None,
    version: int | None = None, as_of: date | None = None, which: Which = Which(),
) -> Sequence[Any]:  # fmt: skip
    """Every version of a payee's entitlements, by period, plan and version, or of each the one that is asked for."""
    return uow.rows(
        "SELECT e.* FROM entitlement e WHERE company = :company AND payee = :payee "
        "AND (CAST(:period AS text) IS NULL OR period = :period) AND (CAST(:plan AS text) IS NULL OR plan = :plan) "
        "AND (CAST(:as_of AS date) IS NULL OR EXISTS (SELECT 1 FROM frozen f WHERE (f.company, f.period, f.plan) = "
        "(e.company, e.period, '') AND f.starts <= :as_of AND f.ends > :as_of)) AND (CAST(:version AS int) IS NULL "
        f"OR version = :version) AND ({which.newest} OR NOT :chosen) ORDER BY period, plan, version",
        company=company, payee=payee, period=period, plan=plan, version=version, as_of=as_of,
        known_at=which.known_at, chosen=bool(which),
    )  # fmt: skip


def find(
    uow: UnitOfWork, company: str, *, period: str, plan: str | None, which: Which, after: Sequence[str], limit: int
) -> Sequence[Any]:
    """The versions of a period that are asked for, by default the latest, by plan and payee."""
    return uow.rows(
        f"SELECT e.* FROM entitlement e WHERE company = :company AND period = :period "
        f"AND {which.newest if which else 'latest'} AND (CAST(:plan AS text) IS NULL OR plan = :plan) "
        "AND (plan, payee) > (:a, :b) ORDER BY plan, payee LIMIT :n",
        company=company, period=period, plan=plan, a=after[0], b=after[1], n=limit, known_at=which.known_at,
    )  # fmt: skip


def content(uow: UnitOfWork, company: str, row: Any) -> dict[str, Any]:
    """The whole calculation of an entitlement: `inputs` (what was cited), `steps` and `missing`, as JSON.

    Args:
        row: of the table `entitlement`.

    Raises:
        StoredAmountDiffers: its steps do not come to its amount.
    """
    stored = uow.value(
        "SELECT steps FROM calculation WHERE company = :company AND id = :id",
        company=company, id=row.content["calculation"],
    )  # fmt: skip
    return expanded(Program([from_json(step) for step in stored]), row)


def expanded(program: Program, row: Any) -> dict[str, Any]:
    """The same by the program that `content.calculation` names. Raises StoredAmountDiffers."""
    steps = program.expand([_given(one) for one in row.content["given"]])
    _same(row, steps[-1].value)
    shown = [step.as_json() for step in steps]
    inputs = {str(cite): cite for step in shown for cite in step.get("cites", ())}
    missing = [step["how"] for step in shown if step["op"] == "missing"]
    return {"inputs": list(inputs.values()), "steps": shown, "missing": missing}


def ran(program: Program, row: Any) -> None:
    """Runs the program for a version, and leaves its values in place. Raises StoredAmountDiffers."""
    given = row.content["given"]
    program.run([Decimal(one[0] if isinstance(one, list) else one) for one in given])
    _same(row, program.values[program.result])


def _same(row: Any, value: Decimal | None) -> None:
    if value != row.amount:
        raise StoredAmountDiffers(
            f"The entitlement of {row.payee} from {row.plan} in {row.period}, version {row.version}, is stored as "
            f"{plain(row.amount)}; its steps come to {value}."
        )


def _given(stored: Any) -> tuple[Decimal, Citation | None, str]:
    value, cite, how = stored if isinstance(stored, list) else (stored, None, "")
    return Decimal(value), Citation.model_validate(cite) if cite else None, how
