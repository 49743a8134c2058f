"""The data directory: one ValueLoop at a time, and faults of the surroundings told as a sentence with a remedy."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BrokenEnvironment(Exception):
    """Something outside the program is not as it must be; never a broken rule of the domain."""

    def __init__(self, sentence: str, *, remedy: str) -> None:
        super().__init__(sentence)
        self.sentence, self.remedy = sentence, remedy


class DirectoryNotWritable(BrokenEnvironment):
    """The data directory cannot be made or written."""


class AlreadyRunning(BrokenEnvironment):
    """Another process runs from the same data directory."""


@contextmanager
def held(directory: Path, address: str) -> Iterator[None]:
    """Holds `directory` for this process until the block ends; the kernel lets go of it if the process dies.

    Raises:
        DirectoryNotWritable: it cannot be made or written.
        AlreadyRunning: another process holds it; its pid and address are named.
    """
    path = directory / "up.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise DirectoryNotWritable(
            f"The data directory {directory} cannot be written: {error.strerror}.",
            remedy="Change its owner, or name another with --data-directory.",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = _holder(path) or {"pid": "?", "address": "starting"}
            raise AlreadyRunning(
                f"ValueLoop already runs from {directory} (process {other['pid']}, {other['address']}).",
                remedy=f"Use that one, stop it with `kill {other['pid']}`, or name another --data-directory.",
            ) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "address": address}))
        file.flush()
        yield
        file.truncate(0)


def running(directory: Path) -> str | None:
    """The address of the ValueLoop that runs from `directory`, if one does."""
    path = directory / "up.lock"
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return (_holder(path) or {}).get("address")
    except OSError:
        pass
    return None


def _holder(path: Path) -> dict[str, str] | None:
    text = path.read_text()  # empty until it has said who it is
    found: dict[str, str] | None = json.loads(text) if text else None
    return found
