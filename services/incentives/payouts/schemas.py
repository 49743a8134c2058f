"""What payout runs look like over HTTP."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.base import Code, PeriodLabel
from shared.contracts.payouts import Account, Hash, LinePart, MergedBalance, Posting
from shared.numbers import DecimalString

from .rules import LineStatus, Status

Reason = Annotated[str, Field(min_length=3, max_length=1000, examples=["Two lines are wrong."])]
LineNumber = Annotated[int, Field(ge=1, le=2**31 - 1, examples=[17])]


class NewRun(BaseModel):
    """What is to be paid, and by when."""

    model_config = ConfigDict(extra="forbid")
    code: Code = Field(examples=["2025-Q1"])
    period: PeriodLabel = Field(description="Everything closed up to its end is paid.", examples=["2025-Q1"])
    currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["CNY"])
    promised: date = Field(description="The day by which it is paid.", examples=["2025-04-15"])


class Approval(BaseModel):
    """What is approved."""

    model_config = ConfigDict(extra="forbid")
    hash: Hash


class Objection(BaseModel):
    """Why a run or a line is sent or taken back."""

    model_config = ConfigDict(extra="forbid")
    reason: Reason


class Answer(BaseModel):
    """What became of one line."""

    model_config = ConfigDict(extra="forbid")
    line: LineNumber
    outcome: Literal["settled", "failed", "returned"] = Field(
        default="settled", description="`returned`: it was paid, and came back days later."
    )
    amount: DecimalString | None = Field(
        default=None, description="What was paid, as a check: it must be the line's amount.", examples=["1234.50"]
    )
    reason: Reason | None = Field(default=None, description="Why it failed or was returned.")


class Settlement(BaseModel):
    """The bank's or payroll's answer: line by line, and for all others together."""

    model_config = ConfigDict(extra="forbid")
    day: date = Field(description="The day it was paid on.", examples=["2025-04-14"])
    lines: list[Answer] = Field(default_factory=list, max_length=5_000)
    others: Literal["settled"] | None = Field(default=None, description="All lines that wait for an answer were paid.")


class Progress(BaseModel):
    """How far the work on a run is."""

    phase: Literal["restating", "calculating", "checking", "posting"] | None
    percent: int


class Group(BaseModel):
    """Lines of one state."""

    lines: int
    amount: DecimalString


class RunView(BaseModel):
    """A payout run."""

    code: str
    period: str
    currency: str
    promised: date
    status: Status
    progress: Progress
    lines: int
    total: DecimalString = Field(description="What it pays.")
    hash: str | None = Field(description="SHA-256 over its lines: what an approval names.")
    problem: str | None = Field(
        description="Why a release did not take place, or why the work on it waits for an operator."
    )
    preparers: list[str] = Field(description="Who may not approve it.")
    approved_by: str | None
    released_by: str | None
    released_on: date | None


class RunInFull(RunView):
    """A run with its lines counted, and all that was done with it."""

    groups: dict[str, Group] = Field(
        description="Lines by state; what is not paid, by `held` and `carried`. Empty while work on it is under way."
    )
    missing_accounts: int = Field(description="Payees without a payment account whose lines are held.")
    file_parts: int = Field(description="Parts of the payment file.")
    history: list[dict[str, Any]]
    links: dict[str, str]


class LineView(BaseModel):
    """A payout line: what is new, what was there, and where it goes."""

    line: int
    payee: str
    plan: str
    currency: str
    regular: DecimalString
    adjustment: DecimalString
    parts: list[LinePart]
    payable: DecimalString
    held: DecimalString
    carried: DecimalString
    draw: DecimalString
    moved: list[MergedBalance]
    advance: DecimalString
    granted: DecimalString
    recovered: DecimalString
    clawed_back: DecimalString
    account: Account
    amount: DecimalString
    why: str | None
    promised: date
    status: LineStatus
    paid_on: date | None
    answer: str | None = Field(description="Why it failed, or was reversed.")


class LineInFull(LineView):
    """A line with its postings."""

    postings: list[Posting]


class Settled(BaseModel):
    """What a settlement changed."""

    run: str
    status: Status
    settled: int
    failed: int
    returned: int
    unchanged: int = Field(description="Lines that had the same answer already.")


class BalanceView(BaseModel):
    """The accounts of a payee and plan; `entitled` is what is not booked yet and everything that is."""

    currency: str
    payee: str
    plan: str
    entitled: DecimalString = Field(description="By the latest versions of all closed periods.")
    paid: DecimalString
    payable: DecimalString
    held: DecimalString
    carried: DecimalString = Field(description="Below zero: owed by the payee.")
    advanced: DecimalString = Field(description="Paid before it was earned; part of what is paid, payable or held.")
    pending: DecimalString = Field(description="What the next run takes up.")


class Overdue(BaseModel):
    """A payment after its promised date."""

    run: str | None = Field(description="Null: an award that no run pays.")
    line: int | None
    payee: str
    plan: str
    amount: DecimalString | None = Field(description="Null: the award is not computed yet.")
    promised: date
    paid_on: date | None = Field(description="Null: still unpaid.")
    days: int
    why: str | None = Field(description="Why it is not paid, as far as known.")
    owner: str | None = Field(description="Who released it, or promised the award.")
    escalated_to: str | None = Field(description="While it is unpaid: the owner's superior.")


class Timeliness(BaseModel):
    """How many payments were on time (mechanism M8); one that is not due yet does not count."""

    period: str
    due: int
    on_time: int
    share: DecimalString | None = Field(description="On time ÷ due [ratio]; null where nothing is due.")
    as_of: date | None = Field(description="The company's date by which it is judged.")
    overdue: list[Overdue]


def balance_view(row: Any) -> BalanceView:
    """A row of `balance`, with `entitled`, as the API shows it."""
    advanced: Decimal = -(row.draw + row._mapping["grant"])
    known = {name: row._mapping[name] for name in BalanceView.model_fields if name in row._mapping}
    booked = -(row.expense + row.clawback)
    return BalanceView(**known, advanced=advanced, pending=row.entitled - booked)
