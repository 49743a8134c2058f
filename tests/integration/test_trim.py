"""Records by month, and trimming of what can be made again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from shared.database.months import BY_MONTH
from shared.database.provision import engine_for
from shared.database.unit_of_work import unit_of_work
from shared.log.append import Outgoing
from shared.log.position import GapInLog, Position
from shared.log.postgres import PostgresLog
from shared.log.trim import register, tidy, trim
from shared.service import Runtime

READINGS, EVENTS = "metrics.readings", "metrics.source-events"
OLD = datetime.now(UTC) - timedelta(days=40)
Rows = Callable[[Runtime, str], Any]


@pytest.fixture
def metrics(runtimes: Any) -> Runtime:
    """With 30 records of a derived topic and 30 of the archive, all of them old."""
    runtime: Runtime = runtimes("metrics", "goals", partitions=1, trim_after_days=30)["metrics"]
    say(runtime, 30, OLD)
    return runtime


def say(runtime: Runtime, count: int, at: datetime) -> None:
    with unit_of_work(runtime, actor="test") as uow:
        for topic in (READINGS, EVENTS):
            uow.outgoing += [Outgoing(topic, "k", "t", "acme", "{}", recorded_at=at) for _ in range(count)]


def value(runtime: Runtime, sql: str, **params: Any) -> Any:
    with runtime.engine.begin() as connection:
        return connection.execute(text(sql), params).scalar()


def kept(runtime: Runtime, topic: str) -> list[int]:
    with runtime.engine.begin() as connection:
        sql = text("SELECT pos FROM log.record WHERE topic = :topic ORDER BY pos")
        return list(connection.scalars(sql, {"topic": topic}))


def trimmed(runtime: Runtime) -> int:
    with runtime.engine.connect() as connection:
        return trim(runtime, connection)


def read_up_to(runtime: Runtime, reader: str, pos: int) -> None:
    register(runtime.engine, reader, [READINGS])
    value(runtime, "UPDATE log.reader SET next_pos = :pos WHERE reader = :reader RETURNING 1", pos=pos, reader=reader)


def test_derived_records_go_behind_the_slowest_reader_and_the_archive_stays(metrics: Runtime) -> None:
    read_up_to(metrics, "goals", 20)
    read_up_to(metrics, "incentives", 12)
    assert trimmed(metrics) == 12
    assert kept(metrics, READINGS) == list(range(12, 30))
    assert kept(metrics, EVENTS) == list(range(30))


def test_a_reader_that_has_not_begun_holds_everything(metrics: Runtime) -> None:
    read_up_to(metrics, "goals", 30)
    register(metrics.engine, "incentives", [READINGS])
    assert trimmed(metrics) == 0


def test_young_records_stay_whoever_has_read_them(metrics: Runtime) -> None:
    say(metrics, 5, datetime.now(UTC) - timedelta(days=29))
    read_up_to(metrics, "goals", 35)
    assert trimmed(metrics) == 30
    assert kept(metrics, READINGS) == list(range(30, 35))


def test_more_than_a_transaction_takes_goes_in_several(metrics: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.log.trim.AT_ONCE", 7)
    read_up_to(metrics, "goals", 25)
    assert trimmed(metrics) == 25
    assert kept(metrics, READINGS) == list(range(25, 30))


def test_on_kafka_the_forwarder_decides(metrics: Runtime) -> None:
    metrics.settings = metrics.settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    read_up_to(metrics, "goals", 30)
    assert trimmed(metrics) == 0
    value(metrics, "INSERT INTO log.forward VALUES (:topic, 0, 9) RETURNING 1", topic=READINGS)
    assert trimmed(metrics) == 9


def test_a_reader_below_the_logs_start_stops_with_the_remedy(metrics: Runtime) -> None:
    read_up_to(metrics, "goals", 30)
    assert trimmed(metrics) == 29  # the last record stays, or the reader would see an empty log
    log = PostgresLog(metrics.engine)
    position = Position(log.epoch(), 3)
    with pytest.raises(GapInLog, match=r"expected record 3, the log has 29.*rebuild"):
        position.after(log.read((READINGS, 0), 3, 100))


def test_a_worker_tells_the_owner_how_far_it_has_read(runtimes: Any) -> None:
    made = runtimes("metrics", "goals", partitions=1)
    epoch = value(made["metrics"], "SELECT id FROM log.epoch")
    value(
        made["goals"], "INSERT INTO log.position (topic, partition, epoch, next_pos) VALUES (:t, 0, :e, 7) RETURNING 1",
        t=READINGS, e=epoch,
    )  # fmt: skip
    with made["goals"].engine.connect() as connection:
        tidy(made["goals"], connection)
    found = value(made["metrics"], "SELECT next_pos FROM log.reader WHERE reader = 'goals' AND topic = :t", t=READINGS)
    assert found == 7


def test_readers_may_say_how_far_they_are_and_nothing_else(runtimes: Any) -> None:
    made = runtimes("metrics", "goals")
    log = made["goals"].logs["metrics"]
    register(log.engine, "goals", [READINGS])
    for statement in ("DELETE FROM log.reader", "DELETE FROM log.record", "SELECT log.make_months()"):
        with pytest.raises(ProgrammingError) as refused, log.engine.begin() as connection:
            connection.execute(text(statement))
        assert isinstance(refused.value.orig, InsufficientPrivilege)


# --- months ---


def month_of(connection: Connection, at: datetime) -> set[str]:
    sql = text("SELECT DISTINCT CAST(tableoid AS regclass)::text FROM log.record WHERE recorded_at = :at")
    return set(connection.scalars(sql, {"at": at}))


def test_records_stand_in_their_month_and_months_are_made_ahead(metrics: Runtime) -> None:
    now = datetime.now(UTC)
    ahead = (now.replace(day=1) + timedelta(days=65)).replace(day=1)
    say(metrics, 1, now)
    with metrics.engine.begin() as connection:
        assert month_of(connection, now) == {f"log.record_{now:%Y_%m}"}
        assert connection.execute(text("SELECT to_regclass(:name)"), {"name": f"log.record_{ahead:%Y_%m}"}).scalar()


def test_what_came_before_its_month_was_made_is_moved_there(metrics: Runtime) -> None:
    assert value(metrics, "SELECT count(*) FROM log.record_other") == 60
    assert value(metrics, "SELECT log.make_months(:since)", since=OLD) > 0
    assert value(metrics, "SELECT log.make_months(:since)", since=OLD) == 0
    assert value(metrics, "SELECT count(*) FROM log.record_other") == 0
    with metrics.engine.begin() as connection:
        assert month_of(connection, OLD) == {f"log.record_{OLD:%Y_%m}"}
    assert kept(metrics, EVENTS) == list(range(30))


def test_the_migration_carries_every_record_into_its_month(database: Any) -> None:
    engine = engine_for(database("goals").owner)
    before = (
        "CREATE TABLE log.record (topic text, partition integer, pos bigint, key text NOT NULL, type text NOT NULL, "
        "company text NOT NULL, data text NOT NULL, traceparent text, recorded_at timestamptz NOT NULL DEFAULT now(), "
        "copies integer NOT NULL DEFAULT 1, PRIMARY KEY (topic, partition, pos))"
    )
    told = "SELECT * FROM log.record ORDER BY topic, partition, pos"
    with engine.begin() as connection:
        for statement in ("DROP TABLE log.record", "DROP FUNCTION log.make_months", before):
            connection.execute(text(statement))
        connection.execute(
            text(
                "INSERT INTO log.record SELECT 'goals.outcomes', n % 2, n / 2, 'k' || n, 't', 'acme', '{}', 'p', "
                "now() - make_interval(days => n), 1 + n % 3 FROM generate_series(0, 99) AS n"
            )
        )
        were = connection.execute(text(told)).fetchall()
        for statement in BY_MONTH:
            connection.execute(text(statement))
        assert connection.execute(text(told)).fetchall() == were
        assert connection.scalar(text("SELECT count(*) FROM log.record_other")) == 0
        tables = connection.scalars(text("SELECT DISTINCT CAST(tableoid AS regclass)::text FROM log.record"))
        assert set(tables) == {f"log.record_{row.recorded_at.astimezone(UTC):%Y_%m}" for row in were}
    engine.dispose()
