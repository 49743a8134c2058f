"""What a transaction has marked for recomputation."""

from dataclasses import dataclass, field

from shared.database.unit_of_work import UnitOfWork

ReadingKey = tuple[str, str, str]
"""Metric, subject, period label."""


@dataclass
class Dirty:
    """Of one company: readings that changed, goals and scorecards (as `goal:g`, `scorecard:s`) of which all periods
    may have changed, metrics whose definition changed, or everything."""

    readings: set[ReadingKey] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    metrics: set[str] = field(default_factory=set)
    everything: bool = False


def dirty(uow: UnitOfWork, company: str) -> Dirty:
    """The marks of a company in this transaction."""
    marks: dict[str, Dirty] = uow.state.setdefault("dirty", {})
    return marks.setdefault(company, Dirty())
