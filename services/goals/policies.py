"""The dated parameters of goals."""

import json
from collections.abc import Mapping
from decimal import Decimal

from shared.curves import Curve, parse_curve, top
from shared.policy import BadPolicyValue, PolicyDefinition, decimal_between, one_of


def read_curve(text: str) -> Curve:
    """The curve in a JSON text; bounded above, because a lower-is-better actual of 0 scores its highest value."""
    try:
        body = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, Mapping):
        raise BadPolicyValue("A curve is a JSON object.", field="value")
    curve = parse_curve(body)
    if top(curve) is None:
        raise BadPolicyValue("A score has a highest value.", field="value", remedy="Give the curve a cap.")
    return curve


POLICIES = (
    PolicyDefinition(
        "attainment_curve", "From attainment [ratio] to score.", "curve",
        '{"kind": "linear", "slope": "100", "floor": "0", "cap": "120"}', "Conventions: default linear, 0–120",
        read_curve,
    ),
    PolicyDefinition(
        "deviation_limit", "A gap of more than this share of the target is a deviation; exactly this is none.",
        "ratio", "0.10", "M2", decimal_between("0", "10"),
    ),
    PolicyDefinition(
        "deviation_judgement",
        "When gaps are judged: at the period's end against the whole target, or also at each day's or week's end "
        "against the target to date.",
        "choice", "period_end", "M2", one_of("period_end", "day", "week"),
    ),
    PolicyDefinition(
        "target_change",
        "Which target counts in a period in which it changes: the one in force on the last day for the whole period, "
        "each for its days (prorated), or at any time the one in force then.",
        "choice", "whole_period", "G5", one_of("whole_period", "prorated", "from_its_date"),
    ),
)  # fmt: skip
BY_CODE = {definition.code: definition for definition in POLICIES}
