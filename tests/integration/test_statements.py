"""Statements over HTTP on a real PostgreSQL: what they say, to whom, how they are printed, and who may change them."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from services.cli_verify import StatementsBroken, check_statements
from services.incentives.payouts import steps
from services.incentives.statements.checks import broken_statements
from services.incentives.statements.html import page
from services.incentives.statements.pdf import pdf
from services.incentives.statements.rules import hash_of
from services.replay import Replay
from shared.contracts.statements import StatementsIssued
from shared.database.provision import engine_for
from shared.http.application import create_app
from shared.identity import Identity, JwksFile, LocalIssuer
from shared.log import Record
from shared.settings import Settings
from tests.checked import check, verified
from tests.integration.paying import Payroll
from tools import check_statement


@pytest.fixture
def bare(runtimes: Any, tmp_path: Path) -> Iterator[Payroll]:
    runtime = runtimes("incentives")["incentives"]
    issuer = LocalIssuer(tmp_path)
    identity = Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop")
    with TestClient(create_app({"incentives": runtime}, Settings(), identity)) as http:
        yield Payroll(runtime, http, issuer).set_up()


@pytest.fixture
def pay(bare: Payroll) -> Iterator[Payroll]:
    yield bare
    bare.sound()


def statement(pay: Payroll, payee: str = "wang", number: int = 1, who: str = "ma") -> Any:
    return pay.get(f"people/{payee}/statements/{number}", who)


# --- what they say ---


def test_a_released_run_gives_each_payee_a_statement_that_goes_on_from_the_one_before(pay: Payroll) -> None:
    pay.entitle({"wang": "100.00", "li": "50"})
    pay.paid()
    pay.entitle({"wang": "130"})
    pay.entitle({"wang": "20"}, "2025-Q2")
    pay.paid("q2", period="2025-Q2")
    first, second = statement(pay), statement(pay, number=2)
    assert first["statement"]["previous"] is None
    assert second["statement"]["previous"] == first["hash"]
    [line] = second["statement"]["lines"]
    assert (line["regular"], line["adjustment"], line["amount"]) == ("20", "30", "50")
    assert second["statement"]["totals"] == {"payable": "50", "held": "0", "carried": "0"}
    assert second["statement"]["year_to_date"] == {
        "year": "2025", "starts": "2025-01-01",
        "plans": [{"plan": "bonus", "currency": "CNY", "entitled": "150", "payable": "150"}],
    }  # fmt: skip
    listed = pay.get("people/wang/statements")["items"]
    assert [(one["number"], one["payable"], one["hash"]) for one in listed] == [
        (1, "100", first["hash"]), (2, "50", second["hash"]),
    ]  # fmt: skip
    assert len(pay.get("people/li/statements")["items"]) == 1


def test_what_was_taken_back_is_told_by_the_next_statement_and_counts_in_the_year(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.released()
    pay.ok(pay.post("payout-runs/q1/lines/1/reversals", {"reason": "Wrong person."}, "chen"))
    pay.entitle({"wang": "70"})
    pay.paid("again", period="2025-Q1")
    told = statement(pay, number=2)["statement"]
    assert [(one["run"], one["amount"], one["why"]) for one in told["reversed"]] == [("q1", "100", "Wrong person.")]
    assert told["year_to_date"]["plans"][0]["entitled"] == "70"
    pay.entitle({"wang": "71"})
    pay.paid("more", period="2025-Q1")
    assert statement(pay, number=3)["statement"]["reversed"] == []


def test_the_year_to_date_counts_by_fiscal_year(pay: Payroll) -> None:
    pay.knows_the_calendar(version=2, first_month=4)
    days = ("2024-12-31", "2025-03-31", "2025-04-01")
    for number, (day, amount) in enumerate(zip(days, ("100", "130", "135"), strict=True)):
        pay.time_reaches(day)
        pay.entitle({"wang": amount})
        pay.paid(f"run-{number}", day=day)
    years = [statement(pay, number=number)["statement"]["year_to_date"] for number in (1, 2, 3)]
    assert [(year["year"], year["starts"], year["plans"][0]["entitled"]) for year in years] == [
        ("2025", "2024-04-01", "100"), ("2025", "2024-04-01", "130"), ("2026", "2025-04-01", "5"),
    ]  # fmt: skip


def test_a_hold_is_told_with_its_reason_and_what_is_carried_with_its_balance(pay: Payroll) -> None:
    pay.plan(minimum_payout="20")
    pay.put("holds/h", {"payee": "person:li", "starts": "2025-01-01", "reason": "Audit of sales."})
    pay.entitle({"wang": "15", "li": "100"})
    pay.released()
    [held], [carried] = statement(pay, "li")["statement"]["lines"], statement(pay)["statement"]["lines"]
    assert (held["account"], held["why"], held["closing"]["held"]) == ("held", "Audit of sales.", "100")
    assert (carried["account"], carried["amount"], carried["closing"]["carried"]) == ("carried", "15", "15")
    assert (carried["plan_name"], carried["kind"]) == ("Bonus", "plan")


def test_a_payee_whose_lines_are_posted_in_two_transactions_has_one_statement(
    pay: Payroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "CHUNK", 2)
    for plan in ("a", "b", "c"):
        pay.entitle({"li": "1", "wang": "2", "zhao": "3"}, plan=plan)
    pay.released()
    assert [len(one["statement"]["lines"]) for one in verified(pay.runtime.engine)] == [3, 3, 3]


def test_what_statements_have_in_common_is_kept_once_and_told_in_each_event(
    pay: Payroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.incentives.statements.store.IN_EVENT", 1)
    pay.entitle({f"p{n}": f"{n}.5" for n in range(1, 5)})
    pay.released()
    told = [json.loads(row.data) for row in pay.rows("SELECT data FROM log.record WHERE type = :t ORDER BY pos",
                                                     t=StatementsIssued.TYPE)]  # fmt: skip
    assert [len(one["statements"]) for one in told] == [1] * 4
    [form] = pay.rows("SELECT * FROM statement_form")
    assert [one["forms"] for one in told] == [{form.id: form.pieces}] * len(told)
    assert "2.5" not in json.dumps(form.pieces)


def test_a_rebuild_has_the_statements_as_they_were_told(pay: Payroll, runtimes: Any) -> None:
    pay.entitle({"wang": "100", "li": "3"})
    pay.paid()
    other = runtimes("incentives")["incentives"]
    rows = pay.rows("SELECT * FROM log.record WHERE type = :type", type=StatementsIssued.TYPE)
    records = [
        Record(row.topic, row.partition, row.pos, row.key, row.type, row.company, row.data, None, row.recorded_at)
        for row in rows
    ]
    Replay({"incentives": other}, lambda: None, set()).apply("incentives", records)
    assert len(verified(other.engine)) == 2
    assert verified(other.engine) == verified(pay.runtime.engine)


# --- for whom ---


def test_statements_are_for_the_payee_and_those_who_pay_and_partners_for_the_latter(pay: Payroll) -> None:
    pay.entitle({"wang": "100", "partner:acme": "7"})
    pay.released()
    assert statement(pay, who="wang")["statement"]["payee"] == "person:wang"
    for path in ("people/wang/statements", "people/wang/statements/1", "partners/acme/statements/1"):
        refused = pay.call("GET", path, "zhao")
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:valueloop:problem:personal-amount")
        assert pay.call("GET", path, "ma").status_code == 200
    missing = pay.call("GET", "people/wang/statements/2", "wang")
    assert (missing.status_code, missing.json()["type"]) == (404, "urn:valueloop:problem:no-such-statement")


def test_statement_lines_are_not_for_those_who_may_not_see_amounts(pay: Payroll) -> None:
    query = {"kind": "goal", "code": "g", "period": "2025-Q1", "version": 1}
    assert pay.call("GET", "statement-lines", "x", "strategist", params=query).status_code == 403
    assert pay.get("statement-lines", **query) == {"items": [], "next_cursor": None}
    wrong = pay.call("GET", "statement-lines", "ma", params=query | {"kind": "reading"})
    assert wrong.status_code == 422


# --- printed ---


def test_what_is_asked_for_by_format_or_accept_is_what_comes(pay: Payroll) -> None:
    pay.entitle({"wang": "1234.56"})
    pay.released()
    path = "people/wang/statements/1"
    kinds = {"text/html": "text/html; charset=utf-8", "application/pdf": "application/pdf"}
    for accept, kind in kinds.items():
        assert pay.call("GET", path, "ma", headers={"Accept": accept}).headers["content-type"] == kind
    assert pay.call("GET", path, "ma", headers={"Accept": "*/*"}).headers["content-type"] == "application/json"
    printed = pay.call("GET", path, "ma", params={"format": "html", "lang": "zh-CN"}).text
    assert '<html lang="zh-CN">' in printed and "奖金对账单" in printed and "1234.56" in printed
    document = pay.call("GET", path, "ma", params={"format": "pdf"}).content
    assert document.startswith(b"%PDF") and b"1234.56" in document


@pytest.fixture
def told(pay: Payroll) -> Any:
    """Two statements, the second with an adjustment."""
    pay.entitle({"wang": "100.5"})
    pay.paid()
    pay.entitle({"wang": "130"})
    pay.entitle({"wang": "20"}, "2025-Q2")
    pay.paid("q2", period="2025-Q2")
    return [answer | {"links": []} for answer in verified(pay.runtime.engine)]


def test_a_page_has_no_address_and_escapes_what_people_are_called(told: Any) -> None:
    content = told[1]["statement"] | {"name": "<script>alert('王')</script> & Co"}
    shown = page(content, told[1]["hash"], "en")
    assert "<script" not in shown and "&lt;script&gt;" in shown
    assert not re.search(r"https?:|//|src=|href=|url\(|@import", shown)
    assert pdf(content, told[1]["hash"], "zh-CN").startswith(b"%PDF")


def test_a_document_is_the_same_bytes_each_time(told: Any) -> None:
    first, second = (pdf(told[0]["statement"], told[0]["hash"], "zh-CN") for _ in range(2))
    assert first == second


# --- checked ---


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all texts and numbers with a digit."""
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from places(one, (*path, index))
    elif not isinstance(value, bool) and value is not None and re.search(r"\d", str(value)):
        yield path


