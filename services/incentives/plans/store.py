"""Plans in the database: what they hang on, and which version judges a day."""

from collections.abc import Collection, Sequence
from datetime import date

from shared.configuration import Recorded, all_in_force, history, in_force
from shared.contracts.incentives import Award, Plan, Pool
from shared.database.unit_of_work import UnitOfWork
from shared.periods import Period
from shared.service import Received

from ..assignments.rules import last_day
from ..entitlements.touched import hang, touch
from ..policies import policy
from .rules import CodeTaken, DriverKey, Limits, PlanFixed, check_fixed, check_plan, drivers_of


def check(uow: UnitOfWork, company: str, code: str, new: Plan, _before: Plan | None) -> None:
    """Raises the rule that a new version of a plan breaks."""
    check_plan(new, limits(uow, company, new.effective_from))
    check_code(uow, company, new, code)
    assigned = "SELECT EXISTS (SELECT 1 FROM assignment WHERE company = :company AND plan = :code)"
    if uow.value(assigned, company=company, code=code):
        recorded = [version.content for version in history(uow, Plan, company, code)]
        check_fixed(new, [(plan.currency, plan.period) for plan in recorded])


def limits(uow: UnitOfWork, company: str, day: date) -> Limits:
    """The policies that a plan must keep on a day."""
    wanted = policy(uow, company, "core_required", day) == "yes"
    return Limits(
        policy(uow, company, "largest_factor", day), policy(uow, company, "core_share", day) if wanted else None
    )


def check_code(uow: UnitOfWork, company: str, new: Plan | Pool | Award, code: str) -> None:
    """Raises CodeTaken where something else that pays has the code, PlanFixed where it has paid in another currency."""
    kinds = [other.KIND for other in (Plan, Pool, Award) if not isinstance(new, other)]
    taken = uow.value(
        "SELECT min(kind) FROM configuration WHERE company = :company AND code = :code AND kind = ANY(:kinds)",
        company=company, code=code, kinds=kinds,
    )  # fmt: skip
    if taken:
        rule = f"{code} stands among the {taken}, and amounts are kept by the code they come from."
        raise CodeTaken(rule, field="code", remedy="Choose another code.")
    # What is booked is a plain number: the difference to an amount in another currency would be none.
    paid_in = uow.value(
        "SELECT e.currency FROM frozen f, LATERAL (SELECT currency FROM entitlement WHERE (company, period, plan) = "
        "(f.company, f.period, f.plan) LIMIT 1) AS e WHERE company = :company AND plan = :code "
        "AND e.currency <> :currency LIMIT 1",
        company=company, code=code, currency=new.currency,
    )  # fmt: skip
    if paid_in:
        rule = f"In closed periods {code} entitles to amounts in {paid_in}; this version says {new.currency}."
        raise PlanFixed(rule, field="currency", remedy="Define another, with a code of its own.")


def note_drivers(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Remembers what a plan hangs on, and has what has already come taken up."""
    for received in events:
        plan: Plan = received.event.content
        keys = {DriverKey.of(driver) for driver in drivers_of(plan)}
        hang(uow, received.company, received.event.code, plan.period, keys)
        touch(uow, received.company, received.event.code, plan.effective_from)


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
