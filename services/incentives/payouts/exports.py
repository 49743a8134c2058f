"""Payment files, journals for the general ledger, and whether payments were on time."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import BaseModel, Field

from shared.contracts.base import PeriodLabel
from shared.contracts.payouts import Account
from shared.errors import Invalid, NotFound
from shared.http.context import Context
from shared.http.routing import Router
from shared.numbers import DecimalString, divide, published

from ..ledger import store as ledger
from ..policies import policy
from . import schemas, store, timeliness
from .files import IN_PART, csv_text, in_minor_units, pain_001, parts_of, payments_csv
from .routes import PAYS, READS, RunCode
from .rules import check_state

MOST_OVERDUE = 1_000  # listed in one answer; all are counted
LONGEST_EXPORT = 366  # [days]
router = Router(tags=["payouts"])
_FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {kind: {"schema": {"type": "string"}} for kind in ("text/csv", "application/xml")}}
}
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


class NoSuchPart(NotFound):
    """The payment file has fewer parts."""


class SpanTooLong(Invalid):
    """The days asked for are in no order, or too many."""


class JournalEntry(BaseModel):
    """Postings of a day between the same two accounts, added up."""

    day: date
    journal: str = Field(description="Run and entry: `release`, `settlement`, `return` or `reversal`.")
    currency: str
    plan: str
    debit: Account = Field(description="Kind of account in the ledger here.")
    credit: Account
    debit_account: str = Field(description="Account of the general ledger, by the policy `journal_accounts`.")
    credit_account: str
    amount: DecimalString
    postings: int = Field(description="How many it sums up.")


@router.get("/payout-runs/{run}/payment-file", operation_id="getPaymentFile",
            summary="Get the payments of a run as a file", response_class=Response, responses=_FILES)  # fmt: skip
def get_payment_file(
    context: Context,
    run: RunCode,
    format: Annotated[Literal["csv", "pain.001"], Query(description="CSV, or ISO 20022 pain.001.001.09.")] = "csv",
    part: Annotated[int, Query(ge=1, le=10_000, description=f"Each has up to {IN_PART} lines.")] = 1,
) -> Response:
    """For finance, once the run is released. The same run gives the same file with the same message ids."""
    context.require(*PAYS)
    found = store.get(context.uow, context.company, run)
    check_state("pay", run, found.status)
    if part > parts_of(found):
        rule = f"The payment file of {run} has {parts_of(found)} parts."
        raise NoSuchPart(rule, field="part", remedy="Ask for one of them.")
    payments = store.payments(context.uow, found, (part - 1) * IN_PART, part * IN_PART)
    name = f"{run}-{part}.{'csv' if format == 'csv' else 'xml'}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if format == "csv":
        return Response(payments_csv(found, payments), media_type="text/csv", headers=headers)
    payer = store.account_of(context.uow, context.company, "company", found.promised)
    return Response(pain_001(found, part, payments, payer), media_type="application/xml", headers=headers)


@router.get("/journals", operation_id="listJournals", summary="Export postings for the general ledger",
            response_model=list[JournalEntry], responses=_CSV)  # fmt: skip
def list_journals(
    context: Context,
    from_: Annotated[date, Query(alias="from", description="First day.", examples=["2025-04-01"])],
    to: Annotated[date, Query(description="Last day.", examples=["2025-04-30"])],
    format: Annotated[Literal["json", "csv"], Query()] = "json",
) -> Any:
    """For finance and auditor. What it adds up to is what the ledger holds, to the cent: `valueloop verify` checks."""
    context.require("finance", "auditor")
    if not 0 <= (to - from_).days < LONGEST_EXPORT:
        rule = f"An export covers up to {LONGEST_EXPORT} days, and its last is not before its first."
        raise SpanTooLong(rule, field="to", remedy="Ask for fewer days.")
    mapping = policy(context.uow, context.company, "journal_accounts", to)
    entries = [
        JournalEntry(**row._mapping, journal=f"{row.run}/{row.entry}", debit_account=mapping[row.debit],
                     credit_account=mapping[row.credit])
        for row in ledger.journal(context.uow, context.company, from_, to)
    ]  # fmt: skip
    if format == "json":
        return entries
    columns = list(JournalEntry.model_fields)
    shown = [dict(entry) | {"amount": Decimal(in_minor_units(entry.amount, entry.currency))} for entry in entries]
    rows = [[entry[column] for column in columns] for entry in shown]
    return Response(csv_text(columns, rows), media_type="text/csv")


@router.get("/timeliness", operation_id="getTimeliness", summary="How many payments were made by their promised date")
def get_timeliness(context: Context, period: Annotated[PeriodLabel, Query(examples=["2025-Q1"])]) -> schemas.Timeliness:
    """Of the runs for a period, and of its awards that no run pays, by the company's clock; what is held is not paid.
    The first 1,000 overdue payments are listed, each with whom it is escalated to while it is unpaid (mechanism M8)."""
    context.require(*READS)
    today = store.today(context.uow, context.company)
    judged = (context.uow, context.company, period, today or date.min)
    due, on_time = timeliness.punctuality(*judged)
    share = published(divide(Decimal(on_time), Decimal(due))) if due else None
    overdue = [schemas.Overdue(**late) for late in timeliness.overdue(*judged, MOST_OVERDUE)]
    return schemas.Timeliness(period=period, due=due, on_time=on_time, share=share, as_of=today, overdue=overdue)
