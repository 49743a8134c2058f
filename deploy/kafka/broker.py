"""A real Kafka broker on 127.0.0.1 without Docker, for tests, benchmarks and the demo: needs Java 17, and Maven once.

`python deploy/kafka/broker.py` runs one until Ctrl-C. In Python:

    with Broker() as broker:
        connect(broker.bootstrap)
        broker.kill()   # as a power cut would; what was acknowledged is on disk or in the kernel's cache
        broker.start()  # the same address and data

Standard library only, so that it runs before anything is installed.
"""

import argparse
import base64
import fcntl
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from uuid import uuid4

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
JAVA_AT_LEAST = 17
START_SECONDS = 120
STOP_SECONDS = 30
STARTED = b"Kafka Server started"
USER, PASSWORD = "valueloop", "on-loopback-only"
# Below the ports that the kernel hands out: a client that keeps trying a stopped broker's port among those
# connects to itself sooner or later, and holds the port against the broker's return.
PORTS = range(15_000, 32_000)


class KafkaUnavailable(Exception):
    """No broker can run here, or it did not start; the text says why and what to do."""


def missing() -> str | None:
    """Why no broker can run here, for tests to skip with; None where one can.

    Raises:
        KafkaUnavailable: instead of returning a reason, where VALUELOOP_REQUIRE_KAFKA=1 forbids to skip.
    """
    reason = _no_java() or _no_maven()
    if reason and os.environ.get("VALUELOOP_REQUIRE_KAFKA") == "1":
        raise KafkaUnavailable(f"{reason} VALUELOOP_REQUIRE_KAFKA=1 says that a broker must run here.")
    return reason


def _no_java() -> str | None:
    try:
        said = subprocess.run([_java(), "-version"], check=True, capture_output=True, text=True).stderr
    except (OSError, subprocess.CalledProcessError):
        return f"Kafka needs Java {JAVA_AT_LEAST} or newer, and none runs here: put it on the PATH or set JAVA_HOME."
    version = re.search(r'version "(\d+)', said)
    if not version or int(version[1]) < JAVA_AT_LEAST:
        return f"Kafka needs Java {JAVA_AT_LEAST} or newer, and this is {said.splitlines()[0]}: set JAVA_HOME."
    return None


def _no_maven() -> str | None:
    if _cache().exists() or shutil.which("mvn"):
        return None
    return "Maven (mvn) fetches Kafka once, and is not on the PATH: install it."


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home, "bin", "java")) if home else "java"


def _cache() -> Path:
    version = re.search(r"<kafka.version>(.+)</kafka.version>", POM.read_text())
    assert version
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "valueloop" / f"kafka-{version[1]}"


def jars() -> Path:
    """The directory with Kafka's jars (43 MB), fetched by Maven where they are not in the cache yet.

    Raises:
        KafkaUnavailable: with what Maven said.
    """
    cache = _cache()
    cache.parent.mkdir(parents=True, exist_ok=True)
    with _alone(cache.with_suffix(".lock")):
        if not cache.exists():
            making = Path(tempfile.mkdtemp(prefix=f"{cache.name}-", dir=cache.parent))
            try:
                _fetch(making)
                making.rename(cache)  # whole or not at all: a broken download is never taken for a broker
            finally:
                shutil.rmtree(making, ignore_errors=True)
    return cache


