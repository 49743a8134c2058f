"""Numbers that are kept in versions: every version is a row, and of each key one is the latest."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Any, Generic, TypeVar

import msgspec

from shared.database.unit_of_work import Jsonb, UnitOfWork

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Records:
    """Many rows as one JSON parameter `:rows`: faster than arrays, and needs no temporary table."""

    columns: str  # with their types, as in SQL

    @property
    def names(self) -> str:
        return ", ".join(column.split()[0] for column in self.columns.split(", "))

    def named(self, name: str) -> str:
        """The rows as a table in a FROM clause."""
        return f"json_to_recordset(CAST(:rows AS json)) AS {name}({self.columns})"

    def json(self, rows: Iterable[tuple[Any, ...]]) -> str:
        """Sorted, so that transactions meet rows in one order."""
        names = self.names.split(", ")
        return msgspec.json.encode([dict(zip(names, row, strict=True)) for row in sorted(rows)]).decode()


@dataclass(frozen=True)
class Versions(Generic[V]):
    """A table whose columns are the fields of V; those of `key` come first."""

    table: str
    kind: type[V]
    key: Records

    @property
    def columns(self) -> str:
        return ", ".join(field.name for field in fields(self.kind))  # type: ignore[arg-type]

    @property
    def _keys(self) -> str:
        return f"JOIN {self.key.named('k')} USING ({self.key.names})"

    def _rows(self, uow: UnitOfWork, condition: str, **params: Any) -> list[V]:
        rows: Any = uow.rows(f"SELECT {self.columns} FROM {self.table} {condition}", **params)
        return [self.kind(*row) for row in rows]

    def latest(self, uow: UnitOfWork, company: str, keys: Collection[Any]) -> dict[Any, V]:
        """The latest version of those keys that have any."""
        condition = f"{self._keys} WHERE company = :company AND latest"
        found = self._rows(uow, condition, company=company, rows=self.key.json(keys)) if keys else []
        return {version.key: version for version in found}  # type: ignore[attr-defined]

    def keys(self, uow: UnitOfWork, condition: str, **params: Any) -> set[Any]:
        """The keys of those latest versions that meet a condition."""
        sql = f"SELECT {self.key.names} FROM {self.table} WHERE company = :company AND latest AND {condition}"
        return {tuple(row) for row in uow.rows(sql, **params)}

    def one(
        self,
        uow: UnitOfWork,
        version: int | None = None,
        known_at: datetime | None = None,
        change: int | None = None,
        /,
        **place: str,
    ) -> V | None:
        """Of a place (columns and values) the latest version, one by number, the one that was the latest at an instant,
        or the one that was it after a change."""
        given = {"version = :v": version, "recorded_at <= :t": known_at, "change <= :n": change}
        condition = " AND ".join([_at(place), *(sql for sql, value in given.items() if value is not None)])
        rows = self._rows(uow, f"{condition} ORDER BY version DESC LIMIT 1", **place, v=version, t=known_at, n=change)
        return rows[0] if rows else None

    def series(
        self, uow: UnitOfWork, first: date, last: date, limit: int, known_at: datetime | None = None, /, **place: str
    ) -> list[V]:
        """The versions of a place that are the latest, or were it at an instant, for the periods that begin between two
        days, the second included."""
        which = "latest" if known_at is None else (
            f"(start, version) IN (SELECT start, max(version) FROM {self.table} {_at(place)} AND recorded_at <= :t "
            "GROUP BY start)"
        )  # fmt: skip
        condition = f"{_at(place)} AND {which} AND start BETWEEN :first AND :last ORDER BY start LIMIT :limit"
        return self._rows(uow, condition, **place, first=first, last=last, limit=limit, t=known_at)

    def of_change(self, uow: UnitOfWork, company: str, change: int) -> list[V]:
        """The versions that a change made."""
        return self._rows(uow, "WHERE company = :company AND change = :change", company=company, change=change)

    def before(self, uow: UnitOfWork, company: str, versions: Iterable[Any]) -> dict[Any, V]:
        """What stood before each of these versions, by key."""
        pairs = Records(f"{self.key.columns}, version int")
        found = self._rows(
            uow, f"JOIN {pairs.named('k')} USING ({pairs.names}) WHERE company = :company",
            company=company, rows=pairs.json((*each.key, each.version - 1) for each in versions),
        )  # fmt: skip
        return {version.key: version for version in found}  # type: ignore[attr-defined]

    def add(self, uow: UnitOfWork, company: str, versions: Collection[Any]) -> None:
        """Writes new versions, each the latest of its key."""
        if older := [each.key for each in versions if each.version > 1]:
            same = " AND ".join(f"{self.table}.{name} = k.{name}" for name in self.key.names.split(", "))
            uow.run(
                f"UPDATE {self.table} SET latest = false FROM {self.key.named('k')} WHERE company = :company "
                f"AND latest AND {same}",
                company=company, rows=self.key.json(older),
            )  # fmt: skip
        values = attrgetter(*self.columns.split(", "))
        rows = ((company, True, *map(_stored, values(each))) for each in versions)
        uow.copy(self.table, ("company", "latest", *self.columns.split(", ")), rows)


def _at(place: Mapping[str, str]) -> str:
    return "WHERE " + " AND ".join(f"{name} = :{name}" for name in place)


def _stored(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, list) else value


def now() -> datetime:
    """When something is recorded; decides about no number."""
    return datetime.now(UTC)
