"""Whether a process lives, and whether it should get requests."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from anyio import CapacityLimiter, create_task_group, fail_after, to_thread
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.database.outage import is_outage
from shared.http.observe import ROUTE
from shared.http.problems import problem
from shared.log.position import Position
from shared.service import Runtime
from shared.telemetry import Telemetry

ANSWER_WITHIN = 2  # [s]
Answer = Callable[[Request], Awaitable[Response]]
_OUTBOX_AGE = text(
    "SELECT coalesce(extract(epoch FROM now() - min(r.recorded_at)), 0) FROM log.partition p "
    "LEFT JOIN log.forward f USING (topic, partition) "
    "JOIN log.record r ON (r.topic, r.partition, r.pos) = (p.topic, p.partition, coalesce(f.next_pos, 0))"
)


@dataclass
class Readiness:
    """Shared by all applications of a process. `drain()` before the listener closes: balancers stop sending first."""

    draining: bool = False

    def drain(self) -> None:
        self.draining = True


def health_routes(
    runtimes: Mapping[str, Runtime], readiness: Readiness, telemetry: Telemetry, service: str
) -> list[Route]:
    """`/livez`, `/readyz` and `/metrics`, open to everybody; they tell nothing about persons or companies."""
    prefix = "" if service == "root" else f"/{service}"
    # Threads of its own: a database that hangs must not use up those that requests need.
    threads = CapacityLimiter(2 * len(runtimes) + 2)
    asking = CapacityLimiter(1)  # for what asks Kafka: while that is away, probes must still find a thread

    async def livez(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(request: Request) -> Response:
        away = ["listener: draining"] if readiness.draining else await _databases_away(runtimes, threads)
        if not away:
            return JSONResponse({"status": "ready"})
        return problem(request, 503, "NotReady", f"Away: {', '.join(away)}.", away=away)

    async def metrics(request: Request) -> Response:
        for observe, limiter in ((_observe_database, threads), (_observe_readers, asking)):
            with suppress(TimeoutError), fail_after(ANSWER_WITHIN):
                for runtime in runtimes.values():
                    await to_thread.run_sync(observe, runtime, telemetry, abandon_on_cancel=True, limiter=limiter)
        return Response(generate_latest(telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    def noted(path: str, answer: Answer) -> Route:
        async def endpoint(request: Request) -> Response:
            request.scope[ROUTE] = (service, prefix + path)
            return await answer(request)

        return Route(path, endpoint)

    return [noted("/livez", livez), noted("/readyz", readyz), noted("/metrics", metrics)]


async def _databases_away(runtimes: Mapping[str, Runtime], threads: CapacityLimiter) -> list[str]:
    away: list[str] = []

    async def ask(name: str, runtime: Runtime) -> None:
        try:
            with fail_after(ANSWER_WITHIN):
                await to_thread.run_sync(_ask, runtime, abandon_on_cancel=True, limiter=threads)
        except Exception:  # whatever it is: the probe's answer is that this database does not answer
            away.append(f"database of {name}")

    async with create_task_group() as group:
        for name, runtime in runtimes.items():
            group.start_soon(ask, name, runtime)
    return sorted(away)


def _ask(runtime: Runtime) -> None:
    with runtime.engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def _observe_database(runtime: Runtime, telemetry: Telemetry) -> None:
    """What its database tells, as it is at the scrape; what cannot be read keeps its last value."""
    name = runtime.service.name
    telemetry.ready.labels(name).set(0)  # until it has answered: the scrape may give up waiting
    with suppress(SQLAlchemyError), runtime.engine.connect() as connection:
        telemetry.parked.labels(name).set(connection.execute(text("SELECT count(*) FROM log.parked")).scalar_one())
        if runtime.settings.kafka_bootstrap:
            telemetry.outbox_age.labels(name).set(connection.execute(_OUTBOX_AGE).scalar_one())
        telemetry.ready.labels(name).set(1)


def _observe_readers(runtime: Runtime, telemetry: Telemetry) -> None:
    """Lag, as it is at the scrape; where database or log are away it keeps its last value."""
    try:
        with runtime.engine.connect() as connection:
            rows = connection.execute(text("SELECT topic, partition, epoch, next_pos, kafka_offset FROM log.position"))
            stands = {(row[0], row[1]): Position(*row[2:]) for row in rows}
        for topic in runtime.service.inputs:
            log = runtime.log_of(topic)
            places = [(topic, partition) for partition in range(log.partitions(topic))]
            for (_, partition), lag in log.lag({place: stands.get(place) for place in places}).items():
                telemetry.reader_lag.labels(runtime.service.name, topic, str(partition)).set(lag)
    except Exception as error:
        if not is_outage(error):
            raise
