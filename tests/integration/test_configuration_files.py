"""`apply`, `export` and `import` as an operator runs them, against a running installation."""

from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli import cli
from services.cli_files import apply_items, export_to
from services.files import Item, read
from shared.contracts.base import Configuration
from tests.acceptance.conftest import EXAMPLES, Installation, Loop, installation

__all__ = ["installation"]  # the fixture that starts everything once
Run = Callable[..., Result]
COMPANY = "company: {name: A, time_zone: Asia/Shanghai, currency: CNY}\nunits: {top: {name: T, kind: company}}\n"


@pytest.fixture
def company(installation: Installation) -> Loop:
    return installation.company()


@pytest.fixture
def run(company: Loop, tmp_path: Path) -> Run:
    def valueloop(*arguments: object) -> Result:
        where = ["--url", company.client.base_url, "--token", company.client.token, "--data-directory", tmp_path / "d"]
        return CliRunner().invoke(cli, [str(part) for part in (*arguments, *where)])

    return valueloop


def by_name(items: list[Item]) -> dict[tuple[str, str, date], Configuration]:
    return {(item.kind.KIND, item.code, item.content.effective_from): item.content for item in items}


@pytest.mark.parametrize("example", ["ev-maker", "sap-document-flow"])
def test_an_example_is_applied_once_and_exported_without_loss(company: Loop, tmp_path: Path, example: str) -> None:
    items, faults = read(EXAMPLES / example)
    assert not faults
    done, refused = apply_items(company.client, items)
    assert not refused
    assert Counter(change.what for change in done) == {"created": len(items)}

    again, _ = apply_items(company.client, items)
    assert {change.what for change in again} == {"unchanged"}

    export_to(company.client, tmp_path / "out")
    back, faults = read(tmp_path / "out")
    assert not faults
    assert by_name(back) == by_name(items)
    exported, _ = apply_items(company.client, back)
    assert {change.what for change in exported} == {"unchanged"}


def test_a_dry_run_says_what_would_be_done_and_does_nothing(company: Loop, run: Run) -> None:
    result = run("apply", EXAMPLES / "sap-document-flow", "--dry-run")
    assert result.exit_code == 0
    assert "11 would be created, 0 would be versioned, 0 unchanged." in result.output
    assert company.client.get("/metrics/v1/metrics")["items"] == []


def test_a_change_in_a_file_becomes_a_new_version(company: Loop, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(
        "company: {name: A, time_zone: Asia/Shanghai, currency: CNY}\nunits: {top: {name: T, kind: company}}\n"
    )
    assert "2 created, 0 versioned, 0 unchanged." in run("apply", file).output
    file.write_text(file.read_text().replace("name: T", "name: Top"))
    assert "0 created, 1 versioned, 1 unchanged." in run("apply", file).output
    versions = company.client.get("/goals/v1/units/top/versions")
    assert [each["content"]["name"] for each in versions] == ["T", "Top"]


def test_what_a_service_refuses_is_told_with_its_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(
        COMPANY + "goals:\n  g:\n    name: G\n    period: month\n    starts: 2025-01-01\n"
        "    owner_unit: top\n    owner_person: li\n"
    )
    result = run("apply", file)
    assert result.exit_code == 1
    assert f"{file}:9: goals g:" in result.output
    assert "exactly one owner" in result.output


def test_a_csv_is_imported_once(company: Loop, run: Run, tmp_path: Path) -> None:
    company.set_up()
    company.metric("revenue", "CNY")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        "mappings:\n  sale:\n    name: Sale\n    event_type: sale\n    observations:\n"
        "      - {metric: revenue, value: number(data.amount), subject: '\"unit:company\"', key: data.order}\n"
    )
    file = tmp_path / "sales.csv"
    file.write_text(
        "order,amount,day\n" + "".join(f"SO{n},{n}.50,2025-03-{n:02}\n" for n in range(1, 21)) + "X,1,never\n"
    )
    command = ["import", file, "--source", "erp", "--type", "sale", "--id", "order", "--time", "day",
               "--time-zone", "Asia/Shanghai", "--mapping", mapping, "--batch", 7]  # fmt: skip
    first = run(*command)
    assert first.exit_code == 0, first.output
    assert "20 accepted, 0 duplicate, 0 quarantined, 0 rejected, 1 bad row" in first.output
    assert "row 22: bad row: its time 'never'" in first.output
    assert company.value("revenue", "2025-03") == "220"
    assert "was imported already" in run(*command).output
    assert "0 accepted, 20 duplicate" in run(*command, "--restart").output
    assert company.value("revenue", "2025-03") == "220"
