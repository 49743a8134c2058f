"""One migration history per service, in `services/<name>/migrations/versions`, run by the role that owns the tables.

Alembic is called as a library: no `alembic.ini`, no `env.py` per service, nothing to keep in step.
"""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text

from shared.database.directory import BrokenEnvironment
from shared.database.provision import engine_for, grants_after_migrations

LOCK = 0x4D494752415445  # "MIGRATE": one process migrates a database, the others wait and find it done

FIRST = '    op.execute("CREATE SCHEMA log")\n'


class SchemaIsNewer(BrokenEnvironment):
    """The database was migrated by a later version of ValueLoop."""


def upgrade(service: str, owner_url: str) -> None:
    """Brings a service's database to the newest version, in one transaction; nothing where it is there already.

    Raises:
        SchemaIsNewer: the database knows a migration that this code does not.
    """
    with _owner(owner_url) as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        script = _script(service)
        before = _context(connection).get_current_revision()
        if before == script.get_current_head():
            return
        _refuse_newer(service, script, before)
        _run(connection, script)
        for statement in grants_after_migrations(service):
            connection.execute(text(statement))


def current(owner_url: str) -> str | None:
    """The version a database is at; None where it was never migrated."""
    with _owner(owner_url) as connection:
        return _context(connection).get_current_revision()


def head(service: str) -> str | None:
    """The newest version this code knows."""
    return _script(service).get_current_head()


def check(service: str, owner_url: str) -> list[str]:
    """How the migrated database differs from the tables in the code; empty where it does not.

    Args:
        owner_url: a database that `upgrade` has been run on.
    """
    with _owner(owner_url) as connection:
        migrations = produce_migrations(_context(connection), metadata_of(service))
        operations = migrations.upgrade_ops
        return [repr(difference) for difference in operations.as_diffs()] if operations else []


def revision(service: str, message: str, owner_url: str) -> Path:
    """Drafts the next migration from the difference between code and database. Read it before you commit it.

    Args:
        message: why the change is needed; becomes the file's name and docstring.
        owner_url: a database that `upgrade` has been run on.
    """
    with _owner(owner_url) as connection:
        operations: Any = produce_migrations(_context(connection), metadata_of(service)).upgrade_ops
        body = _tidy(render_python_code(operations))
    versions, previous = _directory(service) / "versions", head(service)
    number = f"{int(previous or 0) + 1:04}"
    path = versions / f"{number}_{re.sub(r'[^a-z0-9]+', '_', message.lower()).strip('_')[:60]}.py"
    versions.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'"""{message}"""\n\nimport sqlalchemy as sa\nfrom alembic import op\n'
        "from sqlalchemy.dialects import postgresql\n\n"
        f'revision = "{number}"\ndown_revision = {previous!r}\n\n\ndef upgrade() -> None:\n'
        f"{'' if previous else FIRST}{body}\n"
    )
    return path


def statements(service: str) -> str:
    """The SQL of a service's whole history, for a linter to read."""
    script, out = _script(service), StringIO()
    with EnvironmentContext(Config(), script, fn=_upgrades(script), as_sql=True, destination_rev="head") as environment:
        environment.configure(dialect_name="postgresql", output_buffer=out, literal_binds=True)
        environment.run_migrations()
    _, mark, ours = out.getvalue().partition("-- Running")  # before it stands what makes Alembic's own table
    return mark + ours


def metadata_of(service: str) -> MetaData:
    """The tables a service's code speaks of."""
    metadata: MetaData = importlib.import_module(f"services.{service}.tables").metadata
    return metadata


def _run(connection: Connection, script: ScriptDirectory) -> None:
    with EnvironmentContext(Config(), script, fn=_upgrades(script), destination_rev="head") as environment:
        environment.configure(connection=connection, version_table_schema="public")
        environment.run_migrations()


def _upgrades(script: ScriptDirectory) -> Any:
    return lambda revision, _context: script._upgrade_revs("head", revision)


def _refuse_newer(service: str, script: ScriptDirectory, before: str | None) -> None:
    known = {one.revision for one in script.walk_revisions()}
    if before is not None and before not in known:
        raise SchemaIsNewer(
            f"The {service} database is at version {before}; this ValueLoop knows up to {script.get_current_head()}.",
            remedy="Install the newer ValueLoop again, or restore the backup made before it.",
        )


def _context(connection: Connection) -> MigrationContext:
    partitions = set(connection.scalars(text("SELECT relname FROM pg_class WHERE relispartition")))

    def ours(name: str | None, kind: str, parent: Any) -> bool:
        if kind == "schema":
            return name in (None, "log")
        return not (kind == "table" and (name in partitions or name == "alembic_version"))

    options = {"include_schemas": True, "include_name": ours, "compare_type": True, "compare_server_default": True}
    return MigrationContext.configure(connection, opts=options | {"version_table_schema": "public"})


@contextmanager
def _owner(url: str) -> Iterator[Connection]:
    """A transaction as the owner. A migration that cannot get its lock soon gives up, or it would stop all others."""
    engine = engine_for(url, application_name="valueloop migrate", pool_size=1, lock_timeout="10s")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _script(service: str) -> ScriptDirectory:
    return ScriptDirectory(_directory(service))


def _directory(service: str) -> Path:
    specification = find_spec(f"services.{service}")
    if specification is None or specification.origin is None:
        raise LookupError(f"there is no service {service}")
    return Path(specification.origin).parent / "migrations"


def _tidy(code: str) -> str:
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("#")]
    return "\n".join(lines).replace("astext_type=Text()", "") or "    pass"
