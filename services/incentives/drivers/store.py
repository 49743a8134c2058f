"""Scores and readings as they came, and the drivers that plans hang on."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from services.incentives.drivers.rules import cited, period_kind
from services.incentives.plans.rules import DriverKey
from shared.contracts.base import Citation
from shared.contracts.incentives import DriverChanged
from shared.database.unit_of_work import Jsonb, UnitOfWork
from shared.numbers import plain

Arrival = dict[str, Any]
_KEYS = (
    "unnest(CAST(:kinds AS text[]), CAST(:codes AS text[]), CAST(:subjects AS text[])) AS wanted(kind, code, subject)"
)


def record(uow: UnitOfWork, company: str, arrivals: Iterable[Arrival]) -> None:
    """Keeps the latest of each score or reading, and marks it for `settle`; an older one than known changes nothing."""
    latest: dict[tuple[str, str, str, str], Arrival] = {}
    moved: dict[Any, int] = uow.state.setdefault("moved", {}).setdefault(company, {})
    for arrival in arrivals:
        key = (arrival["kind"], arrival["code"], arrival["subject"], arrival["period"])
        if key not in latest or latest[key]["version"] < arrival["version"]:
            latest[key] = arrival | {"period_kind": period_kind(arrival["period"])}
        moved[key] = min(moved.get(key, arrival["version"]), arrival["version"])
    uow.run(
        "INSERT INTO arrived (company, kind, code, subject, period, period_kind, version, value, reason, qualified) "
        "SELECT :company, kind, code, subject, period, period_kind, version, value, reason, qualified "
        "FROM jsonb_to_recordset(:rows) AS came(kind text, code text, subject text, period text, period_kind text, "
        "version int, value numeric, reason text, qualified jsonb) ORDER BY kind, code, subject, period "
        "ON CONFLICT (company, kind, code, subject, period) DO UPDATE SET version = excluded.version, "
        "value = excluded.value, reason = excluded.reason, qualified = excluded.qualified "
        "WHERE arrived.version < excluded.version",
        company=company, rows=Jsonb(list(latest.values())),
    )  # fmt: skip


def settle(uow: UnitOfWork) -> None:
    """Gives every driver whose value moved a new version: one row and one event, however many people."""
    moved, wanted = uow.state.pop("moved", {}), uow.state.pop("wanted", {})
    for company in sorted(moved.keys() | wanted.keys()):
        # The lock comes before reading what plans want: a plan defined meanwhile has seen what came, or is seen here.
        change = uow.lock_company(company)
        sources: dict[Any, int] = moved.get(company, {})
        rows = _stale(uow, company, sources.keys(), wanted.get(company, ()))
        _write(uow, company, change, [(row, sources.get(_key(row), row.source)) for row in rows])


def _key(row: Any) -> tuple[str, str, str, str]:
    return row.kind, row.code, row.subject, row.period


def _stale(
    uow: UnitOfWork, company: str, moved: Collection[tuple[str, str, str, str]], wanted: Collection[DriverKey]
) -> Sequence[Any]:
    """Drivers that some plan uses and whose latest version is not what has arrived. A blank period means every one."""
    marks = [*moved, *((key.kind, key.code, key.subject, "") for key in wanted)]
    columns = [list(column) for column in zip(*marks, strict=True)] if marks else [[], [], [], []]
    return uow.rows(
        "SELECT DISTINCT a.kind, a.code, a.subject, a.period, a.version AS source, a.value, a.reason, "
        "coalesce(d.version, 0) AS version FROM unnest(CAST(:kinds AS text[]), CAST(:codes AS text[]), "
        "CAST(:subjects AS text[]), CAST(:periods AS text[])) AS mark(kind, code, subject, period) "
        "JOIN arrived a ON a.company = :company AND a.kind = mark.kind AND a.code = mark.code "
        "AND a.subject = mark.subject AND (mark.period = '' OR a.period = mark.period) "
        "LEFT JOIN LATERAL (SELECT version, value, reason FROM driver d WHERE d.company = :company AND d.kind = a.kind "
        "AND d.code = a.code AND d.subject = a.subject AND d.period = a.period ORDER BY version DESC LIMIT 1) d "
        "ON true "
        "WHERE EXISTS (SELECT 1 FROM plan_driver p WHERE p.company = :company AND p.kind = a.kind AND p.code = a.code "
        "AND p.subject = a.subject AND p.period_kind = a.period_kind) AND (d.version IS NULL "
        "OR d.value IS DISTINCT FROM a.value OR d.reason IS DISTINCT FROM a.reason) "
        "ORDER BY a.kind, a.code, a.subject, a.period",
        company=company, kinds=columns[0], codes=columns[1], subjects=columns[2], periods=columns[3],
    )  # fmt: skip


def _write(uow: UnitOfWork, company: str, change: int, found: Sequence[tuple[Any, int]]) -> None:
    columns = (
        "company", "kind", "code", "subject", "period", "version", "change", "source_from", "source_version", "value",
        "reason",
    )  # fmt: skip
    uow.copy("driver", columns, [
        (company, *_key(row), row.version + 1, change, since, row.source, row.value, row.reason) for row, since in found
    ])  # fmt: skip
    for row, _ in found:
        event = DriverChanged(
            kind=row.kind, code=row.code, subject=row.subject or None, period=row.period, version=row.version + 1,
            change=change, value=row.value, reason=row.reason, inputs=[citation(row, row.source)],
        )  # fmt: skip
        uow.publish(event, company=company, key=f"{row.kind}/{row.code}")


def citation(row: Any, version: int) -> Citation:
    """The score or reading behind a driver."""
    value = None if row.value is None else plain(row.value)
    return Citation(
        what=cited(row.kind),
        code=row.code,
        subject=row.subject or None,
        period=row.period,
        version=version,
        value=value,
    )


def latest_drivers(uow: UnitOfWork, company: str, keys: Collection[DriverKey], period: str) -> dict[DriverKey, Any]:
    """The latest version of each driver in a period, with the guards that qualify it now; one statement."""
    rows = uow.rows(
        "SELECT d.*, coalesce(a.qualified, '[]') AS qualified "
        f"FROM {_KEYS} JOIN LATERAL (SELECT * FROM driver d WHERE d.company = :company AND d.kind = wanted.kind "
        "AND d.code = wanted.code AND d.subject = wanted.subject AND d.period = :period "
        "ORDER BY version DESC LIMIT 1) d ON true "
        "LEFT JOIN arrived a ON a.company = d.company AND a.kind = d.kind AND a.code = d.code "
        "AND a.subject = d.subject AND a.period = d.period",
        company=company, period=period, kinds=[k.kind for k in keys], codes=[k.code for k in keys],
        subjects=[k.subject for k in keys],
    )  # fmt: skip
    return {DriverKey(row.kind, row.code, row.subject): row for row in rows}


def find(
    uow: UnitOfWork, company: str, *, kind: str | None, code: str | None, subject: str | None, period: str | None,
    after: tuple[Any, ...], limit: int, every_version: bool,
) -> Sequence[Any]:  # fmt: skip
    """Drivers by kind, code, subject, period and version; the latest version of each, or every one."""
    newest = (
        "" if every_version else
        "AND NOT EXISTS (SELECT 1 FROM driver n WHERE n.company = d.company AND n.kind = d.kind "
        "AND n.code = d.code AND n.subject = d.subject AND n.period = d.period AND n.version > d.version) "
    )  # fmt: skip
    return uow.rows(
        "SELECT * FROM driver d WHERE company = :company AND (CAST(:kind AS text) IS NULL OR kind = :kind) "
        "AND (CAST(:code AS text) IS NULL OR code = :code) AND (CAST(:subject AS text) IS NULL OR subject = :subject) "
        f"AND (CAST(:period AS text) IS NULL OR period = :period) {newest}"
        "AND (kind, code, subject, period, version) > (:k, :c, :s, :p, :v) "
        "ORDER BY kind, code, subject, period, version LIMIT :limit",
        company=company, kind=kind, code=code, subject=subject, period=period, limit=limit,
        k=after[0], c=after[1], s=after[2], p=after[3], v=after[4],
    )  # fmt: skip


def moved_by(uow: UnitOfWork, company: str, key: DriverKey, period: str, version: int) -> Any | None:
    """The driver version that took in a version of its score or reading, with the driver version before it."""
    return uow.row(
        "SELECT d.*, b.value AS before FROM driver d LEFT JOIN driver b ON b.company = d.company AND b.kind = d.kind "
        "AND b.code = d.code AND b.subject = d.subject AND b.period = d.period AND b.version = d.version - 1 "
        "WHERE d.company = :company AND d.kind = :kind AND d.code = :code AND d.subject = :subject "
        "AND d.period = :period AND :version BETWEEN d.source_from AND d.source_version "
        "ORDER BY d.version DESC LIMIT 1",
        company=company, kind=key.kind, code=key.code, subject=key.subject, period=period, version=version,
    )  # fmt: skip
