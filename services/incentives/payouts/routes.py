"""Payout runs over HTTP. Compensation prepares, finance approves, releases and settles; never the same person both."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Path, Query

from shared.contracts.base import Code
from shared.contracts.payouts import (
    STEPS,
    Payee,
    RunApproved,
    RunOpened,
    RunRejected,
    RunSubmitted,
)
from shared.errors import Conflict
from shared.http.context import Context, RequestContext
from shared.http.idempotency import idempotency_required
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.log.parking import parked_error
from shared.money import minor_digits
from shared.periods import parse_period

from ..accruals.store import calendar_of
from ..ledger import store as ledger
from . import schemas, store
from .calculation import NO_ACCOUNT
from .files import parts_of
from .handlers import opened
from .rules import LineStatus, NothingToPay, check_approver, check_hash, check_state
from .steps import order, order_again

PREPARES, PAYS, READS = ("compensation",), ("finance",), ("compensation", "finance", "auditor")
router = Router(tags=["payout-runs"])
once = [Depends(idempotency_required)]
RunCode = Annotated[Code, Path(examples=["2025-Q1"])]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class ReleaseUnderWay(Conflict):
    """Lines of the same currency are being posted at the moment."""


@router.post("/payout-runs", operation_id="openPayoutRun", summary="Open a payout run", status_code=201,
             dependencies=once)  # fmt: skip
def open_payout_run(context: Context, new: schemas.NewRun) -> schemas.RunInFull:
    """A draft: calculate it next. It pays what is entitled and not paid, over all closed periods up to its period."""
    context.require(*PREPARES)
    minor_digits(new.currency)
    parse_period(calendar_of(context.uow, context.company), new.period)
    given = new.model_dump(exclude={"code"})
    opened(context.uow, context.company, RunOpened(run=new.code, by=me(context), **given))
    return _in_full(context, new.code)


@router.get("/payout-runs", operation_id="listPayoutRuns", summary="List payout runs")
def list_payout_runs(context: Context, page: Paging) -> Page[schemas.RunView]:
    """For compensation, finance and auditor."""
    context.require(*READS)
    rows = store.find(context.uow, context.company, page.after or "", page.fetch)
    return page.of([schemas.RunView(**_fields(row)) for row in rows], lambda run: run.code)


@router.get("/payout-runs/{run}", operation_id="getPayoutRun", summary="Get a run, its progress and its totals")
def get_payout_run(context: Context, run: RunCode) -> schemas.RunInFull:
    context.require(*READS)
    return _in_full(context, run)


@router.post("/payout-runs/{run}/calculations", operation_id="calculatePayoutRun", summary="Calculate a run",
             status_code=202, dependencies=once)  # fmt: skip
def calculate_payout_run(context: Context, run: RunCode) -> schemas.RunInFull:
    """A worker does it; the run shows how far it is. Any approval given before is void. While it is under way the same
    again only orders its present step again."""
    context.require(*PREPARES)
    found = store.get(context.uow, context.company, run, lock=True)
    if check_state("calculate", run, found.status):
        order_again(context.uow, context.company, found)
    else:
        attempt = found.attempt + 1
        _move(context, found, "calculating", "calculation ordered", phase="restating", done=0, attempt=attempt,
              preparers=_with_me(context, found), approved_by=None, hash=None, problem=None)  # fmt: skip
        order(context.uow, context.company, found, "restating", attempt=attempt)
    return _in_full(context, run)


@router.post("/payout-runs/{run}/submissions", operation_id="submitPayoutRun", summary="Submit a run for approval",
             dependencies=once)  # fmt: skip
def submit_payout_run(context: Context, run: RunCode) -> schemas.RunInFull:
    context.require(*PREPARES)
    found = store.get(context.uow, context.company, run, lock=True)
    check_state("submit", run, found.status)
    if not found.lines:
        raise NothingToPay(f"The run {run} has no line.", field="run", remedy="Close the period first.")
    _move(context, found, "submitted", "submitted", preparers=_with_me(context, found))
    _say(context, RunSubmitted(run=run, by=me(context), hash=found.hash, lines=found.lines, total=found.total))
    return _in_full(context, run)


@router.post("/payout-runs/{run}/approvals", operation_id="approvePayoutRun", summary="Approve a submitted run",
             dependencies=once)  # fmt: skip
def approve_payout_run(context: Context, run: RunCode, approval: schemas.Approval) -> schemas.RunInFull:
    """By finance, and by nobody who opened, calculated or submitted it. The approval is for that content alone."""
    context.require(*PAYS)
    found = store.get(context.uow, context.company, run, lock=True)
    check_approver(me(context), found.preparers)
    check_state("approve", run, found.status)
    check_hash(approval.hash, found.hash)
    _move(context, found, "approved", "approved", approved_by=me(context))
    _say(context, RunApproved(run=run, by=me(context), hash=found.hash))
    return _in_full(context, run)


@router.post("/payout-runs/{run}/rejections", operation_id="rejectPayoutRun", summary="Send a submitted run back",
             dependencies=once)  # fmt: skip
def reject_payout_run(context: Context, run: RunCode, objection: schemas.Objection) -> schemas.RunInFull:
    context.require(*PAYS)
    found = store.get(context.uow, context.company, run, lock=True)
    check_state("reject", run, found.status)
    _move(context, found, "calculated", "rejected", reason=objection.reason)
    _say(context, RunRejected(run=run, by=me(context), reason=objection.reason))
    return _in_full(context, run)


@router.post("/payout-runs/{run}/releases", operation_id="releasePayoutRun", summary="Release an approved run",
             status_code=202, dependencies=once)  # fmt: skip
def release_payout_run(context: Context, run: RunCode) -> schemas.RunInFull:
    """A worker posts its lines to the ledger; then its payment file can be read. To release it again changes nothing,
    and while that is under way orders its present step again.

    Where a payee's accounts have changed since it was calculated nothing is posted, and it returns to `calculated`.
    """
    context.require(*PAYS)
    found = store.get(context.uow, context.company, run, lock=True)
    if check_state("release", run, found.status):
        order_again(context.uow, context.company, found)
    else:
        context.uow.lock_company(context.company)
        wait_for_releases(context, found)
        day = store.today(context.uow, context.company) or found.promised
        _move(context, found, "releasing", "release ordered", phase="checking", done=0, released_by=me(context),
              released_on=day)  # fmt: skip
        order(context.uow, context.company, found, "checking")
    return _in_full(context, run)


@router.get("/payout-runs/{run}/lines", operation_id="listPayoutLines", summary="List the lines of a run")
def list_payout_lines(
    context: Context,
    run: RunCode,
    page: Paging,
    status: Annotated[LineStatus | None, Query()] = None,
    payee: Annotated[Payee | None, Query()] = None,
) -> Page[schemas.LineView]:
    context.require(*READS)
    uow, company = context.uow, context.company
    store.get(uow, company, run)
    rows = store.lines(uow, company, run, after=page.after or 0, limit=page.fetch, status=status, payee=payee)
    return page.of([schemas.LineView(**row._mapping) for row in rows], lambda line: line.line)


@router.get("/payout-runs/{run}/lines/{line}", operation_id="getPayoutLine", summary="Get a line with its postings")
def get_payout_line(context: Context, run: RunCode, line: Number) -> schemas.LineInFull:
    context.require(*READS)
    return line_in_full(context, run, line)


@router.get(
    "/balances", operation_id="listBalances", summary="List what payees are entitled to, were paid, and are due"
)
def list_balances(
    context: Context, page: Paging, payee: Annotated[Payee | None, Query()] = None
) -> Page[schemas.BalanceView]:
    """entitled + advanced = paid + payable + held + carried + pending, for each payee and plan.

    Where payees were merged it holds for all of them together.
    """
    context.require(*READS)
    rows = ledger.balances(
        context.uow, context.company, payee=payee, after=page.after or ("", "", ""), limit=page.fetch
    )
    return page.of([schemas.balance_view(row) for row in rows], lambda one: [one.currency, one.payee, one.plan])


def wait_for_releases(context: RequestContext, run: Any) -> None:
    if other := store.releasing(context.uow, context.company, run.currency):
        rule = f"The run {other} in {run.currency} is being posted at the moment."
        raise ReleaseUnderWay(rule, field="run", remedy="Send the same request again when it is released.")


def _in_full(context: RequestContext, code: str) -> schemas.RunInFull:
    uow, company = context.uow, context.company
    run = store.get(uow, company, code)
    # Counting a million lines takes seconds, and who waits for a run asks often.
    counts = {} if run.phase else store.counts(uow, company, code)
    missing = "SELECT count(DISTINCT payee) FROM payout_line WHERE company = :c AND run = :r AND why = :why"
    base = f"/incentives/v1/payout-runs/{quote(code)}"
    more = {
        "groups": {what: {"lines": lines, "amount": amount} for what, (lines, amount) in counts.items()},
        "missing_accounts": 0 if run.phase else uow.value(missing, c=company, r=code, why=NO_ACCOUNT),
        "file_parts": parts_of(run),
        "links": {"lines": f"{base}/lines", "payment_file": f"{base}/payment-file"},
    }  # fmt: skip
    return schemas.RunInFull(**_fields(run) | more | {"problem": run.problem or _stuck(context, run)})


def _stuck(context: RequestContext, run: Any) -> str | None:
    """Why the work on a run waits for an operator, where a step of it could not be done."""
    if run.phase and (error := parked_error(context.uow, context.company, STEPS, run.code)):
        return f"A step of it failed and waits for an operator, who repairs the cause and retries it: {error}"
    return None


def _fields(run: Any) -> dict[str, Any]:
    return run._asdict() | {"progress": {"phase": run.phase, "percent": _percent(run)}}


def _percent(run: Any) -> int:
    """Of the work under way; 100 where none is."""
    if run.phase == "posting":
        return 10 + 90 * run.done // max(run.lines, 1)
    return {None: 100, "restating": 0, "calculating": 50, "checking": 0}[run.phase] if run.status != "draft" else 0


def line_in_full(context: RequestContext, run: str, line: int) -> schemas.LineInFull:
    row = store.get_line(context.uow, context.company, run, line)
    entries = store.postings_of(context.uow, context.company, run, line - 1, line)
    return schemas.LineInFull.model_validate(row._asdict() | {"postings": [_posting(entry) for entry in entries]})


def _posting(row: Any) -> dict[str, Any]:
    names = ("number", "debit", "debit_payee", "credit", "credit_payee", "amount", "cause")
    return {name: row._mapping[name] for name in names}


def _move(context: RequestContext, run: Any, status: str, what: str, **columns: Any) -> None:
    store.move(context.uow, run, status, what, me(context), **columns)


def _say(context: RequestContext, event: Any) -> None:
    context.uow.publish(event, company=context.company, key=event.run)


def me(context: RequestContext) -> str:
    return context.principal.subject


def _with_me(context: RequestContext, run: Any) -> list[str]:
    return sorted({*run.preparers, me(context)})
