"""Settings of a process, read from the environment when `Settings()` is made and never before.

Each is set as `VALUELOOP_` + its name in capitals. `docs/operations.md` lists them; a test keeps that list complete.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict


class Settings(BaseSettings):
    """How one process of ValueLoop runs. What decides about numbers is not here: that is a dated policy."""

    model_config = SettingsConfigDict(env_prefix="VALUELOOP_", frozen=True, extra="forbid", env_ignore_empty=True)

    secrets_directory: Path = Field(
        default=Path("/run/secrets"),
        description="Files named like a variable in small letters, such as valueloop_database_url, set what the"
        " environment does not, so that no secret need stand in a process's environment.",
    )
    data_directory: Path = Field(
        default=Path(".valueloop"),
        description="Where the embedded PostgreSQL keeps its data and the local issuer its keys.",
    )
    database_url: str | None = Field(
        default=None,
        description="Administrator URL of a PostgreSQL 16 or newer that may create databases and roles,"
        " such as postgresql://admin:secret@db.example.com/postgres. Without it PostgreSQL runs embedded.",
    )
    goals_database_url: str | None = Field(
        default=None, description="URL of the goals database with a login of its own; no provisioning then."
    )
    metrics_database_url: str | None = Field(
        default=None, description="URL of the metrics database with a login of its own; no provisioning then."
    )
    incentives_database_url: str | None = Field(
        default=None, description="URL of the incentives database with a login of its own; no provisioning then."
    )
    reviews_database_url: str | None = Field(
        default=None, description="URL of the reviews database with a login of its own; no provisioning then."
    )

    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8700, ge=1, le=65535, description="Port the API listens on.")
    health_port: int = Field(
        default=0, ge=0, le=65535, description="Port on which a worker answers probes and Prometheus; 0 for none."
    )
    workers: int = Field(
        default=2, ge=1, le=64, description="Worker processes of `valueloop up`; each runs the workers of all services."
    )
    drain_grace_seconds: float = Field(
        default=1.0,
        ge=0,
        description="How long a stopping API still takes connections after it reports that it is not ready [s].",
    )
    drain_seconds: int = Field(
        default=30, ge=1, description="How long running requests and transactions may take at a stop [s]."
    )

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe log line that is written."
    )
    log_json: bool | None = Field(
        default=None, description="Log lines as JSON; when not set, they are JSON unless a terminal shows them."
    )

    settable_clock: bool = Field(
        default=False, description="Allow administrators to set the clock. For tests and the demo only."
    )
    partitions: int = Field(
        default=4, ge=1, le=256, description="Partitions of a topic, and so the most workers that share one."
    )
    batch_size: int = Field(
        default=5_000, ge=1, le=100_000, description="The most records a worker handles in one transaction."
    )
    lease_seconds: int = Field(
        default=10, ge=2, description="How long a silent worker keeps its partitions before another takes them [s]."
    )
    poll_seconds: float = Field(
        default=1.0, gt=0, description="How often a worker looks for records when no notification wakes it [s]."
    )
    parked_limit: int = Field(
        default=1_000, ge=1, description="Parked records of one reader at which its worker stops with a message."
    )

    kafka_bootstrap: str | None = Field(
        default=None,
        description="Brokers of the Kafka cluster that carries the log, such as kafka-1:9092,kafka-2:9092."
        " Without it the log is read from PostgreSQL.",
    )
    kafka_prefix: str = Field(
        default="valueloop.", description="What the names of all topics in Kafka begin with.", max_length=100
    )
    kafka_replication: int = Field(default=1, ge=1, le=32, description="Replicas of a topic that is made in Kafka.")
    kafka_retention_days: int = Field(
        default=14, ge=1, description="How long Kafka keeps records; a reader must not be away for longer [days]."
    )
    kafka_timeout_seconds: float = Field(
        default=10, gt=0, description="How long to wait for Kafka's acknowledgement before it is sent again [s]."
    )
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to talk to Kafka: in the clear or by TLS, with or without a login."
    )
    kafka_ca_file: Path | None = Field(default=None, description="Certificates (PEM) by which Kafka is recognised.")
    kafka_certificate_file: Path | None = Field(
        default=None, description="Our certificate (PEM), where Kafka asks for one."
    )
    kafka_key_file: Path | None = Field(default=None, description="The key (PEM) of our certificate.")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How to log in to Kafka."
    )
    kafka_username: str | None = Field(default=None, description="Whom to log in to Kafka as.")
    kafka_password: SecretStr | None = Field(default=None, description="With which password.")

    trim_after_days: int = Field(
        default=7,
        ge=0,
        description="How long records that can be made again are kept at least, however far their readers are [days].",
    )
    idempotency_days: int = Field(
        default=30, ge=1, description="How long the answer to a request with an Idempotency-Key is kept [days]."
    )

    peers: str | None = Field(
        default=None,
        description="Where previews find the APIs of the other services, such as http://{service}:8700, where {service}"
        " stands for a service's name; without it at the address that this process was asked at.",
    )

    issuer: str = Field(
        default="valueloop-local", description="The `iss` a bearer token must carry; the default is the local issuer."
    )
    audience: str = Field(default="valueloop", description="The `aud` a bearer token must carry.")
    jwks_url: str | None = Field(default=None, description="Where the identity provider publishes its keys (JWKS).")
    jwks_file: Path | None = Field(
        default=None, description="A file with the keys (JWKS); without file and URL the local issuer's keys count."
    )

    body_limit: int = Field(default=1_048_576, ge=1_024, description="Largest body of a request [bytes].")
    intake_body_limit: int = Field(
        default=8_388_608, ge=1_024, description="Largest body of a request that brings events [bytes]."
    )
    intake_max_events: int = Field(default=5_000, ge=1, description="The most events in one request.")
    rate_limit: int = Field(
        default=0, ge=0, description="Requests a caller may make per second; 0 sets no limit [requests/s]."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options first, then the environment, then files."""
        given = env_settings() | init_settings()
        where = given.get("secrets_directory", cls.model_fields["secrets_directory"].default)
        files = (SecretsSettingsSource(settings_cls, where),) if Path(where).is_dir() else ()
        return (init_settings, env_settings, *files)

    def service_database_url(self, service: str) -> str | None:
        """The URL an operator gave for one service's database, if any."""
        url: str | None = getattr(self, f"{service}_database_url")
        return url
