"""Scorecards: what may be set."""

from datetime import date

from shared.configuration import configuration_router
from shared.contracts.goals import Goal, Person, Scorecard, Unit
from shared.database.unit_of_work import UnitOfWork

from ..goals.rules import check_owner
from ..goals.store import histories
from ..organisation.routes import UnknownReference, require_existing
from .rules import check_lines


def check_scorecard(uow: UnitOfWork, company: str, _code: str, new: Scorecard, _before: Scorecard | None) -> None:
    check_owner(new.owner_unit, new.owner_person)
    check_lines(new.lines)
    require_existing(uow, Unit, company, new.owner_unit, date.max, "owner_unit")
    require_existing(uow, Person, company, new.owner_person, date.max, "owner_person")
    known = histories(uow, Goal, company, {line.goal for line in new.lines})
    for number, line in enumerate(new.lines):
        if line.goal not in known:
            raise UnknownReference(
                f"There is no goal {line.goal!r}.", field=f"lines.{number}.goal", remedy="Define the goal first."
            )


scorecards = configuration_router(Scorecard, write_roles=("strategist",), check=check_scorecard)
