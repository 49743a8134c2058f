"""How Kafka is reached, as the settings say it, in the words of the client library."""

from pathlib import Path

from pydantic import SecretStr

from shared.log.kafka import Cluster
from shared.settings import Settings


def test_a_login_over_tls_reaches_the_client() -> None:
    settings = Settings(
        kafka_bootstrap="a:9093,b:9093", kafka_security="SASL_SSL", kafka_ca_file=Path("/ca.crt"),
        kafka_username="valueloop", kafka_password=SecretStr("pa55word"),
    )  # fmt: skip
    said = Cluster(settings).connection
    assert said["bootstrap_servers"] == ["a:9093", "b:9093"]
    assert said["security_protocol"] == "SASL_SSL"
    assert said["ssl_cafile"] == "/ca.crt"
    assert said["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (said["sasl_plain_username"], said["sasl_plain_password"]) == ("valueloop", "pa55word")
    assert "ssl_certfile" not in said


def test_our_own_certificate_reaches_the_client() -> None:
    settings = Settings(
        kafka_bootstrap="a:9093", kafka_security="SSL", kafka_ca_file=Path("/ca.crt"),
        kafka_certificate_file=Path("/own.crt"), kafka_key_file=Path("/own.key"),
    )  # fmt: skip
    said = Cluster(settings).connection
    assert said["security_protocol"] == "SSL"
    assert (said["ssl_cafile"], said["ssl_certfile"], said["ssl_keyfile"]) == ("/ca.crt", "/own.crt", "/own.key")
    assert "sasl_mechanism" not in said


def test_a_password_shows_in_no_text_of_the_settings() -> None:
    settings = Settings(kafka_username="valueloop", kafka_password=SecretStr("pa55word"))
    assert "pa55word" not in repr(settings)
