"""Rows of a CSV file as CloudEvents: streamed from a plain file or out of a zip archive, in constant memory."""

import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from shared.errors import Invalid
from shared.periods import zone

LONGEST_FIELD = 1 << 20  # [characters] a quote that is never closed would otherwise swallow the file
_PLACE = re.compile(r"\{([^{}]+)\}")


class NotReadable(Invalid):
    """The file, or the archive's member, cannot be read as CSV."""


class UnknownColumn(Invalid):
    """A template names a column that the file does not have."""


class BadRow(Exception):
    """A row that cannot become an event, and why."""


@dataclass(frozen=True)
class Recipe:
    """How a row becomes an event.

    Args:
        id: template such as `{VBELN}-{POSNN}`, or column names with commas between them.
        time: template of the event's time; `time_format` as Python's strptime takes it, without one ISO 8601.
        time_zone: IANA name, for times without an offset.
        subject: template of the CloudEvents subject; none where empty.
    """

    source: str
    type: str
    id: str
    time: str
    time_format: str | None = None
    time_zone: str = "UTC"
    subject: str | None = None

    def fingerprint(self) -> str:
        """Tells whether another run makes the same events."""
        return hashlib.sha256(msgspec.json.encode(asdict(self))).hexdigest()


class Template:
    """Text with column names in braces; a text without any is a list of columns, joined by slashes."""

    def __init__(self, text: str, columns: Sequence[str], what: str) -> None:
        if "{" not in text:
            text = "/".join("{" + name.strip() + "}" for name in text.split(","))
        self.parts = _PLACE.split(text)
        if unknown := [name for name in self.parts[1::2] if name not in columns]:
            raise UnknownColumn(
                f"--{what} names the column {unknown[0]!r}, which the file does not have.",
                field=what, remedy=f"Its columns are {', '.join(columns)}.",
            )  # fmt: skip

    def fill(self, row: dict[str, str]) -> str:
        """The text for a row."""
        parts = self.parts
        return "".join(row[part] if index % 2 else part for index, part in enumerate(parts))


class EventMaker:
    """Makes the events of one file. Raises UnknownColumn where a template does not fit its columns."""

    def __init__(self, recipe: Recipe, columns: Sequence[str]) -> None:
        self.recipe, self.columns = recipe, [name.strip() for name in columns]
        if len(set(self.columns)) < len(self.columns):
            raise NotReadable("A column name stands twice in the first line.", remedy="Give each column its own name.")
        self._id = Template(recipe.id, self.columns, "id")
        self._time = Template(recipe.time, self.columns, "time")
        self._subject = Template(recipe.subject, self.columns, "subject") if recipe.subject else None
        self._zone = zone(recipe.time_zone)
        self._encoder = msgspec.json.Encoder()

    def event(self, values: Sequence[str]) -> bytes:
        """The CloudEvent of a row, as JSON. Raises BadRow."""
        if len(values) != len(self.columns):
            raise BadRow(f"it has {len(values)} fields, the first line has {len(self.columns)}")
        row = {name: value.strip() for name, value in zip(self.columns, values, strict=True)}
        event = {"specversion": "1.0", "id": self._id.fill(row), "source": self.recipe.source, "type": self.recipe.type}
        event |= {"time": self._moment(self._time.fill(row)), "datacontenttype": "application/json"}
        if self._subject:
            event["subject"] = self._subject.fill(row)
        return self._encoder.encode({**event, "data": row})

    def _moment(self, text: str) -> str:
        layout = self.recipe.time_format
        try:
            moment = datetime.strptime(text, layout) if layout else datetime.fromisoformat(text)  # noqa: DTZ007
        except ValueError:
            raise BadRow(f"its time {text[:60]!r} is not {layout or 'an ISO 8601 time'}") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).astimezone(UTC).isoformat()


class Counted(io.RawIOBase):
    """A stream that knows how much of it has been read, for the progress bar."""

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner, self.done = inner, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._inner.read(len(buffer))
        buffer[: len(chunk)] = chunk
        self.done += len(chunk)
        return len(chunk)


@contextmanager
def opened(file: Path, members: Sequence[str] = ()) -> Iterator[tuple[IO[bytes], int]]:
    """The bytes of a file, or of an archive's member, and how many there are.

    Args:
        members: names from the outermost archive inwards; where one is not named, the archive must have one only.

    Raises:
        NotReadable: no such member, or several to choose from.
    """
    with ExitStack() as stack:
        stream: IO[bytes] = stack.enter_context(file.open("rb"))
        size, wanted = file.stat().st_size, list(members)
        while _is_archive(stream):
            archive = stack.enter_context(zipfile.ZipFile(stream))
            info = _member(archive, wanted.pop(0) if wanted else None)
            stream, size = stack.enter_context(archive.open(info)), info.file_size
        if wanted:
            raise NotReadable(f"There is no archive to look for {wanted[0]!r} in.", field="member")
        yield stream, size


def _is_archive(stream: IO[bytes]) -> bool:
    """By its first bytes: to look for an archive's end, a member would have to be unpacked as a whole."""
    first = stream.read(4)
    stream.seek(0)
    return first == b"PK\x03\x04"


def _member(archive: zipfile.ZipFile, wanted: str | None) -> zipfile.ZipInfo:
    found = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    if wanted in found:
        return found[wanted]
    if wanted is None and len(found) == 1:
        return next(iter(found.values()))
    said = f"The archive has no member {wanted!r}." if wanted else "The archive has several members."
    raise NotReadable(said, field="member", remedy=f"Name one with --member: {', '.join(sorted(found)[:20])}.")


def rows(stream: IO[bytes], delimiter: str = ",", encoding: str = "utf-8-sig") -> Iterator[list[str]]:
    """The rows of a CSV stream, the first line included. Raises NotReadable."""
    csv.field_size_limit(LONGEST_FIELD)
    text = io.TextIOWrapper(io.BufferedReader(stream, 1 << 20), encoding, newline="")  # type: ignore[type-var]
    try:
        yield from csv.reader(text, delimiter=delimiter)
    except (csv.Error, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise NotReadable(
            f"The file cannot be read as CSV: {error}.", remedy="Name its --encoding or --delimiter."
        ) from error


def fingerprint(file: Path, recipe: Recipe, members: Sequence[str]) -> str:
    """Tells the same import from another: the file's size, beginning and end, and how its rows become events."""
    digest = hashlib.sha256(recipe.fingerprint().encode() + repr((tuple(members), file.stat().st_size)).encode())
    with file.open("rb") as stream:
        digest.update(stream.read(1 << 16))
        stream.seek(max(0, file.stat().st_size - (1 << 16)))
        digest.update(stream.read(1 << 16))
    return digest.hexdigest()
