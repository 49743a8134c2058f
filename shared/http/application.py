"""The web application: a FastAPI application per service, mounted at its name, alone or beside the others."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from anyio import CapacityLimiter
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from shared.http import problems
from shared.http.asyncapi import asyncapi
from shared.http.documentation import document, operation_id
from shared.http.health import Readiness, health_routes
from shared.http.limits import BodyLimit, RateLimit
from shared.http.observe import ROUTE, LastResort, Observe
from shared.http.routing import Wiring
from shared.identity import Identity
from shared.log.routes import log_router
from shared.service import Runtime, Service
from shared.settings import Settings
from shared.telemetry import Telemetry

TRANSACTIONS = 32  # under way in one process; fewer than the 40 worker threads, see `Wiring`
TRANSACTIONS_PER_SERVICE = 10  # as many as the engine has connections
_ENTRIES = {"api": "v1", "docs": "docs", "openapi": "openapi.json", "asyncapi": "asyncapi.json", "ready": "readyz"}


def create_app(runtimes: Mapping[str, Runtime], settings: Settings, identity: Identity) -> Starlette:
    """The application of a process: one service or several, each at `/{name}`, with an index at `/`.

    `app.state.readiness.drain()` makes it not ready before it stops; `app.state.services[name]` is one service's
    FastAPI application.
    """
    telemetry, readiness = Telemetry(), Readiness()
    slots = min(TRANSACTIONS_PER_SERVICE, max(1, TRANSACTIONS // max(1, len(runtimes))))
    services = {
        name: create_service_app(runtime, settings, identity, telemetry, readiness, slots)
        for name, runtime in runtimes.items()
    }
    app = Starlette(
        routes=[
            Route("/", _index(list(services))),
            _asyncapi(runtimes, settings, "root"),
            *health_routes(runtimes, readiness, telemetry, "root"),
            *(Mount(f"/{name}", app=service) for name, service in services.items()),
        ],
        exception_handlers=problems.handlers(),
        middleware=[Middleware(Observe, telemetry=telemetry, service="root"), Middleware(LastResort)],
        lifespan=_lifespan(runtimes),
    )
    app.router.redirect_slashes = False
    app.state.readiness, app.state.services = readiness, services
    return app


def create_service_app(
    runtime: Runtime,
    settings: Settings,
    identity: Identity,
    telemetry: Telemetry | None = None,
    readiness: Readiness | None = None,
    transactions: int = TRANSACTIONS_PER_SERVICE,
) -> FastAPI:
    """One service, to be mounted at `/{name}`: its routers under `/v1`, docs at `/docs`, health beside them."""
    name = runtime.service.name
    telemetry, readiness = telemetry or Telemetry(), readiness or Readiness()
    app = FastAPIOffline(
        title=f"ValueLoop {name}",
        version=_version(),
        description=f"The {name} service. Amounts, readings and scores are decimal strings.",
        docs_url="/docs",
        redoc_url=None,
        servers=[{"url": f"/{name}"}],
        root_path_in_servers=False,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
        exception_handlers=problems.handlers(),
        middleware=[
            Middleware(Observe, telemetry=telemetry, service=name),
            Middleware(LastResort),
            Middleware(BodyLimit, usual=settings.body_limit, intake=settings.intake_body_limit),
        ],
    )
    rate, slots = RateLimit(settings.rate_limit), CapacityLimiter(transactions)
    app.state.wiring = Wiring(runtime, settings, identity, rate, slots)
    app.router.routes.extend(health_routes({name: runtime}, readiness, telemetry, name))
    app.router.routes.append(_asyncapi({name: runtime}, settings, name))
    for router in (log_router(), *runtime.service.routers):
        app.include_router(router, prefix="/v1")
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    return app


def _index(names: list[str]) -> Any:
    services = {name: {what: f"/{name}/{path}" for what, path in _ENTRIES.items()} for name in names}

    async def index(request: Request) -> Response:
        request.scope[ROUTE] = ("root", "/")
        root = {"asyncapi": "/asyncapi.json", "live": "/livez", "ready": "/readyz", "metrics": "/metrics"}
        return JSONResponse({"name": "ValueLoop", "version": _version(), "services": services, **root})

    return index


def asyncapi_of(services: Sequence[Service], settings: Settings) -> dict[str, Any]:
    """The AsyncAPI document of services, with the version that runs."""
    return asyncapi(services, settings, _version())


def _asyncapi(runtimes: Mapping[str, Runtime], settings: Settings, service: str) -> Route:
    made = cache(lambda: JSONResponse(asyncapi_of([each.service for each in runtimes.values()], settings)).body)

    async def answer(request: Request) -> Response:
        request.scope[ROUTE] = (service, "/asyncapi.json" if service == "root" else f"/{service}/asyncapi.json")
        return Response(made(), media_type="application/json")

    return Route("/asyncapi.json", answer)


def _lifespan(runtimes: Mapping[str, Runtime]) -> Any:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for runtime in runtimes.values():
                if runtime.service.lifespan:
                    await stack.enter_async_context(runtime.service.lifespan(runtime))
            yield

    return lifespan


def _version() -> str:
    try:
        return version("valueloop")
    except PackageNotFoundError:
        return "0"
