"""The topics in Kafka: what they should be, what they are, and what would have to be done."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from kafka.admin import ConfigResource
from kafka.errors import KafkaError
from sqlalchemy import Engine, text

from shared.database.directory import BrokenEnvironment
from shared.log.forward import ForeignTopic, refuse_foreign
from shared.log.kafka import LARGEST, Cluster
from shared.log.postgres import PostgresLog, add_partitions
from shared.service import Runtime

log = structlog.get_logger(__name__)

SOURCE_EVENTS = "source-events"
REJECTED = "source-events.rejected"
"""The topics by which ERP systems push events; without an owner, since no forwarder writes the first."""
# Whatever senders compress with, its broker takes it apart: the reader need not know every method.
FROM_OTHERS = {"compression.type": "uncompressed"}


class WrongTopics(BrokenEnvironment):
    """Topics in Kafka are missing or do not fit."""


class NotDrained(BrokenEnvironment):
    """A topic cannot be widened while readers have records of it before them."""


class NotStopped(BrokenEnvironment):
    """Workers run, and must not."""


@dataclass(frozen=True, slots=True)
class Step:
    """One change that would bring a topic to what it should be."""

    topic: str
    what: str
    partitions: int | None = None
    configuration: Mapping[str, str] | None = None
    make: bool = False


def desired_configuration(cluster: Cluster) -> dict[str, str]:
    """What every topic is set to: deletes by age only, never compacts, and takes our largest record."""
    settings = cluster.settings
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.kafka_retention_days * 86_400_000),
        "max.message.bytes": str(LARGEST),
        "min.insync.replicas": str(2 if settings.kafka_replication > 2 else 1),
    }


def plan(cluster: Cluster, counts: Mapping[str, int]) -> list[Step]:
    """What is to be done so that Kafka has these topics with at least so many partitions. Empty where nothing is."""
    admin = cluster.admin()
    try:
        there = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
        usual = desired_configuration(cluster)
        steps: list[Step] = []
        for topic, count in sorted(counts.items()):
            name, wanted = cluster.name_of(topic), usual | (FROM_OTHERS if topic == SOURCE_EVENTS else {})
            if name not in there:
                steps.append(Step(name, f"make it with {count} partitions", count, wanted, make=True))
                continue
            if there[name] < count:
                steps.append(Step(name, f"raise it from {there[name]} to {count} partitions", count))
            if differing := _differing(admin, name, wanted):
                said = ", ".join(f"{key} from {was} to {wanted[key]}" for key, was in sorted(differing.items()))
                steps.append(Step(name, f"set {said}", configuration={key: wanted[key] for key in differing}))
        return steps
    finally:
        admin.close()


def apply(cluster: Cluster, steps: Sequence[Step]) -> None:
    """Does it."""
    admin = cluster.admin()
    try:
        for step in steps:
            if step.make:
                made = {"num_partitions": step.partitions, "replication_factor": cluster.settings.kafka_replication}
                admin.create_topics({step.topic: made | {"configs": step.configuration}}, wait_for_metadata=True)
            elif step.partitions:
                admin.create_partitions({step.topic: step.partitions})
            else:
                admin.alter_configs([ConfigResource("TOPIC", step.topic, dict(step.configuration or {}))])
    finally:
        admin.close()


def check_topics(cluster: Cluster, runtimes: Iterable[Runtime]) -> None:
    """Refuses to start on topics that are missing, too narrow or another log's. A cluster that is away is waited for.

    Raises:
        WrongTopics: with every difference.
    """
    runtimes = list(runtimes)
    counts: dict[str, int] = {}
    for runtime in runtimes:
        counts |= dict.fromkeys(runtime.service.inputs, 1)
    for runtime in runtimes:
        counts |= partition_counts(runtime.engine)
    try:
        steps = [step for step in plan(cluster, counts) if step.partitions]
    except KafkaError as error:
        log.warning("Kafka does not answer; its topics are not checked", reason=str(error))
        return
    if steps:
        raise WrongTopics(
            "Topics in Kafka do not fit: " + "; ".join(f"{step.topic}: {step.what}" for step in steps) + ".",
            remedy="Run `valueloop topics apply`.",
        )
    for runtime in runtimes:
        _refuse_foreign(cluster, runtime)


def _refuse_foreign(cluster: Cluster, runtime: Runtime) -> None:
    """Before a first copy; the forwarder does so too, but readers would meanwhile take in what others accepted."""
    log = PostgresLog(runtime.engine)
    with runtime.engine.connect() as connection:
        copied = set(connection.execute(text("SELECT topic FROM log.forward")).scalars())
    wide = {topic: count for topic, count in partition_counts(runtime.engine).items() if topic not in copied}
    try:
        for place in [(topic, partition) for topic, count in wide.items() for partition in range(count)]:
            refuse_foreign(cluster, log, place)
    except ForeignTopic as error:
        rule, _, remedy = str(error).partition(". ")
        raise WrongTopics(f"{rule}.", remedy=remedy) from error


def partition_counts(engine: Engine) -> dict[str, int]:
    """The topics of a service's own log, each with its partitions."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT topic, count(*) FROM log.partition GROUP BY topic"))
        return {row[0]: row[1] for row in rows}