def changed(answers: Any, path: tuple[Any, ...], digit: int) -> Any:
    """The same with a digit of one place changed."""
    found = copy.deepcopy(answers)
    *way, last = path
    place = found
    for key in way:
        place = place[key]
    old = str(place[last])
    at = [match.start() for match in re.finditer(r"\d", old)][digit % len(re.findall(r"\d", old))]
    new = old[:at] + str((int(old[at]) + 1) % 10) + old[at + 1 :]
    place[last] = int(new) if isinstance(place[last], int) else new
    return found


# Of these nothing else in a statement says the same: only the hash keeps them, and the next statement's of it.
WORDS = {"code_version", "company", "name", "run", "promised", "how", "why", "plan_name", "plan", "format", "payee",
         "id", "step", "period", "line", "version", "released_on", "number", "previous", "year"}  # fmt: skip


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_changed_digit_is_found_wherever_it_is(told: Any, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(places(told), key=str)))
    forged = changed(told, path, data.draw(st.integers(0, 99)))
    assert check_statement.check(forged) != []
    if path[1] == "statement" and not WORDS & {path[-1]}:
        for answer in forged:
            answer["hash"] = hash_of(answer["statement"])
        forged[1]["statement"]["previous"] = forged[0]["hash"]
        forged[1]["hash"] = hash_of(forged[1]["statement"])
        assert check_statement.check(forged) != [], path


