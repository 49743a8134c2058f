"""Payments as files: CSV, and ISO 20022 pain.001.001.09. Text in them never starts a formula."""

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from io import StringIO
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

from shared.errors import Conflict
from shared.money import minor_digits
from shared.numbers import total

from .rules import NothingToPay

IN_PART = 50_000  # lines in one part of a file: more than that, banks refuse or a body grows too large
NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
COLUMNS = ("run", "line", "payee", "plan", "name", "iban", "account", "bic", "amount", "currency", "promised")
_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class PayerUnknown(Conflict):
    """The company's own payment account is not known."""


class AccountMissing(Conflict):
    """A payee has no payment account."""


def parts_of(run: Any) -> int:
    """How many parts the payment file of a run has; 0 before it is released."""
    return -(-run.lines // IN_PART) if run.status in ("released", "settled") else 0


def in_minor_units(amount: Decimal, currency: str) -> str:
    """With all decimals of the currency: 100.00 CNY, 100 JPY."""
    return f"{amount:.{minor_digits(currency)}f}"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file with a heading. What a spreadsheet would take for a formula gets an apostrophe."""
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value:f}"
    text = str(value)
    return f"'{text}" if text.startswith(_STARTS_A_FORMULA) else text


def payments_csv(run: Any, payments: Sequence[Any]) -> str:
    """The payments of a run, a line each."""
    return csv_text(COLUMNS, [
        (run.code, p.line, p.payee, p.plan, *(_of(p.account, name) for name in ("name", "iban", "account", "bic")),
         Decimal(in_minor_units(p.amount, run.currency)), run.currency, p.promised)
        for p in payments
    ])  # fmt: skip


def _of(account: Any, name: str) -> Any:
    return (account or {}).get(name)


def pain_001(run: Any, part: int, payments: Sequence[Any], payer: Any) -> bytes:
    """The payments of a run as a customer credit transfer. Raises NothingToPay, PayerUnknown, AccountMissing.

    It depends on the run alone, so that whoever fetches it again gets the same message, which a bank takes once.
    """
    if not payments:  # the message has no form for no payment
        rule = f"Part {part} of {run.code} pays nobody."
        raise NothingToPay(rule, field="part", remedy="There is nothing to send to the bank.")
    if payer is None:
        rule = "The account that the company pays from is not known."
        raise PayerUnknown(rule, remedy="Define a payment account whose payee is `company`.")
    message = f"{run.hash[:28]}-{part}"
    document = Element("Document", xmlns=NAMESPACE)
    root = SubElement(document, "CstmrCdtTrfInitn")
    header = SubElement(root, "GrpHdr")
    _texts(header, MsgId=message, CreDtTm=f"{run.released_on}T00:00:00")
    amounts = _totals(payments, run.currency)
    _texts(header, **amounts)
    _texts(SubElement(header, "InitgPty"), Nm=_printable(payer["name"]))
    block = SubElement(root, "PmtInf")
    _texts(block, PmtInfId=message, PmtMtd="TRF", **amounts)
    _texts(SubElement(block, "ReqdExctnDt"), Dt=str(run.promised))
    _party(block, "Dbtr", payer)
    _account(block, "DbtrAcct", payer)
    _agent(block, "DbtrAgt", payer)
    for payment in payments:
        _transfer(block, run, payment)
    return tostring(document, encoding="UTF-8", xml_declaration=True)


def _totals(payments: Sequence[Any], currency: str) -> dict[str, str]:
    whole = total(payment.amount for payment in payments)
    return {"NbOfTxs": str(len(payments)), "CtrlSum": in_minor_units(whole, currency)}


def _transfer(block: Element, run: Any, payment: Any) -> None:
    if payment.account is None:
        rule = f"{payment.payee} has no payment account."
        raise AccountMissing(rule, remedy="Define it, or take the file as CSV.", payee=payment.payee)
    transfer = SubElement(block, "CdtTrfTxInf")
    _texts(SubElement(transfer, "PmtId"), EndToEndId=f"{run.hash[:20]}-{payment.line}")
    amount = SubElement(SubElement(transfer, "Amt"), "InstdAmt", Ccy=run.currency)
    amount.text = in_minor_units(payment.amount, run.currency)
    if payment.account.get("bic"):
        _agent(transfer, "CdtrAgt", payment.account)
    _party(transfer, "Cdtr", payment.account)
    _account(transfer, "CdtrAcct", payment.account)
    _texts(SubElement(transfer, "RmtInf"), Ustrd=f"{run.code} {payment.plan}"[:140])


def _party(parent: Element, tag: str, account: Any) -> None:
    _texts(SubElement(parent, tag), Nm=_printable(account["name"]))


def _account(parent: Element, tag: str, account: Any) -> None:
    number = SubElement(SubElement(parent, tag), "Id")
    if account.get("iban"):
        _texts(number, IBAN=account["iban"])
    else:
        _texts(SubElement(number, "Othr"), Id=account["account"])


def _agent(parent: Element, tag: str, account: Any) -> None:
    institution = SubElement(SubElement(parent, tag), "FinInstnId")
    if account.get("bic"):
        _texts(institution, BICFI=account["bic"])
    else:
        _texts(SubElement(institution, "Othr"), Id="NOTPROVIDED")


def _texts(parent: Element, **children: str) -> None:
    for tag, value in children.items():
        SubElement(parent, tag).text = value


def _printable(text: str) -> str:
    """XML has no place for control characters, however they are escaped."""
    return "".join(character if character.isprintable() else " " for character in text)
