"""Real input: 167,766 rows of an SAP document flow against an oracle written over the CSV, to the last digit.

In file order, shuffled, and all of it twice. The mappings are those of `examples/sap-document-flow`.
"""

import csv
import io
import random
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.cli_files import apply_items
from services.files import read
from services.rows import EventMaker, Recipe
from tests.acceptance.conftest import EXAMPLES, Installation, Loop

DATA = Path(__file__).parents[3] / "shared" / "data" / "sap-document-flow.zip"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.exists(), reason=f"the real data set is not at {DATA}: it may not be copied"),
]
SOURCE, TYPE, ZONE = "urn:example:sap:vbfa", "com.sap.vbfa", "Europe/Berlin"
DOCUMENTS = "{VBELV}-{POSNV}-{VBELN}-{POSNN}-{VBTYP_V}-{VBTYP_N}"
EXACT, QUOTIENT = Context(prec=60), Context(prec=34, rounding=ROUND_HALF_EVEN)
Row = dict[str, str]


def rows() -> list[Row]:
    """The CSV as it is, fields stripped."""
    with zipfile.ZipFile(DATA) as archive, archive.open(archive.namelist()[0]) as stream:
        text = io.TextIOWrapper(stream, "utf-8")
        return [{name: value.strip() for name, value in row.items()} for row in csv.DictReader(text)]


# --- the oracle: plain Python over the rows, nothing of the product ---


@dataclass
class Oracle:
    """What every reading must be, by (metric, month, dimension)."""

    readings: dict[tuple[str, str, str], Decimal]
    unmatched_opens: int
    unmatched_closes: int
    without_currency: int


def rank(row: Row) -> tuple[datetime, str]:
    """The latest revision of a key wins: by event time, then id (all have one source)."""
    return moment(row), identity(row)


def identity(row: Row) -> str:
    return "-".join(row[n] for n in ("VBELV", "POSNV", "VBELN", "POSNN", "VBTYP_V", "VBTYP_N", "ERDAT", "ERZET"))


def moment(row: Row) -> datetime:
    local = datetime.strptime(row["ERDAT"] + row["ERZET"], "%Y%m%d%H%M%S")  # noqa: DTZ007
    return local.replace(tzinfo=ZoneInfo(ZONE))


def month(row: Row) -> str:
    return f"{row['ERDAT'][:4]}-{row['ERDAT'][4:6]}"


def latest(found: Iterable[tuple[Any, Row]]) -> dict[Any, Row]:
    winners: dict[Any, tuple[Any, Row]] = {}
    for key, row in found:
        mine = rank(row)
        if key not in winners or mine > winners[key][0]:
            winners[key] = (mine, row)
    return {key: row for key, (_, row) in winners.items()}


def following(row: Row) -> tuple[str, str]:
    return row["VBELN"], row["POSNN"]


def preceding(row: Row) -> tuple[str, str]:
    return row["VBELV"], row["POSNV"]


def oracle(data: list[Row]) -> Oracle:
    sums: dict[tuple[str, str, str], Decimal] = defaultdict(Decimal)
    billing = [row for row in data if row["VBTYP_N"] in ("M", "N", "O")]
    for (category, *_), row in latest(((r["VBTYP_N"], *following(r)), r) for r in billing if r["WAERS"]).items():
        value = Decimal(row["RFWRT"])
        sums["billed_value", month(row), row["WAERS"]] += value if category == "M" else -value
    for row in latest((following(r), r) for r in data if r["VBTYP_N"] == "J").values():
        sums["delivered_quantity", month(row), row["MEINS"] or "none"] += Decimal(row["RFMNG"])
    named = [(preceding(r), r) for r in data if r["VBTYP_V"] == "C"]
    named += [(following(r), r) for r in data if r["VBTYP_N"] == "C"]
    for row in latest(named).values():
        sums["order_items", month(row), ""] += 1
    opens, closes = add_days(sums, data)
    return Oracle(dict(sums), opens, closes, sum(not row["WAERS"] for row in billing))


def add_days(sums: dict[tuple[str, str, str], Decimal], data: list[Row]) -> tuple[int, int]:
    """Average calendar days from delivery item to invoice item, in the invoice's month; how many stay unmatched."""
    opened = latest((following(r), r) for r in data if r["VBTYP_N"] == "J")
    invoices = latest(
        ((preceding(r), following(r)), r) for r in data if r["VBTYP_V"] == "J" and r["VBTYP_N"] == "M"
    )  # fmt: skip
    of_delivery: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for (delivery, _), row in invoices.items():
        of_delivery[delivery].append(row)
    spans: dict[str, list[int]] = defaultdict(list)
    for delivery, closing in of_delivery.items():
        if delivery in opened:
            first = min(closing, key=rank)
            spans[month(first)].append((moment(first).date() - moment(opened[delivery]).date()).days)
    for label, found in spans.items():
        average = QUOTIENT.divide(Decimal(sum(found)), Decimal(len(found)))
        sums["days_delivery_to_invoice", label, ""] = average.quantize(Decimal("1e-10"), ROUND_HALF_EVEN, EXACT)
    matched = sum(map(len, spans.values()))
    return len(opened) - matched, len(invoices) - matched


# --- the product ---


def events(data: list[Row], id_template: str = DOCUMENTS + "-{ERDAT}-{ERZET}") -> list[bytes]:
    recipe = Recipe(SOURCE, TYPE, id_template, "{ERDAT} {ERZET}", "%Y%m%d %H%M%S", ZONE)
    maker = EventMaker(recipe, list(data[0]))
    return [maker.event(list(row.values())) for row in data]


