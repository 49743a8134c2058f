"""Payment files, journals and timeliness: what leaves the ledger, and what spreadsheets and banks make of it."""

import csv
from decimal import Decimal
from importlib.resources import files
from io import StringIO
from typing import Any

import pytest
import xmlschema

from services.incentives.payouts.files import csv_text
from tests.integration.paying import Payroll
from tests.integration.test_payouts import bare, pay, refused

__all__ = ["bare", "pay"]
SCHEMA = files("sepaxml") / "schemas" / "pain.001.001.09.xsd"  # as published for ISO 20022; nothing else of it is used
IBAN = "DE89370400440532013000"


@pytest.fixture(scope="module")
def schema() -> Any:
    return xmlschema.XMLSchema(str(SCHEMA))


def accounts(pay: Payroll) -> None:
    pay.put("payment-accounts/us", {"payee": "company", "name": "Acme & Co", "iban": IBAN, "bic": "COBADEFFXXX"})
    pay.put("payment-accounts/wang", {"payee": "person:wang", "name": "Wáng <Wei>\u0001", "account": "6222 0202"})
    pay.put("payment-accounts/mill", {"payee": "partner:mill", "name": "=SUM(A1)", "iban": IBAN, "bic": "COBADEFF"})


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


@pytest.mark.parametrize("currency, amount", [("CNY", "1234.50"), ("JPY", "1200"), ("KWD", "1.250")])
def test_a_released_run_is_a_credit_transfer_that_fits_its_schema(
    pay: Payroll, schema: Any, currency: str, amount: str
) -> None:
    accounts(pay)
    pay.entitle({"person:wang": amount, "partner:mill": "7", "person:none": "0"}, currency=currency)
    pay.released(currency=currency)
    answer = pay.call("GET", "payout-runs/q1/payment-file?format=pain.001", "chen")
    assert answer.headers["content-type"] == "application/xml"
    schema.validate(answer.text)
    message = schema.to_dict(answer.text)["CstmrCdtTrfInitn"]
    header, [block] = message["GrpHdr"], message["PmtInf"]
    assert (header["NbOfTxs"], Decimal(str(header["CtrlSum"]))) == ("2", Decimal(amount) + 7)
    assert block["ReqdExctnDt"] == {"Dt": "2025-04-15"} and block["Dbtr"] == {"Nm": "Acme & Co"}
    mill, wang = block["CdtTrfTxInf"]
    assert (mill["Cdtr"]["Nm"], wang["Cdtr"]["Nm"]) == ("=SUM(A1)", "Wáng <Wei> ")
    assert (mill["CdtrAcct"]["Id"], wang["CdtrAcct"]["Id"]) == ({"IBAN": IBAN}, {"Othr": {"Id": "6222 0202"}})
    assert f'<InstdAmt Ccy="{currency}">{amount}</InstdAmt>' in answer.text
    again = pay.call("GET", "payout-runs/q1/payment-file?format=pain.001", "chen")
    assert again.content == answer.content


def test_a_wrong_order_of_elements_would_be_found(pay: Payroll, schema: Any) -> None:
    accounts(pay)
    pay.entitle({"wang": "5"})
    pay.released()
    text = pay.call("GET", "payout-runs/q1/payment-file?format=pain.001", "chen").text
    wrong = text.replace("<PmtMtd>TRF</PmtMtd>", "").replace("</PmtInf>", "<PmtMtd>TRF</PmtMtd></PmtInf>")
    assert schema.is_valid(text) and not schema.is_valid(wrong)


def test_without_the_payer_or_a_payees_account_there_is_no_message(pay: Payroll) -> None:
    pay.entitle({"wang": "5"})
    pay.released()
    path = "payout-runs/q1/payment-file?format=pain.001"
    refused(pay.call("GET", path, "chen"), 409, "payer-unknown")
    pay.put("payment-accounts/us", {"payee": "company", "name": "Acme", "iban": IBAN})
    assert refused(pay.call("GET", path, "chen"), 409, "account-missing")["payee"] == "person:wang"
    pay.settle("q1", others="settled")
    pay.entitle({"wang": "3"})
    assert pay.released("less", period="2025-Q2")["status"] == "settled"  # it pays nobody: no message fits the schema
    refused(pay.call("GET", path.replace("q1", "less"), "chen"), 409, "nothing-to-pay")
    refused(pay.call("GET", "payout-runs/q1/payment-file?part=2", "chen"), 404, "no-such-part")


