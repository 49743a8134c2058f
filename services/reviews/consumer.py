"""What happens when an event arrives. The platform copies settings of other services by itself."""

from collections.abc import Mapping, Sequence

from services.reviews.cases.handlers import (
    decisions_applied,
    decisions_refused,
    deviations_cleared,
    deviations_found,
)
from shared.contracts.base import Contract
from shared.contracts.goals import (
    Company,
    DecisionApplied,
    DecisionRefused,
    DeviationCleared,
    DeviationFound,
    Person,
    Unit,
)
from shared.database.unit_of_work import UnitOfWork
from shared.service import Handler, Received


def copied(_uow: UnitOfWork, _events: Sequence[Received]) -> None:
    """The organisation is read when it is needed, so the copy is all there is to do."""


HANDLERS: Mapping[type[Contract], Handler] = {
    Company: copied,
    Unit: copied,
    Person: copied,
    DeviationFound: deviations_found,
    DeviationCleared: deviations_cleared,
    DecisionApplied: decisions_applied,
    DecisionRefused: decisions_refused,
}
