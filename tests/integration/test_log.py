"""The log and its workers, on two toy services and a real PostgreSQL."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import Column, MetaData, Table, Text, text
from sqlalchemy.exc import OperationalError

from shared.contracts.base import Contract, Tick
from shared.database.months import PARTITIONS
from shared.database.provision import engine_for, grants_after_migrations, make_database, provision
from shared.database.tables import platform_tables
from shared.database.unit_of_work import UnitOfWork, unit_of_work
from shared.log.parking import StillBroken, take_key
from shared.log.position import LogReplaced
from shared.log.postgres import PostgresLog, create_topics
from shared.log.repair import apply_parked
from shared.log.worker import Worker, open_feed
from shared.service import Received, Runtime, Service
from shared.settings import Settings


class Said(Contract):
    """A word was said."""

    TYPE, TOPIC = "valueloop.toy.said.v1", "toy.words"
    key: str
    word: str


def metadata(*, heard: bool = False) -> MetaData:
    made = MetaData()
    platform_tables(made)
    if heard:
        Table(
            "heard",
            made,
            Column("company", Text),
            Column("key", Text),
            Column("word", Text),
            Column("place", Text, primary_key=True),
        )
    return made


def hear(uow: UnitOfWork, events: Sequence[Received]) -> None:
    for event in events:
        if event.event.word == "bad":
            raise ValueError("a bad word")
        uow.run(
            "INSERT INTO heard (company, key, word, place) VALUES (:company, :key, :word, :place)",
            company=event.company, key=event.key, word=event.event.word, place=f"{event.partition}/{event.pos}",
        )  # fmt: skip


def on_tick(uow: UnitOfWork, company: str, tick: Tick) -> None:
    count = uow.value("SELECT count(*) FROM heard WHERE company = :c AND word <> 'tick'", c=company)
    uow.run("INSERT INTO heard VALUES (:c, :k, 'tick', :p)", c=company, k=str(count), p=tick.id)


@dataclass
class Toy:
    speaker: Runtime
    listener: Runtime
    admin_url: str

    def say(self, *words: tuple[str, str]) -> None:
        with unit_of_work(self.speaker, actor="test") as uow:
            for key, word in words:
                uow.publish(Said(key=key, word=word), company="acme", key=key)

    def tick(self, name: str) -> None:
        with unit_of_work(self.speaker, actor="test") as uow:
            tick = Tick(at=datetime(2025, 1, 1, tzinfo=UTC), id=name)
            uow.publish_everywhere(tick, company="acme", topic="toy.words")

    def heard(self) -> list[tuple[str, str, str]]:
        with unit_of_work(self.listener, actor="test", read_only=True) as uow:
            return [
                tuple(row) for row in uow.rows("SELECT key, word, place FROM heard ORDER BY key, length(place), place")
            ]

    def scalar(self, sql: str) -> Any:
        with unit_of_work(self.listener, actor="test", read_only=True) as uow:
            return uow.value(sql)


def runtime(admin_url: str, service: Service, settings: Settings) -> Runtime:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        urls = make_database(connection, admin_url, service.name, f"log_{service.name}_{uuid4().hex[:8]}")
    owner = engine_for(urls.owner)
    with owner.begin() as made:
        made.execute(text("CREATE SCHEMA log"))
        made.execute(text("CREATE TABLE alembic_version (x int)"))
        service.metadata.create_all(made)
        for statement in PARTITIONS:
            made.execute(text(statement))
        made.execute(text(f"GRANT USAGE ON SCHEMA log TO valueloop_{service.name}"))
        made.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA log, public TO valueloop_{service.name}"))
        for statement in grants_after_migrations(service.name):
            made.execute(text(statement))
    owner.dispose()
    engine = engine_for(urls.application, pool_size=20)
    create_topics(engine, service, settings.partitions)
    reader = engine_for(urls.log_reader, pool_size=20)
    return Runtime(service, engine, settings, {"toy": PostgresLog(reader)})


@pytest.fixture
def toy(postgres_url: str) -> Iterator[Toy]:
    settings = Settings(partitions=3, lease_seconds=2, poll_seconds=0.05, batch_size=50, parked_limit=20)
    provision(postgres_url, ["toy", "ear"])
    speaker = runtime(postgres_url, Service("toy", metadata(), {"toy.words": True}), settings)
    service = Service(
        "ear",
        metadata(heard=True),
        {},
        inputs=("toy.words",),
        handlers={Said: hear},
        tick_inputs=("toy.words",),
        on_tick=on_tick,
    )
    listener = runtime(postgres_url, service, settings)
    listener.logs = speaker.logs
    yield Toy(speaker, listener, postgres_url)
    for made in (speaker, listener):
        made.engine.dispose()


class Running:
    """Workers in threads, stopped at the end."""

    def __init__(self, toy: Toy, count: int) -> None:
        self.stop = threading.Event()
        self.workers = [Worker(toy.listener, self.stop) for _ in range(count)]
        self.threads = [threading.Thread(target=worker.run) for worker in self.workers]

    def __enter__(self) -> "Running":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join(20)


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_every_record_has_one_effect_in_the_order_of_its_key_with_three_workers(toy: Toy) -> None:
    with Running(toy, 3):
        for number in range(40):
            toy.say(*((f"k{n % 7}", f"w{number:03}-{n:03}") for n in range(25)))
        eventually(lambda: len(toy.heard()) == 1000)
    for key in {key for key, _, _ in toy.heard()}:
        words = [word for k, word, _ in toy.heard() if k == key]
        assert words == sorted(words)


def test_positions_are_gapless_when_writers_race_and_roll_back(toy: Toy) -> None:
    def write(number: int) -> None:
        for i in range(20):
            try:
                with unit_of_work(toy.speaker, actor="test") as uow:
                    uow.publish(Said(key=f"{number}", word=str(i)), company="acme", key=f"{number}-{i}")
                    if i % 3 == 0:
                        raise KeyError
            except KeyError:
                pass

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log = toy.speaker.logs["toy"]
    total = 0
    for (topic, partition), end in log.ends(["toy.words"]).items():
        assert [record.pos for record in log.read((topic, partition), 0, 1000)] == list(range(end))
        total += end
    assert total == 6 * 13


def test_a_member_that_a_newer_version_added_is_passed_over(toy: Toy) -> None:
    with unit_of_work(toy.speaker, actor="test") as uow:
        uow.publish_raw(Said, '{"key":"a","word":"one","loudness":{"db":"60"}}', company="acme", key="a")
    with Running(toy, 1):
        eventually(lambda: [word for _, word, _ in toy.heard()] == ["one"])
    assert toy.scalar("SELECT count(*) FROM log.parked") == 0


def test_a_bad_record_is_parked_with_its_key_behind_it_and_others_go_on(toy: Toy) -> None:
    toy.say(("a", "one"), ("a", "bad"), ("a", "three"), ("b", "four"))
    with Running(toy, 1):
        eventually(lambda: toy.scalar("SELECT count(*) FROM log.parked") == 2)
        toy.say(("a", "five"), ("b", "six"))
        eventually(lambda: toy.scalar("SELECT count(*) FROM log.parked") == 3)
        eventually(lambda: ("b", "six") in [(k, w) for k, w, _ in toy.heard()])
    assert [word for key, word, _ in toy.heard() if key == "a"] == ["one"]
    assert "ValueError: a bad word" in toy.scalar("SELECT error FROM log.parked WHERE error IS NOT NULL")


def test_a_repaired_record_and_its_successors_have_one_effect(toy: Toy) -> None:
    toy.say(("a", "bad"), ("a", "two"))
    with Running(toy, 1):
        eventually(lambda: toy.scalar("SELECT count(*) FROM log.parked") == 2)
    place = toy.scalar("SELECT partition FROM log.parked LIMIT 1")
    with pytest.raises(StillBroken), unit_of_work(toy.listener, actor="operator") as uow:
        apply_parked(uow, take_key(uow, "toy.words", place, "acme", "a"))
    assert toy.scalar("SELECT count(*) FROM log.parked") == 2
    with unit_of_work(toy.listener, actor="operator") as uow:
        records = take_key(uow, "toy.words", place, "acme", "a")
        apply_parked(uow, [replace(records[0], data='{"key": "a", "word": "good"}'), *records[1:]])
    with unit_of_work(toy.listener, actor="operator") as uow:
        assert take_key(uow, "toy.words", place, "acme", "a") == []
    assert [word for _, word, _ in toy.heard()] == ["good", "two"]


def test_a_tick_is_handled_once_when_all_partitions_have_reached_it(toy: Toy) -> None:
    toy.say(*((f"k{n}", "before") for n in range(30)))
    toy.tick("t1")
    toy.say(*((f"k{n}", "after") for n in range(30)))
    toy.tick("t2")
    with Running(toy, 2):
        eventually(lambda: len([1 for _, word, _ in toy.heard() if word == "tick"]) == 2)
    assert [(count, place) for count, word, place in toy.heard() if word == "tick"] == [("30", "t1"), ("60", "t2")]


def test_a_silent_worker_is_fenced_and_its_backend_ended(toy: Toy) -> None:
    toy.say(("a", "one"))
    stop = threading.Event()
    silent = Worker(toy.listener, stop)
    connection = toy.listener.engine.connect()
    silent.leases.begin(connection)
    silent.leases._renew()
    assert silent.leases.owned()
    connection.begin()
    connection.execute(text("SELECT 1 FROM log.lease FOR UPDATE"))  # it went silent while it held locks
    connection.execute(text("UPDATE log.position SET next_pos = 99"))
    with toy.listener.engine.begin() as other:
        other.execute(text("UPDATE log.worker SET until = now() - interval '1 s'"))
    with psycopg.connect(toy.admin_url) as admin:
        pid = silent.leases._backend[0]
        assert admin.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() == (1,)
    time.sleep(2.1)  # the lease runs out by the database's clock; there is no other way to let it
    connection.rollback()
    with Running(toy, 1):
        eventually(lambda: len(toy.heard()) == 1)
        with pytest.raises(OperationalError):
            connection.execute(text("SELECT 1"))
    connection.close()


def test_an_outage_parks_nothing_and_loses_nothing(toy: Toy) -> None:
    with Running(toy, 2):
        for number in range(10):
            toy.say(*((f"k{n}", f"{number}") for n in range(20)))
            with psycopg.connect(toy.admin_url, autocommit=True) as admin:
                database = toy.listener.engine.url.database
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
                )  # fmt: skip
            toy.listener.engine.dispose()
        eventually(lambda: len(toy.heard()) == 200)
    assert toy.scalar("SELECT count(*) FROM log.parked") == 0


def test_a_log_that_was_restored_to_an_earlier_moment_stops_its_readers(toy: Toy) -> None:
    toy.say(*((f"k{n}", "one") for n in range(9)))
    with Running(toy, 1) as running:
        eventually(lambda: len(toy.heard()) == 9)
        running.stop.set()
    with toy.speaker.engine.begin() as restored:
        restored.execute(text("UPDATE log.partition SET next_pos = next_pos - 1 WHERE next_pos > 0"))
        restored.execute(text("DELETE FROM log.record r USING log.partition p WHERE r.partition = p.partition AND "
                              "r.pos >= p.next_pos"))  # fmt: skip
    with pytest.raises(LogReplaced, match="restored"):
        worker = Worker(toy.listener, threading.Event())
        with closing(open_feed(toy.listener)) as feed, toy.listener.engine.connect() as connection:
            worker.leases.begin(connection)
            with worker.leases.kept(connection):
                worker.round(connection, feed)


def test_another_epoch_stops_the_reader_with_the_remedy(toy: Toy) -> None:
    from shared.log.position import claim

    with toy.listener.engine.begin() as connection:
        claim(connection, "toy.words", 0, "an-old-epoch")
        with pytest.raises(LogReplaced, match="rebuild"):
            claim(connection, "toy.words", 0, toy.speaker.logs["toy"].epoch())
