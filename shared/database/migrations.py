"""One migration history per service, in `services/<name>/migrations/versions`, run by the role that owns the tables.

Alembic is called as a library: no `alembic.ini`, no `env.py` per service, nothing to keep in step.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

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
        before, newest = _context(connection).get_current_revision(), script.get_current_head()
        if before == newest:
            return
        if before is not None and before not in {one.revision for one in script.walk_revisions()}:
            raise SchemaIsNewer(
                f"The {service} database is at version {before}; this ValueLoop knows up to {newest}.",
                remedy="Install the newer ValueLoop again, or restore the backup made before it.",
            )
        with _environment(script) as environment:
            environment.configure(connection=connection, version_table_schema="public")
            environment.run_migrations()
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
    """How a migrated database differs from the tables in the code; empty where it does not."""
    with _owner(owner_url) as connection:
        return [repr(difference) for difference in _difference(connection, service).as_diffs()]


def revision(service: str, message: str, owner_url: str) -> Path:
    """Drafts the next migration from the difference between code and a migrated database. Read it before you commit it.

    `message` says why the change is needed; it becomes the file's name and docstring.
    """
    with _owner(owner_url) as connection:
        code = render_python_code(_difference(connection, service))
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("#")]
    body = "\n".join(lines).replace("astext_type=Text()", "") or "    pass"
    script = _script(service)
    versions, previous = Path(script.dir) / "versions", script.get_current_head()
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
    out = StringIO()
    with _environment(_script(service), as_sql=True) as environment:
        environment.configure(dialect_name="postgresql", output_buffer=out, literal_binds=True)
        environment.run_migrations()
    _, mark, ours = out.getvalue().partition("-- Running")  # before it stands what makes Alembic's own table
    return mark + ours


def _environment(script: ScriptDirectory, **options: Any) -> EnvironmentContext:
    def upgrades(revision: Any, _context: Any) -> Any:
        return script._upgrade_revs("head", revision)

    return EnvironmentContext(Config(), script, fn=upgrades, destination_rev="head", **options)


def _difference(connection: Connection, service: str) -> Any:
    metadata = import_module(f"services.{service}.tables").metadata
    return produce_migrations(_context(connection), metadata).upgrade_ops


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
    return ScriptDirectory(str(Path(str(import_module(f"services.{service}").__file__)).parent / "migrations"))
