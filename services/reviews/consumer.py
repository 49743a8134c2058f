"""What happens when an event arrives. The platform copies settings of other services by itself."""

from collections.abc import Mapping, Sequence

from shared.contracts import goals
from shared.contracts.base import Contract
from shared.database.unit_of_work import UnitOfWork
from shared.service import Handler, Received

from .cases.handlers import decisions_answered, deviations_cleared, deviations_found


def copied(_uow: UnitOfWork, _events: Sequence[Received]) -> None:
    """The organisation is read when it is needed, so the copy is all there is to do."""


HANDLERS: Mapping[type[Contract], Handler] = {
    goals.Company: copied,
    goals.Unit: copied,
    goals.Person: copied,
    goals.DeviationFound: deviations_found,
    goals.DeviationCleared: deviations_cleared,
    goals.DecisionApplied: decisions_answered,
    goals.DecisionRefused: decisions_answered,
}
