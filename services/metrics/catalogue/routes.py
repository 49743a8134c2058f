"""Sources, metrics, conversions, rates and policies: dated settings with their checks."""

from services.metrics.catalogue import rules
from services.metrics.policies import POLICIES
from shared.configuration import all_in_force, configuration_router, latest
from shared.contracts.metrics import Conversion, Metric, MetricsPolicy, Rate, Source
from shared.database.unit_of_work import UnitOfWork
from shared.errors import Conflict, Invalid
from shared.http.routing import Router
from shared.policy import policy_router
from shared.units import Unit, UnitUnknown, parse_unit


class SourceUriTaken(Conflict):
    """Another source has that uri already."""


class UriRefused(Invalid):
    """A source's uri contains white space."""


def check_source(uow: UnitOfWork, company: str, code: str, new: Source, _before: Source | None) -> None:
    if any(map(str.isspace, new.uri)):
        raise UriRefused("A uri contains no white space.", field="uri", remedy="Encode spaces as %20.")
    for other, found in all_in_force(uow, Source, company).items():
        if other != code and found.content.uri == new.uri:
            raise SourceUriTaken(f"The source {other} has this uri.", field="uri", remedy="Give each source its own.")


def check_metric(uow: UnitOfWork, company: str, code: str, new: Metric, _before: Metric | None) -> None:
    rules.formula_of(new)
    rules.check_folds(new)
    known = {name: found.content for name, found in all_in_force(uow, Metric, company).items()}

    def unit_of(name: str) -> Unit | None:
        metric = new if name == code else known.get(name)
        return parse_unit(metric.unit) if metric else None

    def unit_of_parameter(name: str) -> Unit | None:
        policy = latest(uow, MetricsPolicy, company, name)
        try:
            return parse_unit(policy.content.unit) if policy and policy.content.unit else None
        except UnitUnknown:  # a parameter's unit is a note to readers; only where it is a unit can it be judged
            return None

    rules.check_unit(new, unit_of, unit_of_parameter)
    rules.check_cycle(code, new, known)
    if code in known and _has_observations(uow, company, code):
        rules.check_unchanged(new, known[code])
    _check_dependents(uow, company, code, new, known, unit_of, unit_of_parameter)


def _check_dependents(
    uow: UnitOfWork,
    company: str,
    code: str,
    new: Metric,
    known: dict[str, Metric],
    unit_of: rules.UnitOf,
    unit_of_parameter: rules.UnitOf,
) -> None:
    """A unit that appears or changes must fit the formulas that were defined before it."""
    before = known.get(code)
    if before and before.unit == new.unit:
        return
    for name, metric in known.items():
        expression = rules.formula_of(metric)
        if name != code and expression and code in expression.names | {called for _, called in expression.calls}:
            try:
                rules.check_unit(metric, unit_of, unit_of_parameter)
            except Invalid as error:
                raise rules.UnitDoesNotFit(
                    f"The formula of {name} uses this metric, and with the unit {new.unit}: {error.rule}",
                    field="unit", remedy=f"Correct {name} first, or this unit.",
                ) from None  # fmt: skip


def _has_observations(uow: UnitOfWork, company: str, code: str) -> bool:
    return bool(
        uow.value(
            "SELECT EXISTS (SELECT FROM observation WHERE company = :company AND metric = :metric)",
            company=company, metric=code,
        )
    )  # fmt: skip


def check_rate(_uow: UnitOfWork, _company: str, code: str, new: Rate, _before: Rate | None) -> None:
    rules.check_rate(code, new)


def check_conversion(_uow: UnitOfWork, _company: str, code: str, new: Conversion, _before: Conversion | None) -> None:
    rules.check_conversion(code, new)


def catalogue_router() -> Router:
    """The routes of the catalogue's settings."""
    router = Router()
    who = ("analyst", "strategist")
    router.include_router(configuration_router(Source, write_roles=who, check=check_source))
    router.include_router(configuration_router(Metric, write_roles=who, check=check_metric))
    router.include_router(configuration_router(Conversion, write_roles=who, check=check_conversion))
    router.include_router(configuration_router(Rate, write_roles=(*who, "finance"), check=check_rate))
    router.include_router(policy_router(MetricsPolicy, POLICIES, own_parameters=True))
    return router
