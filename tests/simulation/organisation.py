"""Who is in a company, what it strives for and what it pays for that."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.scenes import Body, Thread, World

CURVES: tuple[Body, ...] = (
    {"kind": "linear", "slope": "0.01", "floor": "0", "cap": "1.2"},
    {"kind": "interpolated", "points": [["50", "0"], ["90", "0.7"], ["100", "1"], ["120", "1.5"]]},
    {"kind": "step", "bands": [{"from": None, "to": "60", "value": "0"}, {"from": "60", "to": "100", "value": "0.5"},
                               {"from": "100", "to": None, "value": "1.1"}]},
)  # fmt: skip
STEPS = '{"kind": "interpolated", "points": [["0", "0"], ["0.8", "60"], ["1", "100"], ["1.2", "120"]], "cap": "110"}'


@dataclass(slots=True)
class Plan:
    """What is set for the company as a whole. `first` comes before all else, in order; `settings` and `changes` are
    threads; `goals` are those that are measured, with their kind of period."""

    first: list[Thread] = field(default_factory=list)
    settings: list[Thread] = field(default_factory=list)
    changes: list[Thread] = field(default_factory=list)
    goals: dict[str, str] = field(default_factory=dict)
    first_month: int = 1

    def strive(self, world: World, metrics: Mapping[str, tuple[str, str, str]]) -> None:
        """Goals on some metrics below a common one, a scorecard of them, and a plan that pays for it."""
        thread, dice = self.first[0], world.dice
        contribution = dice.choice(("weighted_average", "minimum", "milestone", "sum"))
        chosen = dice.sample(sorted(metrics), min(len(metrics), 2))
        kind = dice.choice(("month", "quarter"))
        above: Body = {"name": "All", "owner_unit": "company", "period": "quarter", "starts": "2025-01-01"}
        thread.append(world.put("goals/goals/all", **above, status="active", contribution=contribution))
        if contribution == "sum":
            kind, chosen = "month", chosen[:1]
            thread.append(_target(world, "all", "5000"))
        for number, metric in enumerate(chosen * (2 if len(chosen) < 2 else 1)):
            self._goal(world, f"g{number + 1}", metric, kind, metrics[metric])
        self._own_goal(world, metrics)
        self._card(world, sorted(self.goals))
        self._pay(world, chosen[0])

    def _goal(self, world: World, code: str, metric: str, kind: str, what: tuple[str, str, str]) -> None:
        dice, (_, better, target) = world.dice, what
        body: Body = {"name": code, "metric": metric, "parent": "all", "period": kind, "starts": "2025-01-01"}
        body |= {"owner_unit": dice.choice(world.units) if dice.random() < 0.5 else "company"}
        body |= {"weight": dice.choice(("1", "0.3", "2")), "due": dice.choice((None, "2025-12-31"))}
        thread = self.first[0]
        if dice.random() < 0.2:
            thread.append(world.put(f"goals/goals/{code}", **body, status="draft"))
        thread.append(world.put(f"goals/goals/{code}", **body, status="active"))
        self.goals[code] = kind
        heavier = body | {"weight": "5", "reason": "Matters more", "status": "active"}
        self.changes.append(
            [world.put(f"goals/goals/{code}", **heavier, effective_from=dice.choice(("2025-02-01", "2025-04-01")))]
        )
        if dice.random() < 0.7:
            direction = dice.choice((better, better, "at_least" if better == "higher" else "at_most"))
            begins = {"effective_from": "2025-02-15"} if dice.random() < 0.2 else {}
            thread.append(_target(world, code, target, direction=direction, **begins))
        factor = dice.choice(("0.5", "1.75", "40"))
        later = dice.choice(("2025-02-10", "2025-04-01", "2025-05-15"))
        self.changes.append([_target(world, code, f"{float(target) * float(factor):.2f}", effective_from=later)])

    def _own_goal(self, world: World, metrics: Mapping[str, tuple[str, str, str]]) -> None:
        """Somebody's own figure, where there are figures of people."""
        if "sales" in metrics:
            who = world.dice.choice(world.people)
            body = {"name": "own", "metric": "sales", "owner_person": who, "period": "month", "starts": "2025-01-01"}
            self.first[0] += [world.put("goals/goals/own", **body, status="active"), _target(world, "own", "400")]
            self.goals["own"] = "month"

    def _card(self, world: World, goals: list[str]) -> None:
        lines = [{"goal": goals[0], "weight": "0.6", "perspective": "financial"},
                 {"goal": "all", "weight": "0.4", "perspective": "customer"}]  # fmt: skip
        card: Body = {"name": "Card", "owner_unit": "company", "period": "quarter", "lines": lines}
        missing = world.dice.choice(("skip", "worst", "block"))
        self.first[0].append(world.put("goals/scorecards/card", **card, missing=missing))
        self.changes.append([world.put("goals/scorecards/card", **card, missing="worst", effective_from="2025-04-01")])

    def _pay(self, world: World, metric: str) -> None:
        dice, put = world.dice, world.put
        currency = dice.choice(("CNY", "CNY", "JPY"))
        drivers: list[Body] = [{"kind": "scorecard", "code": "card"}, {"kind": "goal", "code": "all"},
                               {"kind": "reading", "code": metric, "subject": "unit:company"}]  # fmt: skip
        components = [
            {"code": f"c{number}", "name": "C", "driver": driver, "weight": weight, "curve": dice.choice(CURVES)}
            | ({"gate": "30"} if dice.random() < 0.3 else {}) | ({"cap": "1.3"} if dice.random() < 0.3 else {})
            for number, (driver, weight) in enumerate(zip(dice.sample(drivers, 2), ("0.35", "0.65"), strict=True))
        ]  # fmt: skip
        plan: Body = {"name": "Bonus", "period": "quarter", "currency": currency, "components": components}
        thread = [put("incentives/plans/bonus", **plan, cap=dice.choice((None, "1.1")))]
        people = dice.sample(world.people, 2)
        for person, starts in zip(people, ("2025-01-01", dice.choice(("2025-02-11", "2025-04-15"))), strict=True):
            part: Body = {"person": person, "plan": "bonus", "amount": "9001", "starts": starts}
            part |= {"share": dice.choice(("1", "0.8")), "factor": dice.choice(("1", "1.25"))}
            thread.append(put(f"incentives/assignments/{person}", **part))
        self.settings.append(list(thread))
        more = plan | {"factor": "2", "effective_from": dice.choice(("2025-02-01", "2025-04-01"))}
        ended = {"person": people[0], "plan": "bonus", "amount": "9001", "starts": "2025-01-01", "ends": "2025-05-20"}
        self.changes += [
            [put("incentives/plans/bonus", **more)],
            [*thread, put(f"incentives/assignments/{people[0]}", **ended, reason="Leaves")],
            [put("incentives/policies/incomplete_total", value="null")],
        ]


