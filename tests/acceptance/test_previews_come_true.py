"""Whatever is supposed: what its preview tells, of every score and every amount, is what committing it then makes."""

from collections import defaultdict
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from tests.acceptance.conftest import Loop
from tests.acceptance.paying import close, entitled, recalculate
from tests.acceptance.supposing import OWNERS, command, commit, preview

QUARTER, PEOPLE = "2025-Q1", ("ann", "bob", "cai", "dan")
LINEAR = {"kind": "linear", "slope": "0.01", "cap": "1.2"}
STEPS = [{"from": "0", "to": "50", "rate": "0.1"}, {"from": "50", "rate": "0.2"}]
TIERS = {"kind": "tiers", "mode": "marginal", "tiers": STEPS}
Drawn = tuple[list[dict[str, Any]], list[dict[str, Any]]]


class Dice:
    """Draws changes of every kind; each is valid at any time."""

    def __init__(self, loop: Loop, seed: int) -> None:
        self.loop, self.random, self.pushed = loop, Random(seed), list[dict[str, Any]]()
        self.correcting: dict[str, Any] = {}

    def some(self, low: int, high: int) -> str:
        return str(self.random.randint(low, high))

    def one(self, *of: Any) -> Any:
        return self.random.choice(of)

    def change(self) -> Drawn:
        """Some commands, each of another setting, and some events."""
        commands = [self.command() for _ in range(self.random.randint(0, 4))]
        events = [self.event() for _ in range(self.random.randint(0 if commands else 1, 4))]
        return list({(each["setting"], each["code"]): each for each in commands}.values()), events

    def command(self) -> dict[str, Any]:
        return self.one(
            self.target, self.goal, self.card, self.curve, self.rate, self.mapping, self.derived, self.plan,
            self.assignment, self.override, self.pool, self.award, self.person, self.incomplete,
        )()  # fmt: skip

    def setting(self, kind: str, code: str, /, **content: Any) -> dict[str, Any]:
        return command(kind, code, **{**content, **self.correcting})

    def target(self) -> dict[str, Any]:
        return self.setting("targets", self.one("a", "b"), value=self.some(50, 300), reason="Calibrated")

    def goal(self) -> dict[str, Any]:
        code, metric, unit = self.one(("a", "sales", "company"), ("b", "margin", "east"))
        return self.setting("goals", code, name=code, period="quarter", starts="2025-01-01", status="active",
                            parent="top", owner_unit=unit, metric=metric, weight=self.some(1, 5))  # fmt: skip

    def card(self) -> dict[str, Any]:
        share = self.random.randint(1, 99)
        lines = [{"goal": code, "weight": f"0.{part:02d}", "perspective": "financial"}
                 for code, part in (("a", share), ("b", 100 - share))]  # fmt: skip
        return self.setting("scorecards", "card", name="Card", owner_unit="company", period="quarter", lines=lines)

    def curve(self) -> dict[str, Any]:
        cap = self.some(90, 120)
        return self.setting("goals-policies", "attainment_curve",
                            value=f'{{"kind": "linear", "slope": "100", "floor": "0", "cap": "{cap}"}}')  # fmt: skip

    def rate(self) -> dict[str, Any]:
        return self.setting("rates", "USD-CNY", from_currency="USD", to_currency="CNY", rate=f"7.{self.some(10, 99)}")

    def mapping(self) -> dict[str, Any]:
        rule = {"metric": "sales", "value": f"number(data.value) * {self.one('1', '2', '1.1')}", "unit": "data.unit",
                "subject": "data.subject"}  # fmt: skip
        return self.setting("mappings", "sales", name="Sales", event_type="sales", observations=[rule])

    def derived(self) -> dict[str, Any]:
        return self.setting(
            "metrics", "margin", name="Margin", unit="CNY", formula=f"sales - {self.one('1', '0.5')} * cost"
        )

    def plan(self) -> dict[str, Any]:
        code = self.one("bonus", "deals", "card")
        weight = self.random.randint(1, 99)
        lines = {
            "bonus": [("goal", "top", f"0.{weight:02d}"), ("goal", "a", f"0.{100 - weight:02d}")],
            "card": [("scorecard", "card", "1")],
        }
        parts = [{"code": f"c{n}", "name": "C", "weight": share, "driver": {"kind": kind, "code": of}, "curve": LINEAR}
                 for n, (kind, of, share) in enumerate(lines.get(code, []))]  # fmt: skip
        own = {"code": "own", "name": "Own", "weight": "0", "driver": {"kind": "reading", "code": "deals", "own": True},
               "curve": TIERS}  # fmt: skip
        budget = self.one(None, {"pool": "pool"}, {"amount": self.some(100, 5000), "distribute": "whole"})
        return self.setting("plans", code, name=code, period="quarter", currency="CNY", components=parts or [own],
                            factor=self.one("1", "1.5"), budget=budget if code == "card" else None,
                            clawback_days=self.one(None, 30))  # fmt: skip

    def assignment(self) -> dict[str, Any]:
        person, plan = self.one(*PEOPLE), self.one("bonus", "deals", "card")
        ends, share = self.one(None, "2025-02-14"), self.one("1", "0.5")
        return self.setting("assignments", f"{person}-{plan}", person=person, plan=plan, amount=self.some(0, 20000),
                            starts="2025-01-01", ends=ends, share=share)  # fmt: skip

    def override(self) -> dict[str, Any]:
        person, plan = self.one(*PEOPLE), self.one("bonus", "pool", "award")
        content = {"payee": f"person:{person}", "plan": plan, "period": QUARTER, "reason": "Agreed"}
        return self.setting("overrides", f"{person}-{plan}", **content, amount=self.one(None, self.some(0, 999)))

    def pool(self) -> dict[str, Any]:
        driver = {"kind": "reading", "code": "margin", "subject": "unit:company"}
        return self.setting("pools", "pool", name="Pool", period="quarter", currency="CNY", driver=driver,
                            share=f"0.{self.some(10, 90)}", participants=self.sharing())  # fmt: skip

    def award(self) -> dict[str, Any]:
        reached = {"driver": {"kind": "goal", "code": "a"}, "at_least": self.some(30, 110)}
        return self.setting("awards", "award", name="Award", period=QUARTER, currency="CNY", amount=self.some(100, 999),
                            condition=self.one(None, reached), participants=self.sharing())  # fmt: skip

    def sharing(self) -> list[dict[str, str]]:
        share, two = self.random.randint(1, 99), self.random.sample(PEOPLE, 2)
        return [
            {"payee": f"person:{who}", "share": f"0.{part:02d}"}
            for who, part in zip(two, (share, 100 - share), strict=True)
        ]

    def person(self) -> dict[str, Any]:
        code = self.one(*PEOPLE)
        return self.setting("people", code, name=code, unit=self.one("company", "east"))

    def incomplete(self) -> dict[str, Any]:
        return self.setting("incentives-policies", "incomplete_total", value=self.one("partial", "null"))

    def event(self) -> dict[str, Any]:
        """Sales and costs of units and people, deals, one that no mapping takes, and one that came before."""
        if self.pushed and self.random.random() < 0.15:
            return self.one(*self.pushed)
        kind = self.one("sales", "sales", "cost", "deals", "unheard-of")
        subject = (
            f"person:{self.one(*PEOPLE)}" if kind == "deals" else self.one("unit:company", "unit:east", "person:ann")
        )
        value = self.some(-20, 20) if kind == "cost" else self.some(-5, 60)
        data = {"value": value, "subject": subject, "unit": "CNY"}
        data |= {"unit": self.one("CNY", "USD")} if kind == "sales" else {}
        self.pushed.append(self.loop.event(kind, self.one("2025-01-20", "2025-03-31", "2025-04-02"), **data))
        return self.pushed[-1]

    def beginning(self) -> Drawn:
        """Everything that pays, at once."""
        made = [command("goals", "top", name="Top", period="quarter", starts="2025-01-01", status="active",
                        owner_unit="company")]  # fmt: skip
        for draw, count in ((self.goal, 2), (self.target, 2), (self.card, 1), (self.pool, 1), (self.plan, 3),
                            (self.assignment, 6), (self.award, 1), (self.rate, 1)):  # fmt: skip
            found: dict[str, Any] = {}
            while len(found) < count:
                each = draw()
                found[each["code"]] = each
            made += found.values()
        return made, [self.event() for _ in range(12)]


