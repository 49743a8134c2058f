"""A real PostgreSQL for every test process, and freshly migrated databases out of a copy."""

from collections.abc import Callable, Iterable, Iterator
from itertools import count

import psycopg
import pytest

from shared.database import migrations
from shared.database.embedded import FOR_TESTS, EmbeddedPostgres
from shared.database.provision import ServiceUrls, make_database, provision
from shared.log.postgres import PostgresLog, create_topics
from shared.service import Runtime
from shared.settings import Settings

NewDatabase = Callable[[str], ServiceUrls]
NewRuntimes = Callable[..., dict[str, Runtime]]


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The administrator's URL of a server of this test process; its data may be lost, so it waits for no disk."""
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), FOR_TESTS)
    yield postgres.start()
    postgres.stop()


@pytest.fixture(scope="session")
def template(postgres_url: str) -> Callable[[str], str]:
    """Name of a migrated database of a service, made once; nobody stays connected to it, so it can be copied."""
    made: dict[str, str] = {}

    def of(service: str) -> str:
        if service not in made:
            urls = provision(postgres_url, [service], prefix="template")[service]
            migrations.upgrade(service, urls.owner)
            made[service] = f"template_{service}"
        return made[service]

    return of


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture
def database(postgres_url: str, template: Callable[[str], str], _numbers: Iterator[int]) -> Iterator[NewDatabase]:
    """`database("goals")`: an empty, migrated database, dropped after the test."""
    names: list[str] = []
    with psycopg.connect(postgres_url, autocommit=True) as administrator:

        def make(service: str) -> ServiceUrls:
            names.append(f"test_{next(_numbers)}_{service}")
            return make_database(administrator, postgres_url, service, names[-1], template(service))

        yield make
        for name in names:
            administrator.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def disconnect(runtimes: Iterable[Runtime]) -> None:
    """Closes their connections: a test that makes many installations would else use up the server's."""
    for runtime in runtimes:
        runtime.engine.dispose()
        for log in runtime.logs.values():
            if isinstance(log, PostgresLog):
                log.engine.dispose()


@pytest.fixture
def runtimes(database: NewDatabase) -> Iterator[NewRuntimes]:
    """`runtimes("goals", "metrics")`: services over empty databases with topics made; all four if none is named."""
    from services.runtime import SERVICES, build_runtimes

    made: list[Runtime] = []

    def make(*names: str, **settings: object) -> dict[str, Runtime]:
        chosen = names or SERVICES
        values = Settings(**settings)  # type: ignore[arg-type]
        urls = {name: database(name) for name in chosen}
        built = build_runtimes(values, urls, chosen, purpose="worker")
        for runtime in built.values():
            create_topics(runtime.engine, runtime.service, values.partitions)
        made.extend(built.values())
        return built

    yield make
    disconnect(made)
