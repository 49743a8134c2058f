"""Configuration as files: what a file says, where it is wrong, in which order it is applied, how it is written back."""

import json
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from services.cli_files import apply_items, export_to
from services.client import ApiProblem, NotSettled, ValueLoopClient
from services.files import KINDS, read

ORGANISATION = """
company:
  name: A maker of cars
  time_zone: Asia/Shanghai
  currency: CNY
units:
  sales-east: {name: East, kind: team, parent: sales}
  sales: {name: Sales, kind: department, parent: all}
  all: {name: All, kind: company}
people:
  li:
    - {name: Li, unit: sales}
    - {effective_from: 2025-03-01, name: Li, unit: sales-east}
"""


class Settings:
    """A fake of the settings routes of all services, behind a real httpx client."""

    def __init__(self) -> None:
        self.versions: dict[str, list[dict]] = {}
        self.puts: list[str] = []

    def client(self) -> ValueLoopClient:
        http = httpx.Client(transport=httpx.MockTransport(self.answer))
        return ValueLoopClient("http://test", "token", http, wait=lambda _s: None)

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "PUT":
            return self._put(path, json.loads(request.content))
        if path.endswith("/versions"):
            return httpx.Response(200, json=self.versions[path.removesuffix("/versions")])
        if path.endswith("/policies"):
            found = {p: v for p, v in self.versions.items() if p.startswith(path + "/")}
            return httpx.Response(200, json=[{"code": p.rsplit("/", 1)[1], "history": v} for p, v in found.items()])
        codes = sorted(p.rsplit("/", 1)[1] for p in self.versions if p.rsplit("/", 1)[0] == path)
        return httpx.Response(200, json={"items": [{"code": code} for code in codes], "next_cursor": None})

    def _put(self, path: str, body: dict) -> httpx.Response:
        self.puts.append(path)
        if body.get("currency") == "XXX":
            problem = {"detail": "XXX is not a currency.", "field": "currency", "remedy": "Take CNY."}
            return httpx.Response(422, json=problem)
        found = self.versions.setdefault(path, [])
        found.append({"version": len(found) + 1, "content": body})
        return httpx.Response(201, json=found[-1])


def written(directory: Path, text: str, name: str = "all.yaml") -> Path:
    (directory / name).write_text(text, "utf-8")
    return directory


def faults_of(directory: Path, text: str) -> list[str]:
    return [str(fault) for fault in read(written(directory, text))[1]]


def test_what_others_refer_to_is_applied_first(tmp_path):
    items, faults = read(written(tmp_path, ORGANISATION))
    assert not faults
    codes = [(item.kind.KIND, item.code) for item in items]
    assert codes == [
        ("companies", "company"), ("units", "all"), ("units", "sales"), ("units", "sales-east"),
        ("people", "li"), ("people", "li"),
    ]  # fmt: skip


def test_a_derived_metric_comes_after_those_its_formula_reads(tmp_path):
    text = """
metrics:
  loss: {name: Loss, unit: money, formula: stop_hours * parameter(loss_per_hour)}
  stop_hours: {name: Stop hours, unit: h, formula: delay * 2}
  delay: {name: Delay, unit: h}
metrics-policies:
  loss_per_hour: {value: 250000, meaning: m, unit: CNY/h}
"""
    items, _ = read(written(tmp_path, text))
    assert [item.code for item in items] == ["loss_per_hour", "delay", "stop_hours", "loss"]


def test_an_unquoted_number_keeps_every_digit(tmp_path):
    text = "targets:\n  revenue: {value: 123456789012345678.1234567891}\n"
    (item,), faults = read(written(tmp_path, text))
    assert not faults
    assert item.content.value == Decimal("123456789012345678.1234567891")


def test_a_code_or_a_text_that_yaml_takes_for_something_else_stays_text(tmp_path):
    items, faults = read(written(tmp_path, "people:\n  007: {name: NO, unit: 1e3}\n  12:30: {name: on, unit: null}\n"))
    assert not faults
    assert {(i.code, i.content.name, i.content.unit) for i in items} == {("007", "NO", "1e3"), ("12:30", "on", None)}


@pytest.mark.parametrize(
    ("text", "place", "rule"),
    [
        ("units:\n  a:\n    name: A\n    kind: planet\n", "all.yaml:4", "units a: kind: Input should be"),
        ("units:\n  a:\n    kind: team\n", "all.yaml:3", "units a: name: Field required"),
        ("unitz:\n  a: {}\n", "all.yaml:1", "There is no kind 'unitz'"),
        ("units:\n  a: {name: A, kind: team}\n  a: {kind: team}\n", "all.yaml:3", "'a' stands here and in line 2"),
        ("units:\n  a: [\n", "all.yaml:3", "not YAML"),
        ("targets:\n  t:\n    value: 1.5e3\n", "all.yaml:3", "plain digits"),
        ("metrics:\n  m:\n    name: M\n    unit: h\n    formula: a +* b\n", "all.yaml:5", "At character 4"),
        (
            "plans:\n  p:\n    name: P\n    period: month\n    currency: CNY\n    components:\n"
            "      - code: c\n        name: C\n        weight: 1\n        driver: {kind: goal, code: g}\n"
            "        curve: {kind: step, bands: [{from: 0, to: 1, value: 0}, {from: 2, to: null, value: 1}]}\n",
            "all.yaml:11", "components.0.curve",
        ),
        ("units:\n  a: &a {name: A, kind: team, labels: {x: *a}}\n", "all.yaml:2", "deeper than"),
    ],
)  # fmt: skip
def test_an_error_names_file_line_and_rule(tmp_path, text, place, rule):
    (fault,) = faults_of(tmp_path, text)
    assert fault.startswith(place + ":"), fault
    assert rule in fault