def test_text_in_a_csv_file_starts_no_formula_and_numbers_stay_numbers(pay: Payroll) -> None:
    accounts(pay)
    pay.entitle({"partner:mill": "7.10"})
    pay.released()
    [row] = table(pay.call("GET", "payout-runs/q1/payment-file", "chen").text)
    assert (row["name"], row["amount"], row["iban"]) == ("'=SUM(A1)", "7.10", IBAN)
    for start in "=+-@\t\r\n":
        [cell] = list(csv.reader(StringIO(csv_text(["a"], [[f"{start}1"]]), newline="")))[1]
        assert cell == f"'{start}1"
    assert table(csv_text(["a"], [[Decimal("-1.50")]])) == [{"a": "-1.50"}]


def test_journals_add_up_to_the_balances_by_the_accounts_of_the_policy(pay: Payroll) -> None:
    pay.entitle({"wang": "100.00", "li": "50"})
    pay.time_reaches("2025-04-10")
    pay.paid(day="2025-04-12")
    pay.entitle({"wang": "70"})
    pay.time_reaches("2025-07-10")
    pay.released("q2", period="2025-Q2")
    query = {"from": "2025-04-01", "to": "2025-12-31"}
    entries = pay.get("journals", **query)
    assert [(e["day"], e["journal"], e["debit"], e["credit"], e["amount"], e["postings"]) for e in entries] == [
        ("2025-04-10", "q1/release", "expense", "payable", "150", 2),
        ("2025-04-12", "q1/settlement", "payable", "paid", "150", 2),
        ("2025-07-10", "q2/release", "carried", "clawback", "30", 1),
    ]  # fmt: skip
    assert (entries[0]["debit_account"], entries[1]["credit_account"]) == ("6601", "1002")
    rows = table(pay.call("GET", "journals", "ma", params=query | {"format": "csv"}).text)
    assert [row["amount"] for row in rows] == ["150.00", "150.00", "30.00"]
    assert pay.get("journals", **{"from": "2025-04-11", "to": "2025-04-11"}) == []
    wrong = {"from": "2025-04-11", "to": "2025-04-10"}
    refused(pay.call("GET", "journals", "ma", params=wrong), 422, "span-too-long")
    mapping = {"value": '{"expense": "1"}'}
    answer = pay.call("PUT", "policies/journal_accounts", "li", json=mapping)
    refused(answer, 422, "mapping-incomplete")


def test_nine_of_ten_payments_on_time_are_ninety_percent_and_the_tenth_is_listed_with_its_days(pay: Payroll) -> None:
    pay.entitle({f"p{n}": "10" for n in range(10)})
    pay.entitle({"later": "5"}, "2025-Q2")
    pay.released()
    pay.time_reaches("2025-04-15")
    assert pay.get("timeliness", period="2025-Q1")["share"] is None
    pay.settle("q1", [{"line": n} for n in range(1, 10)], day="2025-04-15")
    pay.time_reaches("2025-04-18")
    found = pay.get("timeliness", period="2025-Q1")
    assert (found["due"], found["on_time"], found["share"], found["as_of"]) == (10, 9, "0.9", "2025-04-18")
    assert [(late["payee"], late["days"], late["paid_on"]) for late in found["overdue"]] == [("person:p9", 3, None)]
    pay.settle("q1", [{"line": 10}], day="2025-04-17")
    [late] = pay.get("timeliness", period="2025-Q1")["overdue"]
    assert (late["days"], late["paid_on"]) == (2, "2025-04-17")
    assert pay.get("timeliness", period="2025-Q2")["due"] == 0


def test_what_is_held_or_failed_is_late_until_a_later_run_has_paid_it(pay: Payroll) -> None:
    pay.put("holds/li", {"payee": "person:li", "starts": "2025-01-01", "ends": "2025-05-01", "reason": "Audit."})
    pay.entitle({"li": "5", "wang": "10", "zhou": "10"})
    pay.time_reaches("2025-04-10")
    pay.released()
    pay.settle("q1", [{"line": 2, "outcome": "failed", "reason": "Closed."}], others="settled", day="2025-04-12")
    pay.time_reaches("2025-05-15")
    found = pay.get("timeliness", period="2025-Q1")
    assert (found["due"], found["on_time"]) == (3, 1)
    assert [(late["payee"], late["why"], late["days"], late["owner"]) for late in found["overdue"]] == [
        ("person:li", "Audit.", 30, "chen"), ("person:wang", "Closed.", 30, "chen"),
    ]  # fmt: skip
    pay.paid("q2", period="2025-Q2", promised="2025-07-15", day="2025-05-20")
    pay.time_reaches("2025-06-15")
    found = pay.get("timeliness", period="2025-Q1")
    assert (found["due"], found["on_time"]) == (3, 1)
    assert [(late["paid_on"], late["days"]) for late in found["overdue"]] == [("2025-05-20", 35)] * 2
