"""What operators see: log lines with their trace, and metrics for Prometheus. Nothing is registered at import."""

import logging
import sys
from dataclasses import dataclass, field
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class Telemetry:
    """The metrics of one process, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        reader = ("service", "topic", "partition")
        self.http_seconds = self._histogram(
            "valueloop_http_seconds", "Time to answer a request [s].", ("service", "method", "route", "status")
        )
        self.reader_lag = self._gauge("valueloop_reader_lag", "Records a reader has still to handle.", reader)
        self.parked = self._gauge("valueloop_parked", "Records set aside until an operator decides.", ("service",))
        self.ready = self._gauge(
            "valueloop_ready", "1 where the service's database answered at the scrape, else 0.", ("service",)
        )
        self.outbox_age = self._gauge(
            "valueloop_outbox_age_seconds", "Age of the oldest record not yet copied to Kafka [s].", ("service",)
        )
        self.batches = self._counter(
            "valueloop_batches",
            "Transactions of workers: done, parked, failed (repeated in halves).",
            ("service", "outcome"),
        )
        self.records = self._counter("valueloop_records", "Records handled or parked.", ("service", "outcome"))
        self.batch_seconds = self._histogram(
            "valueloop_batch_seconds", "Time of a worker's transaction [s].", ("service",)
        )

    def _gauge(self, name: str, meaning: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(name, meaning, labels, registry=self.registry)

    def _counter(self, name: str, meaning: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, meaning, labels, registry=self.registry)

    def _histogram(self, name: str, meaning: str, labels: tuple[str, ...]) -> Histogram:
        return Histogram(name, meaning, labels, buckets=_SECONDS, registry=self.registry)


def configure_logging(level: str = "info", json: bool | None = None) -> None:
    """Sends all log lines, those of libraries too, to standard error; again replaces what was set before.

    Args:
        level: the least severe line that is written: debug, info, warning or error.
        json: lines as JSON; None decides by whether standard error is a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _StandardError()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering(as_json)))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("uvicorn.access", "httpx", "httpcore", "kafka"):  # the first would log codes of persons
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _StandardError(logging.StreamHandler[Any]):
    """Writes to what standard error is at the moment of writing: a test or a terminal may have replaced it."""

    @property
    def stream(self) -> Any:
        return sys.stderr

    @stream.setter
    def stream(self, _stream: Any) -> None:
        """Nothing is kept."""


def _rendering(as_json: bool) -> list[Any]:
    """Tracebacks come without local variables: those hold tokens, amounts and names."""
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if not as_json:
        plain = structlog.dev.plain_traceback
        return [strip, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    exceptions = structlog.processors.ExceptionRenderer(frames)
    return [strip, exceptions, structlog.processors.JSONRenderer(default=str)]
