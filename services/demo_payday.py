"""The second half of the demo's story: the quarter is closed and paid, corrected afterwards, and proved to the cent."""

import json
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.table import Table
from rich.tree import Tree

from services.client import SERVICES, ApiProblem, ValueLoopClient
from services.demo_events import corrected
from services.demo_telling import QUARTER, Teller, moved
from shared.closing import hash_of
from shared.numbers import total

RUNS = "/incentives/v1/payout-runs"
PREPARES, APPROVES = "zhou-min", "chen-wei"
BUYER, REFUSED, NO_ACCOUNT, SELLER = "sun-li", "hao-ning", "fan-ying", "guo-hua"
LATE_RECEIPT, CANCELLED = "GR-05306/1", "IN-02955/1"
COMPANY = "ev-maker"
_keys = count(1)
CHECKER = Path(__file__).parents[1] / "tools" / "check_statement.py"
LATER = f"{QUARTER}-later"
MOVED_READINGS = (("supplier_loss", "buyers-cells"), ("revenue", "sales-south"))
MOVED_GOALS = ("supplier-loss-cells", "revenue-south")
SHARES = ("paid", "payable", "held", "carried", "pending")


class Payday(Teller):
    """Closes, pays, corrects and proves."""

    objected = ""  # link of the objection

    def play(self) -> None:
        chapters = (
            self.close, self.run, self.bank, self.objection, self.late, self.next_run, self.statement, self.proof,
        )  # fmt: skip
        for chapter in chapters:
            chapter()

    # --- chapters ---

    def close(self) -> None:
        self.title("9  The quarter is closed", "What was an opinion until now gets a certificate.")
        self.tick("2025-04-08T09:00:00+08:00")
        _post(self.finance, f"/metrics/v1/periods/{QUARTER}/close")
        self.client.wait_until_settled()
        found = self.finance.get(f"/metrics/v1/periods/{QUARTER}")
        self.say(f"{found['by']} closes it for all services (metrics → goals → reviews, incentives): {found['state']}.")
        for each in sorted(found["services"], key=lambda each: SERVICES.index(each["service"])):
            certificate = self.finance.get(f"/{each['service']}/v1/periods/{QUARTER}/certificate")
            fits = each["certificate"] == certificate["hash"] == _hash(certificate)
            self.say(f"  {each['service']:<10} {'certificate has the hash of what it says' if fits else 'BROKEN'}: "
                     f"{_certified(certificate['content'])}")  # fmt: skip

    def run(self) -> None:
        self.title("10  A payout run", f"{PREPARES} prepares it; somebody else must approve it.")
        run = self.prepare(QUARTER, "2025-04-15")
        try:
            _post(self.finance, f"{RUNS}/{QUARTER}/approvals", hash=run["hash"])
        except ApiProblem as problem:
            self.say(f"{PREPARES} tries to approve it: {problem.status}. {problem}")
        self.approve_and_release(run)

    def bank(self) -> None:
        self.title("11  The bank answers", "Line by line. What it refuses is due again in the next run.")
        self.tick("2025-04-14T18:00:00+08:00")
        [line] = self.client.items(f"{RUNS}/{QUARTER}/lines", payee=f"person:{REFUSED}")
        refused = {"line": line["line"], "outcome": "failed", "reason": "Account closed."}
        body = {"day": "2025-04-14", "lines": [refused], "others": "settled"}
        answers = [_post(self.boss, f"{RUNS}/{QUARTER}/settlements", **body) for _ in range(2)]
        for what, found in zip((f"{_who(line)}: “Account closed.”", "The same answer again:"), answers, strict=True):
            self.say(f"{what} {found['settled']} paid, {found['failed']} refused, {found['unchanged']} unchanged.")

    def objection(self) -> None:
        me, path = self.speaking_as(BUYER, "employee"), f"/incentives/v1/people/{BUYER}"
        [line] = me.get(f"{path}/statements/1")["statement"]["lines"]
        text, claim = f"{LATE_RECEIPT} came as promised.", {"change": {"events": [self._right()]}}
        self.title("12  An objection", f"{BUYER} objects to line {line['line']} of statement 1: “{text}”")
        raised = _post(me, f"{path}/objections", statement=1, line=line["line"], text=text, claim=claim)
        self.objected = raised["links"]["self"]
        found = self.finance.get(raised["links"]["counterfactual"])
        self.say(f"{raised['id']}: to be answered by {raised['due']}. {PREPARES} previews what that would pay: "
                 f"{moved(found['before'], found['after'], found['currency'])}.")  # fmt: skip

    def late(self) -> None:
        right = self._right()
        lines = [line | {"amount": "0.00", "cost": "0.00"} for line in self.events[CANCELLED]["data"]["lines"]]
        cancelled = corrected(self.events[CANCELLED], lines=lines)
        self.title(
            "13  Two corrections after payment",
            f"{right['data']['receipt']} did come in time, and {SELLER}'s invoice {cancelled['data']['invoice']} "
            f"is cancelled. {QUARTER} stays closed as it was; the latest numbers move.",
        )
        self.client.push([right, cancelled])
        self.client.wait_until_settled()
        table = Table("", "as closed → latest", box=None, pad_edge=False)
        for metric, subject in MOVED_READINGS:
            where = {"metric": metric, "subject": f"unit:{subject}", "period": QUARTER}
            closed, latest = (self.client.get("/metrics/v1/readings", **where, closed=flag) for flag in ("true", None))
            table.add_row(f"{metric} of {subject}", moved(closed["value"], latest["value"], latest["unit"]))
        for goal in MOVED_GOALS:
            closed, latest = (next(self.client.items("/goals/v1/scores", goal=goal, period=QUARTER, closed=flag))
                              for flag in ("true", None))  # fmt: skip
            table.add_row(f"score of {goal}", moved(closed["score"], latest["score"]))
        self.console.print(table)
        answer = _post(
            self.finance, f"{self.objected}/answers", outcome="corrected", reason="The ERP has put it right."
        )
        self.say(f"The objection {answer['id']} is answered: {answer['status']}. “{answer['answer']['reason']}”")

    def next_run(self) -> None:
        self.title("14  The next run", f"{NO_ACCOUNT} and {REFUSED} have told their new accounts.")
        for person, number in ((NO_ACCOUNT, "XH 0101"), (REFUSED, "XH 0102")):
            account = {"payee": f"person:{person}", "name": person, "account": number}
            self.finance.put(f"/incentives/v1/payment-accounts/{person}", account)
        self.approve_and_release(self.prepare(LATER, "2025-04-30"))
        table = Table("person", "due from before", "adjustment", "paid", "carried", box=None, pad_edge=False)
        for line in self.boss.items(f"{RUNS}/{LATER}/lines"):
            if _who(line) in (BUYER, SELLER, REFUSED, NO_ACCOUNT):
                before = total(Decimal(line[name]) for name in ("payable", "held", "carried"))
                paid, carried = (line["amount"] if line["account"] == name else "0" for name in ("payable", "carried"))
                row = [_money(value) for value in (before, line["adjustment"], paid, carried)]
                table.add_row(_who(line), *row)
        self.console.print(table)
        self.tick("2025-04-29T18:00:00+08:00")
        _post(self.boss, f"{RUNS}/{LATER}/settlements", day="2025-04-29", others="settled")

    def statement(self) -> None:
        self.title("15  A statement", f"{BUYER} reads it; tools/check_statement.py computes each cent again.")
        me = self.speaking_as(BUYER, "employee")
        path = f"/incentives/v1/people/{BUYER}/statements"
        told = [me.get(each["links"]["statement"]) for each in me.items(path)]
        self._shown(told[-1]["statement"])
        self.say(f"check_statement.py: {_checked(told)}")
        told[-1]["statement"]["lines"][0]["amount"] = "999"
        self.say(f"The same with an amount changed by hand: {_checked(told).splitlines()[1]}")

    def proof(self) -> None:
        equation = " + ".join(SHARES)
        self.title("16  The one equation", f"entitled = {equation}, for each payee and plan")
        balances = list(self.boss.items("/incentives/v1/balances"))
        sums = {name: total(Decimal(each[name]) for each in balances) for name in ("entitled", *SHARES)}
        holds = sum(Decimal(each["entitled"]) == total(Decimal(each[name]) for name in SHARES) for each in balances)
        self.say(f"It holds for {holds} of {len(balances)}; all together [CNY]: {_money(sums['entitled'])} = "
                 + " + ".join(f"{_money(sums[name])} {name}" for name in SHARES))  # fmt: skip
        found = self.boss.get("/incentives/v1/timeliness", period=QUARTER)
        self.say(f"Paid by the promised day: {found['on_time']} of {found['due']} due.")

    # --- parts ---

    @property
    def finance(self) -> ValueLoopClient:
        """Who prepares; that role also approves what others prepared."""
        return self.speaking_as(PREPARES, "compensation", "finance")

    @property
    def boss(self) -> ValueLoopClient:
        return self.speaking_as(APPROVES, "finance")

    def _right(self) -> dict[str, Any]:
        return corrected(self.events[LATE_RECEIPT], received="2025-03-17")

    def _shown(self, statement: Any) -> None:
        name, number = statement["name"], statement["number"]
        tree = Tree(f"[bold]Statement {number}[/] of {name}, run {statement['run']}, {statement['currency']}")
        for line in statement["lines"]:
            branch = tree.add(f"{line['plan_name']}: {_money(line['amount'])} {line['account']}, adjustment "
                              f"{Decimal(line['adjustment']):+}")  # fmt: skip
            for part in line["parts"]:
                span = moved(part["before"], part["after"])
                here = branch.add(f"{part['period']}: {span} (version {part['version']})")
                for cause in part["moved"]:
                    values = (cause[side] and cause[side]["value"] for side in ("before", "after"))
                    here.add(f"[dim]because of {cause['what']} {cause['code']}: {moved(*values)}[/]")
        self.console.print(tree)

    def prepare(self, run: str, promised: str) -> Any:
        """Opened, calculated, submitted."""
        new = {"code": run, "period": QUARTER, "currency": "CNY", "promised": promised}
        _post(self.finance, RUNS, **new)
        _post(self.finance, f"{RUNS}/{run}/calculations")
        self.client.wait_until_settled()
        found = _post(self.finance, f"{RUNS}/{run}/submissions")
        self.say(f"Run {run}: {found['lines']} lines, pays {_money(found['total'])} CNY by {promised}.")
        return found

    def approve_and_release(self, run: Any) -> None:
        path = f"{RUNS}/{run['code']}"
        _post(self.boss, f"{path}/approvals", hash=run["hash"])
        _post(self.boss, f"{path}/releases")
        self.client.wait_until_settled()
        found = self.boss.get(path)
        self.say(f"{APPROVES} approves exactly that content, and releases it: {found['status']}.")
        groups = (f"{group['lines']} {state} ({_money(group['amount'])})" for state, group in found["groups"].items())
        self.say(f"Lines [CNY]: {', '.join(groups)}.")
        file = self.boss.request("GET", f"{path}/payment-file", params={"format": "pain.001"})
        sums = {each.tag.rsplit("}")[-1]: each.text for each in ElementTree.fromstring(file.content).iter()}
        name = file.headers["content-disposition"].split('"')[1]
        self.say(f"Payment file {name} (ISO 20022): {sums['NbOfTxs']} payments, {_money(sums['CtrlSum'] or '')} CNY.")


def _post(client: ValueLoopClient, path: str, **body: Any) -> Any:
    return client.post(path, body, repeatable=True, **{"Idempotency-Key": f"demo-{next(_keys)}"})


def _money(amount: Decimal | str) -> str:
    return f"{Decimal(amount):,.2f}"


def _who(line: Any) -> str:
    return str(line["payee"]).removeprefix("person:")


def _certified(content: Any) -> str:
    events = [f"{source['events']} events of {name}" for name, source in content.get("sources", {}).items()]
    settings = sum(each["count"] for each in content["settings"].values())
    return ", ".join([*events, f"{settings} settings", f"{len(content['missing'])} missing"])


def _hash(certificate: Any) -> str:
    """Of what it says, whatever it says its hash is."""
    dates = {name: date.fromisoformat(certificate[name]) for name in ("start", "until")}
    return hash_of(certificate | dates | {"company": COMPANY, "at": datetime.fromisoformat(certificate["at"])})


def _checked(statements: Any) -> str:
    """What the checker says, a program of its own that knows nothing of ValueLoop."""
    command = [sys.executable, "-I", str(CHECKER), "-"]
    done = subprocess.run(command, input=json.dumps(statements), capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()
