"""Payout runs over HTTP on a real PostgreSQL: who may do what, in which order, once, and what becomes of the money."""

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from shared.contracts.payouts import STEPS, PayoutReleased
from shared.database.unit_of_work import unit_of_work
from shared.http.application import create_app
from shared.identity import Identity, JwksFile, LocalIssuer
from shared.settings import Settings
from tests.integration.paying import Payroll


@pytest.fixture
def bare(runtimes: Any, tmp_path: Path) -> Iterator[Payroll]:
    runtime = runtimes("incentives")["incentives"]
    issuer = LocalIssuer(tmp_path)
    identity = Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop")
    with TestClient(create_app({"incentives": runtime}, Settings(), identity)) as http:
        yield Payroll(runtime, http, issuer)


@pytest.fixture
def pay(bare: Payroll) -> Iterator[Payroll]:
    """Every test leaves a sound ledger."""
    yield bare.set_up()
    bare.sound()


def refused(answer: Any, status: int, kind: str) -> Any:
    assert answer.status_code == status, answer.text
    document = answer.json()
    assert document["type"] == f"urn:valueloop:problem:{kind}", document
    return document


# --- from entitlement to payment ---


def test_what_people_are_entitled_to_is_paid_and_then_nothing_is_pending(pay: Payroll) -> None:
    pay.entitle({"wang": "100.00", "li": "250.50", "zhao": "0.00"})
    run = pay.calculated()
    assert (run["status"], run["lines"], run["total"], run["progress"]["percent"]) == ("calculated", 3, "350.5", 100)
    assert pay.balance("wang") == {"pending": "100"}
    pay.released()
    assert pay.balance("wang") == {"payable": "100"}
    assert pay.settle("q1", others="settled") == {
        "run": "q1", "status": "settled", "settled": 2, "failed": 0, "returned": 0, "unchanged": 0,
    }  # fmt: skip
    assert pay.balance("wang") == {"paid": "100"}
    assert pay.calculated("q2", period="2025-Q2")["lines"] == 0