def in_batches(found: list[bytes], size: int = 2500) -> Iterator[list[bytes]]:
    return (found[start : start + size] for start in range(0, len(found), size))


def push(loop: Loop, found: list[bytes]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for batch in in_batches(found):
        for receipt in loop.client.push_encoded(batch):
            counts[receipt["status"]] += 1
    loop.client.wait_until_settled(timeout=300)
    return dict(counts)


def company(installation: Installation) -> Loop:
    loop = installation.company()
    items, faults = read(EXAMPLES / "sap-document-flow")
    assert not faults
    done, refused = apply_items(loop.client, items)
    assert not refused
    assert len(done) == len(items)
    return loop


DIMENSION = {"billed_value": "currency", "delivered_quantity": "unit_of_measure"}


def readings(loop: Loop, wanted: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], Decimal]:
    """All readings of the metrics and months asked for, by what the API says of them; those without value left out."""
    found: dict[tuple[str, str, str], Decimal] = {}
    for metric, label in sorted({(metric, label) for metric, label, _ in wanted}):
        place = {"metric": metric, "subject": "unit:sales", "period": label}
        if metric not in DIMENSION:
            found[metric, label, ""] = Decimal(loop.get("metrics/readings", **place)["value"])
            continue
        for part in loop.get("metrics/readings/breakdown", by=DIMENSION[metric], **place)["items"]:
            if part["value"] is not None:
                found[metric, label, part["member"]] = Decimal(part["value"])
    return found


@pytest.fixture(scope="module")
def data() -> list[Row]:
    return rows()


@pytest.fixture(scope="module")
def expected(data: list[Row]) -> Oracle:
    return oracle(data)


@pytest.fixture(scope="module")
def in_file_order(installation: Installation, data: list[Row]) -> Loop:
    loop = company(installation)
    counts = push(loop, events(data))
    assert counts == {"accepted": len(data)}
    return loop


def all_equal(loop: Loop, expected: Oracle) -> None:
    found = readings(loop, expected.readings)
    keys = expected.readings.keys() | found.keys()
    wrong = {key: both for key in keys if (both := (expected.readings.get(key), found.get(key)))[0] != both[1]}
    assert not wrong


def test_every_reading_equals_the_oracle_in_file_order(in_file_order: Loop, expected: Oracle) -> None:
    assert len(expected.readings) > 1000
    all_equal(in_file_order, expected)


def test_sending_everything_again_changes_nothing(in_file_order: Loop, data: list[Row], expected: Oracle) -> None:
    assert push(in_file_order, events(data)) == {"duplicate": len(data)}
    all_equal(in_file_order, expected)


def test_every_reading_equals_the_oracle_in_shuffled_order(
    installation: Installation, data: list[Row], expected: Oracle
) -> None:
    shuffled = list(data)
    random.Random(7).shuffle(shuffled)
    loop = company(installation)
    assert push(loop, events(shuffled)) == {"accepted": len(data)}
    all_equal(loop, expected)


def test_rows_without_currency_wait_and_are_listed(in_file_order: Loop, expected: Oracle) -> None:
    waiting = list(in_file_order.client.items("/metrics/v1/waiting", reference="currency:blank"))
    assert len(waiting) == expected.without_currency == 4


def test_deliveries_and_invoices_without_their_counterpart_are_listed(in_file_order: Loop, expected: Oracle) -> None:
    found = list(in_file_order.client.items("/metrics/v1/durations/unmatched", metric="days_delivery_to_invoice"))
    kinds = [item["effect"] for item in found]
    assert (kinds.count("open"), kinds.count("close")) == (expected.unmatched_opens, expected.unmatched_closes)


# --- two rows that agree in both documents, items and category, but not in content ---


@pytest.fixture(scope="module")
def two_rows(data: list[Row]) -> list[Row]:
    found = [row for row in data if (row["VBELV"], row["VBELN"]) == ("0080000000", "0090000000")]
    assert len(found) == 2
    return found


def test_the_second_of_two_contents_under_one_id_is_quarantined_and_reported(
    installation: Installation, two_rows: list[Row]
) -> None:
    loop = company(installation)
    first, second = loop.client.push_encoded(events(two_rows, DOCUMENTS))
    assert (first["status"], second["status"]) == ("accepted", "quarantined")
    (listed,) = loop.client.items("/metrics/v1/events/quarantined")
    assert (listed["first"]["data"]["RFWRT"], listed["event"]["data"]["RFWRT"]) == ("100.0", "670000.0")
    assert loop.settle().reading("billed_value", "1995-06", "unit:sales", dimensions="currency:DEM")["value"] == "100"


@pytest.mark.parametrize("order", [list, lambda found: list(reversed(found))], ids=["in order", "reversed"])
def test_with_date_and_time_in_the_id_both_are_accepted_and_the_later_one_counts(
    installation: Installation, two_rows: list[Row], order: Callable[[list[bytes]], list[bytes]]
) -> None:
    loop = company(installation)
    receipts = loop.client.push_encoded(order(events(two_rows)))
    assert [receipt["status"] for receipt in receipts] == ["accepted", "accepted"]
    loop.settle()
    assert readings(loop, [("billed_value", "1995-06", "PTE"), ("billed_value", "1995-06", "DEM")]) == {
        ("billed_value", "1995-06", "PTE"): Decimal(670000)
    }
