"""The broker that tests and `make kafka` run: what it promises holds on the real thing."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from deploy.kafka import broker as module
from deploy.kafka.broker import PASSWORD, USER, Broker, KafkaUnavailable, missing
from shared.log.kafka import Cluster
from shared.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if reason := missing():
        pytest.skip(reason)
    with Broker(tmp_path_factory.mktemp("kafka"), secure=True) as made:
        admin = KafkaAdminClient(bootstrap_servers=made.bootstrap)
        admin.create_topics([NewTopic("told", 1, 1)])
        admin.close()
        yield made


def say(value: bytes, **connection: Any) -> None:
    producer = KafkaProducer(acks="all", **connection)
    try:
        producer.send("told", value).get(timeout=20)
    finally:
        producer.close(timeout=1)


def heard(broker: Broker) -> list[bytes]:
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap)
    place = TopicPartition("told", 0)
    consumer.assign([place])
    consumer.seek(place, 0)
    end, values = consumer.end_offsets([place])[place], []
    while len(values) < end:
        values += [record.value for records in consumer.poll(1000).values() for record in records]
    consumer.close()
    return values


def test_address_and_acknowledged_records_survive_a_stop_and_a_kill(broker: Broker) -> None:
    before = broker.bootstrap
    say(b"before", bootstrap_servers=before)
    broker.stop()
    broker.start()
    say(b"between", bootstrap_servers=before)
    broker.kill()
    assert broker.start() == before
    assert heard(broker)[-2:] == [b"before", b"between"]


def test_a_producer_that_is_thrown_away_sends_nothing_more(broker: Broker) -> None:
    producer = Cluster(Settings(kafka_bootstrap=broker.bootstrap)).producer()
    producer.send("told", partition=0, key=b"", value=b"acknowledged", headers=[]).get(20)
    broker.kill()
    producer.send("told", partition=0, key=b"", value=b"waits", headers=[])
    producer.close(0)
    broker.start()
    say(b"another", bootstrap_servers=broker.bootstrap)
    assert heard(broker)[-2:] == [b"acknowledged", b"another"]
    assert not [each.name for each in threading.enumerate() if "producer" in each.name and each.is_alive()]


def test_a_user_over_tls_and_a_certificate_each_get_in_and_nobody_else(broker: Broker) -> None:
    ca = str(broker.certificate("ca.crt"))
    user = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_plain_username": USER, "ssl_cafile": ca}
    over_sasl = {"bootstrap_servers": broker.sasl_bootstrap, **user}
    over_tls = {"bootstrap_servers": broker.tls_bootstrap, "security_protocol": "SSL", "ssl_cafile": ca}
    own = {name: str(broker.certificate(file)) for name, file in
           {"ssl_certfile": "client.crt", "ssl_keyfile": "client.key"}.items()}  # fmt: skip
    say(b"by password", sasl_plain_password=PASSWORD, **over_sasl)
    say(b"by certificate", **over_tls, **own)
    for refused in (over_sasl | {"sasl_plain_password": "guessed"}, over_tls):
        with pytest.raises(KafkaError):
            say(b"never", bootstrap_timeout_ms=3000, **refused)
    assert heard(broker)[-2:] == [b"by password", b"by certificate"]


def test_the_command_names_its_address_and_stops_at_ctrl_c(broker: Broker) -> None:
    (port,) = module._free_ports(1)
    command = [sys.executable, str(ROOT / "deploy" / "kafka" / "broker.py"), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == f"VALUELOOP_KAFKA_BOOTSTRAP=127.0.0.1:{port}\n"
        process.send_signal(signal.SIGINT)
        assert "Stopped." in process.stdout.read()
    assert process.returncode == 0


def test_without_java_it_says_what_to_do_and_does_not_skip_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.delenv("VALUELOOP_REQUIRE_KAFKA", raising=False)
    assert "set JAVA_HOME" in (missing() or "")
    with pytest.raises(KafkaUnavailable, match="set JAVA_HOME"):
        Broker(tmp_path).start()
    monkeypatch.setenv("VALUELOOP_REQUIRE_KAFKA", "1")
    with pytest.raises(KafkaUnavailable, match="must run here"):
        missing()


def test_an_old_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.delenv("VALUELOOP_REQUIRE_KAFKA", raising=False)
    assert "11.0.2" in (missing() or "")


def test_without_maven_and_without_the_jars_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "Maven" in (module._no_maven() or "")


def test_a_setting_the_broker_refuses_is_told_with_its_log(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(KafkaUnavailable, match="num\\.partitions"):
        Broker(tmp_path, settings={"num.partitions": "few"}).start()
    assert os.listdir(tmp_path)
