"""What the numbers of a service say, hashed by company and period: by it two installations are compared.

A service names the queries that make its state (`services/<name>/state.py`); settings and parked records are added.
The hash leaves out what differs between two ways to the same numbers: versions of derived numbers, positions, clock
times (ticks are none: they are recorded), and rows that only say that there is no number, because whether one was ever
there is a matter of how events were batched.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection, text

Queries = Mapping[str, str]
"""By what it is about: a SELECT of company, period (empty where it belongs to none), key and value (jsonb)."""

SETTINGS = """
SELECT company, '' AS period, kind || '/' || code || ' ' || version AS key,
jsonb_build_array(effective_from, content, recorded_by) AS value FROM configuration"""
# What a derived record says tells versions of numbers, so of these only that they are parked is compared. What was
# refused on its way in is parked for a look, and was never accepted.
PARKED = """
SELECT company, '' AS period, topic || ' ' || key || ' ' || type || ' ' || md5(told) AS key,
jsonb_build_array(count(*), told, min(split_part(error, ':', 1))) AS value FROM log.parked,
LATERAL (SELECT CASE WHEN topic LIKE '%.configuration' OR topic = 'metrics.source-events' THEN data ELSE '' END AS told)
WHERE topic <> 'source-events' GROUP BY company, topic, key, type, told"""
# Which cases were open is left out: an answer of goals may have been on its way when the period was closed.
CERTIFICATE = """
SELECT company, period, 'of ' || kind AS key,
jsonb_build_array(at, content - CAST('{positions,marks,code,cases}' AS text[])) AS value FROM certificate"""
PLATFORM: Queries = {"setting": SETTINGS, "parked": PARKED, "certificate": CERTIFICATE}


class Place(NamedTuple):
    """What one hash is about; `period` is empty for what belongs to none, such as settings."""

    company: str
    period: str


class Row(NamedTuple):
    """One row of the state, as text."""

    what: str
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Digest:
    """Of how many rows, and their SHA-256."""

    rows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Difference:
    """The first row in which two states differ; None where one of them has no such row."""

    place: Place
    what: str
    key: str
    here: str | None
    there: str | None


def digests(connection: Connection, queries: Queries) -> dict[Place, Digest]:
    """The hash of each company and period of one service."""
    found = {}
    for place, rows in groupby(_rows(connection, queries), key=lambda row: row[0]):
        count, digest = 0, hashlib.sha256()
        for _, row in rows:
            count += 1
            digest.update(_framed(row))
        found[place] = Digest(count, digest.hexdigest())
    return found


def digest_at(connection: Connection, queries: Queries, place: Place) -> str:
    """SHA-256 of what a service says of one company and period, within the caller's transaction."""
    digest = hashlib.sha256()
    for _, row in _selected(connection, queries, place):
        digest.update(_framed(row))
    return digest.hexdigest()


def difference(here: Connection, there: Connection, queries: Queries) -> Difference | None:
    """The first row in which two databases of one service differ, by company, period, subject and key."""
    one, other = digests(here, queries), digests(there, queries)
    for place in sorted(one.keys() | other.keys()):
        if one.get(place) != other.get(place):
            mine, theirs = (_at(connection, queries, place) for connection in (here, there))
            for what, key in sorted(mine.keys() | theirs.keys()):
                if mine.get((what, key)) != theirs.get((what, key)):
                    return Difference(place, what, key, mine.get((what, key)), theirs.get((what, key)))
    return None


def _at(connection: Connection, queries: Queries, place: Place) -> dict[tuple[str, str], str]:
    return {(row.what, row.key): row.value for _, row in _rows(connection, queries, place)}


def _framed(row: Row) -> bytes:
    """The lengths go in, so that no two rows run together."""
    return "".join(f"{len(part)}:{part}" for part in row).encode()


def _rows(connection: Connection, queries: Queries, place: Place | None = None) -> Iterator[tuple[Place, Row]]:
    with connection.begin():
        yield from _selected(connection, queries, place)


def _selected(connection: Connection, queries: Queries, place: Place | None) -> Iterator[tuple[Place, Row]]:
    """Every row in one order. Not collected: a company may have millions."""
    params = {"company": place and place.company, "period": place and place.period}
    options = {"yield_per": 5_000}
    for company, period, *row in connection.execute(text(_sql(queries)), params, execution_options=options):
        yield Place(company, period), Row(*row)


def _sql(queries: Queries) -> str:
    parts = [
        f"SELECT company, period, '{what}' AS what, key, CAST(value AS text) AS value FROM ({sql}) AS {name}"
        for what, sql, name in _named({**queries, **PLATFORM})
    ]
    return (
        f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS state WHERE (CAST(:company AS text) IS NULL "
        "OR (company, period) = (:company, :period)) "
        'ORDER BY company COLLATE "C", period COLLATE "C", what COLLATE "C", key COLLATE "C", value COLLATE "C"'
    )


def _named(queries: Queries) -> Sequence[tuple[str, str, str]]:
    return [(what, sql, f"part_{number}") for number, (what, sql) in enumerate(queries.items())]
