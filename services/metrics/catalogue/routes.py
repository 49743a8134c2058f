"""Sources, metrics, conversions, rates and policies: dated settings with their checks."""

from collections.abc import Callable
from typing import Any

from services.metrics.catalogue import rules
from shared.configuration import Check, all_in_force, configuration_router, latest
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
    rules.check_folds(new)
    before = {name: found.content for name, found in all_in_force(uow, Metric, company).items()}
    known = {**before, code: new}

    def unit_of(name: str) -> Unit | None:
        return parse_unit(known[name].unit) if name in known else None

    def unit_of_parameter(name: str) -> Unit | None:
        policy = latest(uow, MetricsPolicy, company, name)
        try:
            return parse_unit(policy.content.unit) if policy and policy.content.unit else None
        except UnitUnknown:  # a parameter's unit is a note to readers; only where it is a unit can it be judged
            return None

    rules.check_unit(new, unit_of, unit_of_parameter)
    rules.check_cycle(known)
    observed = "SELECT EXISTS (SELECT FROM observation WHERE company = :company AND metric = :metric)"
    if code in before and uow.value(observed, company=company, metric=code):
        rules.check_unchanged(new, before[code])
    if code not in before or before[code].unit != new.unit:
        rules.check_dependents(code, known, unit_of, unit_of_parameter)


def _own(rule: Callable[[str, Any], None]) -> Check:
    """A check that looks at nothing but the setting."""
    return lambda _uow, _company, code, new, _before: rule(code, new)


def catalogue_router() -> Router:
    """The routes of the catalogue's settings."""
    router = Router()
    who = ("analyst", "strategist")
    router.include_router(configuration_router(Source, write_roles=who, check=check_source))
    router.include_router(configuration_router(Metric, write_roles=who, check=check_metric))
    router.include_router(configuration_router(Conversion, write_roles=who, check=_own(rules.check_conversion)))
    router.include_router(configuration_router(Rate, write_roles=(*who, "finance"), check=_own(rules.check_rate)))
    router.include_router(policy_router(MetricsPolicy, (), own_parameters=True))
    return router
