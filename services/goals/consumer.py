"""What happens when an event arrives, and what a setting of our own makes dirty."""

from shared.contracts.base import Contract
from shared.contracts.goals import Company, Goal, GoalsPolicy, Scorecard, Target
from shared.contracts.metrics import Metric, ReadingChanged
from shared.contracts.reviews import DecisionMade
from shared.service import Handler

from .decisions.handlers import decisions_made
from .goals.handlers import goal_defined, target_defined
from .scores.handlers import company_defined, metrics_defined, policy_defined, readings_changed, scorecard_defined

HANDLERS: dict[type[Contract], Handler] = {
    ReadingChanged: readings_changed,
    Metric: metrics_defined,
    DecisionMade: decisions_made,
}
COMMANDS: dict[type[Contract], Handler] = {
    Company: company_defined,
    Goal: goal_defined,
    Target: target_defined,
    Scorecard: scorecard_defined,
    GoalsPolicy: policy_defined,
}
OVERTAKEN: dict[type[Contract], str] = {
    ReadingChanged: (
        "SELECT EXISTS (SELECT 1 FROM jsonb_to_recordset(:rows) AS told(metric text, subject text, period text, "
        "version int) JOIN reading_copy r USING (metric, subject, period) "
        "WHERE r.company = :company AND r.version >= told.version)"
    ),
}
