"""A ValueLoop of its own for one run: embedded PostgreSQL with fsync on, one API process, two worker processes."""

import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.client import NotSettled, ValueLoopClient
from services.processes import Supervisor
from services.runtime import build_runtimes, database_urls
from shared.database.embedded import EmbeddedPostgres
from shared.identity import LocalIssuer
from shared.service import Runtime
from shared.settings import Settings

EVERY_ROLE = ("admin", "strategist", "analyst", "compensation", "finance", "auditor", "source")


class NotDone(Exception):
    """Something was fast because it did not happen."""


@dataclass
class Installation:
    """What runs, and how to reach it. `database` is the administrator's URL."""

    settings: Settings
    database: str
    issuer: LocalIssuer
    supervisor: Supervisor

    @property
    def host(self) -> str:
        return self.settings.host

    @property
    def port(self) -> int:
        return self.settings.port

    def client(self, company: str) -> ValueLoopClient:
        return ValueLoopClient(f"http://{self.host}:{self.port}", self.issuer.issue("bench", company, EVERY_ROLE))

    def stop_workers(self) -> None:
        for child in self.supervisor.children[1:]:
            child.stop(30)

    def start_workers(self, client: ValueLoopClient) -> float:
        """Starts them and waits until they own every partition; the moment from which they can work [perf_counter]."""
        for child in self.supervisor.children[1:]:
            child.start(self.supervisor._environment)
        until = time.monotonic() + 180  # a process starts slowly where the machine is busy
        while time.monotonic() < until:
            readers = [reader for found in client.positions().values() for reader in found["readers"]]
            if any(reader["owner"] for reader in readers if reader["topic"] == "metrics.source-events"):
                return time.perf_counter()
            time.sleep(0.01)
        raise NotSettled("No worker took a partition within 180 s.")

    def database_of(self, service: str) -> str:
        """The administrator's URL of one service's database."""
        return self.database.replace("/postgres?", f"/valueloop_{service}?")

    def runtime(self, service: str) -> Runtime:
        """A service as a worker process has it, for measuring a part of it alone."""
        urls = database_urls(self.settings, self.database)
        return build_runtimes(self.settings, urls, [service], purpose="worker")[service]


@contextmanager
def running(kafka: str | None = None) -> Iterator[Installation]:
    """Starts everything in a directory of its own, on 127.0.0.1 and a free port; stops and removes it at the end.

    `kafka`: the broker that carries the log; without it, the tables do.
    """
    with tempfile.TemporaryDirectory(prefix="valueloop-bench-") as name:
        directory = Path(name)
        postgres = EmbeddedPostgres(directory / "database")
        url = postgres.start()
        try:
            settings = Settings(
                data_directory=directory, database_url=url, host="127.0.0.1", port=_free_port(), workers=2,
                log_level="warning", settable_clock=True, kafka_bootstrap=kafka,
            )  # fmt: skip
            supervisor = Supervisor(settings)
            with supervisor.running():
                issuer = LocalIssuer(directory, settings.issuer, settings.audience)
                yield Installation(settings, url, issuer, supervisor)
        finally:
            postgres.stop()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
