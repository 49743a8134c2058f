"""The story that the demo tells, a chapter at a time, through the public HTTP API only."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.tree import Tree

from services import demo_events, files
from services.cli_files import apply_items
from services.demo_payday import Payday
from services.demo_telling import NEXT, QUARTER, Interrupted, Teller, moved, shown

TEAM, BUYER, GOAL = "buyers-cells", "sun-li", "on-time-cells"
LATE_TRUCK, CORRECTED = "GR-05778/1", "GR-05625/1"
MAIN_READINGS = (
    ("revenue", "group", "2025-02"), ("revenue", "group", "2025-03"), ("revenue", "group", QUARTER),
    ("margin_rate", "group", QUARTER), ("cars_delivered", "group", QUARTER), ("days_to_delivery", "group", QUARTER),
    ("on_time_rate", "buyers-cells", QUARTER), ("on_time_rate", "buyers-parts", QUARTER),
    ("delay_days", "supply", QUARTER), ("supplier_loss", "supply", QUARTER), ("yield_rate", "plant", QUARTER),
    ("rework_loss", "plant", QUARTER), ("complaint_rate", "group", QUARTER),
)  # fmt: skip


class Story(Teller):
    """Plays the whole story."""

    def play(self, example: Path) -> bool:
        """The whole story; false where it was interrupted."""
        chapters = (
            lambda: self.company(example), self.quarter, self.readings, self.late_truck, self.quarter_ends,
            self.correction, self.decision, self.why,
        )  # fmt: skip
        try:
            for chapter in chapters:
                chapter()
            Payday(self.client, self.token, self.stop, self.console, self.events).play()
        except Interrupted:
            return False
        return True

    # --- chapters ---

    def company(self, example: Path) -> None:
        self.title(
            "1  A company as files", "examples/ev-maker holds an EV maker: organisation, metrics, goals, bonuses."
        )
        items, faults = files.read(example)
        done, refused = apply_items(self.client, items)
        if faults or refused:
            raise (faults or refused)[0]
        counts: dict[str, set[str]] = {}
        for change in done:
            name = change.item.kind.KIND.split("-")[-1]
            counts.setdefault(name, set()).add(f"{change.item.kind.KIND} {change.item.code}")
        self.say(", ".join(f"{name} {len(codes)}" for name, codes in counts.items()) + ".")
        self.client.wait_until_settled()

    def quarter(self) -> None:
        self.title("2  A quarter of ERP events", "Receipts, line stops, production, orders, deliveries, invoices …")
        self.events = {event["id"]: event for event in demo_events.quarter()}
        first = [e for e in self.events.values() if e["time"] < "2025-04-01" and e["id"] != LATE_TRUCK]
        self.send(first, "January to March")

    def readings(self) -> None:
        self.title("3  What they add up to", "Readings of the quarter; each knows the events that it is made of.")
        table = Table("reading", "of", "period", "", "qualified by", box=None, pad_edge=False)
        for metric, unit, period in MAIN_READINGS:
            reading = self.client.get("/metrics/v1/readings", metric=metric, subject=f"unit:{unit}", period=period)
            qualified = ", ".join(reading["qualified"])
            table.add_row(metric, unit, period, shown(reading["value"], reading["unit"]), qualified)
        self.console.print(table)
        self._chain()
        self._scores()

    def late_truck(self) -> None:
        truck = self.events[LATE_TRUCK]
        data = truck["data"]
        self.title(
            "4  One truck comes late",
            f"{data['supplier']} delivers {data['receipt']} on {data['received']} instead of {data['promised']}, "
            "and the line waits for it.",
        )
        self._what_changes(truck)

    def quarter_ends(self) -> None:
        self.title("5  The quarter ends", "Time reaches April. Gaps of more than 10 % open a case, once.")
        self.tick("2025-04-01T00:00:00+08:00")
        table = Table("case", "actual", "target", "gap", "owner", "plan due", box=None, pad_edge=False)
        for case in self.client.items("/reviews/v1/cases"):
            cause = self.client.get(f"/reviews/v1/cases/{case['id']}")["causes"][0]
            table.add_row(
                case["id"], shown(cause["actual"]), shown(cause["target"]),
                shown(cause["gap"], "ratio"), case["owner"], case["due"],
            )  # fmt: skip
        self.console.print(table)
        self.say(f"\nWhat the team {TEAM} has accrued for {QUARTER}:")
        self._team(QUARTER)

    def correction(self) -> None:
        wrong = self.events[CORRECTED]
        right = demo_events.corrected(wrong, received="2025-03-20")
        data = wrong["data"]
        self.title(
            "6  A late correction",
            f"The ERP sends {data['receipt']} again: it had come on {right['data']['received']}, not on "
            f"{data['received']}. The later revision counts, and the quarter's numbers follow.",
        )
        self._what_changes(right)

    def decision(self) -> None:
        self.title("7  A decision", "Nobody has sent a plan within 24 hours. April goes on meanwhile.")
        self.tick("2025-04-02T08:00:00+08:00")
        later = [event for event in self.events.values() if event["time"] >= "2025-04-01"]
        self.send(later, "first weeks of April")
        case = next(c for c in self.client.items("/reviews/v1/cases") if c["goal"] == GOAL)
        boss = case["escalated_to"]
        self.say(f"The case {case['id']} has gone to {boss}, the superior of {case['owner']}.")
        score, team = self._score(GOAL, NEXT), self._totals(NEXT)
        reason = "Ningbo Cells rebuilds its furnace until June; we hold safety stock meanwhile."
        target = {"value": "0.85", "effective_from": "2025-04-01", "reason": reason}
        expected = self._preview(target)
        self.speaking_as(boss, "manager", "employee").post(
            f"/reviews/v1/cases/{case['id']}/decisions", {"kind": "change_target", **target}
        )
        self.client.wait_until_settled()
        decided = self.client.get(f"/reviews/v1/cases/{case['id']}")
        self.say(f"{boss} decides: 85 % on time from April. “{reason}” The case is {decided['status']}.")
        after = self._score(GOAL, NEXT)
        self.say(f"Score of {GOAL} for {NEXT}: {moved(score['score'], after['score'])}, against a target of "
                 f"{moved(score['target'], after['target'])}. {QUARTER} stays as it was judged.")  # fmt: skip
        self._compare(team, now := self._totals(NEXT), NEXT)
        fits = all(Decimal(now[who] or 0) - Decimal(team[who] or 0) == expected[who] for who in now)
        self.say(f"These differences are {'exactly' if fits else 'NOT'} those of the preview.")

    def why(self) -> None:
        self.title(
            "8  Why is this bonus this amount?", f"{BUYER}, {QUARTER}: from the amount down to the ERP's events."
        )
        plan = self._accruals(BUYER, QUARTER)[0]["plan"]
        path = f"/incentives/v1/people/{BUYER}/accruals/explanation"
        why = self.client.get(path, period=QUARTER, plan=plan)
        accrual = why["accrual"]
        tree = Tree(f"[bold]{accrual['total']} {accrual['currency']}[/] for {accrual['plan_name']}")
        for step in (each for each in why["person"] if each["op"] != "given"):
            tree.add(f"[dim]{step['name']}: {shown(step['value'])} ({step['how']})[/]")
        driver = {each["component"]: each["links"].get("driver") for each in why["components"]}
        for line in accrual["lines"]:
            branch = tree.add(
                f"{line['name']}: {shown(line['amount'])} CNY [dim](weight {shown(line['weight'], 'ratio')})[/]"
            )
            if line["component"] == "loss" and (link := driver["loss"]):
                self._down(branch, link)
        self.console.print(tree)

    # --- down: from a number to what it was made of ---

    def _down(self, branch: Tree, link: str) -> None:
        """Follows the links of explanations, as any client can, down to the events."""
        found = self.client.get(link)
        if "score" in found:
            score = found["score"]
            here = branch.add(f"score {shown(score['score'])} of goal {score['code']}: actual {shown(score['actual'])} "
                              f"against target {shown(score['target'])} ({found['rule']})")  # fmt: skip
            for cited in found["inputs"]:
                if cited["what"] == "reading" and cited["link"]:
                    self._down(here, cited["link"])
            return
        reading = found["reading"]
        here = branch.add(f"reading {reading['metric']} of {reading['subject']}: "
                          f"{shown(reading['value'], reading['unit'])} = {found['rule']}")  # fmt: skip
        for cited in found["inputs"]:
            if cited["role"] == "parameter":
                here.add(f"[dim]parameter {cited['code']}: {shown(cited['value'])} (version {cited['version']})[/]")
            elif cited["link"]:
                self._down(here, cited["link"])
        if found["observations"]:
            self._observations(here, found)

    def _observations(self, branch: Tree, found: dict[str, Any]) -> None:
        observed = [each for each in found["observations"]["items"] if each["value"] not in ("0", None)]
        chosen = [each for each in observed if each["id"] in ("GR-05778/1", "GR-05625/2")]
        others = sorted((each for each in observed if each not in chosen), key=lambda each: (each["day"], each["id"]))
        chosen = (chosen + others)[:4]
        for each in chosen:
            event = self.client.get(each["link"])["event"]
            data = event.get("data", {})
            branch.add(
                f"event [bold]{each['id']}[/]: {shown(each['value'])} on {each['day']} "
                f"[dim]({data.get('supplier')}, promised {data.get('promised')}, received {data.get('received')})[/]"
            )
        branch.add(f"[dim]… folded from {found['count']} events[/]")

    # --- up: from an event to what it changed ---

    def _what_changes(self, event: dict[str, Any]) -> None:
        """Sends one event and follows what it moved: readings, nodes, goals, bonuses."""
        team = self._totals(QUARTER)
        self.client.push([event])
        self.client.wait_until_settled()
        self.say(f"What did {event['id']} change? (GET /metrics/v1/events/effects, and the links it gives)")
        tree = Tree(f"event [bold]{event['id']}[/]")
        effects = self.client.get("/metrics/v1/events/effects", source=event["source"], id=event["id"])["effects"]
        for effect in effects:
            if effect["what"] == "node":
                text = f"value node {effect['code']} in {effect['period']}"
                tree.add(text + (f" [dim]→ feeds {', '.join(effect['feeds'])}[/]" if effect["feeds"] else ""))
            elif effect["period"] == QUARTER and effect["subject"] == f"unit:{TEAM}":
                branch = tree.add(f"{effect['code']} of {TEAM}: "
                                  f"{moved(effect['before'], effect['after'], effect['unit'])}")  # fmt: skip
                self._up(branch, effect["links"]["goals"])
        self.console.print(tree)
        self._compare(team, self._totals(QUARTER), QUARTER)

    def _preview(self, target: dict[str, str]) -> dict[str, Decimal]:
        """What the target would change in pay, before anybody decides it; by person."""
        body = {"commands": [{"setting": "targets", "code": GOAL, "content": target}]}
        told = self.client.post(f"/incentives/v1/previews?period={NEXT}", body)
        [total] = told["totals"]
        self.say(f"A preview of 85 % on time from April: {told['changed']} people would get another amount for {NEXT}, "
                 f"all together {Decimal(total['difference']):+,.2f} {total['currency']}.")  # fmt: skip
        return {one["payee"].removeprefix("person:"): Decimal(one["difference"]) for one in told["people"]}

    def _up(self, branch: Tree, link: str) -> None:
        for score in self.client.get(link)["scores"]:
            if score["before"] == score["after"]:
                continue
            here = branch.add(f"score of {score['kind']} {score['code']}: {moved(score['before'], score['after'])}")
            for plan in self.client.get(score["link"])["plans"]:
                here.add(f"plan {plan['plan']}: payout factor {moved(plan['before'], plan['after'])}, "
                         f"{plan['people']} people")  # fmt: skip

    # --- parts ---

    def _chain(self) -> None:
        self.say("\nThe value chain in March (output per input, trend, loss by what it hands on):")
        chain = self.client.get("/metrics/v1/chain", period="2025-03")
        table = Table("node", "output / input", "trend", "effect", "feeds", box=None, pad_edge=False)
        feeds: dict[str, list[str]] = {}
        for edge in chain["edges"]:
            arrow = f"{edge['target']} (next period)" if edge["next_period"] else edge["target"]
            feeds.setdefault(edge["source"], []).append(arrow)
        for node in chain["nodes"]:
            reading = node["reading"] or {}
            table.add_row(
                node["name"], shown(reading.get("ratio")), shown(reading.get("trend")),
                shown(reading.get("effect"), reading.get("currency") or ""), ", ".join(feeds.get(node["code"], [])),
            )  # fmt: skip
        self.console.print(table)
        for linkage in chain["linkages"]:
            steps = " → ".join(f"{step['code']} {shown(step['value'])}" for step in linkage["steps"])
            self.say(f"{linkage['name']}: {steps} CNY")

    def _scores(self) -> None:
        self.say(f"\nGoals of {QUARTER}, from the company down:")
        tree = self.client.get("/goals/v1/goals/company-2025/tree", on="2025-03-31")
        scores = {item["code"]: item for item in self.client.items("/goals/v1/scores", period=QUARTER)}
        self.console.print(self._goal(tree, scores, None))

    def _goal(self, node: dict[str, Any], scores: dict[str, Any], parent: Tree | None) -> Tree:
        score = scores.get(node["code"], {})
        measured = score.get("actual") and f"  [dim]{shown(score['actual'])} of {shown(score['target'])}[/]"
        text = f"{node['code']}: [bold]{shown(score.get('score'))}[/]{measured or ''}"
        here = parent.add(text) if parent else Tree(text)
        for child in node["children"]:
            self._goal(child, scores, here)
        return here

    def _score(self, goal: str, period: str) -> Any:
        return next(self.client.items("/goals/v1/scores", goal=goal, period=period))

    def _accruals(self, person: str, period: str) -> Any:
        return self.client.get(f"/incentives/v1/people/{person}/accruals", period=period)["accruals"]

    def _lines(self, period: str) -> Iterable[Any]:
        return self.client.items(f"/incentives/v1/units/{TEAM}/accruals", period=period)

    def _totals(self, period: str) -> dict[str, str | None]:
        return {line["person"]: line["total"] for line in self._lines(period)}

    def _team(self, period: str) -> None:
        table = Table("person", "plan", "accrued", box=None, pad_edge=False)
        for line in self._lines(period):
            table.add_row(line["person"], line["plan"], shown(line["total"], line["currency"]))
        self.console.print(table)

    def _compare(self, before: dict[str, str | None], after: dict[str, str | None], period: str) -> None:
        table = Table("person", f"accrued for {period}", "", box=None, pad_edge=False)
        for person, now in after.items():
            was = before.get(person)
            difference = Decimal(now or 0) - Decimal(was or 0)
            table.add_row(person, moved(was, now, "CNY"), f"{difference:+,.2f}")
        self.console.print(table)