def test_every_faulty_setting_is_named_not_only_the_first(tmp_path):
    assert len(faults_of(tmp_path, "units:\n  a: {kind: x}\n  b: {kind: y}\n  c: {name: C, kind: team}\n")) == 2


def test_two_files_may_not_say_the_same_setting_for_the_same_day(tmp_path):
    written(tmp_path, "units: {a: {name: A, kind: team}}", "one.yaml")
    (fault,) = [str(f) for f in read(written(tmp_path, "units: {a: {name: B, kind: team}}", "two.yaml"))[1]]
    assert fault == "two.yaml:1: units a is said for the same day in one.yaml:1 already."


def test_applying_again_sends_nothing(tmp_path):
    items, _ = read(written(tmp_path, ORGANISATION))
    service = Settings()
    first, faults = apply_items(service.client(), items)
    assert not faults
    assert {change.what for change in first} == {"created"}
    sent = len(service.puts)
    again, _ = apply_items(service.client(), items)
    assert {change.what for change in again} == {"unchanged"}
    assert len(service.puts) == sent == 6


def test_a_changed_setting_is_versioned_and_a_dry_run_only_says_so(tmp_path):
    service = Settings()
    apply_items(service.client(), read(written(tmp_path, ORGANISATION))[0])
    sent = len(service.puts)
    items, _ = read(written(tmp_path, ORGANISATION.replace("name: East", "name: Far East")))
    dry, _ = apply_items(service.client(), items, dry_run=True)
    assert [change.item.code for change in dry if change.what == "versioned"] == ["sales-east"]
    assert len(service.puts) == sent
    apply_items(service.client(), items)
    assert service.puts[sent:] == ["/goals/v1/units/sales-east"]


def test_a_refusal_of_the_service_names_the_line_and_the_others_go_on(tmp_path):
    service = Settings()
    items, _ = read(written(tmp_path, ORGANISATION.replace("currency: CNY", "currency: XXX")))
    done, (fault,) = apply_items(service.client(), items)
    assert str(fault) == "all.yaml:5: companies company: currency: XXX is not a currency. Take CNY."
    assert len(done) == 5


def test_applying_what_was_exported_changes_nothing(tmp_path):
    service = Settings()
    text = ORGANISATION + (
        "plans:\n  p:\n    name: P\n    period: month\n    currency: CNY\n    components:\n"
        "      - {code: c, name: 'true', weight: 1.0, driver: {kind: goal, code: g},\n"
        "         curve: {kind: linear, slope: 0.01, floor: 0, cap: 1.20}}\n"
        "metrics-policies:\n  x: {value: 'null', meaning: 工时, unit: h, reason: 'yes: no # maybe'}\n"
    )
    items, faults = read(written(tmp_path, text))
    assert not faults
    apply_items(service.client(), items)
    export_to(service.client(), tmp_path / "out")
    back, faults = read(tmp_path / "out")
    assert not faults
    done, _ = apply_items(service.client(), back)
    assert {change.what for change in done} == {"unchanged"}
    assert len(done) == len(items)


def test_every_dated_setting_has_a_place_in_the_order():
    from shared.contracts import goals, incentives, metrics, reviews
    from shared.contracts.base import Configuration

    modules = (goals, metrics, incentives, reviews)
    settings = {event.KIND for module in modules for event in module.EVENTS if issubclass(event, Configuration)}
    assert settings == set(KINDS)


# --- the client ---


def answering(*answers: httpx.Response) -> tuple[ValueLoopClient, list[float]]:
    left, waited = list(answers), []
    http = httpx.Client(transport=httpx.MockTransport(lambda _request: left.pop(0)))
    return ValueLoopClient("http://test", "t", http, wait=waited.append), waited


def test_a_busy_service_is_asked_again_when_it_says():
    client, waited = answering(httpx.Response(503, headers={"retry-after": "3"}), httpx.Response(200, json={"a": 1}))
    assert client.get("/x") == {"a": 1}
    assert waited == [3]


def test_a_command_that_may_not_be_repeated_is_not():
    client, waited = answering(httpx.Response(503, json={"detail": "Away."}))
    with pytest.raises(ApiProblem, match="Away"):
        client.post("/x", {})
    assert not waited


def positions(**next_pos: int) -> httpx.Response:
    ends = [{"topic": "a.b", "partition": 0, "next_pos": next_pos["end"]}]
    readers = [{"topic": "a.b", "partition": 0, "next_pos": next_pos["read"]}]
    return httpx.Response(200, json={"ends": ends, "readers": readers, "parked": 0})


def test_it_is_settled_when_two_looks_in_a_row_find_every_reader_at_the_same_ends():
    looks = [(5, 4), (5, 5), (6, 6), (6, 6)]  # lagging; caught up; the log grew meanwhile; the same again
    client, waited = answering(*[positions(end=end, read=read) for end, read in looks for _service in range(4)])
    client.wait_until_settled()
    assert len(waited) == 3


def test_what_does_not_settle_names_the_reader_that_lags():
    client, _ = answering(*[positions(end=5, read=4)] * 4)
    with pytest.raises(NotSettled, match=r"goals at 4 of 5 in a\.b/0"):
        client.wait_until_settled(timeout=0)
