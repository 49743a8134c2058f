"""ValueLoop as an operator runs it: PostgreSQL, Kafka, an API process and two worker processes for each service.

The processes are those of the command line. A supervisor starts again what ends, as systemd or Kubernetes would.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from deploy.kafka.broker import Broker, _free_ports
from services.client import SERVICES, ValueLoopClient
from shared.database.embedded import EmbeddedPostgres
from shared.identity import LocalIssuer

ROOT = Path(__file__).parents[2]
EVERY_ROLE = ("admin", "strategist", "analyst", "compensation", "finance", "auditor", "source")
LEASE = 3  # [s]
PATIENCE = 300.0  # [s] for whatever must come some time; nothing here asserts how fast


def wait_for(what: str, met: Any, seconds: float = PATIENCE, every: float = 0.1) -> Any:
    """What `met` returns once that is true. Raises AssertionError when `seconds` have passed."""
    until = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < until, f"waited {seconds:g} s for: {what}"
        time.sleep(every)
    return found


class Client(ValueLoopClient):
    """Talks to four services at four addresses. Belongs to one thread."""

    def __init__(self, addresses: Mapping[str, str], token: str, patience: float = PATIENCE) -> None:
        super().__init__("", token, httpx.Client(timeout=30, trust_env=False), patience)
        self._at = {name: ValueLoopClient(url, token, self.http, patience) for name, url in addresses.items()}

    def request(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> httpx.Response:
        return self._at[path.split("/")[1]].request(method, path, repeatable=repeatable, **options)


@dataclass
class Member:
    """One process. `held`: it is not started again until that is false."""

    name: str
    arguments: Sequence[str]
    log: Path
    held: bool = False
    starts: int = 0
    process: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0

    @property
    def service(self) -> str:
        return self.arguments[1]

    @property
    def is_worker(self) -> bool:
        return self.arguments[0] == "work"

    def start(self, environment: Mapping[str, str]) -> None:
        self.began, self.starts = time.monotonic(), self.starts + 1
        with self.log.open("ab") as log:
            # Its standard input is a pipe of ours: when the test run dies, however it does, the process ends by itself.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", *self.arguments, "--supervised"],
                cwd=ROOT, env=dict(environment), stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def send(self, number: signal.Signals) -> bool:
        """Sends a signal; whether there was a process to get it."""
        if self.process is None or self.process.poll() is not None:
            return False
        self.process.send_signal(number)
        return True

    def ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM; its exit code. Kills it, and says so by the code, where it takes too long."""
        if self.process is None:
            return 0
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        """The exit code of one that was told to stop: a second SIGTERM would kill an interpreter about to end."""
        assert self.process
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@dataclass
class Cluster:
    """All of it. `members` is by name: `metrics-api`, `metrics-1`, `metrics-2` …"""

    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    secure: bool = False
    members: dict[str, Member] = field(default_factory=dict)
    _ends: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.postgres = EmbeddedPostgres(self.directory / "database")
        self.broker = Broker(self.directory / "kafka", secure=self.secure)
        self.logs = self.directory / "logs"
        self.logs.mkdir(parents=True)
        self.issuer = LocalIssuer(self.directory / "data")
        self.ports = dict(zip(SERVICES, _free_ports(len(SERVICES)), strict=True))

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("VALUELOOP_")}
        return kept | {
            "PYTHONPATH": str(ROOT),
            "VALUELOOP_DATABASE_URL": self.postgres.url,
            "VALUELOOP_KAFKA_BOOTSTRAP": self.broker.bootstrap,
            "VALUELOOP_DATA_DIRECTORY": str(self.directory / "data"),
            "VALUELOOP_SETTABLE_CLOCK": "1",
            "VALUELOOP_LEASE_SECONDS": str(LEASE),
            "VALUELOOP_KAFKA_TIMEOUT_SECONDS": "5",
            "VALUELOOP_LOG_LEVEL": "warning",
            "COLUMNS": "250",  # tables break no sentence that a test looks for
            **self.settings,
        }

    @contextmanager
    def running(self) -> Iterator["Cluster"]:
        """Everything, until the block ends."""
        try:
            self.postgres.start()
            self.broker.start()
            self.command("migrate")
            with self.serving():
                yield self
        finally:
            self.broker.close()
            self.postgres.stop()

    @contextmanager
    def serving(self) -> Iterator["Cluster"]:
        """The processes of ValueLoop, until the block ends."""
        self._ends.clear()
        supervisor = threading.Thread(target=self._supervise, name="supervisor")
        try:
            for service in SERVICES:
                self._add(f"{service}-api", "serve", service, "--port", str(self.ports[service]))
                for number in (1, 2):
                    self._add(f"{service}-{number}", "work", service)
            supervisor.start()
            yield self
        finally:
            self._ends.set()
            if supervisor.ident:
                supervisor.join()
            for member in self.members.values():
                member.send(signal.SIGCONT)
                member.send(signal.SIGTERM)
            for member in self.members.values():
                member.stop(30)
            self.members.clear()

    def _add(self, name: str, *arguments: str) -> Member:
        member = Member(name, arguments, self.logs / f"{name}.log")
        member.start(self.environment)
        self.members[name] = member
        return member

    def join(self, name: str, service: str) -> Member:
        """One more worker."""
        return self._add(name, "work", service)

    def _supervise(self) -> None:
        while not self._ends.wait(0.05):
            for member in list(self.members.values()):
                # At once; but one that ended as soon as it began, as without a database, a moment later.
                if member.ended() and not member.held and time.monotonic() - member.began > 2:
                    member.start(self.environment)

    # --- as an operator ---

    def command(self, *arguments: str, expect: int = 0, environment: Mapping[str, str] | None = None) -> str:
        """What `valueloop …` prints; AssertionError where it does not end with the code expected."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments], cwd=ROOT,
            env=self.environment | dict(environment or {}),
            check=False, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == expect, f"valueloop {' '.join(arguments)} ended with {done.returncode}: {said}"
        return said

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def client(self, company: str, patience: float = PATIENCE) -> Client:
        token = self.issuer.issue("operator", company, EVERY_ROLE)
        return Client({service: self.url(service) for service in SERVICES}, token, patience)

    def workers(self, service: str | None = None) -> list[Member]:
        return [m for m in self.members.values() if m.is_worker and service in (None, m.service)]

    def logged(self, sentence: str) -> list[str]:
        """The names of the processes whose log says that."""
        return [m.name for m in self.members.values() if sentence in m.log.read_text(errors="replace")]

    # --- inside, for the checks ---

    def rows(self, service: str, sql: str, *parameters: Any) -> list[Any]:
        """What a service's database says, as its administrator."""
        url = self.postgres.url.replace("/postgres?", f"/valueloop_{service}?")
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(sql.encode(), parameters or None).fetchall()

    def crash_postgres(self) -> None:
        """Ends it without a checkpoint: the next start recovers from its log."""
        process = self.postgres._process
        assert process
        process.send_signal(signal.SIGQUIT)
        process.wait()
        self.postgres.stop()
