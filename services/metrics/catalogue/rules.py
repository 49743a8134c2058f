"""What a metric, a rate and a conversion must be, judged when they are defined."""

from collections.abc import Callable, Mapping
from decimal import Decimal

from shared.contracts.metrics import Conversion, Metric, Rate
from shared.errors import Conflict, Invalid
from shared.formula import FORMULA, Expression, FormulaError, find_cycle, infer_unit, parse
from shared.money import is_currency
from shared.units import RATIO, Unit, accepts, is_duration, parse_unit

UnitOf = Callable[[str], Unit | None]


class FormulaRefused(Invalid):
    """A metric's formula breaks the grammar, a limit or the rules of units."""


class FormulaCycle(Invalid):
    """Metrics would depend on themselves in the same period; `path` names the way round."""


class UnitDoesNotFit(Invalid):
    """What a formula yields is not in the metric's unit."""


class FoldsDoNotFit(Invalid):
    """How a metric folds over time and across subjects does not go together."""


class MetricIsInUse(Conflict):
    """Observations already feed the metric."""


class CodeDoesNotFit(Invalid):
    """The code of a rate or conversion is not made of its two ends."""


class RateRefused(Invalid):
    """A rate or factor is not above zero, or its ends are no units or the same."""


def formula_of(metric: Metric) -> Expression | None:
    """The metric's formula. Raises FormulaRefused, with the position counted from 1."""
    if metric.formula is None:
        return None
    try:
        expression = parse(metric.formula, functions=FORMULA)
    except FormulaError as error:
        raise FormulaRefused(error.rule, field="formula", remedy=error.remedy, **error.more) from None
    if odd := sorted(name for name in expression.names if "." in name or "[" in name):
        raise FormulaRefused(f"{odd[0]} is not a metric's code.", field="formula", remedy="Name metrics by their code.")
    return expression


def check_cycle(known: Mapping[str, Metric]) -> None:
    """Raises FormulaCycle where a formula leads back to its own metric within a period; what looks back may."""
    formulas = {name: formula_of(metric) for name, metric in known.items()}
    if path := find_cycle({name: formula.names for name, formula in formulas.items() if formula}):
        raise FormulaCycle(
            f"A formula may not lead back to its own metric in the same period: {' -> '.join(path)}.",
            field="formula", remedy="Use previous(…) for one of them.", path=path,
        )  # fmt: skip


def check_unit(metric: Metric, unit_of: UnitOf, unit_of_parameter: UnitOf) -> None:
    """The declared unit exists, and is what the formula yields, as far as what it reads is known already.

    Raises:
        UnitUnknown, FormulaRefused, UnitDoesNotFit.
    """
    declared, expression = parse_unit(metric.unit), formula_of(metric)
    if expression is None:
        return

    def unit_of_call(function: str, name: str) -> Unit | None:
        return unit_of_parameter(name) if function == "parameter" else unit_of(name)

    if None in [unit_of(name) for name in expression.names] + [unit_of_call(*call) for call in expression.calls]:
        return  # early is not invalid: it waits, and its readings say what is missing
    try:
        found = infer_unit(expression, unit_of, unit_of_call)
    except FormulaError as error:
        raise FormulaRefused(error.rule, field="formula", remedy=error.remedy, **error.more) from None
    # A formula of bare numbers fits any unit: nothing in it says otherwise.
    if not accepts(declared, found) and not (found == RATIO and not expression.names and not expression.calls):
        raise UnitDoesNotFit(
            f"The formula yields {found}, and the metric's unit is {declared}.",
            field="unit", remedy=f"Declare the unit {found}, or bring the formula to {declared}.",
        )  # fmt: skip


def check_dependents(code: str, known: Mapping[str, Metric], unit_of: UnitOf, unit_of_parameter: UnitOf) -> None:
    """A unit that appears or changes must fit the formulas that were defined before it. Raises UnitDoesNotFit."""
    for name, metric in known.items():
        formula = formula_of(metric)
        if name == code or formula is None or code not in formula.names | {called for _, called in formula.calls}:
            continue
        try:
            check_unit(metric, unit_of, unit_of_parameter)
        except Invalid as error:
            raise UnitDoesNotFit(
                f"The formula of {name} uses this metric, and with the unit {known[code].unit}: {error.rule}",
                field="unit", remedy=f"Correct {name} first, or this unit.",
            ) from None  # fmt: skip


def check_folds(metric: Metric) -> None:
    """Raises FoldsDoNotFit."""
    if metric.across_subjects == "distinct" and metric.over_time != "distinct":
        raise FoldsDoNotFit(
            "Distinct members are counted across subjects only where they are counted over time.",
            field="across_subjects", remedy="Set over_time to distinct too, or across_subjects to sum.",
        )  # fmt: skip
    if len(set(metric.grains)) < len(metric.grains):
        raise FoldsDoNotFit("A kind of period is named twice.", field="grains", remedy="Name each once.")


def check_unchanged(metric: Metric, before: Metric) -> None:
    """What observations were measured and folded by stays. Raises MetricIsInUse."""
    changed = [
        name for name in ("unit", "over_time", "across_subjects") if getattr(metric, name) != getattr(before, name)
    ]
    if metric.formula is not None and before.formula is None:
        changed.append("formula")
    if changed:
        raise MetricIsInUse(
            f"Observations feed this metric, so its {changed[0]} stays {getattr(before, changed[0])}.",
            field=changed[0], remedy="Define another metric, and map to it.",
        )  # fmt: skip


def check_rate(code: str, rate: Rate) -> None:
    """Raises CodeDoesNotFit, RateRefused."""
    for name in ("from_currency", "to_currency"):
        if not is_currency(getattr(rate, name)):
            raise RateRefused(f"{getattr(rate, name)} is not a currency.", field=name, remedy="Use its ISO 4217 code.")
    _check_pair(code, rate.from_currency, rate.to_currency, "rate", rate.rate)


def check_conversion(code: str, conversion: Conversion) -> None:
    """Raises CodeDoesNotFit, RateRefused."""
    pair = conversion.from_unit, conversion.to_unit
    if any(map(is_currency, pair)):
        raise RateRefused("Currencies convert by rates.", field="from_unit", remedy="Use /metrics/v1/rates.")
    _check_pair(code, *pair, "factor", conversion.factor)
    if all(is_duration(Unit(((text, 1),))) for text in pair):
        raise RateRefused("d, h, min and s convert by themselves.", field="from_unit", remedy="Leave it out.")


def _check_pair(code: str, one: str, other: str, name: str, number: Decimal) -> None:
    if code != f"{one}-{other}":
        rule, remedy = f"The code is FROM-TO: {one}-{other}.", f"Put it under {one}-{other}."
        raise CodeDoesNotFit(rule, field="code", remedy=remedy)
    if one == other or number <= 0:
        rule = f"A {name} ties two different units and is above zero."
        raise RateRefused(rule, field=name, remedy="Correct it, or leave it out.")
