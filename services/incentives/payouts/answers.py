"""What becomes of released lines over HTTP: the bank's answer, and taking one back."""

from collections.abc import Sequence
from typing import Any

from shared.contracts.payouts import FailedLine, PayoutReversed, PayoutSettled
from shared.errors import Conflict, Invalid
from shared.http.context import Context, RequestContext
from shared.http.routing import Router
from shared.money import minor_digits, round_money
from shared.numbers import plain

from . import schemas, store
from .handlers import reversed_, settled
from .routes import PAYS, Number, RunCode, line_in_full, me, once, wait_for_releases
from .rules import KNOWN, check_state

router = Router(tags=["payout-runs"])
OTHERWISE = "Where the bank sent a payment back, answer `returned`; where a line is wrong, reverse it."


class AnsweredOtherwise(Conflict):
    """A line has another answer already, or is not one that is paid."""


class AmountDiffers(Invalid):
    """What the bank says it paid is not what the line pays."""


class ReasonMissing(Invalid):
    """A line that failed or was returned says why."""


class AlreadyReversed(Conflict):
    """The line was reversed already, or cannot be."""


@router.post("/payout-runs/{run}/settlements", operation_id="settlePayoutRun", summary="Take the bank's answer",
             dependencies=once)  # fmt: skip
def settle_payout_run(context: Context, run: RunCode, settlement: schemas.Settlement) -> schemas.Settled:
    """Per line, or for all that are unanswered. A failed line is due again in the next run, and so is one that was paid
    and that the bank `returned` later. The same answer again changes nothing; another one is refused."""
    context.require(*PAYS)
    found = store.get(context.uow, context.company, run, lock=True)
    check_state("settle", run, found.status)
    fresh = _fresh_answers(context, found, settlement.lines)
    paid = [answer.line for answer in fresh if answer.outcome == "settled"]
    failed, returned = (
        [FailedLine(line=a.line, reason=a.reason or "") for a in fresh if a.outcome == outcome]
        for outcome in ("failed", "returned")
    )
    others = bool(settlement.others) and store.unanswered(context.uow, context.company, run)
    if fresh or others:
        event = PayoutSettled(run=run, by=me(context), day=settlement.day, settled=paid, failed=failed,
                              returned=returned, others=others)  # fmt: skip
        paid = settled(context.uow, context.company, event)
    status = store.get(context.uow, context.company, run).status
    same = len(settlement.lines) - len(fresh)
    return schemas.Settled(run=run, status=status, settled=len(paid), failed=len(failed), returned=len(returned),
                           unchanged=same)  # fmt: skip


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
    wait_for_releases(context, found)
    day = store.today(uow, company) or found.promised
    event = PayoutReversed(run=run, line=line, by=me(context), day=day, reason=objection.reason)
    if not reversed_(uow, company, event):
        rule = f"Line {line} of {run} was reversed already, or paid nothing, or its money went into a later line."
        raise AlreadyReversed(rule, field="line", remedy="Look at its status.")
    return line_in_full(context, run, line)


def _fresh_answers(context: RequestContext, run: Any, answers: Sequence[schemas.Answer]) -> list[schemas.Answer]:
    """The answers that are new. Raises AnsweredOtherwise, AmountDiffers, ReasonMissing, LineNotFound."""
    numbers = sorted({answer.line for answer in answers})
    rows = context.uow.rows(
        "SELECT line, status, amount, paid_on, EXISTS (SELECT 1 FROM posting p WHERE (p.company, p.run, p.line, "
        "p.entry) = (l.company, l.run, l.line, 'settlement')) AS was_paid FROM payout_line l "
        "WHERE company = :company AND run = :run AND line = ANY(:numbers)",
        company=context.company, run=run.code, numbers=numbers,
    )  # fmt: skip
    known, fresh = {row.line: row for row in rows}, []
    for index, answer in enumerate(answers):
        line = known.get(answer.line)
        if line is None:
            rule, remedy = f"The run {run.code} has no line {answer.line}.", "Answer by the lines of its payment file."
            raise store.LineNotFound(rule, field=f"lines.{index}.line", remedy=remedy)
        _check_answer(answer, line, run.currency, f"lines.{index}")
        if _is_new(answer, line):
            fresh.append(answer)
        elif line.status not in KNOWN[answer.outcome]:
            rule = f"Line {line.line} is {line.status} and cannot become {answer.outcome}."
            raise AnsweredOtherwise(rule, field=f"lines.{index}.outcome", remedy=OTHERWISE)
    if len(numbers) < len(answers):
        raise AnsweredOtherwise("A line is answered twice.", field="lines", remedy="Answer each line once.")
    return fresh


def _is_new(answer: schemas.Answer, line: Any) -> bool:
    """A line is answered once; what was paid may come back once, and what was reversed may still be paid."""
    if answer.outcome == "returned":
        return line.paid_on is not None
    return line.status == "released" or (
        line.status == "reversed" and answer.outcome == "settled" and not line.was_paid
    )  # fmt: skip


def _check_answer(answer: schemas.Answer, line: Any, currency: str, field: str) -> None:
    if answer.outcome != "settled" and not answer.reason:
        raise ReasonMissing(
            "A line that was not paid says why.", field=f"{field}.reason", remedy="Send the bank's words."
        )
    if answer.amount is None or answer.amount == line.amount:
        return
    rule = f"Line {line.line} pays {plain(line.amount)} {currency}; the answer says {plain(answer.amount)}."
    if answer.amount != round_money(answer.amount, currency):
        rule = f"{currency} has {minor_digits(currency)} decimals; {plain(answer.amount)} has more."
    raise AmountDiffers(rule, field=f"{field}.amount", remedy="Answer with what was paid, line by line.")
