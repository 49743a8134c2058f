"""The database goes away under load: callers are told to come back, nothing is lost, nothing is parked."""

import json
import threading
import time
from itertools import count
from pathlib import Path

import httpx
import pytest

from shared.database.embedded import FOR_TESTS, EmbeddedPostgres
from shared.settings import Settings
from tests.acceptance.conftest import Loop, running

AWAY = 20.0  # [s]


class Load:
    """Sends one event after the other, as an ERP would: again where it got no receipt."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.done = loop, threading.Event()
        self.acknowledged = 0
        self.refusals: list[httpx.Response] = []
        self.threads = [threading.Thread(target=self._send, args=(n,)) for n in range(4)]

    def _send(self, sender: int) -> None:
        url = f"{self.loop.client.base_url}/metrics/v1/events"
        headers = {"authorization": f"Bearer {self.loop.client.token}", "content-type": "application/cloudevents+json"}
        with httpx.Client(timeout=60, trust_env=False) as http:
            for number in count():
                event = self.loop.event(
                    "sales", "2025-02-01", f"{sender}-{number}", value="1", subject="unit:company"
                )  # fmt: skip
                while (answer := http.post(url, content=json.dumps(event), headers=headers)).status_code != 202:
                    self.refusals.append(answer)
                    time.sleep(0.2)
                    if self.done.is_set():
                        return
                self.acknowledged += 1
                if self.done.is_set():
                    return


@pytest.mark.slow
def test_twenty_seconds_without_a_database_lose_nothing_and_park_nothing(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "database", FOR_TESTS | {"fsync": "on", "synchronous_commit": "on"})
    settings = Settings(data_directory=tmp_path / "data", partitions=2, poll_seconds=0.2, log_level="error")
    try:
        with running(settings, postgres.start()) as installation:
            loop = installation.company().set_up()
            loop.measured("sales", "CNY")
            load = Load(loop)
            for thread in load.threads:
                thread.start()
            time.sleep(2)
            postgres.stop()
            before = load.acknowledged
            time.sleep(AWAY)
            assert httpx.get(f"{installation.address}/livez", trust_env=False).status_code == 200
            assert httpx.get(f"{installation.address}/readyz", trust_env=False).status_code == 503
            postgres.start()
            until = time.monotonic() + 30
            while load.acknowledged < before + 50:
                assert time.monotonic() < until, "no event was accepted within 30 s of the database's return"
                time.sleep(0.1)
            load.done.set()
            for thread in load.threads:
                thread.join(60)
            assert load.refusals
            assert {(r.status_code, "retry-after" in r.headers) for r in load.refusals} == {(503, True)}
            # A request cut off by the outage may have been accepted without an answer; its repetition is a duplicate.
            assert loop.value("sales") == str(load.acknowledged)
            assert loop.client.parked() == 0
    finally:
        postgres.stop()
