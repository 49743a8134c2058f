"""The processes of `valueloop up`: PostgreSQL, one API process, workers; started, watched and stopped in order."""

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx
import uvicorn
from pydantic import SecretStr

from services.metrics.events.kafka import start_intake
from services.runtime import SERVICES, build_runtimes, database_urls, prepare
from services.worker_health import answering
from shared.database.directory import BrokenEnvironment, held
from shared.database.embedded import EmbeddedPostgres
from shared.database.provision import ServiceUrls
from shared.http.application import create_app
from shared.http.health import Readiness
from shared.identity import LocalIssuer, identity_of
from shared.log.forward import run_forwarders
from shared.log.kafka import Cluster
from shared.log.topics import check_topics
from shared.log.worker import run_workers
from shared.service import Runtime
from shared.settings import Settings
from shared.telemetry import Telemetry

LONGEST_PAUSE = 30.0  # [s] between restarts of a process that keeps ending
STEADY = 60.0  # [s] after which a process counts as well, and the pause starts small again
READY_WITHIN = 60.0  # [s]


class PortInUse(BrokenEnvironment):
    """Another program listens on the port."""


class NoDatabase(BrokenEnvironment):
    """Nothing says where the database is."""


class DidNotBecomeReady(BrokenEnvironment):
    """A process ended, or did not answer, before it was ever ready."""


# --- what one process does ---


def serve(settings: Settings, names: Iterable[str], listener: socket.socket) -> None:
    """Serves the named services until SIGTERM or Ctrl-C; running requests are finished."""
    if not (settings.jwks_url or settings.jwks_file):
        LocalIssuer(settings.data_directory, settings.issuer, settings.audience)
    runtimes = build_runtimes(settings, _urls(settings, names), names, purpose="api")
    app = create_app(runtimes, settings, identity_of(settings))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=settings.drain_seconds
    )
    stop_on_signals()  # uvicorn raises its signal again when it is done: having stopped as told is no failure
    DrainingServer(config, app.state.readiness, settings.drain_grace_seconds).run(sockets=[listener])
    _dispose(runtimes)


class DrainingServer(uvicorn.Server):
    """Reports at the first signal that it is not ready, and closes its listener `grace` [s] later, or at the second."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness, grace: float) -> None:
        super().__init__(config)
        self._readiness, self._grace = readiness, grace

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._readiness.draining:
            return super().handle_exit(sig, frame)
        self._readiness.drain()
        closing = threading.Timer(self._grace, super().handle_exit, (signal.SIGTERM, frame))
        closing.daemon = True
        closing.start()


def work(settings: Settings, names: Iterable[str]) -> None:
    """Runs the workers of the named services until SIGTERM or Ctrl-C; the transactions under way are finished."""
    stop = stop_on_signals()
    runtimes = build_runtimes(settings, _urls(settings, names), names, purpose="worker")
    telemetry = Telemetry()
    copying = [*start_forwarders(settings, runtimes, stop), *start_intake(settings, runtimes, stop, telemetry)]
    probed = listener(settings.host, settings.health_port) if settings.health_port else None
    gc.freeze()  # what is loaded by now stays: no collection need look at it again
    with answering(runtimes, telemetry, probed):
        run_workers(runtimes, stop, telemetry)
    for thread in copying:
        thread.join()
    _dispose(runtimes)


def start_forwarders(
    settings: Settings, runtimes: Mapping[str, Runtime], stop: threading.Event
) -> list[threading.Thread]:
    """Where Kafka carries the log: checks its topics and starts the forwarders of these services.

    Raises:
        WrongTopics: a topic is missing or does not fit, with the remedy.
    """
    if not settings.kafka_bootstrap:
        return []
    cluster = Cluster(settings)
    check_topics(cluster, runtimes.values())
    return run_forwarders(list(runtimes.values()), cluster, stop)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def end_with_the_parent(parent: int) -> None:
    """Stops this process when the pipe `parent`, which the supervisor holds open, closes: also after its SIGKILL."""

    def wait() -> None:
        os.read(parent, 1)  # not through a buffer: its lock would hinder the interpreter's end
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()


def listener(host: str, port: int) -> socket.socket:
    """Listens at once, so that connections wait while a process starts or is started again.

    Raises:
        PortInUse: with the remedy.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    one = socket.socket(family, socket.SOCK_STREAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind((host, port))
    except OSError as error:
        one.close()
        raise PortInUse(
            f"ValueLoop cannot listen on {host}:{port}: {(error.strerror or str(error)).lower()}.",
            remedy="Stop the program that has the port, or name another with --port.",
        ) from error
    one.listen(1024)
    return one


def _urls(settings: Settings, names: Iterable[str]) -> dict[str, ServiceUrls]:
    urls = database_urls(settings, settings.database_url)
    # Without Kafka the logs are the owners' tables; with it, a process needs its own services' databases alone.
    if missing := set(names if settings.kafka_bootstrap else SERVICES) - urls.keys():
        raise NoDatabase(
            f"Nothing says where the databases of {', '.join(sorted(missing))} are.",
            remedy="Give --database-url, or VALUELOOP_DATABASE_URL, or one URL for each service.",
        )
    return urls


def _dispose(runtimes: Mapping[str, Runtime]) -> None:
    for runtime in runtimes.values():
        runtime.engine.dispose()


# --- all of them together ---


@dataclass
class Child:
    """A process of its own group, so that Ctrl-C reaches the supervisor alone, which then stops in order."""

    name: str
    arguments: list[str]
    descriptors: tuple[int, ...] = ()
    process: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0
    pause: float = 0.5
    due: float = 0.0

    def start(self, environment: Mapping[str, str]) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", *self.arguments],
            stdin=subprocess.PIPE, pass_fds=self.descriptors, env=dict(environment), start_new_session=True,
        )  # fmt: skip

    def ended(self) -> int | None:
        return self.process.poll() if self.process else None

    def stop(self, seconds: float) -> bool:
        """Asks to stop; whether it did by itself. Waits at most `seconds`."""
        if self.process is None or self.process.poll() is not None:
            return True
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True


