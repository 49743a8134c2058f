"""Restatement and ledger as one machine on a real PostgreSQL: in whatever order things are corrected, decided, closed,
paid, refused, returned and reversed, people are paid what the final inputs come to."""

from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from services.incentives.entitlements.store import freeze
from shared.contracts.goals import Company, Person, Unit
from shared.contracts.metrics import Rate, ReadingChanged
from shared.database.unit_of_work import unit_of_work
from shared.periods import Calendar, parse_period
from tests.integration.house import NOW, House, component, house, score
from tests.integration.paying import Payroll

__all__ = ["house"]
D = Decimal
WHO = ("li", "wang")
SALES = {"kind": "reading", "code": "sales", "subject": "unit:shop"}
TABLE = {"kind": "tiers", "mode": "whole", "tiers": [{"from": "0", "rate": "0.1"}]}
people, quarters = st.sampled_from(WHO), st.integers(1, 4)
money = st.integers(0, 2_000_000).map(lambda n: D(n).scaleb(-2))
points = st.integers(0, 1200).map(lambda n: D(n).scaleb(-1))
rates = st.integers(60_000, 80_000).map(lambda n: D(n).scaleb(-4))
_companies = count(1)


class Restating(RuleBasedStateMachine):
    """A plan with a share of a target and a commission on sales in dollars; two people, four quarters."""

    def __init__(self, house: House) -> None:
        super().__init__()
        name = f"company-{next(_companies)}"
        self.house = House(house.runtime, house.http, house.issuer, company=name)
        self.pay = Payroll(house.runtime, house.http, house.issuer, name)
        self.versions, self.runs = count(1), count(1)
        self.scores, self.sold, self.rates = dict[int, Decimal](), dict[int, Decimal](), dict[int, Decimal]()
        self.decided: dict[tuple[str, int], Decimal | None] = {}
        self.targets, self.factor, self.closed = dict.fromkeys(WHO, D(10000)), D(1), 0
        self.pay.done = len(self.pay.rows("SELECT 1 FROM log.record WHERE topic = 'incentives.steps'"))
        self._set_up()

    def _set_up(self) -> None:
        content = Company(name="Acme", labels={}, time_zone="Asia/Shanghai", currency="CNY")
        self.house.define("company", content)
        self.house.define("shop", Unit(name="Shop", labels={}, kind="department", parent=None))
        self.pay.put("policies/without_account", {"value": "pay"}, "li", "compensation")
        self._plan()
        for who in WHO:
            self.house.define(who, Person(name=who, unit="shop", manager=None))
            self.house.assign(who)

    def _plan(self) -> None:
        parts = (component(), component("sales", "0", driver=SALES, curve=TABLE))
        correction = {"correction": True, "reason": "Wrong."} if self.closed else {}
        body = {"name": "Bonus", "period": "quarter", "currency": "CNY", "components": list(parts)}
        self.pay.put("plans/bonus", body | correction | {"factor": str(self.factor)}, "li", "compensation")

    def _owed(self, who: str, quarter: int) -> Decimal:
        """What the inputs as they are now come to, by plain arithmetic."""
        if (amount := self.decided.get((who, quarter))) is not None:
            return amount
        bonus = self.targets[who] * self.scores.get(quarter, D(0)) / 100
        rate = next((self.rates[q] for q in range(quarter, 0, -1) if q in self.rates), D(0))
        commission = self.sold.get(quarter, D(0)) * rate / 10
        return ((bonus + commission) * self.factor).quantize(D("0.01"), ROUND_HALF_UP)

    # --- what is late, corrected or decided ---

    @rule(quarter=quarters, value=points)
    def a_score_comes_or_changes(self, quarter: int, value: Decimal) -> None:
        self.scores[quarter] = value
        self.house.arrive(score(str(value), next(self.versions), period=f"2025-Q{quarter}"))

    @rule(quarter=quarters, value=money)
    def sales_come_or_change(self, quarter: int, value: Decimal) -> None:
        self.sold[quarter], version = value, next(self.versions)
        self.house.arrive(ReadingChanged(
            metric="sales", subject="unit:shop", period=f"2025-Q{quarter}", version=version, change=version,
            value=value, unit="USD", recorded_at=NOW,
        ))  # fmt: skip

    @rule(quarter=quarters, first=rates, value=rates)
    def a_rate_changes_twice(self, quarter: int, first: Decimal, value: Decimal) -> None:
        begins = date(2025, 3 * quarter - 2, 1)
        for number in (first, value):
            rate = Rate(from_currency="USD", to_currency="CNY", rate=number, effective_from=begins)
            self.house.define("USD-CNY", rate, next(self.versions))
        self.rates[quarter] = value

    @rule(who=people, amount=money)
    def a_target_is_corrected(self, who: str, amount: Decimal) -> None:
        if self.targets[who] != amount:
            self.targets[who] = amount
            self.house.assign(who, str(amount), correction=True, reason="Wrong.", expect=200)

    @rule(factor=st.sampled_from(["1", "1.25", "0.333"]))
    def the_plan_is_corrected(self, factor: str) -> None:
        self.factor = D(factor)
        self._plan()

    @rule(who=people, quarter=quarters, amount=money | st.none())
    def somebody_decides(self, who: str, quarter: int, amount: Decimal | None) -> None:
        self.decided[who, quarter] = amount
        body = {"payee": f"person:{who}", "plan": "bonus", "period": f"2025-Q{quarter}", "reason": "Decided.",
                "amount": None if amount is None else str(amount), "correction": True}  # fmt: skip
        self.pay.put(f"overrides/{who}-{quarter}", body, "li", "compensation")

    # --- what is closed, paid and taken back ---

    @precondition(lambda self: self.closed < 4)
    @rule()
    def a_quarter_closes(self) -> None:
        self.closed += 1
        with unit_of_work(self.house.runtime, actor="t") as uow:
            period = parse_period(Calendar("Asia/Shanghai"), f"2025-Q{self.closed}")
            freeze(uow, self.pay.company, period)

    @precondition(lambda self: self.closed)
    @rule(refused=st.sets(people))
    def a_run_pays(self, refused: set[str]) -> None:
        code = f"r{next(self.runs)}"
        run = self.pay.calculated(code, period=f"2025-Q{self.closed}")
        if run["lines"]:
            self.pay.released(code)
            due = self.pay.lines(code, status="released")
            failed = [{"line": due[who]["line"], "outcome": "failed", "reason": "Closed."} for who in refused & {*due}]
            self.pay.settle(code, failed, others="settled")
        for who in WHO:
            for quarter in range(1, self.closed + 1):
                [row] = self._rows("entitlement", "payee = :p AND period = :q AND latest", who, quarter)
                [books] = self._rows("booked", "payee = :p AND period = :q", who, quarter)
                assert row.amount == books.amount == self._owed(who, quarter)

    @precondition(lambda self: self.closed)
    @rule()
    def a_run_is_calculated_and_left(self) -> None:
        self.pay.calculated(f"r{next(self.runs)}", period=f"2025-Q{self.closed}")

    @rule(data=st.data(), how=st.sampled_from(["reversed", "returned"]))
    def a_payment_is_taken_back(self, data: st.DataObject, how: str) -> None:
        if lines := self._rows("payout_line", "status = 'settled' ORDER BY run, line"):
            line = data.draw(st.sampled_from(lines))
            if how == "reversed":
                path = f"payout-runs/{line.run}/lines/{line.line}/reversals"
                self.pay.ok(self.pay.post(path, {"reason": "Wrong."}, "chen"))
            else:
                answer = {"line": line.line, "outcome": "returned", "reason": "Closed."}
                self.pay.settle(line.run, [answer])

    # --- what always holds ---

    def _rows(self, table: str, where: str, who: str = "", quarter: int = 0) -> list[Any]:
        sql = f"SELECT * FROM {table} WHERE company = :c AND {where}"
        names = {"p": f"person:{who}", "q": f"2025-Q{quarter}"} if who else {}
        return self.pay.rows(sql, c=self.pay.company, **names)

    @invariant()
    def the_one_equation_holds(self) -> None:
        for who in WHO:
            entitled = sum((row.amount for row in self._rows("entitlement", "payee = :p AND latest", who, 1)), D(0))
            booked = sum((row.amount for row in self._rows("booked", "payee = :p", who, 1)), D(0))
            of = self._rows("balance", "payee = :p", who, 1)
            there = sum((row.paid + row.payable + row.held + row.carried for row in of), D(0))
            advanced = -sum((row.draw + row._mapping["grant"] for row in of), D(0))
            assert entitled + advanced == there + (entitled - booked)
            assert all(min(row.paid, row.payable, row.held) >= 0 for row in of)

    def teardown(self) -> None:
        self.pay.sound()


def test_people_are_paid_what_the_final_inputs_come_to(house: House) -> None:
    checked = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    steps = settings(max_examples=12, stateful_step_count=40, deadline=None, suppress_health_check=checked)
    run_state_machine_as_test(lambda: Restating(house), settings=steps)
