"""A database per service, with a role that owns it, a role that uses it, and one that reads the published logs only.

The roles cannot log in: a connection takes its role by the libpq option `-c role=…` on the administrator's login, and
the URLs made here carry that option, so that every tool may use them as they are. Operators who want logins of their
own give a URL per service instead. Such a session stays the administrator's for `pg_stat_activity` and
`pg_terminate_backend`: `SET LOCAL ROLE NONE` uses that, while `RESET ROLE` only returns to the role of the URL.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url

LOG_READER = "valueloop_log_reader"
PUBLISHED = ("record", "partition", "epoch")  # what one service may read of another, all in the schema `log`
LOCK = 0x56414C55454C4F4F  # "VALUELOO": two processes may provision at once


@dataclass(frozen=True)
class ServiceUrls:
    """How to reach one service's database: as its owner (migrations), as the service, and as a reader of its log."""

    owner: str
    application: str
    log_reader: str

    @classmethod
    def of_login(cls, url: str) -> "ServiceUrls":
        """For a database whose operator gave one login: it plays all three parts."""
        return cls(url, url, url)


def provision(admin_url: str, services: Iterable[str], prefix: str = "valueloop") -> dict[str, ServiceUrls]:
    """Makes what is missing of databases, roles and rights; may be repeated and run by several processes at once.

    `admin_url` is a login that may create databases and roles; it need not be a superuser.
    """
    names = list(services)
    with psycopg.connect(_libpq(admin_url), autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        for role in [LOG_READER, *(r for s in names for r in (owner_role(s), application_role(s)))]:
            _make_role(connection, role)
        urls = {}
        for service in names:
            urls[service] = make_database(connection, admin_url, service, f"{prefix}_{service}")
            _grant(urls[service].owner, service)
    return urls


def owner_role(service: str) -> str:
    return f"valueloop_{service}_owner"


def application_role(service: str) -> str:
    return f"valueloop_{service}"


def make_database(
    connection: psycopg.Connection[Any], admin_url: str, service: str, name: str, template: str = "template0"
) -> ServiceUrls:
    """Makes a service's database where it is missing, as a copy of `template` (which nobody may be connected to)."""
    owner = sql.Identifier(owner_role(service))
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
        statement = "CREATE DATABASE {} TEMPLATE {} OWNER {}" + (" STRATEGY file_copy" * (template != "template0"))
        connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template), owner))
    return service_urls(admin_url, service, name)


def service_urls(admin_url: str, service: str, database: str) -> ServiceUrls:
    url = make_url(admin_url).set(database=database)
    roles = (owner_role(service), application_role(service), LOG_READER)
    return ServiceUrls(*(_text(_with_options(url, role=role)) for role in roles))


def _make_role(connection: psycopg.Connection[Any], role: str) -> None:
    name = sql.Identifier(role)
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN NOINHERIT").format(name))
    # A login that is no superuser administers the role it made, but may act as it only by this grant.
    may = connection.execute("SELECT pg_has_role(%s, 'SET') AND pg_has_role(%s, 'USAGE')", [role, role]).fetchone()
    if may != (True,):
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH SET TRUE, INHERIT TRUE").format(name))


def _grant(owner_url: str, service: str) -> None:
    """Rights come as defaults for what the owner will make, so that a migration may take one back and it stays so."""
    with psycopg.connect(_libpq(owner_url), autocommit=True) as connection:
        database = sql.Identifier(connection.info.dbname)
        names = {"database": database, "app": sql.Identifier(application_role(service)),
                 "reader": sql.Identifier(LOG_READER)}  # fmt: skip
        for statement in (
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "GRANT CONNECT ON DATABASE {database} TO {app}, {reader}",
            "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO {app}",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}",
            "ALTER DEFAULT PRIVILEGES GRANT USAGE, SELECT ON SEQUENCES TO {app}",
        ):
            connection.execute(sql.SQL(statement).format(**names))


def grants_after_migrations(service: str) -> list[str]:
    """The statements, for the owner after each migration, by which others may read the log and nothing else."""
    tables = ", ".join(f"log.{table}" for table in PUBLISHED)
    return [
        f"GRANT USAGE ON SCHEMA log TO {LOG_READER}",
        f"GRANT SELECT ON {tables} TO {LOG_READER}",
        f"GRANT SELECT, INSERT, UPDATE ON log.reader TO {LOG_READER}",
        "REVOKE EXECUTE ON FUNCTION log.make_months FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION log.make_months TO {application_role(service)}",
        f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {application_role(service)}",
    ]


def engine_for(
    url: str,
    *,
    application_name: str = "valueloop",
    pool_size: int = 5,
    statement_timeout: str = "0",
    lock_timeout: str = "30s",
) -> Engine:
    """An engine whose every connection gives up where waiting would stop others.

    Timeouts as PostgreSQL writes them; "0" is none, for workers, whose batches take their time.
    """
    options = {
        "idle_in_transaction_session_timeout": "30s",  # a stuck owner must not keep its locks
        "lock_timeout": lock_timeout,
        "statement_timeout": statement_timeout,
        "TimeZone": "UTC",
    }
    return create_engine(
        _with_options(make_url(url).set(drivername="postgresql+psycopg"), **options),
        pool_size=pool_size,
        max_overflow=5,
        pool_timeout=5,
        hide_parameters=True,  # or an error would write personal data to the log
        pool_pre_ping=False,  # a ping per checkout costs a round trip; whoever meets a dead connection repeats the work
        connect_args={
            "application_name": application_name,
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 25_000,
        },
    )


def _with_options(url: URL, **options: str) -> URL:
    """`url` with server settings added to those that its libpq `options` already carry."""
    added = " ".join(f"-c {name}={value}" for name, value in options.items())
    return url.update_query_dict({"options": f"{url.query.get('options', '')} {added}".strip()})


def _libpq(url: str) -> str:
    return _text(make_url(url).set(drivername="postgresql"))


def _text(url: URL) -> str:
    address, mark, query = url.render_as_string(hide_password=False).partition("?")
    return address + mark + query.replace("+", "%20")  # libpq takes a plus sign for itself