def test_the_checker_says_where_something_differs(told: Any) -> None:
    forged = copy.deepcopy(told)
    forged[0]["statement"]["lines"][0]["amount"] = "100.6"
    done = check(forged)
    assert done.returncode == 1
    assert "person:wang 1, line 1, amount: found 100.6, expected 100.5" in done.stdout.splitlines()
    assert "2 statements, 3 differences." in done.stdout.splitlines()


def test_a_statement_that_was_taken_out_moved_or_written_twice_breaks_the_chain(told: Any) -> None:
    assert check(told).returncode == 0
    assert check(told[1:]).returncode == 0  # what came before is not there to compare with
    other = copy.deepcopy(told)
    other[1]["statement"]["previous"] = "0" * 64
    other[1]["hash"] = hash_of(other[1]["statement"])
    assert "person:wang 2, previous" in check(other).stdout
    twin = copy.deepcopy(told[0])
    twin["statement"]["name"] = "Li"
    twin["hash"] = hash_of(twin["statement"])
    assert "two statements of one number" in check([*told, twin]).stdout


def test_the_checker_reads_files_and_says_what_it_cannot_read(told: Any, tmp_path: Path) -> None:
    file = tmp_path / "statement.json"
    file.write_text(json.dumps(told[0]))
    assert check_statement.main([str(file)]) == 0
    file.write_text("{")
    assert check_statement.main([str(file)]) == 2
    assert "cannot be read" in check([{"statement": {}}]).stdout


# --- kept ---


def test_the_application_may_not_change_a_statement(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.paid()
    for sql in ("UPDATE statement SET hash = 'x'", "DELETE FROM statement", "UPDATE statement_form SET id = 'x'"):
        with pytest.raises(ProgrammingError, match="permission denied"), pay.runtime.engine.begin() as connection:
            connection.execute(text(sql))


FORGERIES = {
    "UPDATE statement SET content = jsonb_set(content, '{name}', '\"Li\"') WHERE number = 2": "was edited",
    "UPDATE statement SET previous = 'x' WHERE number = 2": "does not name the one before it",
    "UPDATE statement SET hash = 'x' WHERE number = 2": "is not the one that was published",
    "DELETE FROM statement WHERE number = 2": "was published and is gone",
    'UPDATE statement_form SET pieces = jsonb_set(pieces, \'{0}\', \'"{\\"account\\":\\"held\\""\')': "was edited",
    "DELETE FROM statement_form": "was edited",
    "DELETE FROM statement WHERE number = 1": "has no statement of the run q1",
}


@pytest.mark.parametrize("sql", FORGERIES)
def test_whatever_is_done_to_a_statement_is_named(bare: Payroll, sql: str) -> None:
    bare.entitle({"wang": "100"})
    bare.paid()
    bare.entitle({"wang": "110"})
    bare.paid("q2", period="2025-Q2")
    bare.sound()
    owner = bare.runtime.engine.url.render_as_string(hide_password=False)
    engine = engine_for(owner.replace("valueloop_incentives", "valueloop_incentives_owner"), pool_size=1)
    with engine.begin() as connection:
        connection.execute(text(sql))
    engine.dispose()
    with bare.runtime.engine.connect() as connection:
        found = list(broken_statements(connection))
    assert any(FORGERIES[sql] in sentence for sentence in found), found
    with pytest.raises(StatementsBroken):
        check_statements({"incentives": bare.runtime})
