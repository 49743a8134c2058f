"""Plans in the database: what they hang on, and which version judges a day."""

from collections.abc import Collection, Sequence
from datetime import date

from services.incentives.plans.rules import DriverKey, check_fixed, check_plan
from services.incentives.policies import policy
from shared.contracts.incentives import Plan
from shared.database.unit_of_work import UnitOfWork
from shared.service import Received


def check(uow: UnitOfWork, company: str, code: str, new: Plan, _before: Plan | None) -> None:
    """Raises the rule that a new version of a plan breaks."""
    check_plan(new, policy(uow, company, "largest_factor", new.effective_from))
    recorded = uow.rows(
        "SELECT DISTINCT content->>'currency' AS currency, content->>'period' AS period FROM configuration "
        "WHERE company = :company AND kind = 'plans' AND code = :code "
        "AND EXISTS (SELECT 1 FROM assignment WHERE company = :company AND plan = :code)",
        company=company, code=code,
    )  # fmt: skip
    check_fixed(new, [(row.currency, row.period) for row in recorded])


def note_drivers(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Remembers what a plan hangs on, and has what has already come taken up."""
    for received in events:
        plan: Plan = received.event.content
        keys = sorted({DriverKey.of(component.driver) for component in plan.components})
        uow.run(
            "INSERT INTO plan_driver (company, kind, code, subject, period_kind, plan) "
            "SELECT :company, k, c, s, :period, :plan FROM unnest(CAST(:kinds AS text[]), CAST(:codes AS text[]), "
            "CAST(:subjects AS text[])) AS driver(k, c, s) ON CONFLICT DO NOTHING",
            company=received.company, period=plan.period, plan=received.event.code, kinds=[k.kind for k in keys],
            codes=[k.code for k in keys], subjects=[k.subject for k in keys],
        )  # fmt: skip
        wanted = uow.state.setdefault("wanted", {}).setdefault(received.company, set())
        wanted.update(keys)


def plans_in_force(
    uow: UnitOfWork, company: str, period_kind: str, day: date, codes: Collection[str] | None = None
) -> dict[str, tuple[int, Plan]]:
    """Version and content of the plans for a kind of period, by code, as on a day."""
    rows = uow.rows(
        "SELECT DISTINCT ON (code) code, version, content FROM configuration WHERE company = :company "
        "AND kind = 'plans' AND effective_from <= :day AND (CAST(:codes AS text[]) IS NULL OR code = ANY(:codes)) "
        "ORDER BY code, effective_from DESC, version DESC",
        company=company, day=day, codes=None if codes is None else sorted(codes),
    )  # fmt: skip
    found = {row.code: (row.version, Plan.model_validate(row.content)) for row in rows}
    return {code: (version, plan) for code, (version, plan) in found.items() if plan.period == period_kind}
