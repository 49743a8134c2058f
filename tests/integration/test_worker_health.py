"""What probes and Prometheus get from a worker process, and secrets that stand in files."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from services.processes import _environment
from services.runtime import prepare
from shared.http import health
from shared.settings import Settings
from shared.telemetry import Telemetry
from tests.conftest import NewRuntimes
from tests.integration.test_cli import free_port


@pytest.fixture
def worker(postgres_url: str, tmp_path: Path) -> Iterator[str]:
    """A worker process of goals that finds its database in a file; the address at which it answers."""
    prepare(Settings(), postgres_url)
    (tmp_path / "valueloop_database_url").write_text(postgres_url + "\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VALUELOOP_")}
    environment["VALUELOOP_SECRETS_DIRECTORY"] = str(tmp_path)
    port = free_port()
    command = [sys.executable, "-m", "services.cli", "work", "goals", "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    try:
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def get(url: str, within: float = 60) -> httpx.Response:
    deadline = time.monotonic() + within
    while True:
        try:
            return httpx.get(url, timeout=5, trust_env=False)
        except httpx.ConnectError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_worker_answers_probes_and_tells_its_figures(worker: str) -> None:
    assert get(f"{worker}/livez").json() == {"status": "alive"}
    assert get(f"{worker}/readyz").json() == {"status": "ready"}
    figures = get(f"{worker}/metrics").text
    assert 'valueloop_ready{service="goals"} 1.0' in figures
    assert 'valueloop_parked{service="goals"} 0.0' in figures
    assert 'valueloop_reader_lag{partition="0",service="goals",topic="metrics.' in figures


def test_the_age_of_the_outbox_is_that_of_its_oldest_record_not_yet_in_kafka(runtimes: NewRuntimes) -> None:
    runtime = replace(runtimes("goals")["goals"], settings=Settings(kafka_bootstrap="127.0.0.1:1"))
    telemetry = Telemetry()

    def age() -> float:
        health._observe_database(runtime, telemetry)
        value = telemetry.registry.get_sample_value("valueloop_outbox_age_seconds", {"service": "goals"})
        assert value is not None
        return value

    assert age() == 0
    with runtime.engine.begin() as connection:
        for pos, minutes in enumerate((9, 5)):
            connection.execute(
                text(
                    "INSERT INTO log.record (topic, partition, pos, key, type, company, data, recorded_at) VALUES "
                    "('goals.outcomes', 0, :pos, 'k', 't', 'c', '{}', now() - make_interval(mins => :minutes))"
                ),
                {"pos": pos, "minutes": minutes},
            )
    assert 540 <= age() < 600
    with runtime.engine.begin() as connection:
        connection.execute(text("INSERT INTO log.forward VALUES ('goals.outcomes', 0, 1)"))
    assert 300 <= age() < 360
    with runtime.engine.begin() as connection:
        connection.execute(text("UPDATE log.forward SET next_pos = 2"))
    assert age() == 0


def test_a_worker_whose_database_is_away_lives_and_is_not_ready(tmp_path: Path) -> None:
    port = free_port()
    environment = os.environ | {"VALUELOOP_DATABASE_URL": f"postgresql://nobody@127.0.0.1:{free_port()}/none"}
    command = [sys.executable, "-m", "services.cli", "work", "goals", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            assert get(f"http://127.0.0.1:{port}/livez").status_code == httpx.codes.OK
            answer = get(f"http://127.0.0.1:{port}/readyz")
            assert (answer.status_code, answer.json()["away"]) == (503, ["database of goals"])
            assert 'valueloop_ready{service="goals"} 0.0' in get(f"http://127.0.0.1:{port}/metrics").text
        finally:
            process.terminate()
        assert process.wait(30) == 0


def test_options_win_over_the_environment_and_that_over_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("port", "partitions", "batch_size"):
        (tmp_path / f"valueloop_{name}").write_text("11\n")
    monkeypatch.setenv("VALUELOOP_SECRETS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("VALUELOOP_PARTITIONS", "22")
    monkeypatch.setenv("VALUELOOP_BATCH_SIZE", "22")
    settings = Settings(batch_size=33)
    assert (settings.port, settings.partitions, settings.batch_size) == (11, 22, 33)


def test_children_of_one_process_get_its_secrets_and_not_its_health_port() -> None:
    settings = Settings(kafka_password="on loopback", health_port=8701)
    environment = _environment(settings, "postgresql:///x")
    assert environment["VALUELOOP_KAFKA_PASSWORD"] == "on loopback"
    assert "VALUELOOP_HEALTH_PORT" not in environment
    assert "on loopback" not in repr(settings)
