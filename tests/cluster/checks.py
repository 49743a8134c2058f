"""What must hold once a cluster is quiet again. Each returns what is wrong, in words; nothing, if nothing is."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import create_engine

from services.client import SERVICES
from shared.log.forward import encode
from shared.log.kafka import decode
from shared.log.postgres import PostgresLog
from shared.state import difference
from tests.cluster.harness import Cluster

PREFIX = "valueloop."


def lost(cluster: Cluster, written: Mapping[str, tuple[int, int]]) -> list[str]:
    """Acknowledged events that are not where their receipt says."""
    found = _source_events(cluster)
    return [f"{id_} at {at}" for id_, at in written.items() if found.get(at) != id_]


def doubled(cluster: Cluster, written: Mapping[str, tuple[int, int]]) -> list[str]:
    """Events that stand in the log though nobody was told so, or twice; and observations made twice of one."""
    found = _source_events(cluster)
    wrong = [f"{id_} at {at}" for at, id_ in found.items() if written.get(id_) != at]
    sql = (
        "SELECT event_id, metric, count(*) FROM observation WHERE removed IS NULL "
        "GROUP BY company, partition, pos, event_id, metric, item, rule HAVING count(*) > 1"
    )
    return wrong + [f"{row} observed more than once" for row in cluster.rows("metrics", sql)]


def _source_events(cluster: Cluster) -> dict[tuple[int, int], str]:
    sql = (
        "SELECT partition, pos, data::json->>'id' FROM log.record "
        "WHERE topic = 'metrics.source-events' AND type = 'valueloop.metrics.event-accepted.v1'"
    )
    return {(partition, pos): id_ for partition, pos, id_ in cluster.rows("metrics", sql)}


def out_of_order(cluster: Cluster) -> list[str]:
    """Places where an effect of a later record of one partition came before that of an earlier one.

    Change numbers are in commit order. An event's first observation names the change that counted it; a score names the
    version of the reading it was made from, and a driver that of its score.
    """
    wrong = []
    observed = (
        "SELECT partition, pos, min(added) FROM observation WHERE added IS NOT NULL GROUP BY partition, pos "
        "ORDER BY partition, pos"
    )
    last: dict[int, tuple[int, int]] = {}
    for partition, pos, change in cluster.rows("metrics", observed):
        before = last.get(partition, (-1, -1))
        if change < before[1]:
            wrong.append(f"event {partition}/{pos} in change {change}, {before[0]} in {before[1]}")
        last[partition] = (pos, change)
    scores = (
        "SELECT kind, code, period, version, change, i->>'code', i->>'subject', (i->>'version')::int FROM score, "
        "jsonb_array_elements(inputs) AS i WHERE i->>'what' IN ('reading', 'score') ORDER BY 1, 2, 3, 4"
    )
    seen: dict[Any, tuple[int, int]] = {}
    for kind, code, period, version, change, input_, subject, cited in cluster.rows("goals", scores):
        at = (kind, code, period, input_, subject)
        before = seen.get(at, (0, 0))
        if cited < before[0] or change < before[1]:
            wrong.append(f"score {at} version {version} cites {cited}, the one before {before[0]}")
        seen[at] = (cited, change)
    drivers = (
        "SELECT kind, code, subject, period, version, source_from, source_version, change FROM driver "
        "ORDER BY 1, 2, 3, 4, 5"
    )
    taken: dict[Any, tuple[int, int]] = {}
    for kind, code, subject, period, version, first, source, change in cluster.rows("incentives", drivers):
        driver = (kind, code, subject, period)
        before = taken.get(driver, (0, 0))
        if first < before[0] or source < first or change < before[1]:
            wrong.append(f"driver {driver} version {version} takes in {first} to {source}, after {before[0]}")
        taken[driver] = (source, change)
    # A check that saw nothing has shown nothing.
    return wrong + [
        f"no {what} to judge by" for what, some in (("event", last), ("score", seen), ("driver", taken)) if not some
    ]


def gaps(cluster: Cluster) -> list[str]:
    """Partitions whose copy in Kafka, repeats left out, is not the owner's log, record by record."""
    wrong = []
    for service in SERVICES:
        log = PostgresLog(create_engine(_sqlalchemy(cluster.postgres.url, service)))
        for topic, partition, end in cluster.rows(service, "SELECT topic, partition, next_pos FROM log.partition"):
            expected = {record.pos: encode(record, service) for record in log.read((topic, partition), 0, end)}
            for pos, copy in _copies(cluster, topic, partition, service):
                if expected.pop(pos, copy) != copy:
                    wrong.append(f"{topic}/{partition}/{pos} differs in Kafka")
            wrong += [f"{topic}/{partition}/{pos} is missing in Kafka" for pos in expected]
        log.engine.dispose()
    return wrong


def _copies(cluster: Cluster, topic: str, partition: int, service: str) -> list[tuple[int, Any]]:
    """The records in Kafka as their first copies come; those that come before their predecessor are left out."""
    consumer = KafkaConsumer(bootstrap_servers=cluster.broker.bootstrap)
    place = TopicPartition(PREFIX + topic, partition)
    consumer.assign([place])
    consumer.seek(place, 0)
    end = consumer.end_offsets([place])[place]
    found: list[tuple[int, Any]] = []
    while end and consumer.position(place) < end:
        for raw in [raw for batch in consumer.poll(1000).values() for raw in batch]:
            record = decode((topic, partition), raw)
            if record and record.pos == len(found):
                found.append((record.pos, encode(record, service)))
    consumer.close()
    return found


def differs(cluster: Cluster, other_url: str) -> list[str]:
    """The first difference of each service's state from that of another installation."""
    wrong = []
    for name in SERVICES:
        here, there = (create_engine(_sqlalchemy(url, name)) for url in (cluster.postgres.url, other_url))
        with here.connect() as mine, there.connect() as theirs:
            if found := difference(mine, theirs, import_module(f"services.{name}.state").STATE):
                wrong.append(f"{name}: {found}")
        here.dispose()
        there.dispose()
    return wrong


def _sqlalchemy(url: str, service: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/valueloop_{service}?")
