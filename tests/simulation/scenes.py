"""What may happen in a company, one subject at a time: its metrics and mappings, what may change, and its events."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from tests.simulation.acts import Act, Configure

Body = dict[str, Any]
Thread = list[Act]
"""Acts that keep their order among themselves."""


@dataclass(slots=True)
class World:
    """A company in the making: who is there, and dice."""

    company: str
    dice: Random
    units: list[str]
    people: list[str]
    grains: list[str]
    made: int = 0

    def metric(self, code: str, unit: str, **more: Any) -> Configure:
        return self.put(f"metrics/metrics/{code}", **{"name": code, "unit": unit, "grains": self.grains} | more)

    def put(self, path: str, /, **body: Any) -> Configure:
        """`put("goals/units/plant", …)`: a command on one entity."""
        service, _, rest = path.partition("/")
        return Configure(self.company, service, "PUT", rest, body)

    def event(self, type_: str, at: datetime, subject: str | None = None, **data: Any) -> Body:
        self.made += 1
        event = {"specversion": "1.0", "id": f"{type_}-{self.made}", "source": "erp", "type": type_}
        event |= {"subject": subject} if subject else {}
        return event | {"time": at.isoformat().replace("+00:00", "Z"), "data": data}

    def moment(self) -> datetime:
        """Some time in the first five months; often near midnight or the turn of a month, where days are lost."""
        day = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=self.dice.randrange(150))
        if self.dice.random() < 0.2:
            day = datetime(2025, self.dice.randint(1, 6), 1, tzinfo=UTC) - timedelta(days=self.dice.randrange(2))
        return day + timedelta(hours=self.dice.choice((0, 4, 9, 15, 16, 22, 23)), minutes=self.dice.randrange(60))

    def amount(self, low: int, high: int) -> str:
        return f"{self.dice.randint(low, high)}.{self.dice.randint(0, 99):02}"

    def unit(self) -> str:
        return f"unit:{self.dice.choice(self.units)}"

    def person(self) -> str:
        return f"person:{self.dice.choice(self.people)}"


@dataclass(slots=True)
class Scene:
    """One subject. `metrics` says of each metric its unit, its direction and a plausible target."""

    threads: list[Thread]
    changes: list[Thread]
    events: list[Body]
    metrics: dict[str, tuple[str, str, str]] = field(default_factory=dict)


def sales(world: World, size: int) -> Scene:
    """Orders by revision in several currencies, and cancellations; orders counted beside."""
    dice, put = world.dice, world.put
    sold: Body = {
        "metric": "sales", "value": "number(data.amount)", "unit": "data.currency", "subject": "data.seller",
        "key": "data.order", "dimensions": {"channel": "data.channel"},
    }  # fmt: skip
    counted = {"metric": "orders", "subject": "data.seller", "key": "data.order"}
    orders: Body = {"name": "Order", "event_type": "order", "revision": "number(data.revision)"}
    cancelled = [
        {"metric": metric, "subject": "data.seller", "key": "data.order", "effect": "retract"}
        for metric in ("sales", "orders")
    ]
    threads: list[Thread] = [
        [world.metric("sales", dice.choice(("CNY", "CNY", "money")))],
        [world.metric("orders", "pcs", over_time="count")],
        [put("metrics/mappings/order", **orders, observations=[sold, counted])],
        [put("metrics/mappings/cancel", name="Cancelled", event_type="cancel", revision="number(data.revision)",
             observations=cancelled)],
        [put("metrics/rates/EUR-CNY", from_currency="EUR", to_currency="CNY", rate=rate, effective_from=day)
         for rate, day in (("7.5", "2025-01-01"), ("8.0125", "2025-02-15"))],
    ]  # fmt: skip
    changes: list[Thread] = [
        [put("metrics/rates/EUR-CNY", from_currency="EUR", to_currency="CNY", rate="7.77",
             effective_from=dice.choice(("2025-02-01", "2025-03-20", "2025-02-15")), reason="Corrected")],
        [put("metrics/mappings/order", **orders, observations=[sold | {"value": "number(data.amount) * 2"}, counted],
             effective_from=dice.choice(("2025-02-20", "2025-04-01")), reason="Gross from now on")],
        [put("metrics/mappings/order", **orders, observations=[sold], when='data.channel != "fair"')],
        [world.metric("orders", "pcs", over_time="count",
             grains=[*world.grains, "half_year"])],
    ]  # fmt: skip
    return Scene(threads, changes, _orders(world, size),
                 {"sales": ("CNY", "higher", "9000"), "orders": ("pcs", "higher", "12")})  # fmt: skip


def _orders(world: World, size: int) -> list[Body]:
    dice, events = world.dice, list[Body]()
    while len(events) < size:
        at, order = world.moment(), f"SO-{world.made}"
        data = {
            "order": order, "seller": world.person() if dice.random() < 0.8 else world.unit(),
            "channel": dice.choice(("web", "shop", "fair")), "amount": world.amount(10, 900),
            "currency": dice.choice(("CNY", "CNY", "CNY", "EUR", "EUR", "USD" if dice.random() < 0.5 else " ")),
            "revision": "1",
        }  # fmt: skip
        if dice.random() < 0.06:
            data["amount"] = "not yet known"
        events.append(world.event("order", at, order, **data))
        if dice.random() < 0.35:
            corrected = data | {"revision": "2", "amount": world.amount(10, 900), "channel": "web"}
            corrected |= {"seller": world.person()} if dice.random() < 0.4 else {}
            events.append(world.event("order", at + timedelta(days=dice.choice((0, 0, 3, 20))), order, **corrected))
        if dice.random() < 0.2:
            gone = {"order": order, "seller": data["seller"], "revision": dice.choice(("2", "3"))}
            events.append(world.event("cancel", at + timedelta(days=dice.randrange(9)), order, **gone))
    return events


def stock(world: World, size: int) -> Scene:
    """Counts of stock per product: the last of the period, summed over units; cartons count by their content."""
    dice, put = world.dice, world.put
    better = dice.choice(("lower", "higher"))
    rule = {
        "metric": "stock", "value": "number(data.quantity)", "unit": "data.unit", "time": "timestamp(data.counted)",
        "subject": "concat('unit:', data.site)", "dimensions": {"product": "data.product"},
    }  # fmt: skip
    carton = {"from_unit": "KAR", "to_unit": "pcs"}
    threads: list[Thread] = [
        [world.metric("stock", "pcs", over_time="last", better=better)],
        [put("metrics/mappings/counted", name="Counted", event_type="counted", observations=[rule])],
        [put("metrics/conversions/KAR-pcs", **carton, factor="12")],
    ]  # fmt: skip
    changes: list[Thread] = [
        [put("metrics/conversions/KAR-pcs", **carton, factor="10", effective_from="2025-03-01")],
        [put("metrics/conversions/KAR-pcs", **carton, factor="11.5", effective_from="2025-02-10", reason="Found late")],
    ]
    events: list[Body] = []
    for _ in range(size):
        at = world.moment()
        counted = dice.choice((at.isoformat(), at.replace(tzinfo=None).isoformat(), f"{at:%Y-%m-%d}"))
        data = {"site": dice.choice(world.units), "product": dice.choice(("cell", "pack")), "counted": counted,
                "quantity": str(dice.randint(0, 40)), "unit": dice.choice(("pcs", "KAR"))}  # fmt: skip
        events.append(world.event("counted", at + timedelta(hours=dice.randrange(48)), data["site"], **data))
    return Scene(threads, changes, events, {"stock": ("pcs", better, "100")})


def lead_time(world: World, size: int) -> Scene:
    """Tickets that one event opens and another closes, in either order; a void takes both out."""
    dice, put, unit = world.dice, world.put, world.dice.choice(("h", "d"))
    rule: Body = {"metric": "lead", "subject": "concat('unit:', data.team)", "key": "data.ticket"}
    if dice.random() < 0.5:
        rule |= {"document": "data.ticket"}
    kinds = {"opened": "open", "closed": "close", "void": "retract"}
    threads: list[Thread] = [
        [put(f"metrics/mappings/{name}", name=name, event_type=name, revision="data.revision",
             observations=[rule | {"effect": effect}])]
        for name, effect in kinds.items()
    ]  # fmt: skip
    threads.append([world.metric("lead", unit, over_time="average",
                        across_subjects="average", better="lower")])  # fmt: skip
    events: list[Body] = []
    while len(events) < size:
        at, ticket, team = world.moment(), f"T{world.made}", dice.choice(world.units)
        data = {"ticket": ticket, "team": team, "revision": 1}
        events.append(world.event("opened", at, ticket, **data))
        if dice.random() < 0.85:
            later = at + timedelta(days=dice.randrange(12), minutes=dice.randrange(600))
            events.append(world.event("closed", later, ticket, **data))
        if dice.random() < 0.15:  # the same again, corrected
            events.append(world.event("closed", at + timedelta(days=15), ticket, **data | {"revision": 2}))
        if dice.random() < 0.12:
            events.append(world.event("void", at, ticket, **data | {"revision": dice.choice((1, 3))}))
    return Scene(threads, [], events, {"lead": (unit, "lower", "5" if unit == "d" else "96")})


def invoices(world: World, size: int) -> Scene:
    """Documents with lines: a new revision replaces all lines, a storno takes the document out."""
    dice, put = world.dice, world.put
    line = {
        "metric": "revenue", "value": "number(item.net)", "subject": "concat('unit:', data.office)",
        "effect": "replace", "document": "data.number", "when": "item.free != 'x'",
    }  # fmt: skip
    out = {
        "metric": "revenue",
        "subject": "concat('unit:', data.office)",
        "document": "data.number",
        "effect": "retract",
    }
    threads: list[Thread] = [
        [world.metric("revenue", "CNY")],
        [put("metrics/mappings/invoice", name="Invoice", event_type="invoice", for_each="data.lines",
             revision="timestamp(data.modified)", observations=[line])],
        [put("metrics/mappings/storno", name="Storno", event_type="storno", revision="timestamp(data.modified)",
             observations=[out])],
    ]  # fmt: skip
    less = line | {"value": "number(item.net) - number(item.off)"}
    changes: list[Thread] = [
        [put("metrics/mappings/invoice", name="Invoice", event_type="invoice", for_each="data.lines",
             revision="timestamp(data.modified)", observations=[less],
             effective_from=dice.choice(("2025-01-01", "2025-03-01")), reason="After discount")],
    ]  # fmt: skip
    events: list[Body] = []
    while len(events) < size:
        at, number, office = world.moment(), f"I{world.made}", dice.choice(world.units)
        for revision in range(dice.choice((1, 1, 2, 3))):
            lines = [{"net": world.amount(50, 500), "off": world.amount(0, 20), "free": dice.choice(("", "", "x"))}
                     for _ in range(dice.randint(1, 3))]  # fmt: skip
            data: Body = {"number": number, "office": office, "modified": (at + timedelta(days=revision)).isoformat()}
            events.append(world.event("invoice", at, number, **data, lines=lines))
        if dice.random() < 0.15:
            gone = {
                "number": number,
                "office": office,
                "modified": (at + timedelta(days=dice.choice((0, 9)))).isoformat(),
            }
            events.append(world.event("storno", at + timedelta(days=1), number, **gone))
    return Scene(threads, changes, events, {"revenue": ("CNY", "higher", "3000")})


def visits(world: World, size: int) -> Scene:
    """Customers, each counted once however often they come."""
    dice, put = world.dice, world.put
    rule = {"metric": "visitors", "value": "data.customer", "subject": "data.by"}
    mapping: Body = {"name": "Visit", "event_type": "visit", "observations": [rule]}
    across = dice.choice(("distinct", "sum"))
    threads: list[Thread] = [
        [world.metric("visitors", "ratio", over_time="distinct", across_subjects=across)],
        [put("metrics/mappings/visit", **mapping, when="data.kind != 'staff'")],
    ]
    changes: list[Thread] = [[put("metrics/mappings/visit", **mapping, reason="Staff count too")]]
    events = [
        world.event("visit", world.moment(), customer=dice.choice("abcdef"), kind=dice.choice(("guest", "staff")),
                    by=dice.choice((world.unit(), world.person())))
        for _ in range(size)
    ]  # fmt: skip
    return Scene(threads, changes, events, {"visitors": ("ratio", "higher", "4")})


def quality(world: World, size: int) -> Scene:
    """Inspections, each yielding an average, a smallest, a largest value and a count."""
    dice, put = world.dice, world.put
    folds = {
        "passed": ("average", dice.choice(("average", "minimum"))), "checks": ("count", "sum"),
        "worst": ("minimum", dice.choice(("minimum", "sum"))), "peak": ("maximum", "maximum"),
    }  # fmt: skip
    rules: list[Body] = [
        {"metric": code, "value": "number(data.rate)", "subject": "concat('unit:', data.site)"} for code in folds
    ]
    keyed = [rule | {"key": "data.lot"} for rule in rules]
    mapping: Body = {"name": "Inspected", "event_type": "inspected", "revision": "data.revision"}
    threads: list[Thread] = [
        [world.metric(code, "ratio", over_time=over_time, across_subjects=across)]
        for code, (over_time, across) in folds.items()
    ]
    threads.append([put("metrics/mappings/inspected", **mapping, observations=keyed)])
    changes: list[Thread] = [
        [put("metrics/mappings/inspected", **mapping, observations=keyed[:2], effective_from="2025-03-15",
             reason="Peaks are not counted any more")],
        [put("metrics/mappings/inspected", **mapping, observations=rules, effective_from="2025-02-01",
             reason="Every inspection counts")],
    ]  # fmt: skip
    events: list[Body] = []
    for _ in range(size):
        data: Body = {"site": dice.choice(world.units), "lot": f"L{dice.randrange(1 + size // 2)}",
                "revision": dice.randint(1, 2), "rate": f"0.{dice.randint(700, 999)}"}  # fmt: skip
        events.append(world.event("inspected", world.moment(), data["lot"], **data))
    return Scene(threads, changes, events, {"passed": ("ratio", "higher", "0.95"), "checks": ("ratio", "higher", "3"),
                                            "worst": ("ratio", "higher", "0.8")})  # fmt: skip


SCENES: tuple[Callable[[World, int], Scene], ...] = (sales, stock, lead_time, invoices, visits, quality)


def derived(world: World, metrics: Mapping[str, tuple[str, str, str]]) -> Scene:
    """Figures that follow from figures: growth, money by a parameter, and its change; a value node of two of them."""
    dice, put = world.dice, world.put
    code = dice.choice([code for code in metrics if code != "sales"] or ["sales"])
    unit = metrics[code][0]
    price = {"CNY": "ratio", "ratio": "CNY"}.get(unit, f"CNY/{unit}")
    parameter = {"meaning": "What one is worth", "unit": price}
    threads: list[Thread] = [
        [world.metric("growth", "ratio", formula=f"{code} / previous({code})")],
        [world.metric("worth", "CNY", formula=f"{code} * parameter(price)")],
        [world.metric("gain", "CNY", formula="worth - previous(worth)")],
        [put("metrics/policies/price", **parameter, value="12.5"),
         put("metrics/policies/price", **parameter, value="20", effective_from="2025-03-01")],
        [put("metrics/nodes/step", name="Step", subject="unit:company", input=code, output="worth")],
    ]  # fmt: skip
    changes: list[Thread] = [
        [put("metrics/policies/price", **parameter, value="15", effective_from="2025-02-01", reason="Agreed")],
        [world.metric("worth", "CNY", formula=f"{code} * parameter(price) / 3",
             effective_from="2025-04-01", reason="Shared by three")],
        [put("metrics/nodes/step", name="Step", subject="unit:east", input=code, output="gain")],
    ]  # fmt: skip
    return Scene(threads, changes, [], {"worth": ("CNY", "higher", "500"), "growth": ("ratio", "higher", "1")})
