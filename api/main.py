"""The application. `uvicorn --factory api.main:create_app` serves it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from api import errors, openapi
from api.artifacts.endpoints import router as artifacts
from api.checkpoints.endpoints import router as checkpoints
from api.datasets.endpoints import router as datasets
from api.docs.endpoints import router as docs
from api.events.endpoints import router as events
from api.health.endpoints import router as health
from api.insight.endpoints import router as insight
from api.jobs.endpoints import router as jobs
from api.keys.endpoints import router as keys
from api.metrics.endpoints import router as metrics
from api.middleware import RequestMiddleware
from api.presets.endpoints import router as presets
from api.samples.endpoints import router as samples
from api.services import Services
from api.shutdown import on_stop_signal
from api.strangers import StrangerMiddleware
from api.tidying import tidying
from api.uploads.routes import router as uploads
from api.web import site
from api.webhooks.endpoints import router as webhooks
from persistence.logging import configure_logging
from persistence.settings import Settings, get_settings


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API over `settings`, by default the environment's. Connects to nothing before it is started."""
    settings = settings or get_settings()
    app = FastAPI(
        title="MaskTune Service",
        version=version("masktune-service"),
        summary="Removes shortcuts from image classifiers.",
        description=openapi.DESCRIPTION,
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=openapi.operation_id,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        lifespan=partial(_lifespan, settings),
    )
    app.add_middleware(StrangerMiddleware)
    app.add_middleware(RequestMiddleware)
    errors.install(app)
    for router in (
        uploads,
        datasets,
        checkpoints,
        jobs,
        events,
        metrics,
        artifacts,
        samples,
        insight,
        presets,
        webhooks,
        keys,
        docs,
        health,
    ):
        app.include_router(router)
    site.install(app)
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app


@asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    configure_logging(settings)
    services = Services.open(settings)
    app.state.services = services
    services.hub.start()
    try:
        with on_stop_signal(services.hub.close):
            async with tidying(services):
                yield
    finally:
        await services.hub.stop()
        services.close()
