"""What a worker process answers to probes and to Prometheus: `/livez`, `/readyz` and `/metrics`, as an API does."""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette

from shared.http.health import Readiness, health_routes
from shared.service import Runtime
from shared.telemetry import Telemetry


@contextmanager
def answering(runtimes: Mapping[str, Runtime], telemetry: Telemetry, listener: socket.socket | None) -> Iterator[None]:
    """Answers on `listener` until the block ends, in a thread of its own; does nothing without one."""
    if listener is None:
        yield
        return
    app = Starlette(routes=health_routes(runtimes, Readiness(), telemetry, "root"))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="health")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
