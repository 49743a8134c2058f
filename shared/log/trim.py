"""Trimming: records of derived topics go once all readers have them; months for new records are made ahead.

Source events, settings and commands are the archive from which all else can be made again: they are never trimmed. How
far readers are is a hint they leave with the owner of the log. On Kafka they read its copy, and the table is trimmed
behind the forwarder instead.
"""

from sqlalchemy import Connection, Engine, text

from shared.log.postgres import PostgresLog
from shared.service import Runtime

AT_ONCE = 10_000  # positions in one transaction

_REPORT = text(
    "INSERT INTO log.reader (topic, partition, reader, next_pos) VALUES (:topic, :partition, :reader, :next_pos) "
    "ON CONFLICT (topic, partition, reader) DO UPDATE SET next_pos = excluded.next_pos, recorded_at = now()"
)
_REGISTER = text(
    "INSERT INTO log.reader (topic, partition, reader, next_pos) "
    "SELECT topic, partition, :reader, 0 FROM log.partition WHERE topic = ANY(:topics) ON CONFLICT DO NOTHING"
)
# Where nobody reads a partition, age alone decides. The last record stays: by it a reader that comes late sees the gap.
_READ_BY_ALL = "(SELECT min(r.next_pos) FROM log.reader r WHERE (r.topic, r.partition) = (p.topic, p.partition))"
_FORWARDED = "coalesce((SELECT f.next_pos FROM log.forward f WHERE (f.topic, f.partition) = (p.topic, p.partition)), 0)"
_UP_TO = (
    "SELECT p.topic, p.partition, least(p.next_pos - 1, {behind}, (SELECT r.pos FROM log.record r "
    "WHERE (r.topic, r.partition) = (p.topic, p.partition) AND r.recorded_at >= now() - make_interval(days => :days) "
    "ORDER BY r.pos LIMIT 1)) AS pos FROM log.partition p WHERE p.topic = ANY(:topics)"
)
_DELETE = text(
    "DELETE FROM log.record WHERE topic = :topic AND partition = :partition AND pos < least(:pos, :most + "
    "(SELECT r.pos FROM log.record r WHERE r.topic = :topic AND r.partition = :partition ORDER BY r.pos LIMIT 1))"
)


def register(owner: Engine, reader: str, topics: list[str]) -> None:
    """Notes a reader at the beginning of these topics of an owner, unless it is known there."""
    with owner.begin() as connection:
        connection.execute(_REGISTER, {"reader": reader, "topics": topics})


def tidy(runtime: Runtime, connection: Connection) -> int:
    """Makes months ahead, tells the owners how far this service has read, and trims its own derived topics.

    Returns how many records went. May run in several workers at a time.
    """
    with connection.begin():
        connection.execute(text("SELECT log.make_months()"))
        stands = connection.execute(text("SELECT topic, partition, next_pos FROM log.position")).fetchall()
    for owner, log in runtime.logs.items():
        mine = [row._asdict() | {"reader": runtime.service.name} for row in stands if row.topic.startswith(f"{owner}.")]
        if mine and isinstance(log, PostgresLog):
            with log.engine.begin() as theirs:
                theirs.execute(_REPORT, mine)
    return trim(runtime, connection)


def trim(runtime: Runtime, connection: Connection) -> int:
    """Deletes what every reader has and what is older than the setting `trim_after_days`; how many records."""
    behind = _FORWARDED if runtime.settings.kafka_bootstrap else _READ_BY_ALL
    params = {"topics": list(runtime.service.derived), "days": runtime.settings.trim_after_days}
    with connection.begin():
        ends = connection.execute(text(_UP_TO.format(behind=behind)), params).fetchall()
    deleted = 0
    for end in ends:
        while True:
            with connection.begin():
                gone = connection.execute(_DELETE, end._asdict() | {"most": AT_ONCE}).rowcount
            deleted += gone
            if not gone:
                break
    return deleted
