"""The data directory: one ValueLoop at a time, and faults of the surroundings told as a sentence with a remedy."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BrokenEnvironment(Exception):
    """Something outside the program is not as it must be. Never a broken rule of the domain.

    Args:
        sentence: what is wrong.
        remedy: what the operator can do.
    """

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
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DirectoryNotWritable(
            f"The data directory {directory} cannot be written: {error.strerror}.",
            remedy="Change its owner, or name another with --data-directory.",
        ) from error
    try:
        _lock(descriptor, directory)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "address": address}).encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 1024, 0)
        other = json.loads(text) if text else {"pid": "?", "address": "starting"}
        raise AlreadyRunning(
            f"ValueLoop already runs from {directory} (process {other['pid']}, {other['address']}).",
            remedy=f"Use that one, stop it with `kill {other['pid']}`, or name another --data-directory.",
        ) from None


def running(directory: Path) -> str | None:
    """The address of the ValueLoop that runs from `directory`, if one does."""
    try:
        descriptor = os.open(directory / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(descriptor, 1024, 0)
        return str(json.loads(text)["address"]) if text else None
    finally:
        os.close(descriptor)
    return None
