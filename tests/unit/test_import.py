"""Rows of a CSV file as events: templates, archives, bad rows, and going on where an import stopped."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from services.cli_import import Import, State
from services.rows import BadRow, EventMaker, NotReadable, Recipe, UnknownColumn, fingerprint, opened, rows

RECIPE = Recipe("urn:erp", "sales.order", "{order}-{line}", "{day} {clock}", "%Y%m%d %H%M%S", "Asia/Shanghai", "{unit}")
HEAD = "order,line,day,clock,unit\n"
ROWS = "".join(f"SO{n},10,20250314,0815{n:02},east\n" for n in range(10))


def event_of(line: str, recipe: Recipe = RECIPE) -> dict:
    return json.loads(EventMaker(recipe, HEAD.strip().split(",")).event(line.split(",")))


def run(file: Path, state: State, batch: int = 3, fail_after: int = 99) -> tuple[list[dict], list[str]]:
    sent, told, calls = [], [], 0

    def push(events: list[bytes]) -> list[dict]:
        nonlocal calls
        calls += 1
        if calls > fail_after:
            raise ConnectionError
        sent.extend(json.loads(event) for event in events)
        return [{"status": "accepted"} for _ in events]

    job = Import(push, state, file.with_suffix(".state"), lambda line, what: told.append(f"{line} {what}"), batch)
    with opened(file) as (stream, _):
        try:
            job.run(rows(stream), RECIPE)
        except ConnectionError:
            told.append("interrupted")
    return sent, told


def test_a_row_is_the_data_of_an_event_every_field_as_text():
    event = event_of("SO1 , 010,20250314,081500, east")
    assert event == {
        "specversion": "1.0", "id": "SO1-010", "source": "urn:erp", "type": "sales.order", "subject": "east",
        "time": "2025-03-14T00:15:00+00:00", "datacontenttype": "application/json",
        "data": {"order": "SO1", "line": "010", "day": "20250314", "clock": "081500", "unit": "east"},
    }  # fmt: skip


def test_an_id_may_be_a_list_of_columns():
    recipe = Recipe("urn:erp", "t", "order,line", "{day}", "%Y%m%d")
    assert event_of("SO1,10,20250314,x,y", recipe)["id"] == "SO1/10"


def test_a_column_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(UnknownColumn, match="'ordre'") as error:
        EventMaker(Recipe("s", "t", "{ordre}", "{day}"), ["order", "day"])
    assert "order, day" in error.value.remedy


@pytest.mark.parametrize(
    ("line", "why"), [("SO1,10,20251314,081500,east", "its time"), ("SO1,10,20250314", "it has 3 fields")]
)
def test_a_row_that_does_not_fit_says_why(line, why):
    with pytest.raises(BadRow, match=why):
        event_of(line)


def test_a_bad_row_is_told_and_the_rest_goes_on(tmp_path):
    file = tmp_path / "orders.csv"
    file.write_text(HEAD + "SO1,10,20250314,081500,east\nSO2,10,never,081500,east\n\nSO3,10,20250314,081500,east\n")
    state = State("x")
    sent, told = run(file, state)
    assert [event["id"] for event in sent] == ["SO1-10", "SO3-10"]
    assert told == ["3 bad row: its time 'never 081500' is not %Y%m%d %H%M%S"]
    assert state.counts == {"accepted": 2, "bad row": 1}


@pytest.mark.parametrize("fail_after", [0, 1, 2, 3])
def test_an_interrupted_import_goes_on_where_it_stopped(tmp_path, fail_after):
    file = tmp_path / "orders.csv"
    file.write_text(HEAD + ROWS)
    before, told = run(file, State("x"), fail_after=fail_after)
    assert told == ["interrupted"]
    state = State.load(file.with_suffix(".state"), "x")
    after, _ = run(file, state)
    assert [event["id"] for event in before + after] == [f"SO{n}-10" for n in range(10)]
    assert state.finished
    assert state.counts == {"accepted": 10}


def test_a_changed_file_is_another_import(tmp_path):
    file = tmp_path / "orders.csv"
    file.write_text(HEAD + ROWS)
    before = fingerprint(file, RECIPE, [])
    State(before, rows=7).save(tmp_path / "state")
    file.write_text(HEAD + ROWS.replace("SO3", "SO4"))
    after = fingerprint(file, RECIPE, [])
    assert after != before
    assert State.load(tmp_path / "state", after).rows == 0


def test_a_batch_never_exceeds_what_the_intake_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("services.cli_import.LARGEST_BODY", 600)
    file = tmp_path / "orders.csv"
    file.write_text(HEAD + ROWS)
    sizes = []

    def push(events: list[bytes]) -> list[dict]:
        sizes.append(sum(map(len, events)) + len(events))
        return [{"status": "accepted"} for _ in events]

    with opened(file) as (stream, _):
        Import(push, State("x"), tmp_path / "state", lambda *_: None, 100).run(rows(stream), RECIPE)
    assert max(sizes) <= 600
    assert len(sizes) > 3


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return buffer.getvalue()


def test_a_member_is_read_out_of_an_archive_and_out_of_an_archive_inside_it(tmp_path):
    file = tmp_path / "all.zip"
    file.write_bytes(archive(one=b"a,b\n1,2\n", two=archive(inner=b"c\n3\n")))
    with opened(file, ["one"]) as (stream, size):
        assert (list(rows(stream)), size) == ([["a", "b"], ["1", "2"]], 8)
    with opened(file, ["two", "inner"]) as (stream, _):
        assert list(rows(stream)) == [["c"], ["3"]]
    with opened(file, ["two"]) as (stream, _):
        assert list(rows(stream)) == [["c"], ["3"]]


@pytest.mark.parametrize(
    ("members", "said"), [([], "several members"), (["x"], "no member 'x'"), (["one", "y"], "no archive")]
)
def test_a_member_that_is_not_there_is_refused_with_the_names(tmp_path, members, said):
    file = tmp_path / "all.zip"
    file.write_bytes(archive(one=b"a\n", two=b"b\n"))
    with pytest.raises(NotReadable, match=said), opened(file, members):
        pass


def test_a_file_that_is_not_text_is_refused_in_words(tmp_path):
    file = tmp_path / "x.csv"
    file.write_bytes(b"a,b\n\xff\xfe,1\n")
    with opened(file) as (stream, _), pytest.raises(NotReadable, match="cannot be read as CSV"):
        list(rows(stream))
