"""Payees in numbers, what they are to be paid by plain arithmetic, and the floor: DuckDB's, and COPY of its rows.

A plan of five components: three on scores that all share, one on the person's own reading by a curve, one on another
by a table of rates; joiners, part-time and individual factors.
"""

import tempfile
import time
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg

from bench.installation import Installation, NotDone

PLAN, GOALS = "bonus", ("company", "u0", "u1")
D, CENT, WIDE = Decimal, Decimal("0.01"), Context(prec=80)
_LINEAR = {"kind": "linear", "slope": "0.01"}
_BANDS = [{"from": None, "to": "90", "value": "0.5"}, {"from": "90", "to": None, "value": "1"}]
_TIERS = [{"from": "0", "to": "100000", "rate": "0.05"}, {"from": "100000", "to": None, "rate": "0.08"}]
_CURVES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("company", "0.25", _LINEAR), ("u0", "0.15", {"kind": "step", "bands": _BANDS}),
    ("u1", "0.1", _LINEAR | {"cap": "1.2"}),
    ("quality", "0.5", {"kind": "interpolated", "points": [["80", "0"], ["100", "1"]]}),
    ("sales", "0", {"kind": "tiers", "mode": "marginal", "tiers": _TIERS}),
)  # fmt: skip


def plan(factor: str = "1") -> dict[str, Any]:
    """The plan, as it is put; `factor` is the team's [ratio]."""
    driver = {code: {"kind": "goal", "code": code} for code in GOALS}
    driver |= {code: {"kind": "reading", "code": code, "own": True} for code in ("quality", "sales")}
    components = [
        {"code": code, "name": code.title(), "driver": driver[code], "weight": weight, "curve": curve}
        for code, weight, curve in _CURVES
    ]
    return {"name": "Bonus", "period": "quarter", "currency": "CNY", "factor": factor, "components": components}


# People n = 1 … as the services would have recorded them; the database makes them, because a million takes it seconds.
_SETTING = """
INSERT INTO configuration (company, kind, code, version, effective_from, content, recorded_by, recorded_at)
SELECT %(company)s, '{kind}', 'p' || n, 1, '0001-01-01', {content}, 'bench', '2025-01-01T00:00:00Z'
FROM generate_series(1, %(people)s) AS n"""
_TERMS = """
 5000 + (n::bigint * 7919 %% 1000000)::numeric / 100 AS amount,
 CASE WHEN n %% 10 = 0 THEN '2025-02-15' ELSE '2025-01-01' END::date AS starts,
 CASE WHEN n %% 7 = 0 THEN 0.5 ELSE 1 END AS share, CASE WHEN n %% 5 = 0 THEN 1.1 ELSE 1 END AS factor"""
_READINGS = (
    "(VALUES ('quality', 'ratio', 31, 3500, 70), ('sales', 'CNY', 104729, 20000000, 0)) AS m(code, unit, a, b, c)"
)
_VALUE = "c + trim_scale((n::bigint * a %% b)::numeric / 100)"
_SEED = (
    _SETTING.format(kind="people", content="jsonb_build_object('name', 'Person ' || n, 'unit', 'u0')"),
    _SETTING.format(kind="assignments", content="to_jsonb(t)") +
    f", LATERAL (SELECT 'p' || n AS person, '{PLAN}' AS plan, 'x' AS note, {_TERMS}) AS t",
    f"""INSERT INTO assignment (company, code, effective_from, version, person, plan, amount, starts, share, factor)
    SELECT %(company)s, 'p' || n, '0001-01-01', 1, 'p' || n, '{PLAN}', amount, starts, share, factor
    FROM (SELECT n, {_TERMS} FROM generate_series(1, %(people)s) AS n) AS t""",
    f"""INSERT INTO arrived (company, kind, code, subject, period, period_kind, version, value, qualified, unit)
    SELECT %(company)s, 'reading', code, 'person:p' || n, %(period)s, 'quarter', 1, {_VALUE}, '[]', unit
    FROM generate_series(1, %(people)s) AS n, {_READINGS}""",
    f"""INSERT INTO driver (company, kind, code, subject, period, version, change, source_from, source_version, value)
    SELECT %(company)s, 'reading', code, 'person:p' || n, %(period)s, 1, 1, 1, 1, {_VALUE}
    FROM generate_series(1, %(people)s) AS n, {_READINGS}""",
)  # fmt: skip


