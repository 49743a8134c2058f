"""A cluster that does not fit, or refuses us, is told in a sentence with what to do about it."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from kafka.admin import KafkaAdminClient, NewTopic

from deploy.kafka.broker import PASSWORD, USER
from shared.database.embedded import FOR_TESTS, EmbeddedPostgres
from tests.cluster import company
from tests.cluster.harness import Cluster

TOPIC = "metrics.source-events"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """PostgreSQL and a broker with every kind of listener; no processes."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), secure=True)
    try:
        made.postgres.start()
        made.broker.start()
        made.command("migrate")
        yield made
    finally:
        made.broker.close()
        made.postgres.stop()


def by_password(cluster: Cluster, password: str) -> dict[str, str]:
    return {
        "VALUELOOP_KAFKA_BOOTSTRAP": cluster.broker.sasl_bootstrap,
        "VALUELOOP_KAFKA_SECURITY": "SASL_SSL",
        "VALUELOOP_KAFKA_SASL_MECHANISM": "PLAIN",
        "VALUELOOP_KAFKA_USERNAME": USER,
        "VALUELOOP_KAFKA_PASSWORD": password,
        "VALUELOOP_KAFKA_CA_FILE": str(cluster.broker.certificate("ca.crt")),
    }


def by_certificate(cluster: Cluster) -> dict[str, str]:
    return {
        "VALUELOOP_KAFKA_BOOTSTRAP": cluster.broker.tls_bootstrap,
        "VALUELOOP_KAFKA_SECURITY": "SSL",
        "VALUELOOP_KAFKA_CA_FILE": str(cluster.broker.certificate("ca.crt")),
        "VALUELOOP_KAFKA_CERTIFICATE_FILE": str(cluster.broker.certificate("client.crt")),
        "VALUELOOP_KAFKA_KEY_FILE": str(cluster.broker.certificate("client.key")),
    }


def test_a_topic_with_fewer_partitions_than_the_log_is_refused_and_apply_raises_it(cluster: Cluster) -> None:
    prefix = {"VALUELOOP_KAFKA_PREFIX": "narrow."}
    admin = KafkaAdminClient(bootstrap_servers=cluster.broker.bootstrap)
    admin.create_topics([NewTopic(f"narrow.{TOPIC}", 1, 1)])
    admin.close()
    said = cluster.command("work", "metrics", expect=1, environment=prefix)
    assert f"narrow.{TOPIC}: raise it from 1 to 4 partitions" in said
    assert "valueloop topics apply" in said
    planned = cluster.command("topics", "plan", expect=1, environment=prefix)
    assert f"narrow.{TOPIC}: raise it from 1 to 4 partitions" in planned
    cluster.command("topics", "apply", environment=prefix)
    assert "All topics are as they should be." in cluster.command("topics", "plan", environment=prefix)


def test_an_empty_database_refuses_the_topics_of_another_installation(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.serving() as first:
        company.set_up(first.client("first"))
        first.client("first").push_encoded([event.body for event in company.events(50, 1)])
        first.client("first").wait_until_settled(120)
    second = EmbeddedPostgres(tmp_path / "second", FOR_TESTS)
    try:
        empty = {"VALUELOOP_DATABASE_URL": second.start()}
        cluster.command("migrate", environment=empty)
        said = cluster.command("work", "metrics", expect=1, environment=empty)
        assert "another installation's, or one from before a rebuild" in said
        assert "VALUELOOP_KAFKA_PREFIX" in said
        readings = "SELECT count(*) FROM reading"
        with psycopg.connect(empty["VALUELOOP_DATABASE_URL"].replace("/postgres?", "/valueloop_metrics?")) as database:
            assert database.execute(readings).fetchone() == (0,), "it took in what others accepted"
    finally:
        second.stop()


def test_a_password_and_a_certificate_of_the_settings_reach_kafka(cluster: Cluster) -> None:
    fits = "All topics are as they should be."
    assert fits in cluster.command("topics", "plan", environment=by_password(cluster, PASSWORD))
    assert fits in cluster.command("topics", "plan", environment=by_certificate(cluster))


def test_a_wrong_password_is_told_in_a_sentence(cluster: Cluster) -> None:
    said = cluster.command("topics", "plan", expect=1, environment=by_password(cluster, "guessed"))
    assert "does not let us in" in said  # the client does not always get to read why
    assert "the user and password" in said
    assert "not foreseen" not in said
    assert "guessed" not in said


def test_a_listener_that_asks_for_tls_and_gets_none_is_told_in_a_sentence(cluster: Cluster) -> None:
    without = {"VALUELOOP_KAFKA_BOOTSTRAP": cluster.broker.sasl_bootstrap}
    said = cluster.command("topics", "plan", expect=1, environment=without)
    assert "does not let us in" in said
    assert "VALUELOOP_KAFKA_SECURITY" in said
    assert "not foreseen" not in said


def test_missing_checksums_are_told_at_the_start(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "crc32c.py").write_text("raise ImportError('not here')\n")
    path = f"{tmp_path}:{cluster.environment['PYTHONPATH']}"
    said = cluster.command("work", "metrics", expect=1, environment={"PYTHONPATH": path})
    assert "extension crc32c is missing" in said
    assert "pip install crc32c" in said