@dataclass
class Supervisor:
    """Runs everything on one machine.

    Args:
        say: where to tell the operator what happens, a sentence at a time.
    """

    settings: Settings
    say: Callable[[str], None] = lambda _sentence: None
    postgres_options: dict[str, str] = field(default_factory=dict)
    children: list[Child] = field(default_factory=list)
    _postgres: EmbeddedPostgres | None = None
    _environment: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[str]:
        """The address, while everything runs and is ready; stops everything at the end, in order.

        Raises:
            BrokenEnvironment: whatever hinders the start, with the remedy.
        """
        settings = self.settings
        directory = settings.data_directory.absolute()
        address = f"http://{settings.host}:{settings.port}"
        with ExitStack() as stack:
            stack.enter_context(held(directory, address))
            socket_ = stack.enter_context(listener(settings.host, settings.port))
            admin_url = settings.database_url or self._start_postgres(stack, directory)
            self.say("Preparing the databases.")
            prepare(settings, admin_url)
            self._environment = _environment(settings, admin_url)
            stack.callback(self._stop)
            self._start(socket_)
            self._wait_until_ready(address)
            yield address

    def watch(self, stop: threading.Event) -> None:
        """Starts again what ends, until `stop` is set."""
        while not stop.wait(0.2):
            if self._postgres and self._postgres.exit_code() is not None:
                self.say("PostgreSQL ended; it is started again.")
                self._postgres.start()
            for child in self.children:
                self._mend(child)

    def _start_postgres(self, stack: ExitStack, directory: Path) -> str:
        self.say(f"Starting PostgreSQL in {directory}.")
        self._postgres = EmbeddedPostgres(directory, self.postgres_options)
        stack.callback(self._postgres.stop)
        return self._postgres.start()

    def _start(self, socket_: socket.socket) -> None:
        number = socket_.fileno()
        self.children = [Child("api", ["serve", "--supervised", "--descriptor", str(number)], (number,))]
        for index in range(1, self.settings.workers + 1):
            self.children.append(Child(f"worker {index}", ["work", "--supervised"]))
        for child in self.children:
            child.start(self._environment)

    def _wait_until_ready(self, address: str) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline:
            for child in self.children:
                if (code := child.ended()) is not None:
                    raise DidNotBecomeReady(
                        f"The {child.name} process ended with code {code} before it was ready.",
                        remedy="What it wrote above says why.",
                    )
            try:
                if httpx.get(f"{address}/readyz", timeout=2, trust_env=False).status_code == httpx.codes.OK:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.05)
        raise DidNotBecomeReady(
            f"{address} did not become ready within {READY_WITHIN:.0f} s.", remedy="See the log lines above."
        )

    def _mend(self, child: Child) -> None:
        now = time.monotonic()
        code = child.ended()
        if code is None:
            return
        if child.due == 0.0:
            child.pause = 0.5 if now - child.began > STEADY else min(child.pause * 2, LONGEST_PAUSE)
            child.due = now + child.pause
            self.say(f"The {child.name} process ended with code {code}; it starts again in {child.pause:.0f} s.")
        elif now >= child.due:
            child.due = 0.0
            child.start(self._environment)

    def _stop(self) -> None:
        """The API first: what it has accepted is then durable, and workers pick up the rest at the next start."""
        api, workers = self.children[:1], self.children[1:]
        for group in (api, workers):
            for child in group:
                if child.process and child.process.poll() is None:
                    child.process.terminate()
            for child in group:
                if not child.stop(self.settings.drain_grace_seconds + self.settings.drain_seconds + 5):
                    self.say(f"The {child.name} process did not stop in time and was ended.")


def _environment(settings: Settings, admin_url: str | None) -> dict[str, str]:
    """The settings as a child process reads them, whatever of them came from options."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VALUELOOP_")}
    values = settings.model_dump(exclude_none=True, exclude={"health_port"})  # the workers would all want that port
    values |= {"data_directory": settings.data_directory.absolute(), "database_url": admin_url}
    environment |= {f"VALUELOOP_{name.upper()}": _text(value) for name, value in values.items() if value is not None}
    return environment


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)
