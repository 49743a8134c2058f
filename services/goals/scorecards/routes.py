"""Scorecards: what may be set."""

from shared.configuration import configuration_router
from shared.contracts.goals import Goal, Scorecard
from shared.database.unit_of_work import UnitOfWork

from ..goals.handlers import require_owner
from ..goals.store import histories
from ..organisation.routes import UnknownReference
from .rules import check_lines


def check_scorecard(uow: UnitOfWork, company: str, _code: str, new: Scorecard, _before: Scorecard | None) -> None:
    require_owner(uow, company, new)
    check_lines(new.lines)
    known = histories(uow, Goal, company, {line.goal for line in new.lines})
    for number, line in enumerate(new.lines):
        if line.goal not in known:
            rule, field = f"There is no goal {line.goal!r}.", f"lines.{number}.goal"
            raise UnknownReference(rule, field=field, remedy="Define the goal first.")


scorecards = configuration_router(Scorecard, write_roles=("strategist",), check=check_scorecard)
