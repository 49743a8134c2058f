"""The `valueloop` command as an operator meets it: as a process, with its words and exit codes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from typer.main import get_command

from docs.operations_page import DOCS, settings_table
from services.cli import cli
from services.processes import Child, Supervisor
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VALUELOOP_")}
    return kept | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | more


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            capture_output=True, text=True, cwd=tmp_path, env=environment(**variables), timeout=120,
        )  # fmt: skip

    return command


def until(true: Callable[[], object], seconds: float = 60) -> None:
    """Waits for what another process does, and fails where it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=2, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


class Up:
    """A `valueloop up` in its own process."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.output = directory / "output"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", "up", "--port", str(self.port), "--workers", "1"],
                cwd=directory, env=environment(), stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        until(lambda: self.process.poll() is not None or "ready at" in self.text())
        assert self.process.poll() is None, self.text()

    def text(self) -> str:
        return self.output.read_text()

    def children(self, what: str) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(entry.read_text().rpartition(")")[2].split()[1])
                command = (entry.parent / "cmdline").read_text()
            except OSError:
                continue
            if parent == self.process.pid and what in command:
                found.append(int(entry.parent.name))
        return found

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up"))
    yield running
    if running.process.poll() is None:
        running.stop()


def test_every_command_and_option_explains_itself() -> None:
    def silent(command: object, path: str) -> Iterator[str]:
        for parameter in command.params:  # type: ignore[attr-defined]
            if parameter.param_type_name == "option" and not parameter.hidden and not parameter.help:
                yield f"{path} {parameter.name}"
        if not command.help:  # type: ignore[attr-defined]
            yield path
        for name, inner in getattr(command, "commands", {}).items():
            yield from silent(inner, f"{path} {name}")

    assert list(silent(get_command(cli), "valueloop")) == []


def test_every_setting_is_described_and_listed_for_operators() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
    assert settings_table() in (DOCS / "operations.md").read_text(), "run `make docs`"


def test_the_version_is_that_of_the_project(run: Run) -> None:
    assert f'version = "{run("version").stdout.strip()}"' in (ROOT / "pyproject.toml").read_text()


def test_a_setting_of_the_wrong_kind_is_named(run: Run) -> None:
    done = run("status", VALUELOOP_PORT="many")
    assert done.returncode == 1
    assert "VALUELOOP_PORT is not valid" in done.stderr and "Traceback" not in done.stderr


def test_a_database_that_is_away_is_told_in_a_sentence(run: Run) -> None:
    done = run("status", "--database-url", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    assert done.returncode == 1
    assert "The database does not answer" in done.stderr and "Traceback" not in done.stderr


def test_status_before_the_first_start_says_how_to_start(run: Run) -> None:
    done = run("status")
    assert done.returncode == 1
    assert "`valueloop up` makes them" in done.stderr


def test_workers_without_a_database_say_what_is_missing(run: Run) -> None:
    done = run("work", "goals")
    assert done.returncode == 1
    assert "--database-url" in done.stderr and "Traceback" not in done.stderr


def test_a_port_in_use_is_told_with_the_remedy(run: Run, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = run("up", "--port", str(other.getsockname()[1]))
    assert done.returncode == 1
    assert "address already in use" in done.stderr and "--port" in done.stderr
    assert not (tmp_path / ".valueloop" / "postgres").exists()


def test_a_damaged_data_directory_is_told_with_the_remedy(run: Run, tmp_path: Path) -> None:
    data = tmp_path / ".valueloop" / "postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("garbage")
    done = run("up", "--port", str(free_port()))
    assert done.returncode == 1
    assert "is damaged" in done.stderr and "backup" in done.stderr and "Traceback" not in done.stderr


def test_a_role_that_does_not_exist_gives_no_token(run: Run) -> None:
    assert "no such role: wizard" in run("token", "P1", "--company", "c", "--role", "wizard").stderr


@pytest.mark.parametrize("service", ["goals", "metrics", "incentives", "reviews"])
def test_the_openapi_document_needs_no_server(run: Run, service: str) -> None:
    done = run("openapi", service)
    assert done.returncode == 0, done.stderr
    assert f'"title": "ValueLoop {service}"' in done.stdout


@pytest.mark.slow
def test_starting_twice_is_refused_and_names_the_other(up: Up, run: Run) -> None:
    done = run("up", "--data-directory", str(up.directory / ".valueloop"), "--port", str(free_port()))
    assert done.returncode == 1
    assert f"process {up.process.pid}, {up.address}" in done.stderr


@pytest.mark.slow
def test_status_shows_every_service_while_it_runs(up: Up, run: Run) -> None:
    shown = run("status", "--data-directory", str(up.directory / ".valueloop")).stdout
    assert all(f"│ {name} " in shown for name in ("goals", "metrics", "incentives", "reviews"))


@pytest.mark.slow
def test_parked_and_token_reach_the_running_services(up: Up, run: Run) -> None:
    variables = {"VALUELOOP_DATA_DIRECTORY": str(up.directory / ".valueloop")}
    assert "Nothing is parked." in run("parked", "list", "--company", "c", **variables).stdout
    missing = run("parked", "show", "goals", "metrics.outcomes/0/7", "--company", "c", **variables)
    assert missing.returncode == 1 and "metrics.outcomes/0/7" in missing.stderr
    token = run("token", "P1", "--company", "c", "--role", "auditor", **variables).stdout.strip()
    answer = httpx.get(f"{up.address}/goals/v1/positions", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == httpx.codes.OK


@pytest.mark.slow
def test_a_killed_worker_and_a_killed_api_start_again(up: Up) -> None:
    for what in ("work", "serve"):
        (pid,) = up.children(f"services.cli\0{what}")
        os.kill(pid, signal.SIGKILL)
        until(lambda what=what, pid=pid: up.children(f"services.cli\0{what}") not in ([], [pid]))  # type: ignore[misc]
    until(lambda: answers(up.address))
    assert "ended with code -9; it starts again" in up.text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_in_order(tmp_path: Path, number: int) -> None:
    running = Up(tmp_path)
    assert running.stop(number) == 0
    assert running.text().rstrip().endswith("Stopped.") and "Traceback" not in running.text()
    assert not (tmp_path / ".valueloop/postgres/postmaster.pid").exists()


@pytest.mark.slow
def test_after_a_kill_children_end_and_the_next_start_works(tmp_path: Path) -> None:
    first = Up(tmp_path)
    children = first.children("services.cli")
    first.process.kill()
    first.process.wait()
    until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in children))
    assert Up(tmp_path).stop() == 0


def test_a_child_that_ends_at_once_waits_longer_each_time() -> None:
    said: list[str] = []
    supervisor = Supervisor(Settings(), said.append)
    child = Child("worker 1", ["no-such-command"])
    supervisor.children = [child]
    pauses = []
    for _ in range(2):
        child.start(os.environ)
        assert child.process
        child.process.wait()
        supervisor._mend(child)
        pauses.append(child.pause)
        child.due = 0.0
    assert pauses == [1.0, 2.0]
    assert said[0] == "The worker 1 process ended with code 2; it starts again in 1 s."
