"""The long work on a run: calculating and posting, one step a transaction.

Each step orders the next on the service's own log. So a worker that dies leaves nothing half done: its successor takes
the same step again, and progress can be read between steps.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from shared.contracts.payouts import PayoutReleased, RunCalculated, RunStep
from shared.database.unit_of_work import UnitOfWork
from shared.periods import parse_period
from shared.service import Received

from ..accruals.store import calendar_of
from ..entitlements.store import restate
from ..ledger import store as ledger
from ..statements import store as statements
from . import store
from .calculation import calculate, content_hash, held_meanwhile, outdated

CHUNK = 5_000  # lines that are posted in one transaction: some seconds
IN_EVENT = 400_000  # characters of lines in one event: below what brokers take by default, even if each is two bytes
WORKING = ("calculating", "releasing")


def order(uow: UnitOfWork, company: str, run: Any, phase: Any, after: int = 0, attempt: int | None = None) -> None:
    """Has the next step of a run done."""
    step = RunStep(run=run.code, attempt=run.attempt if attempt is None else attempt, phase=phase, after=after)
    uow.publish(step, company=company, key=run.code)


def order_again(uow: UnitOfWork, company: str, run: Any) -> None:
    """Has the step that is under way done, in case its order was discarded where it was parked."""
    if run.phase:
        order(uow, company, run, run.phase, run.done)


def take_steps(uow: UnitOfWork, events: Sequence[Received]) -> None:
    """Does the steps that are due; those of an earlier calculation, or ordered twice and done already, are void."""
    for received in events:
        step: RunStep = received.event
        run = store.get(uow, received.company, step.run, lock=True)
        if run.status in WORKING and (run.attempt, run.phase, run.done) == (step.attempt, step.phase, step.after):
            _PHASES[step.phase](uow, received.company, run, step)


def restated(uow: UnitOfWork, company: str, event: RunCalculated) -> None:
    """Has entitlements restated up to a run's period, and says so: a rebuild does it at the same place."""
    run = store.get(uow, company, event.run)
    restate(uow, company, parse_period(calendar_of(uow, company), run.period))
    uow.publish(event, company=company, key=event.run)


def _restate(uow: UnitOfWork, company: str, run: Any, _step: RunStep) -> None:
    restated(uow, company, RunCalculated(run=run.code, attempt=run.attempt))
    store.progress(uow, run, "calculating")
    order(uow, company, run, "calculating")


def _calculate(uow: UnitOfWork, company: str, run: Any, _step: RunStep) -> None:
    uow.run("DELETE FROM payout_line WHERE company = :company AND run = :run", company=company, run=run.code)
    lines = calculate(uow, company, run, calendar_of(uow, company))
    total = uow.value(
        "SELECT coalesce(sum(amount), 0) FROM payout_line WHERE company = :company AND run = :run "
        "AND account = 'payable'", company=company, run=run.code,
    )  # fmt: skip
    store.progress(uow, run, None, lines, lines=lines, total=total)
    store.move(
        uow, run, "calculated", "calculated", uow.actor, hash=content_hash(uow.value, company, run), problem=None
    )


def _check(uow: UnitOfWork, company: str, run: Any, _step: RunStep) -> None:
    problem = None
    if payee := outdated(uow, company, run):
        problem = f"The accounts of {payee} have changed since it was calculated: calculate it again."
    elif payee := held_meanwhile(uow, company, run):
        problem = f"{payee} was put on hold since it was calculated: calculate it again."
    elif content_hash(uow.value, company, run) != run.hash:
        problem = "Its lines are not those that were approved: calculate it again."
    if problem:
        store.progress(uow, run, None)
        store.move(uow, run, "calculated", "not released", uow.actor, problem, problem=problem, approved_by=None)
    else:
        store.progress(uow, run, "posting")
        order(uow, company, run, "posting")


def _post(uow: UnitOfWork, company: str, run: Any, step: RunStep) -> None:
    last = min(step.after + CHUNK, run.lines)
    ledger.post(uow, company, run.code, step.after + 1, last, run.released_on)
    store.release_lines(uow, company, run.code, step.after + 1, last)
    statements.issue(uow, company, run, step.after, last)
    for event in _released(uow, company, run, step.after, last):
        uow.publish_raw(PayoutReleased, event, company=company, key=run.code)
    if last < run.lines:
        store.progress(uow, run, "posting", last)
        order(uow, company, run, "posting", last)
    else:
        released(uow, company, run)


def released(uow: UnitOfWork, company: str, run: Any) -> None:
    """The last line of a run is posted. A run that pays nobody is settled at once."""
    store.progress(uow, run, None, run.lines)
    after = "released" if store.unanswered(uow, company, run.code) else "settled"
    store.move(uow, run, after, "released", run.released_by)


def _released(uow: UnitOfWork, company: str, run: Any, after: int, last: int) -> Iterator[str]:
    """Events as JSON: the database writes their lines, since models of a million take minutes."""
    for chunk in _chunked(store.lines_as_json(uow, company, run.code, after, last)):
        after += len(chunk)
        event = PayoutReleased(
            run=run.code, by=run.released_by, day=run.released_on, hash=run.hash, last=after == run.lines, lines=[]
        )
        yield event.model_dump_json(exclude={"lines"})[:-1] + f',"lines":[{",".join(chunk)}]}}'


def _chunked(lines: Iterable[str]) -> Iterator[list[str]]:
    chunk, size = list[str](), 0
    for line in lines:
        if chunk and size + len(line) > IN_EVENT:
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line)
    if chunk:
        yield chunk


_PHASES: Mapping[str, Callable[[UnitOfWork, str, Any, RunStep], None]] = {
    "restating": _restate, "calculating": _calculate, "checking": _check, "posting": _post,
}  # fmt: skip
