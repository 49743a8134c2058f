"""Incentives with entitlements given as figures, for tests of runs and of the ledger over HTTP."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import count
from typing import Any

from fastapi.testclient import TestClient

from services.incentives.ledger.checks import findings
from shared.configuration import Recorded, store
from shared.contracts.base import Tick
from shared.contracts.goals import Company
from shared.contracts.payouts import STEPS
from shared.database.unit_of_work import Jsonb, UnitOfWork, unit_of_work
from shared.identity import LocalIssuer
from shared.log import Record
from shared.log.worker import handle, types_of
from shared.numbers import plain
from shared.service import Runtime
from tests.checked import verified

NOW = datetime(2025, 4, 1, tzinfo=UTC)
WHO = {"li": ("compensation",), "chen": ("finance",), "ma": ("auditor",)}
QUARTERS = {f"2025-Q{n}": (date(2025, 3 * n - 2, 1), date(2025, 3 * n, 30 if n in (2, 3) else 31)) for n in range(1, 5)}
UNMOVED = 2**40  # no change is later: entitlements stay as the test gives them
_keys = count(1)


@dataclass
class Payroll:
    """One company's runs: li prepares, chen approves."""

    runtime: Runtime
    http: TestClient
    issuer: LocalIssuer
    company: str = "acme"
    done: int = 0
    _versions: dict[tuple[str, str, str], int] = field(default_factory=dict)

    # --- what is given ---

    def set_up(self, accounts: str = "pay", currency: str = "CNY") -> "Payroll":
        """The company with its calendar, and all quarters of 2025 closed."""
        self.knows_the_calendar(currency)
        with self.writing() as uow:
            self._freeze(uow, "")
        self.put("policies/without_account", {"value": accounts}, "li", "compensation")
        return self

    def knows_the_calendar(self, currency: str = "CNY", version: int = 1, first_month: int = 1) -> None:
        content = Company(name="Acme", labels={}, time_zone="Asia/Shanghai", currency=currency,
                          fiscal_year_start_month=first_month)  # fmt: skip
        with self.writing() as uow:
            store(uow, self.company, Recorded("company", version, content, "x", NOW))

    def _freeze(self, uow: UnitOfWork, plan: str) -> None:
        uow.copy(
            "frozen", ("company", "period", "plan", "starts", "ends", "kind", "change"),
            [(self.company, label, plan, first, last, "quarter", UNMOVED)
             for label, (first, last) in QUARTERS.items()],
        )  # fmt: skip

    def plan(self, **more: Any) -> None:
        """A setting for the plan `bonus`, whose entitlements stay as the test gives them."""
        component = {
            "code": "c", "name": "C", "weight": "1",
            "driver": {"kind": "goal", "code": "g"}, "curve": {"kind": "linear"},
        }  # fmt: skip
        body = {"name": "Bonus", "period": "quarter", "currency": "CNY", "components": [component]}
        self.put("plans/bonus", body | more, "li", "compensation")
        with self.writing() as uow:
            self._freeze(uow, "bonus")

    def writing(self) -> Any:
        return unit_of_work(self.runtime, actor="incentives")

    def entitle(
        self, amounts: Mapping[str, str | Decimal], period: str = "2025-Q1", plan: str = "bonus", currency: str = "CNY"
    ) -> None:
        """A new version of what payees are entitled to; bare names are people."""
        rows = [(payee if ":" in payee else f"person:{payee}", Decimal(amount)) for payee, amount in amounts.items()]
        with self.writing() as uow:
            uow.run(
                "UPDATE entitlement SET latest = false WHERE company = :c AND period = :period AND plan = :plan "
                "AND payee = ANY(:payees)", c=self.company, period=period, plan=plan, payees=[p for p, _ in rows],
            )  # fmt: skip
            self._calculation(uow)
            uow.copy(
                "entitlement",
                ("company", "period", "plan", "payee", "version", "amount", "currency", "content", "change", "latest"),
                [(self.company, period, plan, payee, self._next(period, plan, payee), amount, currency,
                  Jsonb({"calculation": "given", "given": [plain(amount)]}), 1, True)
                 for payee, amount in rows],
            )  # fmt: skip

    def _calculation(self, uow: UnitOfWork) -> None:
        """One step: the amount is given, to each payee its own."""
        step = {"id": "amount", "name": "Amount", "op": "given", "of": [], "value": None, "how": "for the test"}
        uow.run(
            "INSERT INTO calculation (company, id, steps) VALUES (:c, 'given', :steps) ON CONFLICT DO NOTHING",
            c=self.company, steps=Jsonb([step]),
        )  # fmt: skip

    def _next(self, *key: str) -> int:
        self._versions[key] = self._versions.get(key, 0) + 1  # type: ignore[index]
        return self._versions[key]  # type: ignore[index]

    def time_reaches(self, day: str) -> None:
        at = datetime.fromisoformat(f"{day}T00:00:00+08:00")
        with self.writing() as uow:
            self.runtime.service.on_tick(uow, self.company, Tick(at=at, id=day))  # type: ignore[misc]

    # --- who speaks ---

    def call(self, method: str, path: str, who: str = "li", *roles: str, **more: Any) -> Any:
        token = self.issuer.issue(who, self.company, roles or WHO.get(who, ("employee",)))
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        return self.http.request(method, f"/incentives/v1/{path}", headers=headers, **more)

    def post(self, path: str, body: Any = None, who: str = "li", *roles: str, key: str | None = None) -> Any:
        headers = {"Idempotency-Key": key or f"key-{next(_keys)}"}
        return self.call("POST", path, who, *roles, headers=headers, **({} if body is None else {"json": body}))

    def put(self, path: str, body: Any, who: str = "chen", *roles: str) -> Any:
        answer = self.call("PUT", path, who, *roles, json=body)
        assert answer.is_success, answer.text
        return answer.json()

    def get(self, path: str, who: str = "ma", **query: Any) -> Any:
        answer = self.call("GET", path, who, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ok(self, answer: Any) -> Any:
        assert answer.is_success, answer.text
        return answer.json()

    # --- runs ---

    def work(self) -> None:
        """What a worker would do: the steps that are due, a transaction each."""
        while True:
            with unit_of_work(self.runtime, actor="test", read_only=True) as uow:
                rows = uow.rows(
                    "SELECT * FROM log.record WHERE topic = :topic ORDER BY recorded_at, partition, pos", topic=STEPS
                )[self.done :]
            if not rows:
                return
            for row in rows:
                self.step(row)

    def step(self, row: Any) -> None:
        with self.writing() as uow:
            self.apply(uow, row)
        self.done += 1

    def apply(self, uow: UnitOfWork, row: Any) -> None:
        record = Record(STEPS, row.partition, row.pos, row.key, row.type, row.company, row.data, None, NOW)
        handle(uow, types_of(self.runtime.service), [record])

    def opened(self, code: str = "q1", period: str = "2025-Q1", promised: str = "2025-04-15", **more: Any) -> str:
        body = {"code": code, "period": period, "currency": "CNY", "promised": promised} | more
        self.ok(self.post("payout-runs", body))
        return code

    def calculated(self, code: str = "q1", **more: Any) -> Any:
        if self.call("GET", f"payout-runs/{code}", "ma").status_code == 404:
            self.opened(code, **more)
        self.ok(self.post(f"payout-runs/{code}/calculations"))
        self.work()
        return self.run(code)

    def approved(self, code: str = "q1", **more: Any) -> Any:
        found = self.calculated(code, **more)
        self.ok(self.post(f"payout-runs/{code}/submissions"))
        return self.ok(self.post(f"payout-runs/{code}/approvals", {"hash": found["hash"]}, "chen"))

    def released(self, code: str = "q1", **more: Any) -> Any:
        self.approved(code, **more)
        self.ok(self.post(f"payout-runs/{code}/releases", who="chen"))
        self.work()
        found = self.run(code)
        assert found["status"] in ("released", "settled"), found
        return found

    def paid(self, code: str = "q1", day: str = "2025-04-14", **more: Any) -> Any:
        self.released(code, **more)
        return self.settle(code, day=day, others="settled")

    def settle(self, code: str, lines: Iterable[Mapping[str, Any]] = (), day: str = "2025-04-14", **more: Any) -> Any:
        body = {"day": day, "lines": list(lines)} | more
        return self.ok(self.post(f"payout-runs/{code}/settlements", body, "chen"))

    def run(self, code: str = "q1") -> Any:
        return self.get(f"payout-runs/{code}")

    def lines(self, code: str = "q1", **query: Any) -> dict[str, Any]:
        """The lines of a run by payee's name; one plan."""
        items = self.get(f"payout-runs/{code}/lines", limit=200, **query)["items"]
        return {line["payee"].split(":")[1]: line for line in items}

    def balance(self, payee: str, plan: str = "bonus") -> dict[str, str]:
        """Paid, payable, held, carried, advanced and pending, those that are not zero."""
        found = self.get("balances", payee=payee if ":" in payee else f"person:{payee}")["items"]
        [one] = [each for each in found if each["plan"] == plan] or [{}]
        names = ("paid", "payable", "held", "carried", "advanced", "pending")
        return {name: one[name] for name in names if one and one[name] != "0"}

    def sound(self) -> "Payroll":
        """The standing checks find nothing, nor does whoever computes every statement again."""
        with self.runtime.engine.connect() as connection:
            assert list(findings(connection)) == []
        verified(self.runtime.engine)
        return self

    def rows(self, sql: str, **params: Any) -> list[Any]:
        with unit_of_work(self.runtime, actor="test", read_only=True) as uow:
            return list(_rows(uow, sql, params))


def _rows(uow: UnitOfWork, sql: str, params: Mapping[str, Any]) -> Any:
    return uow.rows(sql, **params)
