"""What can be said of the container files without an engine."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from services.cli import cli
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "valueloop"}


@pytest.mark.parametrize("name", OURS)
def test_a_container_runs_a_command_that_exists(name: str) -> None:
    command, *arguments = OURS[name]["command"]
    commands = typer.main.get_command(cli).commands  # type: ignore[attr-defined]
    assert command in commands
    assert set(arguments) <= {"goals", "metrics", "incentives", "reviews"}


@pytest.mark.parametrize("name", OURS)
def test_every_environment_variable_is_a_setting(name: str) -> None:
    given = {variable.removeprefix("VALUELOOP_").lower() for variable in OURS[name]["environment"]}
    assert given <= set(Settings.model_fields)


def test_secrets_and_volumes_that_are_used_are_declared() -> None:
    for service in COMPOSE["services"].values():
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert not any("password" in str(service.get("environment", {})).lower().replace("password_file", "")
                   .replace("postgres_password", "") for service in COMPOSE["services"].values())  # fmt: skip


def test_the_image_copies_what_exists_and_does_not_run_as_root() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    for copied in re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE):
        assert (ROOT / copied).exists()
    assert re.search(r"^USER 10001$", text, re.MULTILINE)