def test_corrections_of_all_earlier_periods_are_one_signed_adjustment_with_its_causes(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.entitle({"wang": "50"}, "2025-Q2")
    pay.paid("q2", period="2025-Q2")
    for amount in ("120", "90", "110", "80"):  # a correction of a correction of …
        pay.entitle({"wang": amount})
    pay.entitle({"wang": "75"}, "2025-Q2")
    pay.entitle({"wang": "60"}, "2025-Q3")
    pay.released("q3", period="2025-Q3")
    line = pay.lines("q3")["wang"]
    assert (line["regular"], line["adjustment"], line["amount"]) == ("60", "5", "65")
    assert [(part["period"], part["before"], part["after"]) for part in line["parts"]] == [
        ("2025-Q1", "100", "80"), ("2025-Q2", "50", "75"), ("2025-Q3", None, "60"),
    ]  # fmt: skip
    assert pay.balance("wang") == {"paid": "150", "payable": "65"}


def test_what_was_paid_too_much_is_carried_and_recovered_by_later_runs(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.paid()
    pay.entitle({"wang": "30"})
    pay.entitle({"wang": "20"}, "2025-Q2")
    pay.paid("q2", period="2025-Q2")
    line = pay.lines("q2")["wang"]
    assert (line["clawed_back"], line["account"], line["amount"]) == ("50", "carried", "-50")
    assert pay.balance("wang") == {"paid": "100", "carried": "-50"}
    pay.entitle({"wang": "70"}, "2025-Q3")
    pay.paid("q3", period="2025-Q3")
    assert pay.lines("q3")["wang"]["amount"] == "20"
    assert pay.balance("wang") == {"paid": "120"}


def test_a_run_for_an_earlier_period_takes_nothing_back_of_a_later_one(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.entitle({"wang": "40"}, "2025-Q2")
    pay.paid("q2", period="2025-Q2")
    pay.entitle({"wang": "130"})
    pay.paid("q1")
    assert pay.lines("q1")["wang"]["amount"] == "30"


def test_a_line_that_the_bank_refuses_is_due_again_in_the_next_run(pay: Payroll) -> None:
    pay.entitle({"wang": "100", "li": "10"})
    pay.released()
    number = pay.lines()["wang"]["line"]
    answer = [{"line": number, "outcome": "failed", "reason": "Account closed."}]
    assert pay.settle("q1", answer, others="settled")["status"] == "settled"
    assert pay.balance("wang") == {"payable": "100"}
    pay.paid("q2", period="2025-Q2")
    assert {who: line["amount"] for who, line in pay.lines("q2").items()} == {"wang": "100"}
    assert (pay.lines("q1")["wang"]["status"], pay.balance("wang")) == ("retried", {"paid": "100"})
    assert pay.lines("q2")["wang"]["promised"] == "2025-04-15"


def test_what_is_on_its_way_to_the_bank_is_not_paid_again(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.released()
    pay.entitle({"wang": "5"}, "2025-Q2")
    pay.released("q2", period="2025-Q2")
    assert pay.lines("q2")["wang"]["amount"] == "5"


def test_a_released_line_is_reversed_and_taken_up_again(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.released()
    done = pay.ok(pay.post("payout-runs/q1/lines/1/reversals", {"reason": "Wrong person."}, "chen"))
    assert [(p["debit"], p["credit"], p["amount"]) for p in done["postings"]] == [
        ("expense", "payable", "100"), ("payable", "expense", "100"),
    ]  # fmt: skip
    assert pay.balance("wang") == {"pending": "100"}
    assert "person:wang" not in pay.call("GET", "payout-runs/q1/payment-file", "chen").text
    pay.paid("again", period="2025-Q1")
    assert pay.balance("wang") == {"paid": "100"}


def test_of_a_reversed_line_what_was_paid_is_owed_and_counts_in_the_next_run(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.paid()
    pay.ok(pay.post("payout-runs/q1/lines/1/reversals", {"reason": "Paid twice."}, "chen"))
    assert pay.balance("wang") == {"paid": "100", "carried": "-100", "pending": "100"}
    pay.entitle({"wang": "130"})
    pay.paid("again", period="2025-Q1")
    assert (pay.lines("again")["wang"]["amount"], pay.balance("wang")) == ("30", {"paid": "130"})


def test_a_bank_that_pays_a_line_after_it_was_reversed_leaves_a_debt(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.released()
    pay.ok(pay.post("payout-runs/q1/lines/1/reversals", {"reason": "Wrong person."}, "chen"))
    assert pay.settle("q1", [{"line": 1}])["settled"] == 1
    assert pay.balance("wang") == {"paid": "100", "carried": "-100", "pending": "100"}
    assert pay.settle("q1", [{"line": 1}])["unchanged"] == 1


# --- holds, minimum, draws, merges, accounts ---


def test_a_hold_keeps_an_amount_until_it_ends(pay: Payroll) -> None:
    hold = {"payee": "person:wang", "starts": "2025-04-01", "reason": "Under investigation."}
    pay.put("holds/wang", hold | {"plan": "bonus"})
    pay.entitle({"wang": "100", "li": "10"})
    pay.entitle({"wang": "7"}, plan="sales")
    run = pay.released()
    assert (run["total"], run["groups"]["held"]) == ("17", {"lines": 1, "amount": "100"})
    assert pay.balance("wang") == {"held": "100"}
    assert pay.lines(payee="person:wang", status="kept")["wang"]["why"] == "Under investigation."
    pay.put("holds/wang", hold | {"plan": "bonus", "ends": "2025-06-30"})
    pay.paid("q2", period="2025-Q2", promised="2025-07-15")
    assert pay.balance("wang") == {"paid": "100"}
    refused(pay.call("PUT", "holds/x", "chen", json=hold | {"reason": None}), 422, "hold-incomplete")


def test_who_is_put_on_hold_after_the_approval_is_not_paid(pay: Payroll) -> None:
    pay.entitle({"wang": "100", "li": "10"})
    pay.approved()
    pay.put("holds/wang", {"payee": "person:wang", "plan": "bonus", "starts": "2025-04-15", "reason": "Under audit."})
    pay.ok(pay.post("payout-runs/q1/releases", who="chen"))
    pay.work()
    found = pay.run()
    assert (found["status"], found["problem"].split(" since")[0]) == ("calculated", "person:wang was put on hold")
    assert pay.released()["total"] == "10" and pay.balance("wang") == {"held": "100"}


def test_a_payee_without_a_payment_account_is_listed_and_held(bare: Payroll) -> None:
    pay = bare.set_up(accounts="hold")
    pay.put("payment-accounts/li", {"payee": "person:li", "name": "Li", "iban": "DE89370400440532013000"})
    pay.entitle({"wang": "100", "li": "10"})
    run = pay.released()
    assert (run["missing_accounts"], run["total"]) == (1, "10")
    assert pay.lines()["wang"]["why"] == "No payment account is known."
    pay.put("payment-accounts/wang", {"payee": "person:wang", "name": "Wang", "account": "622202"})
    assert pay.released("q2", period="2025-Q2")["total"] == "100"
    pay.sound()


def test_less_than_the_minimum_payout_is_carried_until_it_is_enough(pay: Payroll) -> None:
    pay.plan(minimum_payout="50")
    pay.entitle({"wang": "30"})
    pay.released()
    assert (pay.run()["status"], pay.balance("wang")) == ("settled", {"carried": "30"})
    pay.entitle({"wang": "20"}, "2025-Q2")
    pay.paid("q2", period="2025-Q2")
    assert pay.balance("wang") == {"paid": "50"}


@pytest.mark.parametrize("recoverable", [True, False])
def test_a_draw_is_paid_where_less_was_earned(pay: Payroll, recoverable: bool) -> None:
    pay.plan()
    draw = {"amount": "3000", "recoverable": recoverable}
    body = {"person": "wang", "plan": "bonus", "amount": "9000", "starts": "2025-01-01", "draw": draw}
    pay.put("assignments/wang", body, "li", "compensation")
    for number, earned in enumerate(("2000", "5000", "3500"), 1):
        pay.entitle({"wang": earned}, f"2025-Q{number}")
        pay.paid(f"q{number}", period=f"2025-Q{number}")
    paid = [pay.lines(f"q{number}")["wang"]["amount"] for number in (1, 2, 3)]
    assert paid == (["3000", "4000", "3500"] if recoverable else ["3000", "5000", "3500"])
    assert pay.balance("wang") == ({"paid": "10500"} if recoverable else {"paid": "11500", "advanced": "1000"})
    pay.entitle({"wang": "2500"}, "2025-Q2")  # a correction of a period already paid draws no second advance
    pay.released("again", period="2025-Q3")
    assert pay.lines("again")["wang"]["advance"] == "0"


def test_a_draw_ends_with_its_last_day(pay: Payroll) -> None:
    pay.plan()
    draw = {"amount": "3000", "until": "2025-06-29"}
    body = {"person": "wang", "plan": "bonus", "amount": "9000", "starts": "2025-01-01", "draw": draw}
    pay.put("assignments/wang", body, "li", "compensation")
    for number in (1, 2):
        pay.entitle({"wang": "2000"}, f"2025-Q{number}")
        pay.paid(f"q{number}", period=f"2025-Q{number}")
    lines = [pay.lines(f"q{number}")["wang"] for number in (1, 2)]
    assert [(line["advance"], line["recovered"], line["amount"]) for line in lines] == [
        ("1000", "0", "3000"), ("0", "1000", "1000"),
    ]  # fmt: skip


def test_runs_of_two_currencies_and_an_empty_one_do_not_meet(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.entitle({"wang": "7"}, plan="abroad", currency="EUR")
    for code, currency in (("cny", "CNY"), ("eur", "EUR")):
        pay.approved(code, currency=currency)
    for code in ("cny", "eur"):  # both are being posted at the same time
        pay.ok(pay.post(f"payout-runs/{code}/releases", who="chen"))
    pay.work()
    assert [pay.run(code)["total"] for code in ("cny", "eur")] == ["100", "7"]
    # A run with nothing to pay cannot be submitted; left as it is, it is in nobody's way, and later it has a line.
    assert pay.calculated("none", currency="USD")["lines"] == 0
    refused(pay.post("payout-runs/none/submissions"), 409, "nothing-to-pay")
    pay.calculated("left")
    pay.entitle({"wang": "9"}, plan="usd", currency="USD")
    assert pay.paid("other", currency="USD")["settled"] == 1
    assert pay.calculated("none")["lines"] == 0


def test_a_payee_who_turned_out_to_be_another_is_paid_as_that_one(pay: Payroll) -> None:
    pay.entitle({"wang.w": "100", "wang": "1"})
    pay.paid()
    pay.entitle({"wang.w": "60"})
    pay.released("q2", period="2025-Q2")
    assert pay.balance("wang.w") == {"paid": "100", "carried": "-40"}
    merge = {"from_payee": "person:wang.w", "to_payee": "person:wang"}
    pay.put("payee-merges/wang", merge)
    pay.entitle({"wang": "50"}, "2025-Q3")
    pay.entitle({"wang.w": "75"})
    pay.paid("q3", period="2025-Q3")
    line = pay.lines("q3")["wang"]
    assert (line["amount"], line["carried"], line["moved"][0]["carried"]) == ("25", "-40", "-40")
    assert [part["payee"] for part in line["parts"]] == ["person:wang.w", "person:wang"]
    of = [pay.balance(name) for name in ("wang", "wang.w")]
    assert sum(int(each.get("paid", 0)) for each in of) == 126
    circle = {"from_payee": "person:wang", "to_payee": "person:wang.w"}
    refused(pay.call("PUT", "payee-merges/x", "chen", json=circle), 422, "merge-in-circles")


def test_settings_of_payees_are_for_compensation_and_finance_alone(pay: Payroll) -> None:
    pay.put("payment-accounts/li", {"payee": "person:li", "name": "Li", "iban": "DE89370400440532013000"})
    for path in ("payment-accounts", "payment-accounts/li", "payment-accounts/li/versions", "holds", "payee-merges"):
        for who, role in (("li", "employee"), ("boss", "manager"), ("ma", "auditor"), ("erp", "source")):
            assert pay.call("GET", path, who, role).status_code == 403, (path, role)
        assert pay.call("GET", path, "chen").status_code == 200


def test_runs_are_for_those_who_prepare_pay_and_check(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.released()
    paths = (
        "payout-runs", "payout-runs/q1", "payout-runs/q1/lines", "payout-runs/q1/lines/1", "balances",
        "timeliness?period=2025-Q1", "payout-runs/q1/payment-file", "journals?from=2025-01-01&to=2025-12-31",
    )  # fmt: skip
    for path in paths:
        for role in ("employee", "manager", "strategist", "analyst", "source"):
            assert pay.call("GET", path, "wang", role).status_code == 403, (path, role)
    bodies: dict[str, Any] = {
        "calculations": None, "submissions": None, "releases": None, "approvals": {"hash": "0" * 64},
        "rejections": {"reason": "Because."}, "settlements": {"day": "2025-04-14"},
        "lines/1/reversals": {"reason": "Because."},
    }  # fmt: skip
    for path, body in bodies.items():
        assert pay.post(f"payout-runs/q1/{path}", body, "ma").status_code == 403, path


# --- two people, and one after the other ---


def test_nobody_approves_what_they_opened_calculated_or_submitted(pay: Payroll) -> None:
    every = ("admin", "compensation", "finance")
    pay.entitle({"wang": "100"})
    for code, steps in (("a", {"open"}), ("b", {"calculate"}), ("c", {"submit"})):

        def who(step: str, steps: set[str] = steps) -> str:
            return "zhou" if step in steps else "li"

        new = {"code": code, "period": "2025-Q1", "currency": "CNY", "promised": "2025-04-15"}
        pay.ok(pay.post("payout-runs", new, who("open"), *every))
        pay.ok(pay.post(f"payout-runs/{code}/calculations", None, who("calculate"), *every))
        pay.work()
        pay.ok(pay.post(f"payout-runs/{code}/submissions", None, who("submit"), *every))
        body = {"hash": pay.run(code)["hash"]}
        for roles in (("finance",), every, ("admin",)):  # whatever the roles of the token, and however often
            refused(pay.post(f"payout-runs/{code}/approvals", body, "zhou", *roles, key="same"), 403, "approves-own")
        pay.ok(pay.post(f"payout-runs/{code}/approvals", body, "chen"))


def test_an_approval_is_for_one_content_and_another_calculation_voids_it(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    first = pay.approved()
    pay.entitle({"wang": "110"})
    second = pay.calculated()
    assert (second["status"], second["approved_by"]) == ("calculated", None) and second["hash"] != first["hash"]
    refused(pay.post("payout-runs/q1/releases", who="chen"), 409, "run-not-in-state")
    pay.ok(pay.post("payout-runs/q1/submissions"))
    approval = pay.post("payout-runs/q1/approvals", {"hash": first["hash"]}, "chen")
    refused(approval, 409, "content-changed")
    assert pay.calculated()["hash"] == second["hash"]


def test_each_step_needs_the_one_before(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.opened()
    bodies = {
        "approvals": {"hash": "0" * 64},
        "rejections": {"reason": "Because."},
        "settlements": {"day": "2025-04-14"},
    }
    for act in ("submissions", "approvals", "rejections", "releases", "settlements"):
        who = "li" if act == "submissions" else "chen"
        refused(pay.post(f"payout-runs/q1/{act}", bodies.get(act), who), 409, "run-not-in-state")
    refused(pay.call("GET", "payout-runs/q1/payment-file", "chen"), 409, "run-not-in-state")
    refused(pay.post("payout-runs", {"code": "q1", "period": "2025-Q1", "currency": "CNY", "promised": "2025-04-15"}),
            409, "run-exists")  # fmt: skip
    refused(pay.post("payout-runs/none/calculations"), 404, "run-not-found")


def test_a_rejected_run_returns_to_calculated_with_the_reason(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.calculated()
    pay.ok(pay.post("payout-runs/q1/submissions"))
    found = pay.ok(pay.post("payout-runs/q1/rejections", {"reason": "Two lines are wrong."}, "chen"))
    last = found["history"][-1]
    assert (found["status"], last["what"], last["who"], last["reason"]) == (
        "calculated", "rejected", "chen", "Two lines are wrong.",
    )  # fmt: skip


def test_releasing_and_settling_again_change_nothing_and_another_answer_is_refused(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.released()
    postings = pay.rows("SELECT * FROM posting")
    pay.ok(pay.post("payout-runs/q1/releases", who="chen"))
    pay.work()
    assert pay.rows("SELECT * FROM posting") == postings
    assert pay.settle("q1", [{"line": 1, "amount": "100.00"}])["settled"] == 1
    assert pay.settle("q1", [{"line": 1}], others="settled")["unchanged"] == 1
    other = {"day": "2025-04-14", "lines": [{"line": 1, "outcome": "failed", "reason": "Closed."}]}
    refused(pay.post("payout-runs/q1/settlements", other, "chen"), 409, "answered-otherwise")
    assert pay.balance("wang") == {"paid": "100"}


def test_a_run_whose_accounts_changed_since_is_not_released(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.released()
    pay.entitle({"wang": "120"})
    pay.approved("q2", period="2025-Q2")
    pay.ok(pay.post("payout-runs/q1/lines/1/reversals", {"reason": "Wrong."}, "chen"))
    pay.ok(pay.post("payout-runs/q2/releases", who="chen"))
    pay.work()
    found = pay.run("q2")
    assert found["status"] == "calculated" and found["problem"].startswith("The accounts of person:wang have changed")
    assert pay.released("q2")["total"] == "120"


def test_two_runs_with_the_same_difference_pay_it_once(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.approved("a")
    pay.approved("b")
    pay.ok(pay.post("payout-runs/a/releases", who="chen"))
    refused(pay.post("payout-runs/b/releases", who="chen"), 409, "release-under-way")
    pay.work()
    pay.ok(pay.post("payout-runs/b/releases", who="chen"))
    pay.work()
    assert (pay.run("b")["status"], pay.balance("wang")) == ("calculated", {"payable": "100"})


def test_a_worker_that_dies_within_a_step_leaves_it_to_its_successor(pay: Payroll, monkeypatch: Any) -> None:
    pay.entitle({f"p{n}": "1.00" for n in range(7)})
    monkeypatch.setattr("services.incentives.payouts.steps.CHUNK", 3)
    monkeypatch.setattr("services.incentives.payouts.steps.IN_EVENT", 1)
    pay.approved()
    pay.ok(pay.post("payout-runs/q1/releases", who="chen"))
    shown = []
    while steps := pay.rows("SELECT * FROM log.record WHERE topic = :t ORDER BY recorded_at, pos", t=STEPS)[pay.done :]:
        with pytest.raises(RuntimeError, match="before COMMIT"), unit_of_work(pay.runtime, actor="incentives") as uow:
            pay.apply(uow, steps[0])
            raise RuntimeError("It died before COMMIT.")
        pay.step(steps[0])
        shown.append(pay.run()["progress"])
    assert [each["percent"] for each in shown] == [10, 48, 87, 100]
    assert (pay.run()["status"], pay.run()["groups"]["released"]["lines"]) == ("released", 7)
    told = pay.rows("SELECT data FROM log.record WHERE type = :t ORDER BY pos", t=PayoutReleased.TYPE)
    assert [json.loads(row.data)["last"] for row in told] == [False] * 6 + [True]


def test_a_step_that_was_lost_is_ordered_again_and_one_ordered_twice_counts_once(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.opened()
    for act, who in (("calculations", "li"), ("releases", "chen")):
        if act == "releases":
            pay.approved()
        pay.ok(pay.post(f"payout-runs/q1/{act}", None, who))
        pay.done += 1  # an operator discarded its order
        pay.work()
        assert pay.run()["status"] in ("calculating", "releasing")
        for _ in range(2):
            pay.ok(pay.post(f"payout-runs/q1/{act}", None, who))
        pay.work()
    assert (pay.run()["status"], pay.balance("wang")) == ("released", {"payable": "100"})


# --- once ---


def test_fifty_settlements_at_once_have_one_effect(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.released()
    body = {"day": "2025-04-14", "lines": [{"line": 1}]}

    def settle(number: int) -> int:
        key = "same" if number % 2 else f"other-{number}"
        return int(pay.post("payout-runs/q1/settlements", body, "chen", key=key).status_code)

    with ThreadPoolExecutor(16) as threads:
        answers = Counter(threads.map(settle, range(50)))
    assert answers.keys() <= {200, 409} and answers[200] >= 25
    assert pay.balance("wang") == {"paid": "100"}
    assert [r.count for r in pay.rows("SELECT count(*) FROM posting WHERE entry = 'settlement'")] == [1]


@pytest.mark.slow
def test_of_four_reversals_of_each_line_one_succeeds(pay: Payroll) -> None:
    pay.entitle({f"p{n:03}": "10.00" for n in range(500)})
    pay.paid()

    def reverse(number: int) -> int:
        path = f"payout-runs/q1/lines/{number % 500 + 1}/reversals"
        return int(pay.post(path, {"reason": "Wrong."}, "chen").status_code)

    with ThreadPoolExecutor(16) as threads:
        answers = Counter(threads.map(reverse, [n * 7 % 2000 for n in range(2000)]))
    assert answers == {201: 500, 409: 1500}
    assert [r.sum for r in pay.rows("SELECT sum(carried) FROM balance")] == [-5000]


# --- bad input ---


@pytest.mark.parametrize(
    "currency, right, wrong", [("CNY", "0.01", "0.005"), ("JPY", "100", "100.5"), ("KWD", "1.234", "1.2345")]
)
def test_amounts_have_the_decimals_of_their_currency(pay: Payroll, currency: str, right: str, wrong: str) -> None:
    pay.entitle({"wang": right}, currency=currency)
    pay.entitle({"li": "7"}, currency="EUR")
    pay.released(currency=currency)
    assert pay.lines().keys() == {"wang"}
    text = pay.call("GET", "payout-runs/q1/payment-file", "chen").text
    assert f",{right},{currency}," in text
    for amount, kind in ((wrong, "amount-differs"), (1.5, "request-not-valid"), ("1e2", "request-not-valid")):
        body = {"day": "2025-04-14", "lines": [{"line": 1, "amount": amount}]}
        problem = refused(pay.post("payout-runs/q1/settlements", body, "chen"), 422, kind)
        assert problem["field"] == "lines.0.amount"
    assert pay.settle("q1", [{"line": 1, "amount": right}])["settled"] == 1


@pytest.mark.parametrize(
    "more, status, field",
    [({"currency": "XXX"}, 422, "currency"), ({"period": "2025-Q5"}, 422, "period"), ({"code": "q 1"}, 422, "code"),
     ({"promised": "soon"}, 422, "promised"), ({"paid": "1"}, 422, "paid")],
)  # fmt: skip
def test_a_run_that_makes_no_sense_is_refused(pay: Payroll, more: dict[str, str], status: int, field: str) -> None:
    body = {"code": "q1", "period": "2025-Q1", "currency": "CNY", "promised": "2025-04-15"} | more
    answer = pay.post("payout-runs", body)
    assert (answer.status_code, answer.json()["field"]) == (status, field)


def test_answers_that_make_no_sense_are_refused_whole(pay: Payroll) -> None:
    pay.entitle({"wang": "100", "li": "10"})
    pay.released()
    for lines, status, kind in (
        ([{"line": 1}, {"line": 9}], 404, "line-not-found"),
        ([{"line": 1}, {"line": 2, "outcome": "failed"}], 422, "reason-missing"),
        ([{"line": 1}, {"line": 1}], 409, "answered-otherwise"),
        ([{"line": 1}, {"line": 2, "amount": "99.00"}], 422, "amount-differs"),
    ):
        body = {"day": "2025-04-14", "lines": lines}
        refused(pay.post("payout-runs/q1/settlements", body, "chen"), status, kind)
    assert pay.balance("wang") == {"payable": "100"}


def test_a_payment_that_the_bank_sends_back_days_later_is_due_again(pay: Payroll) -> None:
    pay.entitle({"wang": "100", "li": "40"})
    pay.paid()
    back = {"line": 2, "outcome": "returned"}
    refused(pay.post("payout-runs/q1/settlements", {"day": "2025-04-20", "lines": [back]}, "chen"), 422,
            "reason-missing")  # fmt: skip
    for _ in range(2):
        pay.settle("q1", [back | {"reason": "Account closed."}], day="2025-04-20")
    assert pay.balance("wang") == {"payable": "100"}
    pay.time_reaches("2025-04-21")
    [late] = pay.get("timeliness", period="2025-Q1")["overdue"]
    assert (late["payee"], late["days"]) == ("person:wang", 6)
    pay.paid("q2", period="2025-Q2")
    line = pay.lines("q2")["wang"]
    assert (line["payable"], line["amount"], line["promised"]) == ("100", "100", "2025-04-15")
    assert pay.lines("q2").keys() == {"wang"} and pay.balance("wang") == {"paid": "100"}
    # What was reversed after it was paid is owed, until it turns out that the money came back; old answers are known.
    pay.ok(pay.post("payout-runs/q1/lines/1/reversals", {"reason": "Wrong."}, "chen"))
    assert pay.balance("li") == {"paid": "40", "carried": "-40", "pending": "40"}
    returned = pay.settle("q1", [{"line": 1, "outcome": "returned", "reason": "Recalled."}], day="2025-04-22")
    assert (returned["returned"], pay.balance("li")) == (1, {"pending": "40"})
    assert pay.settle("q1", [{"line": 1}])["unchanged"] == 1
    pay.sound()