def _fetch(into: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies",
               "-DincludeScope=runtime", f"-DoutputDirectory={into}"]  # fmt: skip
    said = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    if said.returncode:
        raise KafkaUnavailable(f"Maven could not fetch Kafka: {said.stdout.strip()[-2000:]}")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on. Drawn at random, so that brokers starting together seldom meet."""
    found: set[int] = set()
    while len(found) < count:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.add(port)
    return list(found)


@dataclass
class Broker:
    """One broker that is its own controller. Address and data stay over `stop` or `kill` and `start`.

    Args:
        directory: where it keeps its data, log and certificates; a temporary one, removed by `close`, if not named.
        port: of the plain listener; a free one if 0.
        heap: of the Java machine, as `-Xmx` takes it.
        secure: adds a listener with SASL_SSL (PLAIN; `USER`, `PASSWORD`) and one with mTLS; needs `openssl`.
        settings: further broker settings, which win over those here.
    """

    directory: Path = field(default=None)  # type: ignore[assignment]  # made where none is given
    port: int = 0
    heap: str = "512m"
    secure: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._temporary = self.directory is None
        self.directory = Path(tempfile.mkdtemp(prefix="kafka-")) if self._temporary else self.directory.absolute()
        self.log = self.directory / "broker.log"
        free, self._controller, self._sasl, self._tls = _free_ports(4)
        self.port = self.port or free

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bootstrap(self) -> str:
        """Where clients begin, without encryption."""
        return f"127.0.0.1:{self.port}"

    @property
    def sasl_bootstrap(self) -> str:
        """The listener that asks for a user over TLS."""
        return f"127.0.0.1:{self._sasl}"

    @property
    def tls_bootstrap(self) -> str:
        """The listener that asks for a client's certificate."""
        return f"127.0.0.1:{self._tls}"

    def certificate(self, name: str) -> Path:
        """A PEM file: `ca.crt`, `client.crt`, `client.key`; there is none unless `secure`."""
        return self.directory / name

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> str:
        """Starts it and returns `bootstrap` when it answers; does nothing where it runs.

        Raises:
            KafkaUnavailable: Java or Maven is missing, or the broker ended; with the end of its log.
        """
        if self._process and self._process.poll() is None:
            return self.bootstrap
        if reason := _no_java() or _no_maven():
            raise KafkaUnavailable(reason)
        if not (self.directory / "data").exists():
            self._format()
        began = self.log.stat().st_size
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C reaches Python alone, which then stops the broker in order.
            self._process = subprocess.Popen(
                [*self._command(), "kafka.Kafka", str(self._properties)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._wait_until_it_answers(began)
        return self.bootstrap

    def stop(self) -> None:
        """Asks it to stop and waits; its partitions are closed in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: what a crash of the process does."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, until `resume`."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    def exit_code(self) -> int | None:
        """None while it runs or where it was never started."""
        return self._process.poll() if self._process else None

    def close(self) -> None:
        """Stops it, and removes what was temporary."""
        if self._temporary:
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            self.stop()

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    def _command(self) -> list[str]:
        return [_java(), f"-Xmx{self.heap}", "-Dorg.slf4j.simpleLogger.showDateTime=true", "-cp", f"{jars()}/*"]

    def _format(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.secure:
            make_certificates(self.directory)
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in self._configuration().items()))
        identity = base64.urlsafe_b64encode(b"v" + uuid4().bytes[1:]).decode().rstrip("=")  # never begins with a dash
        tool = [*self._command(), "kafka.tools.StorageTool", "format", "-t", identity, "-c", str(self._properties)]
        with self.log.open("ab") as log:
            formatted = subprocess.run(tool, check=False, stdout=log, stderr=log)
        if formatted.returncode:
            raise KafkaUnavailable(f"Kafka could not make its data in {self.directory}: {self._tail(0)}")

    def _configuration(self) -> dict[str, str]:
        listeners = {"PLAINTEXT": self.port, "CONTROLLER": self._controller}
        secure: dict[str, str] = {}
        if self.secure:
            listeners |= {"SASL_SSL": self._sasl, "SSL": self._tls}
            secure = _secure(self.directory)
        addresses = [f"{name}://127.0.0.1:{port}" for name, port in listeners.items()]
        protocols = [f"{name}:{'PLAINTEXT' if name == 'CONTROLLER' else name}" for name in listeners]
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": ",".join(addresses),
            "advertised.listeners": ",".join(a for a in addresses if not a.startswith("CONTROLLER")),
            "listener.security.protocol.map": ",".join(protocols),
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.directory / "data"),
            "broker.session.timeout.ms": "3000",  # after a kill, the controller waits this long before it lets us back
            "broker.heartbeat.interval.ms": "500",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "log.cleaner.dedupe.buffer.size": "8388608",  # 128 MB by default, of a small heap
            **secure,
            **self.settings,
        }

    def _wait_until_it_answers(self, began: int) -> None:
        assert self._process
        until = time.monotonic() + START_SECONDS
        while STARTED not in self.log.read_bytes()[began:]:
            if self._process.poll() is not None:
                raise KafkaUnavailable(f"Kafka ended while starting: {self._tail(began)}")
            if time.monotonic() > until:
                self.kill()
                raise KafkaUnavailable(f"Kafka did not start within {START_SECONDS} s: {self._tail(began)}")
            time.sleep(0.05)

    def _tail(self, began: int) -> str:
        return self.log.read_bytes()[began:][-2000:].decode(errors="replace").strip()


def _secure(directory: Path) -> dict[str, str]:
    login = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(directory / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(directory / "ca.crt"),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": login,
    }


def make_certificates(directory: Path) -> None:
    """Writes an authority of its own (`ca.crt`) and, signed by it, `broker.pem`, `client.crt` and `client.key`."""
    ca = ["-CA", str(directory / "ca.crt"), "-CAkey", str(directory / "ca.key")]
    for name, signed in {"ca": [], "broker": ca, "client": ca}.items():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", *signed,
             "-keyout", str(directory / f"{name}.key"), "-out", str(directory / f"{name}.crt")],
            check=True, capture_output=True,
        )  # fmt: skip
    key, certificate = (directory / "broker.key").read_text(), (directory / "broker.crt").read_text()
    (directory / "broker.pem").write_text(key + certificate)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Runs a broker in the foreground until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="A Kafka broker on 127.0.0.1, its data in a temporary directory.")
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--heap", default="1g")
    parser.add_argument("--directory", type=Path, help="keep the data here")
    parser.add_argument("command", nargs="*", help="run this with its address in the environment, then stop")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with Broker(given.directory, given.port, given.heap) as broker:
            if given.command:
                sys.exit(_run(given.command, broker.bootstrap))
            say(f"VALUELOOP_KAFKA_BOOTSTRAP={broker.bootstrap}\nCtrl-C stops it.")
            while broker.exit_code() is None:
                time.sleep(0.2)
        raise KafkaUnavailable(f"Kafka ended by itself: {broker._tail(0)}")
    except KeyboardInterrupt:
        say("Stopped.")
    except KafkaUnavailable as error:
        sys.exit(str(error))


def _run(command: list[str], bootstrap: str) -> int:
    """Ctrl-C reaches the command too, which stops by itself; a handler, unlike "ignore", is not inherited."""
    signal.signal(signal.SIGINT, lambda *_: None)
    started = subprocess.Popen(command, env=os.environ | {"VALUELOOP_KAFKA_BOOTSTRAP": bootstrap})
    signal.signal(signal.SIGTERM, lambda *_: started.terminate())
    return started.wait()


if __name__ == "__main__":
    main()
