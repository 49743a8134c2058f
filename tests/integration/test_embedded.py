"""The embedded PostgreSQL: starts, keeps, and says plainly what is wrong."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from shared.database.directory import AlreadyRunning, DirectoryNotWritable, held, running
from shared.database.embedded import (
    FOR_TESTS,
    DamagedDataDirectory,
    EmbeddedPostgres,
    OtherPostgresVersion,
    PostgresDidNotStart,
)
from shared.database.provision import engine_for, provision


def test_data_outlives_a_stop_and_accepted_data_is_synced(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    with psycopg.connect(postgres.start()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("fsync", "synchronous_commit")]
    postgres.stop()
    with psycopg.connect(postgres.start()) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    postgres.stop()
    assert shown == [("on",), ("on",)]


def test_a_server_left_behind_by_a_killed_supervisor_is_taken_over(tmp_path: Path) -> None:
    left = EmbeddedPostgres(tmp_path, FOR_TESTS)
    left.start()
    successor = EmbeddedPostgres(tmp_path, FOR_TESTS)
    psycopg.connect(successor.start()).close()
    assert left.exit_code() is not None
    successor.stop()


def test_a_killed_server_recovers_what_was_committed(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    with psycopg.connect(postgres.start()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    assert postgres.pid
    os.kill(postgres.pid, signal.SIGQUIT)
    successor = EmbeddedPostgres(tmp_path)
    with psycopg.connect(successor.start()) as connection:
        assert connection.execute("SELECT one FROM kept").fetchone() == (1,)
    successor.stop()


def test_a_path_too_long_for_a_socket_works(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / ("long" * 40), FOR_TESTS)
    psycopg.connect(postgres.start()).close()
    postgres.stop()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("PG_VERSION", "garbage", DamagedDataDirectory),
        ("PG_VERSION", None, DamagedDataDirectory),
        ("PG_VERSION", "16\n", OtherPostgresVersion),
        ("global/pg_control", None, DamagedDataDirectory),
        ("global/pg_control", "x" * 8192, DamagedDataDirectory),
        ("postgresql.conf", "max_connections = many", PostgresDidNotStart),
    ],
)
def test_a_damaged_data_directory_is_named_with_a_remedy(
    tmp_path: Path, name: str, content: str | None, error: type[DamagedDataDirectory]
) -> None:
    postgres = EmbeddedPostgres(tmp_path, FOR_TESTS)
    postgres.start()
    postgres.stop()
    file = postgres.data / name
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with pytest.raises(error) as raised:
        EmbeddedPostgres(tmp_path, FOR_TESTS).start()
    assert str(tmp_path) in raised.value.sentence + raised.value.remedy
    assert raised.value.remedy


def test_a_directory_belongs_to_one_process(tmp_path: Path) -> None:
    with held(tmp_path, "http://127.0.0.1:8700"):
        assert running(tmp_path) == "http://127.0.0.1:8700"
        with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}, http://127.0.0.1:8700"), held(tmp_path, ""):
            pass
    assert running(tmp_path) is None


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DirectoryNotWritable, match="cannot be written"), held(tmp_path / "file" / "data", ""):
        pass


def test_importing_the_wheel_warns_of_nothing() -> None:
    code = "from shared.database.embedded import _binary; _binary('postgres')"
    done = subprocess.run([sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True)
    assert "platformdirs" not in done.stderr and "runtime" not in done.stderr


def test_roles_can_do_no_more_than_they_must(postgres_url: str) -> None:
    urls = provision(postgres_url, ["goals"], prefix="roles")["goals"]
    assert provision(postgres_url, ["goals"], prefix="roles")["goals"] == urls
    with psycopg.connect(urls.owner) as owner:
        owner.execute("CREATE SCHEMA log")
        owner.execute("CREATE TABLE log.record (a int); CREATE TABLE goal (a int)")
        owner.execute("GRANT USAGE ON SCHEMA log TO valueloop_log_reader")
        owner.execute("GRANT SELECT ON log.record TO valueloop_log_reader")
    with psycopg.connect(urls.application) as application:
        application.execute("INSERT INTO goal VALUES (1)")
    for url, statement in (
        (urls.application, "CREATE TABLE mine (a int)"),
        (urls.application, "ALTER TABLE goal ADD b int"),
        (urls.application, "DROP TABLE goal"),
        (urls.application, "TRUNCATE goal"),
        (urls.log_reader, "SELECT * FROM goal"),
        (urls.log_reader, "DELETE FROM log.record"),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), psycopg.connect(url) as connection:
            connection.execute(statement)


def test_an_administrator_who_is_no_superuser_can_provision(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path, FOR_TESTS)
    admin_url = postgres.start()
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE dba LOGIN CREATEDB CREATEROLE")
    urls = provision(admin_url.replace("postgres@", "dba@"), ["goals"])["goals"]
    with psycopg.connect(urls.application) as connection:
        assert connection.execute("SELECT current_user, session_user").fetchone() == ("valueloop_goals", "dba")
    postgres.stop()


def test_every_connection_gives_up_where_waiting_would_stop_others(postgres_url: str) -> None:
    engine = engine_for(postgres_url, application_name="seen")
    with engine.connect() as connection:
        names = ("idle_in_transaction_session_timeout", "lock_timeout", "statement_timeout", "application_name")
        shown = [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names]
    engine.dispose()
    assert shown == ["30s", "30s", "0", "seen"]
