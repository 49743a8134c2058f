"""Plans in the database: what they hang on, and which version judges a day."""

from collections.abc import Collection, Sequence

from shared.configuration import Recorded, all_in_force, history, in_force
from shared.contracts.incentives import Plan
from shared.database.unit_of_work import UnitOfWork
from shared.periods import Period
from shared.service import Received

from ..assignments.rules import last_day
from ..policies import policy
from .rules import DriverKey, check_fixed, check_plan


def check(uow: UnitOfWork, company: str, code: str, new: Plan, _before: Plan | None) -> None:
    """Raises the rule that a new version of a plan breaks."""
    check_plan(new, policy(uow, company, "largest_factor", new.effective_from))
    assigned = "SELECT EXISTS (SELECT 1 FROM assignment WHERE company = :company AND plan = :code)"
    if uow.value(assigned, company=company, code=code):
        recorded = [version.content for version in history(uow, Plan, company, code)]
        check_fixed(new, [(plan.currency, plan.period) for plan in recorded])


def note_drivers(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Remembers what a plan hangs on, and has what has already come taken up."""
    for received in events:
        plan: Plan = received.event.content
        keys = {DriverKey.of(component.driver) for component in plan.components}
        for key in sorted(keys):
            uow.run(
                "INSERT INTO plan_driver (company, kind, code, subject, period_kind, plan) "
                "VALUES (:company, :kind, :code, :subject, :period_kind, :plan) ON CONFLICT DO NOTHING",
                company=received.company, kind=key.kind, code=key.code, subject=key.subject, period_kind=plan.period,
                plan=received.event.code,
            )  # fmt: skip
        uow.state.setdefault("wanted", {}).setdefault(received.company, set()).update(keys)


def plans_paying(
    uow: UnitOfWork, company: str, period: Period, codes: Collection[str] | None = None
) -> dict[str, Recorded[Plan]]:
    """The plans that pay for a period, as on its last day, by code; all of them where `codes` is None."""
    day = last_day(period)
    if codes is None:
        found = all_in_force(uow, Plan, company, day)
    else:
        found = {code: plan for code in codes if (plan := in_force(uow, Plan, company, code, day))}
    return {code: found[code] for code in sorted(found) if found[code].content.period == period.kind}
