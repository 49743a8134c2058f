"""Puts services together with their databases: the only place that knows all four."""

from collections.abc import Iterable, Mapping
from functools import partial
from importlib import import_module

from shared.database import migrations
from shared.database.provision import ServiceUrls, engine_for, provision, service_urls
from shared.log import Log
from shared.log.kafka import Cluster, KafkaFeed, KafkaLog
from shared.log.postgres import PostgresLog, create_topics
from shared.log.topics import REJECTED, SOURCE_EVENTS, apply, partition_counts, plan
from shared.log.trim import register
from shared.service import Runtime, Service
from shared.settings import Settings

SERVICES = ("goals", "metrics", "incentives", "reviews")
API_STATEMENT_TIMEOUT = "60s"


def service_named(name: str) -> Service:
    """What `services/<name>/app.py` wires."""
    service: Service = import_module(f"services.{name}.app").service()
    return service


def database_urls(settings: Settings, admin_url: str | None) -> dict[str, ServiceUrls]:
    """Where each service's database is: the operator's own URL, or else what `provision` makes on `admin_url`."""
    urls = {}
    for name in SERVICES:
        if own := settings.service_database_url(name):
            urls[name] = ServiceUrls.of_login(own)
        elif admin_url:
            urls[name] = service_urls(admin_url, name, f"valueloop_{name}")
    return urls


def prepare(settings: Settings, admin_url: str | None) -> dict[str, ServiceUrls]:
    """Makes databases and roles where an administrator's URL is given, migrates, and makes the topics, in Kafka too."""
    urls = database_urls(settings, admin_url)
    if admin_url:
        provision(admin_url, [name for name in SERVICES if not settings.service_database_url(name)])
    migrate(settings, urls)
    if settings.kafka_bootstrap:
        cluster = Cluster(settings)
        runtimes = build_runtimes(settings, urls)
        apply(cluster, plan(cluster, wanted_topics(settings, runtimes.values())))
        for runtime in runtimes.values():
            runtime.engine.dispose()
    return urls


def migrate(settings: Settings, urls: Mapping[str, ServiceUrls]) -> None:
    """Brings each database to the newest schema and makes its topics."""
    for name, at in urls.items():
        migrations.upgrade(name, at.owner)
        engine = engine_for(at.application, application_name="valueloop migrate", pool_size=1)
        create_topics(engine, service_named(name), settings.partitions)
        for reader in SERVICES:
            # From the start, so that nothing is trimmed that somebody has not begun to read.
            register(engine, reader, list(service_named(reader).inputs))
        engine.dispose()


def build_runtimes(
    settings: Settings,
    urls: Mapping[str, ServiceUrls],
    names: Iterable[str] = SERVICES,
    *,
    purpose: str = "api",
) -> dict[str, Runtime]:
    """Runtimes of the named services; each reads the others' logs through a role that may read nothing else.

    Args:
        purpose: `api` or `worker`; shown in `pg_stat_activity`, and a worker's statements have no time limit.
    """
    timeout = API_STATEMENT_TIMEOUT if purpose == "api" else "0"
    cluster = Cluster(settings) if settings.kafka_bootstrap else None
    logs: dict[str, Log] = {
        owner: KafkaLog(cluster)
        if cluster
        else PostgresLog(engine_for(urls[owner].log_reader, application_name=f"valueloop {purpose} reads {owner}"))
        for owner in (SERVICES if cluster else urls)
    }
    return {
        name: Runtime(
            service_named(name),
            engine_for(
                urls[name].application, application_name=f"valueloop {purpose} {name}", statement_timeout=timeout
            ),
            settings,
            logs,
            partial(_kafka_feed, cluster, name) if cluster else None,
        )
        for name in names
    }


def wanted_topics(settings: Settings, runtimes: Iterable[Runtime]) -> dict[str, int]:
    """Every topic that Kafka must have, with its least number of partitions: the logs', and those of ERP systems."""
    counts = {SOURCE_EVENTS: settings.partitions, REJECTED: 1}
    for runtime in runtimes:
        counts |= partition_counts(runtime.engine)
    return counts


def _kafka_feed(cluster: Cluster, service: str) -> KafkaFeed:
    group = f"{cluster.settings.kafka_prefix}{service}"
    return KafkaFeed(cluster, cluster.consumer(group), 2 * cluster.settings.batch_size)
