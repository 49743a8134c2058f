"""The ledger as a machine: whatever is corrected, paid, refused, reversed or merged, the one equation holds."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.incentives.ledger.rules import (
    ACCOUNTS,
    DUE,
    NEVER_NEGATIVE,
    ZERO,
    Balances,
    Booking,
    MappingIncomplete,
    Opening,
    Terms,
    after,
    booked,
    figures,
    postings,
    read_mapping,
    reversal,
    taken_over,
)
from services.incentives.payouts.rules import (
    AccountIncomplete,
    ApprovesOwn,
    MergeInCircles,
    RunNotInState,
    check_account,
    check_approver,
    check_merge,
    check_state,
    resolved,
)
from shared.contracts.payouts import PayeeMerge, PaymentAccount

D = Decimal
cents = st.integers(-100_000, 100_000).map(lambda n: D(n).scaleb(-2))
positive = st.integers(0, 50_000).map(lambda n: D(n).scaleb(-2))
terms = st.builds(Terms, st.sampled_from([None, None, "audit"]), st.sampled_from([ZERO, D("50.00")]),
                  st.sampled_from([ZERO, ZERO, D("300.00")]), st.booleans())  # fmt: skip
A, B = "person:a", "person:b"


class Ledger(RuleBasedStateMachine):
    """Two payees of one plan, the first of whom may turn out to be the second; of each period the amount."""

    @initialize()
    def begin(self) -> None:
        self.entitled: dict[tuple[str, int], Decimal] = {}
        self.seen: dict[tuple[str, int], Decimal] = {}
        self.balances: dict[str, Balances] = {who: dict.fromkeys(ACCOUNTS, ZERO) for who in (A, B)}
        self.released: list[tuple[str, Decimal, list[Booking], dict[tuple[str, int], Decimal]]] = []
        self.settled: list[tuple[str, Decimal, list[Booking], dict[tuple[str, int], Decimal]]] = []
        self.merged = False
        self.turnover = ZERO

    def _post(self, payee: str, bookings: Sequence[Booking]) -> None:
        for booking in bookings:
            for who, kind, sign in ((booking.debtor, booking.debit, -1), (booking.creditor, booking.credit, 1)):
                self.balances[who or payee][kind] += sign * booking.amount
            self.turnover += booking.amount

    def _opening(self, who: str) -> Opening:
        flying = sum((amount for payee, amount, *_ in self.released if payee == who), ZERO)
        of = self.balances[who]
        return Opening(of["payable"] - flying, of["held"], of["carried"], -of["draw"], -of["expense"])

    @rule(who=st.sampled_from([A, B]), period=st.integers(1, 4), amount=cents)
    def an_entitlement_is_computed_or_restated(self, who: str, period: int, amount: Decimal) -> None:
        self.entitled[who, period] = amount

    @rule(who=st.sampled_from([A, B]), on=terms)
    def a_run_is_released(self, who: str, on: Terms) -> None:
        who, of = (B, (A, B)) if self.merged else (who, (who,))
        opening, transfers = self._opening(who), list[Booking]()
        if self.merged:
            transfers = taken_over(A, self._opening(A))
            both = (opening, self._opening(A))
            opening = Opening(*(sum((getattr(one, name) for one in both), ZERO) for name in (*DUE, "draw", "expense")))
        parts = {key: amount - self.seen.get(key, ZERO) for key, amount in self.entitled.items() if key[0] in of}
        made = figures(sum(parts.values(), ZERO), opening, on)
        bookings = [*transfers, *postings(opening, made)]
        self._post(who, bookings)
        self.seen |= {key: self.entitled[key] for key in parts}
        assert made.amount >= 0 or made.account == "carried"
        if made.account == "payable" and made.amount:
            assert made.amount >= on.draw
            self.released.append((who, made.amount, bookings, parts))

    @precondition(lambda self: self.released)
    @rule(data=st.data(), paid=st.booleans())
    def the_bank_answers(self, data: st.DataObject, paid: bool) -> None:
        line = self.released.pop(data.draw(st.integers(0, len(self.released) - 1)))
        if paid:
            self._post(line[0], [Booking("payable", "paid", line[1], "paid")])
            self.settled.append(line)

    @precondition(lambda self: self.released or self.settled)
    @rule(data=st.data())
    def a_line_is_reversed(self, data: st.DataObject) -> None:
        pool = data.draw(st.sampled_from([one for one in (self.released, self.settled) if one]))
        payee, amount, bookings, parts = pool.pop(data.draw(st.integers(0, len(pool) - 1)))
        self._post(payee, reversal(bookings, amount if pool is self.settled else ZERO))
        for key, difference in parts.items():
            self.seen[key] = self.seen[key] - difference

    @rule()
    def the_first_payee_turns_out_to_be_the_second(self) -> None:
        self.merged = True

    @invariant()
    def the_one_equation_holds(self) -> None:
        for group in ((A, B),) if self.merged else ((A,), (B,)):
            of = [self.balances[who] for who in group]
            held = sum((each[kind] for each in of for kind in (*DUE, "paid", "draw", "grant")), ZERO)
            keys = [key for key in self.entitled if key[0] in group]
            pending = sum((self.entitled[key] - self.seen.get(key, ZERO) for key in keys), ZERO)
            assert sum((self.entitled[key] for key in keys), ZERO) == held + pending
            assert sum((booked(each) for each in of), ZERO) == held

    @invariant()
    def no_account_passes_what_it_can_hold(self) -> None:
        assert all(of[kind] >= 0 for of in self.balances.values() for kind in NEVER_NEGATIVE)

    @invariant()
    def everything_adds_up_to_zero(self) -> None:
        assert sum((amount for of in self.balances.values() for amount in of.values()), ZERO) == 0


Ledger.TestCase.settings = settings(max_examples=50, stateful_step_count=80, deadline=None)
TestTheLedger = Ledger.TestCase


@given(cents, positive, positive, cents, positive, positive, terms)
def test_accounts_stay_on_their_side(
    difference: Decimal, payable: Decimal, held: Decimal, carried: Decimal, draw: Decimal, expense: Decimal, on: Terms
) -> None:
    opening = Opening(payable, held, carried, draw, expense)
    before: Balances = {"payable": payable, "held": held, "carried": carried, "draw": -draw, "expense": -expense}
    made = figures(difference, opening, on)
    now = after(before, postings(opening, made))
    assert all(now[kind] >= 0 for kind in NEVER_NEGATIVE) and now["clawback"] >= 0 >= now["draw"]
    assert now["expense"] <= 0
    assert now[made.account] == made.amount
    assert [now[kind] for kind in DUE if kind != made.account] == [0, 0]
    assert booked(now) - booked(after(before, [])) == difference


def test_what_was_paid_is_clawed_back_and_what_was_not_is_no_expense() -> None:
    made = figures(D(-80), Opening(payable=D(30), expense=D(100)), Terms())
    assert (made.clawed_back, made.account, made.amount) == (50, "carried", -50)
    assert [(b.debit, b.credit, b.amount) for b in postings(Opening(payable=D(30), expense=D(100)), made)] == [
        ("payable", "carried", 30), ("carried", "expense", 30), ("carried", "clawback", 50),
    ]  # fmt: skip


def test_a_draw_is_paid_in_bad_months_and_recovered_in_good_ones() -> None:
    on, outstanding, paid = Terms(draw=D(3000)), ZERO, []
    for earned in (2000, 5000, 3500, 2500):
        made = figures(D(earned), Opening(draw=outstanding), on)
        outstanding += made.advance - made.recovered
        paid.append(made.amount)
    assert (paid, outstanding) == ([3000, 4000, 3500, 3000], 500)
    assert figures(D(2500), Opening(draw=D(0)), Terms(draw=D(3000), recoverable=False)).granted == 500


def test_what_is_below_the_minimum_is_carried_until_it_is_enough() -> None:
    small = figures(D(30), Opening(), Terms(minimum=D(50)))
    assert (small.account, small.amount, small.why) == ("carried", 30, "Below the minimum payout.")
    enough = figures(D(20), Opening(carried=small.amount), Terms(minimum=D(50)))
    assert (enough.account, enough.amount) == ("payable", 50)


def test_a_hold_keeps_what_is_due_and_what_was_due() -> None:
    made = figures(D(40), Opening(payable=D(60)), Terms(hold="hold: audit"))
    assert (made.account, made.amount, made.why) == ("held", 100, "hold: audit")
    assert figures(ZERO, Opening(held=D(100)), Terms()).account == "payable"


# --- runs ---


def test_whoever_prepared_a_run_may_not_approve_it() -> None:
    with pytest.raises(ApprovesOwn):
        check_approver("li", ["wang", "li"])
    check_approver("chen", ["wang", "li"])


def test_a_run_is_released_only_when_it_is_approved_and_again_it_changes_nothing() -> None:
    for status in ("draft", "calculated", "submitted"):
        with pytest.raises(RunNotInState, match=f"is {status}; to release it, it must be approved"):
            check_state("release", "q1", status)  # type: ignore[arg-type]
    assert [check_state("release", "q1", s) for s in ("approved", "releasing", "settled")] == [False, True, True]  # type: ignore[arg-type]


def test_payees_are_not_merged_in_circles_or_twice() -> None:
    def merge(one: str, other: str) -> PayeeMerge:
        return PayeeMerge(from_payee=f"person:{one}", to_payee=f"person:{other}")

    assert resolved({"a": "b", "b": "c", "d": "c"}) == {"a": "c", "b": "c", "d": "c"}
    known = {"1": merge("a", "b")}
    for wrong in (merge("b", "a"), merge("a", "c"), merge("c", "c")):
        with pytest.raises(MergeInCircles):
            check_merge("2", wrong, known)
    check_merge("2", merge("b", "c"), known)


def test_an_iban_with_wrong_check_digits_is_refused() -> None:
    check_account(PaymentAccount(payee=A, name="A", iban="DE89370400440532013000"))
    with pytest.raises(AccountIncomplete, match="check digits"):
        check_account(PaymentAccount(payee=A, name="A", iban="DE88370400440532013000"))
    with pytest.raises(AccountIncomplete, match="either"):
        check_account(PaymentAccount(payee=A, name="A"))


@pytest.mark.parametrize("text", ["", "[]", '{"expense": "1"}', '{"expense": 1}'])
def test_every_kind_of_account_has_one_in_the_general_ledger(text: str) -> None:
    with pytest.raises(MappingIncomplete):
        read_mapping(text)