def company(loop: Loop) -> None:
    loop.unit("east")
    for code in PEOPLE:
        loop.person(code, "east")
    for code in ("sales", "cost"):
        loop.measured(code, "CNY")
    loop.measured("deals", "pcs")
    loop.metric("margin", "CNY", formula="sales - cost")
    rule = {"metric": "sales", "value": "number(data.value)", "unit": "data.unit", "subject": "data.subject"}
    loop.put("metrics/mappings/sales", name="Sales", event_type="sales", observations=[rule])


def scores(loop: Loop) -> dict[tuple[str, str, str], Any]:
    found: dict[tuple[str, str, str], Any] = {}
    for kind, codes in (("goal", ("top", "a", "b")), ("scorecard", ("card",))):
        for code in codes:
            for one in loop.get("goals/scores", **{kind: code})["items"]:
                found[kind, code, one["period"]] = (one["score"], one["actual"], one["target"])
    return found


def moved(told: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """What the scores of a preview were and are."""
    sides = []
    for side in ("before", "after"):
        figures = (side, f"actual_{side}", f"target_{side}")
        sides.append({(one["kind"], one["code"], one["period"]): tuple(map(one.get, figures)) for one in told})
    return sides[0], sides[1]


def accrued(loop: Loop) -> dict[tuple[str, str], Decimal]:
    found = {}
    for person in PEOPLE:
        for one in loop.get(f"incentives/people/{person}/accruals", period=QUARTER)["accruals"]:
            found[f"person:{person}", one["plan"]] = Decimal(one["total"] or 0)
    return found


def latest(loop: Loop) -> dict[tuple[str, str], Decimal]:
    return {(one["payee"], one["plan"]): Decimal(one["amount"]) for person in PEOPLE
            for one in entitled(loop, person) if one["latest"]}  # fmt: skip


def without_zeros(amounts: dict[tuple[str, str], Decimal]) -> dict[tuple[str, str], Decimal]:
    return {key: amount for key, amount in amounts.items() if amount}


def suppose(loop: Loop, drawn: Drawn, expected: dict[tuple[str, str], Decimal]) -> None:
    """Previews, sees that nothing moved, commits, and sees that the scores moved as was told."""
    commands, events = drawn
    before = scores(loop)
    told = preview(loop, "incentives", commands, events, period=QUARTER)
    upto_goals = [each for each in commands if each["setting"] not in OWNERS["incentives"]]
    if upto_goals or events:
        assert preview(loop, "goals", upto_goals, events)["scores"] == told["goals"]
    assert scores(loop) == before
    commit(loop, commands, events)
    after, (old, new) = scores(loop), moved(told["goals"])
    nothing = (None, None, None)
    assert {key: before.get(key, nothing) for key in old} == old
    assert {key: (before.get(key, nothing), now) for key, now in after.items() if before.get(key, nothing) != now} == {
        key: (old[key], new[key]) for key in new
    }
    for one in told["people"]:
        key = one["payee"], one["plan"]
        assert expected[key] == Decimal(one["before"]), one
        expected[key] += Decimal(one["difference"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_what_a_preview_tells_of_scores_and_amounts_is_what_committing_makes(loop: Loop, seed: int) -> None:
    company(loop)
    dice, expected = Dice(loop, seed), defaultdict[tuple[str, str], Decimal](Decimal)
    suppose(loop, dice.beginning(), expected)
    for _ in range(6):
        suppose(loop, dice.change(), expected)
        of_plans = {key: amount for key, amount in expected.items() if key[1] in ("bonus", "deals", "card")}
        seen = accrued(loop)
        assert without_zeros(seen) == {key: amount for key, amount in without_zeros(of_plans).items() if key in seen}
    for quarter in (QUARTER, "2025-Q2"):  # by whose end some windows for taking back are over
        close(loop, quarter, after="2025-07-01")
    assert without_zeros(latest(loop)) == without_zeros(expected)
    dice.correcting = {"correction": True, "reason": "Found later"}
    for _ in range(3):
        suppose(loop, dice.change(), expected)
        recalculate(loop, "2025-Q2")
        assert without_zeros(latest(loop)) == without_zeros(expected)
