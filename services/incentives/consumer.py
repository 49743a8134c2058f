"""What happens when an event arrives. The platform copies settings of other services by itself."""

from collections.abc import Mapping, Sequence

from shared.contracts.base import Contract
from shared.contracts.goals import Company, Person, ScoreChanged, Unit
from shared.contracts.metrics import Rate, ReadingChanged
from shared.contracts.payouts import RunStep
from shared.database.unit_of_work import UnitOfWork
from shared.service import Handler, Received

from .drivers.handlers import arrived
from .entitlements.touched import touch_all
from .payouts.steps import take_steps


def copied(_uow: UnitOfWork, _events: Sequence[Received]) -> None:
    """Accruals are derived when they are read, so the copy is all there is to do."""


HANDLERS: Mapping[type[Contract], Handler] = {
    Company: copied,
    Unit: copied,
    Person: copied,
    ScoreChanged: arrived,
    ReadingChanged: arrived,
    RunStep: take_steps,
    Rate: touch_all,
}
_ARRIVED = (
    "SELECT EXISTS (SELECT 1 FROM jsonb_to_recordset(:rows) AS told(kind text, code text, metric text, subject text, "
    "period text, version int) JOIN arrived a ON (a.company, a.kind, a.code, a.subject, a.period) = (:company, "
    "coalesce(told.kind, 'reading'), coalesce(told.code, told.metric), coalesce(told.subject, ''), told.period) "
    "WHERE a.version >= told.version)"
)
OVERTAKEN: Mapping[type[Contract], str] = {ScoreChanged: _ARRIVED, ReadingChanged: _ARRIVED}
