"""Floors: what PostgreSQL alone does with the same rows, on the same disk, in the same run."""

import hashlib
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence

import psycopg

from shared.database import embedded

TOGETHER = 5_000  # rows in a transaction, as many as a worker takes
_TABLES = """
DROP TABLE IF EXISTS bench_copy, bench_commit;
CREATE TABLE bench_copy (id_hash bytea PRIMARY KEY, data text NOT NULL);
CREATE TABLE bench_commit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data text NOT NULL);
"""


def prepare(url: str) -> None:
    """Makes the tables the floors write to."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_TABLES)


def copy(url: str, ids: Sequence[str], bodies: Sequence[bytes]) -> float:
    """COPY of the same events into a table with the same unique index [rows/s]. The rows are encoded beforehand."""
    texts = [
        b"\\\\x%s\t%s\n" % (hashlib.sha256(one.encode()).hexdigest()[:32].encode(), body.replace(b"\\", b"\\\\"))
        for one, body in zip(ids, bodies, strict=True)
    ]
    blocks = [b"".join(texts[i : i + TOGETHER]) for i in range(0, len(texts), TOGETHER)]
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        started = time.perf_counter()
        for block in blocks:
            with cursor.copy("COPY bench_copy (id_hash, data) FROM STDIN") as stream:
                stream.write(block)
            connection.commit()
        return len(texts) / (time.perf_counter() - started)


def commits(url: str, connections: int, seconds: int) -> float:
    """Transactions that insert one row of 600 bytes, from several connections, by pgbench [commits/s]."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("INSERT INTO bench_commit (data) VALUES (repeat('x', 600));\n")
        script.flush()
        command = [
            embedded._binary("pgbench"), "--no-vacuum", "--protocol=prepared", f"--client={connections}", "--jobs=2",
            f"--time={seconds}", f"--file={script.name}", url,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"pgbench gave no figure: {done.stdout}")
    return float(found[1])


def commit_times(url: str, times: int) -> list[float]:
    """How long one row and its COMMIT take on one idle connection [ms]."""
    found = []
    with psycopg.connect(url) as connection:
        for _ in range(times):
            started = time.perf_counter()
            connection.execute("INSERT INTO bench_commit (data) VALUES (repeat('x', 600))", prepare=True)
            connection.commit()
            found.append((time.perf_counter() - started) * 1000)
    return found


def hop_times(url: str, times: int) -> list[float]:
    """From before an INSERT with NOTIFY to the row read by a listener, both idle [ms]: a bare hop of the log."""
    found = []
    with psycopg.connect(url) as writer, psycopg.connect(url, autocommit=True) as reader:
        reader.execute("LISTEN bench_hop")
        for _ in range(times):
            started = time.perf_counter()
            row = writer.execute("INSERT INTO bench_commit (data) VALUES (repeat('x', 600)) RETURNING id").fetchone()
            writer.execute("NOTIFY bench_hop")
            writer.commit()
            next(reader.notifies(timeout=5, stop_after=1))
            reader.execute("SELECT data FROM bench_commit WHERE id = %s", row).fetchone()
            found.append((time.perf_counter() - started) * 1000)
    return found
