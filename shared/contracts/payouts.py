"""What incentives publishes of payments: settings of payees, and what happened to payout runs."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from shared.contracts.base import Code, Configuration, Contract, PeriodLabel
from shared.numbers import DecimalString

TOPIC = "incentives.payouts"
STEPS = "incentives.steps"
Payee = Annotated[
    str,
    StringConstraints(pattern=r"^(person|partner):[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"),
    Field(description="Who is paid: `person:CODE` or `partner:CODE`.", examples=["person:wang"]),
]
Account = Literal["expense", "payable", "held", "carried", "paid", "draw", "grant", "clawback"]
Hash = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
    Field(description="SHA-256 over all lines of a calculation.", examples=["9f86d081884c7d65" * 4]),
]
Actor = Annotated[str, Field(description="Who did it: the token's subject.", examples=["chen-wei"])]
Run = Annotated[Code, Field(description="The run's code.", examples=["2025-Q1"])]
Day = Annotated[date, Field(description="The company's date on which it counts.", examples=["2025-04-10"])]
Why = Annotated[str, Field(min_length=3, max_length=1000, examples=["The bank returned it."])]
LineNumber = Annotated[int, Field(ge=1, description="Counts the lines of a run from 1.", examples=[17])]


class PaymentAccount(Configuration):
    """Where a payee is paid to, or (payee `company`) where the company pays from. Personal."""

    KIND, OWNER, JUDGES = "payment-accounts", "incentives", False
    payee: str = Field(
        pattern=r"^((person|partner):[A-Za-z0-9][A-Za-z0-9._-]{0,79}|company)$",
        description="Whose account: `person:CODE`, `partner:CODE` or `company`.",
        examples=["person:wang"],
    )
    name: str = Field(min_length=1, max_length=140, description="Name of the holder.", examples=["Wang Wei"])
    iban: str | None = Field(
        default=None, pattern=r"^[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}$", description="Either this or `account`.",
        examples=["DE89370400440532013000"],
    )  # fmt: skip
    account: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9 /-]{1,34}$", description="Number of an account without IBAN.",
        examples=["6222020200012345678"],
    )  # fmt: skip
    bic: str | None = Field(
        default=None, pattern=r"^[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?$", description="The bank's BIC.",
        examples=["COBADEFFXXX"],
    )  # fmt: skip


class Hold(Configuration):
    """Keeps what a payee is due from being paid in runs whose promised date it covers."""

    KIND, OWNER, JUDGES = "holds", "incentives", False
    payee: Payee
    plan: Code | None = Field(default=None, description="Only what comes from this plan; null: everything.")
    starts: date
    ends: date | None = Field(default=None, description="Last day; null: until further notice.")


class PayeeMerge(Configuration):
    """One payee turned out to be another: balances and entitlements of the first count as the second's from then on."""

    KIND, OWNER, JUDGES = "payee-merges", "incentives", False
    from_payee: Payee
    to_payee: Payee


class RunOpened(Contract):
    """A payout run was opened. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.run-opened.v1", TOPIC
    run: Run
    period: PeriodLabel
    currency: str = Field(pattern=r"^[A-Z]{3}$", examples=["CNY"])
    promised: date = Field(description="The day by which it is paid.", examples=["2025-04-15"])
    by: Actor


class RunCalculated(Contract):
    """A calculation began: the entitlements of all closed periods up to the run's were restated for it. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.run-calculated.v1", TOPIC
    run: Run
    attempt: int = Field(description="Counts the calculations of a run from 1.")


class RunSubmitted(Contract):
    """A calculated run was submitted for approval. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.run-submitted.v1", TOPIC
    run: Run
    by: Actor
    hash: Hash
    lines: int
    total: DecimalString = Field(description="What the run pays, in its currency.")


class RunApproved(Contract):
    """Somebody else approved a submitted run. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.run-approved.v1", TOPIC
    run: Run
    by: Actor
    hash: Hash


class RunRejected(Contract):
    """A submitted run was sent back. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.run-rejected.v1", TOPIC
    run: Run
    by: Actor
    reason: Why


class LinePart(Contract):
    """What one closed period brings into a payout line."""

    TYPE, TOPIC = "", ""
    period: PeriodLabel
    payee: Payee = Field(description="Whose entitlement; another than the line's where payees were merged.")
    version: int = Field(description="The version of the entitlement.")
    before: DecimalString | None = Field(description="What was booked of it before; null: nothing yet.")
    after: DecimalString = Field(description="What it is now.")


class MergedBalance(Contract):
    """What a merged payee's accounts held when the line took them over."""

    TYPE, TOPIC = "", ""
    payee: Payee
    payable: DecimalString = Field(description="Due.")
    held: DecimalString = Field(description="On hold.")
    carried: DecimalString = Field(description="Carried; below zero: owed.")
    draw: DecimalString = Field(description="Outstanding advance.")
    expense: DecimalString = Field(description="Accrued expense.")


