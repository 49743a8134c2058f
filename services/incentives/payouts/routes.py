"""Payout runs over HTTP. Compensation prepares, finance approves, releases and settles; never the same person both."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Path, Query

from shared.contracts.base import Code
from shared.contracts.payouts import (
    FailedLine,
    Payee,
    PayoutReversed,
    PayoutSettled,
    RunApproved,
    RunOpened,
    RunRejected,
    RunSubmitted,
)
from shared.errors import Conflict, Invalid
from shared.http.context import Context, RequestContext
from shared.http.idempotency import idempotency_required
from shared.http.paging import Page, Paging
from shared.http.routing import Router
from shared.money import minor_digits, round_money
from shared.numbers import plain
from shared.periods import parse_period

from ..accruals.store import calendar_of
from ..ledger import store as ledger
from . import schemas, store
from .calculation import NO_ACCOUNT
from .files import parts_of
from .handlers import opened, reversed_, settled
from .rules import KNOWN, LineStatus, NothingToPay, check_approver, check_hash, check_state
from .steps import order

PREPARES, PAYS, READS = ("compensation",), ("finance",), ("compensation", "finance", "auditor")
router = Router(tags=["payout-runs"])
once = [Depends(idempotency_required)]
RunCode = Annotated[Code, Path(examples=["2025-Q1"])]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class AnsweredOtherwise(Conflict):
    """A line has another answer already, or is not one that is paid."""


class AmountDiffers(Invalid):
    """What the bank says it paid is not what the line pays."""


class ReasonMissing(Invalid):
    """A failed line says why."""


class AlreadyReversed(Conflict):
    """The line was reversed already, or cannot be."""


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
    opened(context.uow, context.company, RunOpened(run=new.code, by=_me(context), **given))
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
    """A worker does it; the run shows how far it is. Any approval given before is void."""
    context.require(*PREPARES)
    found = store.get(context.uow, context.company, run, lock=True)
    if not check_state("calculate", run, found.status):
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
    _say(context, RunSubmitted(run=run, by=_me(context), hash=found.hash, lines=found.lines, total=found.total))
    return _in_full(context, run)


@router.post("/payout-runs/{run}/approvals", operation_id="approvePayoutRun", summary="Approve a submitted run",
             dependencies=once)  # fmt: skip
def approve_payout_run(context: Context, run: RunCode, approval: schemas.Approval) -> schemas.RunInFull:
    """By finance, and by nobody who opened, calculated or submitted it. The approval is for that content alone."""
    context.require(*PAYS)
    found = store.get(context.uow, context.company, run, lock=True)
    check_approver(_me(context), found.preparers)
    check_state("approve", run, found.status)
    check_hash(approval.hash, found.hash)
    _move(context, found, "approved", "approved", approved_by=_me(context))
    _say(context, RunApproved(run=run, by=_me(context), hash=found.hash))
    return _in_full(context, run)


@router.post("/payout-runs/{run}/rejections", operation_id="rejectPayoutRun", summary="Send a submitted run back",
             dependencies=once)  # fmt: skip
def reject_payout_run(context: Context, run: RunCode, objection: schemas.Objection) -> schemas.RunInFull:
    context.require(*PAYS)
    found = store.get(context.uow, context.company, run, lock=True)
    check_state("reject", run, found.status)
    _move(context, found, "calculated", "rejected", reason=objection.reason)
    _say(context, RunRejected(run=run, by=_me(context), reason=objection.reason))
    return _in_full(context, run)


@router.post("/payout-runs/{run}/releases", operation_id="releasePayoutRun", summary="Release an approved run",
             status_code=202, dependencies=once)  # fmt: skip
def release_payout_run(context: Context, run: RunCode) -> schemas.RunInFull:
    """A worker posts its lines to the ledger; then its payment file can be read. To release it again changes nothing.

    Where a payee's accounts have changed since it was calculated nothing is posted, and it returns to `calculated`.
    """
    context.require(*PAYS)
    found = store.get(context.uow, context.company, run, lock=True)
    if not check_state("release", run, found.status):
        context.uow.lock_company(context.company)
        _wait_for_releases(context, found)
        day = store.today(context.uow, context.company) or found.promised
        _move(context, found, "releasing", "release ordered", phase="checking", done=0, released_by=_me(context),
              released_on=day)  # fmt: skip
        order(context.uow, context.company, found, "checking")
    return _in_full(context, run)


@router.post("/payout-runs/{run}/settlements", operation_id="settlePayoutRun", summary="Take the bank's answer",
             dependencies=once)  # fmt: skip
def settle_payout_run(context: Context, run: RunCode, settlement: schemas.Settlement) -> schemas.Settled:
    """Per line, or for all that are unanswered. A failed line is due again in the next run. The same answer again
    changes nothing; another one is refused."""
    context.require(*PAYS)
    found = store.get(context.uow, context.company, run, lock=True)
    check_state("settle", run, found.status)
    fresh = _fresh_answers(context, found, settlement.lines)
    paid = [answer.line for answer in fresh if answer.outcome == "settled"]
    failed = [FailedLine(line=a.line, reason=a.reason or "") for a in fresh if a.outcome == "failed"]
    others = bool(settlement.others) and store.unanswered(context.uow, context.company, run)
    if fresh or others:
        event = PayoutSettled(run=run, by=_me(context), day=settlement.day, settled=paid, failed=failed, others=others)
        paid = settled(context.uow, context.company, event)
    status = store.get(context.uow, context.company, run).status
    same = len(settlement.lines) - len(fresh)
    return schemas.Settled(run=run, status=status, settled=len(paid), failed=len(failed), unchanged=same)


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
    return _line(context, run, line)


@router.post("/payout-runs/{run}/lines/{line}/reversals", operation_id="reversePayoutLine",
             summary="Take a released line back", status_code=201, dependencies=once)  # fmt: skip
def reverse_payout_line(
    context: Context, run: RunCode, line: Number, objection: schemas.Objection
) -> schemas.LineInFull:
    """By reversing postings; what was paid is then owed. The next calculation takes up what the line booked."""
    context.require(*PAYS)
    uow, company = context.uow, context.company
    found = store.get(uow, company, run)
    store.get_line(uow, company, run, line)
    uow.lock_company(company)
    _wait_for_releases(context, found)
    day = store.today(uow, company) or found.promised
    event = PayoutReversed(run=run, line=line, by=_me(context), day=day, reason=objection.reason)
    if not reversed_(uow, company, event):
        rule = f"Line {line} of {run} was reversed already, or paid nothing, or its money went into a later line."
        raise AlreadyReversed(rule, field="line", remedy="Look at its status.")
    return _line(context, run, line)


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


def _fresh_answers(context: RequestContext, run: Any, answers: Sequence[schemas.Answer]) -> list[schemas.Answer]:
    """The answers that are new. Raises AnsweredOtherwise, AmountDiffers, ReasonMissing, LineNotFound."""
    numbers = sorted({answer.line for answer in answers})
    rows = context.uow.rows(
        "SELECT line, status, amount, paid_on FROM payout_line WHERE company = :company AND run = :run "
        "AND line = ANY(:numbers)", company=context.company, run=run.code, numbers=numbers,
    )  # fmt: skip
    known, fresh = {row.line: row for row in rows}, []
    for index, answer in enumerate(answers):
        line = known.get(answer.line)
        if line is None:
            raise store.LineNotFound(f"The run {run.code} has no line {answer.line}.", field=f"lines.{index}.line")
        _check_answer(answer, line, run.currency, f"lines.{index}")
        if line.status == "released" or _paid_after_reversal(answer, line):
            fresh.append(answer)
        elif line.status not in KNOWN[answer.outcome]:
            rule = f"Line {line.line} is {line.status} and cannot become {answer.outcome}."
            raise AnsweredOtherwise(rule, field=f"lines.{index}.outcome", remedy="A wrong answer is put right by hand.")
    if len(numbers) < len(answers):
        raise AnsweredOtherwise("A line is answered twice.", field="lines", remedy="Answer each line once.")
    return fresh


def _paid_after_reversal(answer: schemas.Answer, line: Any) -> bool:
    return bool(line.status == "reversed" and answer.outcome == "settled" and line.paid_on is None)


def _check_answer(answer: schemas.Answer, line: Any, currency: str, field: str) -> None:
    if answer.outcome == "failed" and not answer.reason:
        raise ReasonMissing("A failed line says why.", field=f"{field}.reason", remedy="Send the bank's words.")
    if answer.amount is None or answer.amount == line.amount:
        return
    rule = f"Line {line.line} pays {plain(line.amount)} {currency}; the answer says {plain(answer.amount)}."
    if answer.amount != round_money(answer.amount, currency):
        rule = f"{currency} has {minor_digits(currency)} decimals; {plain(answer.amount)} has more."
    raise AmountDiffers(rule, field=f"{field}.amount", remedy="Answer with what was paid, line by line.")


def _wait_for_releases(context: RequestContext, run: Any) -> None:
    if other := store.releasing(context.uow, context.company, run.currency):
        rule = f"The run {other} in {run.currency} is being posted at the moment."
        raise ReleaseUnderWay(rule, field="run", remedy="Send the same request again when it is released.")


def _in_full(context: RequestContext, code: str) -> schemas.RunInFull:
    uow, company = context.uow, context.company
    run, counts = store.get(uow, company, code), store.counts(uow, company, code)
    missing = "SELECT count(DISTINCT payee) FROM payout_line WHERE company = :c AND run = :r AND why = :why"
    base = f"/incentives/v1/payout-runs/{quote(code)}"
    more = {
        "groups": {what: {"lines": lines, "amount": amount} for what, (lines, amount) in counts.items()},
        "missing_accounts": uow.value(missing, c=company, r=code, why=NO_ACCOUNT), "file_parts": parts_of(run),
        "links": {"lines": f"{base}/lines", "payment_file": f"{base}/payment-file"},
    }  # fmt: skip
    return schemas.RunInFull(**_fields(run), **more)


def _fields(run: Any) -> dict[str, Any]:
    return run._asdict() | {"progress": {"phase": run.phase, "percent": _percent(run)}}


def _percent(run: Any) -> int:
    """Of the work under way; 100 where none is."""
    if run.phase == "posting":
        return 10 + 90 * run.done // max(run.lines, 1)
    return {None: 100, "restating": 0, "calculating": 50, "checking": 0}[run.phase] if run.status != "draft" else 0


def _line(context: RequestContext, run: str, line: int) -> schemas.LineInFull:
    row = store.get_line(context.uow, context.company, run, line)
    entries = store.postings_of(context.uow, context.company, run, line - 1, line)
    return schemas.LineInFull.model_validate(row._asdict() | {"postings": [_posting(entry) for entry in entries]})


def _posting(row: Any) -> dict[str, Any]:
    names = ("number", "debit", "debit_payee", "credit", "credit_payee", "amount", "cause")
    return {name: row._mapping[name] for name in names}


def _move(context: RequestContext, run: Any, status: str, what: str, **columns: Any) -> None:
    store.move(context.uow, run, status, what, _me(context), **columns)


def _say(context: RequestContext, event: Any) -> None:
    context.uow.publish(event, company=context.company, key=event.run)


def _me(context: RequestContext) -> str:
    return context.principal.subject


def _with_me(context: RequestContext, run: Any) -> list[str]:
    return sorted({*run.preparers, _me(context)})
