"""The ledger on a real PostgreSQL: its SQL against its rules, what nobody may change, and how it is made anew."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from services.incentives.ledger.checks import CHECKS, findings
from services.incentives.ledger.rules import Opening, Terms, figures
from services.incentives.ledger.state import LEDGER
from services.replay import Replay
from shared.contracts.payouts import TOPIC
from shared.database.provision import engine_for
from shared.http.application import create_app
from shared.identity import Identity, JwksFile, LocalIssuer
from shared.log import Record
from shared.settings import Settings
from tests.integration.paying import Payroll

D = Decimal
OPENING = ("payable", "held", "carried", "draw", "expense")
FIGURES = ("advance", "granted", "recovered", "clawed_back", "amount")


@pytest.fixture
def pay(runtimes: Any, tmp_path: Path) -> Iterator[Payroll]:
    runtime = runtimes("incentives")["incentives"]
    issuer = LocalIssuer(tmp_path)
    identity = Identity(JwksFile(issuer.jwks_file), "valueloop-local", "valueloop")
    with TestClient(create_app({"incentives": runtime}, Settings(), identity)) as http:
        yield Payroll(runtime, http, issuer).set_up()


def story(pay: Payroll, dice: Random, people: int, runs: int) -> Iterator[str]:
    """Random entitlements, corrections, holds, draws, a merge, refusals of the bank and reversals; run after run."""
    names = [f"p{n:02}" for n in range(people)]
    pay.plan(minimum_payout="20")
    for name in names[::4]:
        draw = {"amount": "150", "recoverable": dice.random() < 0.7}
        body = {"person": name, "plan": "bonus", "amount": "100", "starts": "2025-01-01", "draw": draw}
        pay.put(f"assignments/{name}", body, "li", "compensation")
    for number in range(1, runs + 1):
        quarter = min(number, 4)
        for period in range(1, quarter + 1):
            chosen = names if period == number else dice.sample(names, people // 4)
            pay.entitle({name: D(dice.randint(-5_000, 30_000)).scaleb(-2) for name in chosen}, f"2025-Q{period}")
        held = {"payee": f"person:{dice.choice(names)}", "starts": "2025-01-01", "reason": "audit"}
        pay.put(f"holds/h{number}", held | {"ends": dice.choice(["2025-04-01", "2025-12-31"])})
        if number == 3:
            pay.put("payee-merges/m", {"from_payee": "person:p01", "to_payee": "person:p02"})
        code = f"r{number}"
        pay.released(code, period=f"2025-Q{quarter}", promised="2025-06-01")
        yield code
        due = list(pay.lines(code, status="released").values())
        answers = [
            {"line": line["line"], "outcome": "failed", "reason": "Closed."} for line in dice.sample(due, len(due) // 5)
        ]
        pay.settle(code, answers, others="settled")
        back = [each for each in pay.lines(code).values() if each["status"] in ("settled", "failed")]
        for line in dice.sample(back, min(2, len(back))):
            pay.ok(pay.post(f"payout-runs/{code}/lines/{line['line']}/reversals", {"reason": "Wrong."}, "chen"))
        came_back = [line for line in back if line["status"] == "settled"]  # some of them were reversed just now
        pay.settle(code, [{"line": line["line"], "outcome": "returned", "reason": "Closed."}
                          for line in dice.sample(came_back, min(3, len(came_back)))])  # fmt: skip


def terms_of(pay: Payroll) -> dict[str, Terms]:
    drawn = {
        row.payee: (D(row.amount), row.recoverable)
        for row in pay.rows(
            "SELECT 'person:' || (content->>'person') AS payee, content#>>'{draw,amount}' AS amount, "
            "CAST(content#>>'{draw,recoverable}' AS boolean) AS recoverable FROM configuration "
            "WHERE kind = 'assignments'"
        )
    }
    held = {
        row.payee: row.why
        for row in pay.rows(
            "SELECT content->>'payee' AS payee, content->>'reason' AS why FROM configuration WHERE kind = 'holds' "
            "AND content->>'ends' >= '2025-06-01'"
        )
    }
    return {who: Terms(held.get(who), D(20), *drawn.get(who, (D(0), True))) for who in drawn.keys() | held.keys()}


@pytest.mark.parametrize("seed", range(3))
def test_the_calculation_in_sql_is_that_of_the_rules_and_the_equation_holds_throughout(pay: Payroll, seed: int) -> None:
    lines = 0
    for code in story(pay, Random(f"ledger {seed}"), people=24, runs=6):
        terms = terms_of(pay)
        period = pay.run(code)["period"]
        for line in pay.lines(code).values():
            [row] = pay.rows("SELECT * FROM payout_line WHERE run = :r AND line = :l", r=code, l=line["line"])
            first = any(part["before"] is None and part["period"] == period for part in line["parts"])
            on = terms.get(line["payee"], Terms(minimum=D(20)))
            if not first:
                on = Terms(on.hold, on.minimum, D(0), on.recoverable)
            opening = Opening(*(row._mapping[name] for name in OPENING))
            made = figures(row.regular + row.adjustment, opening, on)
            assert [row._mapping[name] for name in FIGURES] == [getattr(made, name) for name in FIGURES], line
            assert (row.account, row.why) == (made.account, made.why)
            lines += 1
        pay.sound()
        of = pay.get("balances", limit=200)["items"]
        for name in ("entitled", "paid"):
            assert all(isinstance(one[name], str) for one in of)
        merged = {"person:p01", "person:p02"}
        groups = [[one] for one in of if one["payee"] not in merged] + [[o for o in of if o["payee"] in merged]]
        for group in groups:
            total = {name: sum(D(one[name]) for one in group) for name in ("entitled", "advanced", "pending", "paid",
                                                                          "payable", "held", "carried")}  # fmt: skip
            assert total["entitled"] + total["advanced"] == sum(
                total[name] for name in ("paid", "payable", "held", "carried", "pending")
            )
            assert total["pending"] == 0
    assert lines > 80
    pay.sound()


def test_nobody_but_the_owner_of_the_tables_changes_a_posting(pay: Payroll) -> None:
    pay.entitle({"wang": "100"})
    pay.paid()
    for statement in ("UPDATE posting SET amount = 1", "DELETE FROM posting", "TRUNCATE posting"):
        with pytest.raises(ProgrammingError, match="permission denied"), pay.runtime.engine.begin() as connection:
            connection.execute(text(statement))
    pay.sound()


FORGERIES = {
    "UPDATE posting SET amount = 99 WHERE entry = 'release'": "Postings add up to other balances",
    "DELETE FROM posting WHERE entry = 'settlement'": "Postings add up to other balances",
    "UPDATE balance SET paid = paid + 1": "Balances of a currency do not add up to zero",
    "UPDATE booked SET amount = 1": "What is booked of entitlements is not the accrued expense",
    "UPDATE payout_line SET paid_on = NULL": "What was paid is not what runs say was paid",
    "UPDATE balance SET payable = -1, held = held + payable + 1": "An account stands on the wrong side",
    "UPDATE payout_line SET amount = 1, regular = 1": "Postings do not follow from their payout line",
    "UPDATE payout_line SET why = 'x'": "A run is not what was approved",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_standing_check_names_what_somebody_changed(pay: Payroll, forgery: str) -> None:
    pay.entitle({"wang": "100"})
    pay.paid()
    owner = pay.runtime.engine.url.render_as_string(hide_password=False)
    engine = engine_for(owner.replace("valueloop_incentives", "valueloop_incentives_owner"), pool_size=1)
    with engine.begin() as connection:
        connection.execute(text(forgery))
    engine.dispose()
    with pay.runtime.engine.connect() as connection:
        found = list(findings(connection))
    assert any(sentence.startswith(FORGERIES[forgery]) for sentence in found), found
    assert {*FORGERIES.values()} >= {*CHECKS}


def test_a_rebuild_from_what_was_accepted_pays_the_same_cents(pay: Payroll, runtimes: Any) -> None:
    for _ in story(pay, Random("rebuild"), people=12, runs=4):
        pass
    pay.released("open", period="2025-Q4")
    again = runtimes("incentives")
    Payroll(again["incentives"], pay.http, pay.issuer).knows_the_calendar()
    records = [
        Record(row.topic, row.partition, row.pos, row.key, row.type, row.company, row.data, None, row.recorded_at)
        for row in pay.rows("SELECT * FROM log.record WHERE topic = :t ORDER BY pos", t=TOPIC)
    ]
    for _ in Replay(again, lambda: None, set()).play(records):
        pass
    with pay.runtime.engine.connect() as here, again["incentives"].engine.connect() as there:
        for sql in LEDGER.values():
            one, other = (sorted(map(str, connection.execute(text(sql)))) for connection in (here, there))
            assert one == other
        assert there.execute(text("SELECT count(*) FROM posting")).scalar_one() > 50
    with again["incentives"].engine.connect() as there:
        assert list(findings(there)) == []
