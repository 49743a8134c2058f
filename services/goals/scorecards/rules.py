"""What a scorecard may be (mechanism B4)."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

from shared.contracts.goals import ScorecardLine
from shared.errors import Invalid
from shared.numbers import multiply, plain, subtract, total


class WeightsDoNotAddUp(Invalid):
    """The weights of a scorecard add up to exactly 100 %."""


class WeightNotPositive(Invalid):
    """A line of a scorecard counts for something."""


class GoalTwice(Invalid):
    """A goal stands on a scorecard once."""


def check_lines(lines: Sequence[ScorecardLine]) -> None:
    """Raises `GoalTwice`, `WeightNotPositive` or `WeightsDoNotAddUp`, which says what is missing or too much."""
    twice = [goal for goal, count in Counter(line.goal for line in lines).items() if count > 1]
    if twice:
        raise GoalTwice(f"A goal stands on a scorecard once; {twice[0]} is there twice.", field="lines")
    for number, line in enumerate(lines):
        if line.weight <= 0:
            field = f"lines.{number}.weight"
            raise WeightNotPositive("A weight is more than 0.", field=field, remedy="Leave the line out.")
    weights = total(line.weight for line in lines)
    if weights != 1:
        missing = subtract(Decimal(1), weights)
        raise WeightsDoNotAddUp(
            f"The weights of a scorecard add up to 100 %; these add up to {_percent(weights)} %.",
            field="lines", missing=plain(missing),
            remedy=f"{'Raise' if missing > 0 else 'Lower'} one weight by {_percent(missing.copy_abs())} %.",
        )  # fmt: skip


def _percent(ratio: Decimal) -> str:
    return plain(multiply(ratio, Decimal(100)))