class Posting(Contract):
    """One posting: a debit and a credit of one amount."""

    TYPE, TOPIC = "", ""
    number: int = Field(description="Counts the postings of a line from 1.")
    debit: Account = Field(description="Kind of the account debited.", examples=["expense"])
    debit_payee: Payee = Field(description="Whose account is debited.")
    credit: Account = Field(description="Kind of the account credited.", examples=["payable"])
    credit_payee: Payee = Field(description="Whose account is credited.")
    amount: DecimalString = Field(description="Above zero.")
    cause: str = Field(description="Why it was posted.", examples=["entitled"])


class PayoutLine(Contract):
    """A line of a payout run, as it was approved, and its postings."""

    TYPE, TOPIC = "", ""
    line: LineNumber
    payee: Payee
    plan: Code
    regular: DecimalString = Field(description="First payment of the run's own period.")
    adjustment: DecimalString = Field(description="All other periods' differences, netted.")
    parts: list[LinePart] = Field(description="What it consists of, by period.")
    payable: DecimalString = Field(description="Due already before.")
    held: DecimalString = Field(description="Held before.")
    carried: DecimalString = Field(description="Carried before; below zero: owed by the payee.")
    draw: DecimalString = Field(description="Advance outstanding before.")
    expense: DecimalString = Field(description="Accrued expense before.")
    moved: list[MergedBalance] = Field(description="What of these came from merged payees.")
    advance: DecimalString = Field(description="Recoverable advance given now.")
    granted: DecimalString = Field(description="Advance given now that is not recovered.")
    recovered: DecimalString = Field(description="Advance recovered now.")
    clawed_back: DecimalString = Field(description="What is taken back of amounts that were paid.")
    account: Account = Field(description="Where the amount goes: `payable`, `held` or `carried`.", examples=["payable"])
    amount: DecimalString = Field(description="What is paid, held or carried.")
    why: str | None = Field(description="Why it is not paid.", examples=["hold: audit"])
    promised: date = Field(description="The day by which it is to be paid.")
    postings: list[Posting] = Field(description="What was posted of it.")


class PayoutReleased(Contract):
    """Lines of an approved run were posted to the ledger and are to be paid. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.payout-released.v1", TOPIC
    run: Run
    by: Actor
    day: Day
    hash: Hash
    last: bool = Field(description="Whether these are the run's last lines.")
    lines: list[PayoutLine]


class FailedLine(Contract):
    """A line that the bank or payroll could not pay."""

    TYPE, TOPIC = "", ""
    line: LineNumber
    reason: Why


class PayoutSettled(Contract):
    """The bank's or payroll's answer to lines of a run. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.payout-settled.v1", TOPIC
    run: Run
    by: Actor
    day: Day
    settled: list[int] = Field(description="Lines that were paid.", examples=[[1, 2]])
    failed: list[FailedLine] = Field(description="Lines that were not.")
    returned: list[FailedLine] = Field(
        default_factory=list, description="Lines that were paid and that the bank sent back later."
    )
    others: bool = Field(description="Whether all lines not answered before were paid too.")


class PayoutReversed(Contract):
    """A released line was taken back by reversing postings. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.payout-reversed.v1", TOPIC
    run: Run
    line: LineNumber
    by: Actor
    day: Day
    reason: Why


class RunStep(Contract):
    """A step of a calculation or release is due: an order of the service to itself, which a crash leaves. Key: run."""

    TYPE, TOPIC = "valueloop.incentives.run-step.v1", STEPS
    run: Run
    attempt: int = Field(description="The calculation it belongs to; an order of an earlier one is void.")
    phase: Literal["restating", "calculating", "checking", "posting"] = Field(description="What to do.")
    after: int = Field(default=0, description="Lines that are done.")


EVENTS: tuple[type[Contract], ...] = (
    PaymentAccount, Hold, PayeeMerge, RunOpened, RunCalculated, RunSubmitted, RunApproved, RunRejected, PayoutReleased,
    PayoutSettled, PayoutReversed, RunStep,
)  # fmt: skip
