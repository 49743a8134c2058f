"""The demo's events: enough of them, the same every time, and about people and units that the example has."""

from collections import Counter
from pathlib import Path

from services.demo_events import SELLERS, SUPPLIERS, Dice, corrected, quarter
from services.demo_story import CORRECTED, LATE_TRUCK, TEAM
from services.demo_telling import shown
from services.files import read
from shared.contracts.metrics import Mapping

EXAMPLE = Path(__file__).parents[2] / "examples" / "ev-maker"


def test_a_quarter_has_more_than_twenty_thousand_events_of_every_kind_that_is_mapped() -> None:
    events = [event for event in quarter() if event["time"] < "2025-04-01"]
    assert len(events) > 20_000
    items, _ = read(EXAMPLE)
    mapped = {item.content.event_type for item in items if isinstance(item.content, Mapping)}
    assert Counter(event["type"] for event in events).keys() == mapped


def test_the_events_are_the_same_every_time_and_each_has_an_id_of_its_own() -> None:
    first, second = list(quarter()), list(quarter())
    assert first == second
    assert len({event["id"] for event in first}) == len(first)


def test_the_dice_fall_alike_on_every_machine() -> None:
    dice = Dice(0)  # the published first values of SplitMix64
    assert [dice.below(1 << 64) for _ in range(3)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_events_name_people_and_units_of_the_example() -> None:
    codes = {item.code for item in read(EXAMPLE)[0] if item.kind.KIND in ("people", "units")}
    assert codes >= {*SELLERS, *SUPPLIERS, TEAM}


def test_the_truck_and_the_correction_of_the_story_are_about_parts_the_line_waits_for() -> None:
    events = {event["id"]: event for event in quarter()}
    for name in (LATE_TRUCK, CORRECTED):
        data = events[name]["data"]
        assert (data["team"], data["line_waits"]) == (TEAM, True)
        assert data["received"] > data["promised"]
    again = corrected(events[CORRECTED], received="2025-03-20")
    assert (again["data"]["revision"], again["id"]) == (2, "GR-05625/2")
    assert events[CORRECTED]["data"]["revision"] == 1


def test_numbers_are_shown_as_people_write_them() -> None:
    assert shown("22000000", "CNY") == "22,000,000 CNY"
    assert shown("0.9700", "ratio") == "97.00 %"
    assert shown("95.4545454545") == "95.45"
    assert shown(None) == "–"
