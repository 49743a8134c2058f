"""A quarter of an EV maker's business as CloudEvents: the same every time, down to the last digit."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

Event = dict[str, Any]
SOURCE = "urn:xinghe:erp"
FIRST_DAY, LAST_DAY, NEXT_DAYS = date(2025, 1, 1), date(2025, 3, 31), date(2025, 4, 20)
SHANGHAI = timezone(timedelta(hours=8))
_MASK = (1 << 64) - 1

SUPPLIERS = {
    "buyers-cells": ("ningbo-cells", "yangtze-cells", "taihu-anodes"),
    "buyers-parts": ("hefei-glass", "suzhou-steel", "wuxi-chips", "dongguan-motors"),
}
MODELS = {"E1": (128_000, 103_000), "E3": (189_000, 149_000), "S5": (266_000, 201_000)}
SELLERS = {
    "li-na": "CNY", "zhang-qiang": "CNY", "liang-chen": "CNY", "peng-yu": "CNY", "guo-hua": "CNY", "xiao-yan": "CNY",
    "zhu-bin": "CNY", "ye-qing": "CNY", "marc-dubois": "EUR", "ines-costa": "EUR", "maria-lopez": "USD",
}  # fmt: skip
PER_CAR = {"CNY": 100, "EUR": 14, "USD": 15}  # [hundredths of the price in CNY]
DEVELOPERS = ("xie-ting", "cao-lin", "deng-kai", "yuan-mei", "feng-bo", "dong-xue", "pan-hao", "jiang-nan")


class Dice:
    """SplitMix64: the same numbers on every machine and every Python."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def below(self, limit: int) -> int:
        """A number from 0 up to, not including, the limit."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = ((mixed ^ (mixed >> shift)) * factor) & _MASK
        return (mixed ^ (mixed >> 31)) % limit

    def chance(self, percent: int) -> bool:
        return self.below(100) < percent

    def one_of(self, choices: tuple[str, ...]) -> str:
        return choices[self.below(len(choices))]


@dataclass
class Story:
    """Makes the events, numbered by kind."""

    dice: Dice
    numbers: dict[str, int]

    def event(self, type_: str, day: date, data: dict[str, Any], second: int | None = None) -> Event:
        """An event of a day, at a second of its working hours."""
        at = 8 * 3600 + (self.dice.below(10 * 3600) if second is None else second)
        instant = datetime.combine(day, time(), SHANGHAI) + timedelta(seconds=at)
        name = next(iter(data.values()))
        return {
            "specversion": "1.0", "id": f"{name}/{data.get('revision', 1)}", "source": SOURCE,
            "type": f"com.xinghe.{type_}", "time": instant.isoformat(), "data": data,
        }  # fmt: skip

    def number(self, prefix: str) -> str:
        self.numbers[prefix] = self.numbers.get(prefix, 0) + 1
        return f"{prefix}-{self.numbers[prefix]:05}"


def quarter() -> Iterator[Event]:
    """Everything that happens from January to March, and in the first days of April."""
    story = Story(Dice(2025), {})
    day = FIRST_DAY
    while day <= NEXT_DAYS:
        if day.weekday() < 6:
            yield from _day(story, day)
        day += timedelta(days=1)


def _day(story: Story, day: date) -> Iterator[Event]:
    for team in SUPPLIERS:
        yield from _receipts(story, day, team, 34 if team == "buyers-cells" else 46)
    for line in ("line-1", "line-2"):
        yield from _line(story, day, line)
    for _ in range(43):
        yield from _sale(story, day)
    for _ in range(9 if day.month < 3 else 12):
        yield _complaint(story, day)
    for person in DEVELOPERS:
        hours = f"{6 + story.dice.below(4)}.{story.dice.below(2) * 5}"
        yield story.event("timesheet", day, {"sheet": story.number("TS"), "person": person, "hours": hours})
    if day.weekday() == 4:
        yield from _week(story, day)


def _receipts(story: Story, day: date, team: str, count: int) -> Iterator[Event]:
    dice = story.dice
    for _ in range(count):
        supplier = dice.one_of(SUPPLIERS[team])
        trouble = supplier == "ningbo-cells" and day >= date(2025, 2, 10)
        late = 1 + dice.below(5) if dice.chance(52 if trouble else 5) else 0
        yield story.event("purchase.receipt", day, {
            "receipt": story.number("GR"), "team": team, "supplier": supplier,
            "promised": (day - timedelta(days=late)).isoformat(), "received": day.isoformat(),
            "line_waits": bool(late) and dice.chance(6), "value": f"{20_000 + dice.below(90_000)}.{dice.below(100):02}",
            "currency": "CNY", "revision": 1,
        })  # fmt: skip


def _line(story: Story, day: date, line: str) -> Iterator[Event]:
    dice = story.dice
    for _ in range(26):
        produced = 1 + dice.below(3)
        good = produced - (1 if dice.chance(9 if line == "line-1" else 6) else 0)
        data = {"order": story.number("PO"), "line": line, "produced": produced, "good": good}
        yield story.event("production.finished", day, data)
    if dice.chance(45):
        start = datetime.combine(day, time(9), SHANGHAI) + timedelta(minutes=dice.below(400))
        end = start + timedelta(minutes=20 + dice.below(160))
        cause = dice.one_of(("missing part", "missing part", "machine", "quality hold"))
        yield story.event("line.stop", day, {
            "stop": story.number("ST"), "line": line, "started": start.isoformat(),
            "ended": end.isoformat(), "cause": cause,
        })  # fmt: skip


def _sale(story: Story, day: date) -> Iterator[Event]:
    dice = story.dice
    order, model = story.number("SO"), dice.one_of(tuple(MODELS))
    seller = dice.one_of(tuple(SELLERS))
    yield story.event("sales.order", day, {"order": order, "seller": seller, "model": model}, 0)
    handed_over = day + timedelta(days=5 + dice.below(24))
    if handed_over > NEXT_DAYS:
        return
    data = {"delivery": story.number("DE"), "order": order, "seller": seller, "model": model}
    yield story.event("delivery", handed_over, data)
    yield _invoice(story, handed_over, order, seller, model)
    back = handed_over + timedelta(days=1 + dice.below(20))
    if dice.chance(2) and back <= NEXT_DAYS:
        refund, currency = MODELS[model][0] * PER_CAR[SELLERS[seller]] // 100, SELLERS[seller]
        reason = dice.one_of(("noise", "range", "changed mind"))
        yield story.event("return", back, {
            "return": story.number("RE"), "seller": seller, "reason": reason, "refund": f"{refund}.00",
            "currency": currency,
        })  # fmt: skip


def _invoice(story: Story, day: date, order: str, seller: str, model: str) -> Event:
    price, cost = MODELS[model]
    currency, discount = SELLERS[seller], story.dice.below(6)
    amount = price * (100 - discount) * PER_CAR[currency] // 10_000
    lines = [{"item": model, "amount": f"{amount}.00", "cost": f"{cost}.00"}]
    if story.dice.chance(35):
        lines.append({"item": "wallbox", "amount": f"{6_800 * PER_CAR[currency] // 100}.00", "cost": "4100.00"})
    return story.event("invoice", day, {
        "invoice": story.number("IN"), "order": order, "seller": seller, "currency": currency, "revision": 1,
        "lines": lines,
    })  # fmt: skip


def _complaint(story: Story, day: date) -> Event:
    about = story.dice.one_of(("noise", "range", "app", "delivery late", "paint"))
    solved = story.dice.chance(71)
    return story.event("complaint", day, {"complaint": story.number("CO"), "about": about, "solved_at_once": solved})


def _week(story: Story, day: date) -> Iterator[Event]:
    for unit, base in (("sales-china", 900_000), ("sales-europe", 260_000), ("sales-america", 150_000)):
        data = {"document": story.number("EX"), "unit": unit, "amount": f"{base + story.dice.below(90_000)}.00"}
        yield story.event("expense", day, data | {"currency": "CNY"})
    for unit in ("battery-dev", "vehicle-dev"):
        if story.dice.chance(70):
            yield story.event("milestone", day, {"milestone": story.number("MS"), "unit": unit})


def corrected(event: Event, **changes: Any) -> Event:
    """The same document as the ERP sends it again after somebody has found something wrong in it."""
    data = {**event["data"], **changes, "revision": 2}
    return {**event, "id": f"{event['id'].split('/')[0]}/2", "data": data}