def _target(world: World, code: str, value: str, **more: Any) -> Any:
    return world.put(f"goals/goals/{code}/targets", value=value, reason="Planned", **more)


def foundation(world: World, *, large: bool) -> Plan:
    """The company, its units and people, and what may happen to them."""
    dice, put = world.dice, world.put
    plan = Plan(first_month=dice.choice((1, 1, 1, 4)))
    world.units = ["company", "east", "west"] + (["line"] if large else [])
    world.people = ["ann", "bo", "chen", "dee"] + (["eli", "fay"] if large else [])
    zone = dice.choice(("Asia/Shanghai", "Europe/Berlin", "America/New_York"))
    thread: Thread = [
        put("goals/companies/company", name=world.company, currency="CNY", time_zone=zone,
            fiscal_year_start_month=plan.first_month),
        put("goals/units/company", name="Company", kind="company", head="ann"),
        put("goals/units/east", name="East", kind="department", parent="company", head="bo"),
        put("goals/units/west", name="West", kind="department", parent="company"),
    ]  # fmt: skip
    if large:
        thread.append(put("goals/units/line", name="Line", kind="team", parent="east", head="eli"))
    for number, code in enumerate(world.people):
        unit, manager = world.units[number % len(world.units)], "ann" if number else None
        thread.append(_person(world, code, unit, manager))
    mover, moves = dice.choice(world.people[1:]), dice.choice(("2025-02-14", "2025-04-01"))
    plan.first.append(thread)
    if dice.random() < 0.6:
        plan.settings.append([put("goals/policies/deviation_judgement", value=dice.choice(("day", "week")))])
    newcomer = _person(world, "newcomer", "west", "ann", effective_from="2025-02-01")
    if dice.random() < 0.5:
        thread.append(newcomer)
    else:
        plan.changes.append([newcomer])
    plan.changes += [
        [_person(world, mover, "west", "bo" if mover != "bo" else "ann", effective_from=moves)],
        [_person(world, mover, "east", "ann", effective_from="2025-01-10", reason="Found late")],
        [_person(world, "dee", None, None, effective_from="2025-05-01", reason="Left")],
        [put("goals/units/east", name="East", kind="team", parent="west", head="bo", effective_from="2025-03-10")],
        [put("goals/policies/target_change", value=dice.choice(("prorated", "from_its_date")))],
        [put("goals/policies/attainment_curve", value=STEPS, effective_from=dice.choice(("0001-01-01", "2025-04-01")))],
        [put("goals/policies/deviation_limit", value=dice.choice(("0", "0.5")))],
        [put("goals/policies/deviation_judgement", value="period_end", effective_from="2025-04-01")],
        [put("reviews/policies/plan_due_hours", value="1000")],
    ]  # fmt: skip
    world.people = [*world.people, "newcomer"]
    return plan


def _person(world: World, code: str, unit: str | None, manager: str | None, **more: Any) -> Any:
    return world.put(f"goals/people/{code}", name=code, unit=unit, manager=manager, **more)