def copy_again(runtimes: Iterable[Runtime]) -> None:
    """Forgets what was copied to Kafka and where readers stand there, so that all of the log is copied to empty topics.

    Positions stay: readers drop what they have.

    Raises:
        NotStopped: workers run.
    """
    for runtime in runtimes:
        with runtime.engine.begin() as connection:
            if connection.execute(text("SELECT count(*) FROM log.worker WHERE until > now()")).scalar_one():
                raise NotStopped(
                    f"Workers of {runtime.service.name} run, or were killed a moment ago.",
                    remedy="Stop all workers, wait for their leases to run out, then repeat this.",
                )
            connection.execute(text("DELETE FROM log.forward"))
            connection.execute(text("UPDATE log.position SET kafka_offset = NULL"))


def raise_partitions(owner: Runtime, readers: Iterable[Runtime], topic: str, count: int, seconds: int) -> None:
    """Gives a topic of the owner's log more partitions, once every reader has handled all that is in it.

    While it waits, nobody can publish to the topic: keys move to other partitions, and order must hold within a key.

    Raises:
        WrongTopics: the topic keeps one order over all its keys, or has as many partitions already.
        NotDrained: readers were not done within `seconds`, or records of the topic are parked.
    """
    if not owner.service.topics.get(topic):
        raise WrongTopics(f"{topic} is not a topic of several partitions.", remedy="See `valueloop status` for them.")
    reading = [runtime for runtime in readers if topic in runtime.service.inputs]
    with owner.engine.begin() as connection:
        # The session is idle while readers go on, and must live that long.
        idle = "SELECT set_config('idle_in_transaction_session_timeout', :longest, true)"
        connection.execute(text(idle), {"longest": f"{seconds + 30}s"})
        # Every publisher updates its partition's row, so these locks keep all of them out.
        sql = "SELECT partition, next_pos FROM log.partition WHERE topic = :topic ORDER BY partition FOR UPDATE"
        ends: dict[int, int] = {row[0]: row[1] for row in connection.execute(text(sql), {"topic": topic})}
        if count <= len(ends):
            raise WrongTopics(f"{topic} has {len(ends)} partitions.", remedy="They can be raised, never lowered.")
        for runtime in reading:
            _wait_until_drained(runtime, topic, ends, seconds)
        add_partitions(connection, topic, range(len(ends), count))


def _wait_until_drained(reader: Runtime, topic: str, ends: Mapping[int, int], seconds: int) -> None:
    deadline = time.monotonic() + seconds
    while (left := _left(reader, topic, ends)) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        raise NotDrained(
            f"{reader.service.name} has {left} records of {topic} before it, or parked.",
            remedy="See to it that its workers run, retry or discard what is parked, then repeat this.",
        )


def _left(reader: Runtime, topic: str, ends: Mapping[int, int]) -> int:
    with reader.engine.connect() as connection:
        where = {"topic": topic}
        sql = "SELECT partition, next_pos FROM log.position WHERE topic = :topic"
        at: dict[int, int] = {row[0]: row[1] for row in connection.execute(text(sql), where)}
        parked = connection.execute(text("SELECT count(*) FROM log.parked WHERE topic = :topic"), where).scalar_one()
    return sum(end - at.get(partition, 0) for partition, end in ends.items()) + int(parked)


def _differing(admin: Any, name: str, wanted: Mapping[str, str]) -> dict[str, str | None]:
    asked = ConfigResource("TOPIC", name, dict.fromkeys(wanted))
    found = admin.describe_configs([asked], config_filter="all")["topic"][name]
    now = {key: found.get(key, {}).get("value") for key in wanted}
    return {key: value for key, value in now.items() if value != wanted[key]}