def seed(at: Installation, company: str, period: str, people: int) -> None:
    """So many people with assignment and readings of their own, in the tables of incentives."""
    given = {"company": company, "people": people, "period": period}
    with psycopg.connect(at.database_of("incentives")) as connection:
        for sql in _SEED:
            connection.execute(sql, given)
    with psycopg.connect(at.database_of("incentives"), autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


# Readings of a month as metrics, goals and incentives keep them, and the same rows read by a bare client.
MONTH = "2025-01"
_MONTHLY = {
    "metrics": """INSERT INTO reading (company, metric, subject, period, version, kind, start, change, value, unit,
    qualified, definition, inputs, latest, recorded_at) SELECT %(company)s, 'revenue', 'person:p' || n, %(month)s, 1,
    'month', '2025-01-01', 1, n, 'CNY', '[]', 1, '[]', true, now() FROM generate_series(1, %(count)s) AS n""",
    "goals": """INSERT INTO reading_copy (company, metric, subject, period, version, change, value, qualified)
    SELECT %(company)s, 'revenue', 'person:p' || n, %(month)s, 1, 1, n, '[]' FROM generate_series(1, %(count)s) AS n""",
    "incentives": """INSERT INTO arrived (company, kind, code, subject, period, period_kind, version, value, qualified)
    SELECT %(company)s, 'reading', 'revenue', 'person:p' || n, %(month)s, 'month', 1, n, '[]'
    FROM generate_series(1, %(count)s) AS n""",
}
_ROWS = {"metrics": "reading", "goals": "reading_copy", "incentives": "arrived"}


def readings(at: Installation, company: str, count: int) -> None:
    """So many people's readings of a month, in the tables."""
    for service, sql in _MONTHLY.items():
        with psycopg.connect(at.database_of(service), autocommit=True) as connection:
            connection.execute(sql, {"company": company, "month": MONTH, "count": count})
            connection.execute("VACUUM ANALYZE")


def read_bare(at: Installation, company: str) -> None:
    """The same rows in order, by COPY."""
    for service, table in _ROWS.items():
        with psycopg.connect(at.database_of(service)) as connection, connection.cursor() as cursor:
            where = f"company = '{company}' AND period = '{MONTH}'"
            with cursor.copy(f"COPY (SELECT subject, value FROM {table} WHERE {where} ORDER BY 1) TO STDOUT") as copy:
                for _ in copy:
                    pass


_INPUTS = """
SELECT a.person, a.amount, a.share, a.factor, '2025-04-01' - a.starts AS days, q.value AS quality, s.value AS sales
{more}
FROM assignment a JOIN driver q ON (q.company, q.code, q.subject) = (a.company, 'quality', 'person:' || a.person)
JOIN driver s ON (s.company, s.code, s.subject) = (a.company, 'sales', 'person:' || a.person){joined}
WHERE a.company = '{company}' AND a.plan = '{plan}'"""
_PAID = " JOIN payout_line l ON (l.company, l.payee) = (a.company, 'person:' || a.person)"


def checked(at: Installation, company: str, scores: Mapping[str, Decimal]) -> tuple[int, int]:
    """Compares each line with plain arithmetic on what was given; how many there are, and the cents. Raises NotDone."""
    shared, lines, cents = _shared(scores), 0, 0
    sql = _INPUTS.format(more=", l.amount AS paid", joined=_PAID, company=company, plan=PLAN)
    with psycopg.connect(at.database_of("incentives")) as connection, connection.cursor("lines") as cursor:
        cursor.itersize = 10_000
        for person, amount, share, factor, days, quality, sales, paid in cursor.execute(sql):
            own = (min(max(quality, D(80)), D(100)) - 80) / 20
            part = WIDE.multiply(shared + own / 2, amount * share * factor * days)
            rates = min(sales, D(100_000)) * 5 / 100 + max(sales - 100_000, D(0)) * 8 / 100
            due = WIDE.divide(WIDE.add(part, rates * 90), D(90)).quantize(CENT, ROUND_HALF_UP)
            if due != paid:
                raise NotDone(f"{person} gets {paid} and is due {due}.")
            lines, cents = lines + 1, cents + int(due * 100)
    return lines, cents


def _shared(scores: Mapping[str, Decimal]) -> Decimal:
    company, u0, u1 = (scores[goal] for goal in GOALS)
    step = D("0.5") if u0 < 90 else D(1)
    return company * D("0.0025") + step * D("0.15") + min(u1 / 100, D("1.2")) / 10


# Exact in integers: shared factors in 10^-14, money in cents, ratios in tenths.
_DUCK = f"""
CREATE TABLE due AS SELECT person,
 (2 * total * {{tenths}} + 90 * {10**17}::HUGEINT) // (180 * {10**17}::HUGEINT) AS cents FROM (
SELECT person, ({{shared}}::HUGEINT + (greatest(least(quality, 10000), 8000) - 8000) * {25 * 10**9}::HUGEINT)
 * amount * share * factor * days
 + (least(sales, 10000000) * 5 + greatest(sales - 10000000, 0) * 8) * {90 * 10**14}::HUGEINT AS total FROM given)"""


def floor(at: Installation, company: str, scores: Mapping[str, Decimal], tenths: int = 10) -> tuple[float, float, int]:
    """Seconds of DuckDB's arithmetic on its own table, and of COPY of (payee, amount) into a keyed one; the cents.

    `tenths`: the team's factor, times ten.
    """
    with tempfile.TemporaryDirectory(prefix="bench-duck-") as name, duckdb.connect() as duck:
        given, ready = Path(name) / "given.csv", Path(name) / "ready.csv"
        with psycopg.connect(at.database_of("incentives")) as connection:
            sql = _INPUTS.format(more="", joined="", company=company, plan=PLAN)
            whole = (
                "person, (amount * 100)::bigint AS amount, (share * 10)::bigint AS share, (factor * 10)::bigint AS "
                "factor, days, (quality * 100)::bigint AS quality, (sales * 100)::bigint AS sales"
            )
            with (
                given.open("wb") as file,
                connection.cursor().copy(
                    f"COPY (SELECT {whole} FROM ({sql}) AS i) TO STDOUT (FORMAT csv, HEADER)"
                ) as copy,
            ):
                file.writelines(copy)
        types = "{'person': 'VARCHAR', 'amount': 'HUGEINT', 'share': 'HUGEINT', 'factor': 'HUGEINT', 'days': 'HUGEINT'}"
        duck.execute(f"CREATE TABLE given AS SELECT * FROM read_csv('{given}', types = {types})")
        started = time.perf_counter()
        duck.execute(_DUCK.format(shared=int(_shared(scores).scaleb(14)), tenths=tenths))
        computed = time.perf_counter() - started
        duck.execute(f"COPY (SELECT person, cents FROM due) TO '{ready}' (HEADER false)")
        [(cents,)] = duck.execute("SELECT sum(cents)::VARCHAR FROM due").fetchall()
        with psycopg.connect(at.database) as connection:
            connection.execute("DROP TABLE IF EXISTS ready; CREATE TABLE ready (payee text PRIMARY KEY, cents bigint)")
            connection.commit()
            started = time.perf_counter()
            with ready.open("rb") as file, connection.cursor().copy("COPY ready FROM STDIN (FORMAT csv)") as copy:
                while chunk := file.read(1 << 20):
                    copy.write(chunk)
            connection.commit()
            return computed, time.perf_counter() - started, int(cents)
