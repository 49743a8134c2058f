"""The dated parameters of metrics. A company adds its own, which its formulas read by `parameter(code)`."""

from shared.policy import PolicyDefinition

POLICIES: tuple[PolicyDefinition, ...] = ()
