"""Puts services together with their databases: the only place that knows all four."""

from collections.abc import Iterable, Mapping
from importlib import import_module

from shared.database import migrations
from shared.database.provision import ServiceUrls, engine_for, provision, service_urls
from shared.log.postgres import PostgresLog, create_topics
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
    """Makes databases and roles where an administrator's URL is given, migrates, and makes the topics of the logs."""
    urls = database_urls(settings, admin_url)
    if admin_url:
        provision(admin_url, [name for name in SERVICES if not settings.service_database_url(name)])
    migrate(settings, urls)
    return urls


def migrate(settings: Settings, urls: Mapping[str, ServiceUrls]) -> None:
    """Brings each database to the newest schema and makes its topics."""
    for name, at in urls.items():
        migrations.upgrade(name, at.owner)
        engine = engine_for(at.application, application_name="valueloop migrate", pool_size=1)
        create_topics(engine, service_named(name), settings.partitions)
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
    logs = {
        owner: PostgresLog(engine_for(at.log_reader, application_name=f"valueloop {purpose} reads {owner}"))
        for owner, at in urls.items()
    }
    return {
        name: Runtime(
            service_named(name),
            engine_for(
                urls[name].application, application_name=f"valueloop {purpose} {name}", statement_timeout=timeout
            ),
            settings,
            logs,
        )
        for name in names
    }
