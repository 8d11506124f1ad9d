"""The app: one expression from an engine and settings. Nothing is global, so a test needs no patching."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from emotion_svc import __version__
from emotion_svc.config import Settings
from emotion_svc.engines.base import Engine
from emotion_svc.errors import Overloaded, ServiceError
from emotion_svc.routing.router import Router
from emotion_svc.serving.admission import Admission
from emotion_svc.serving.border import Border
from emotion_svc.serving.cache import VerdictCache
from emotion_svc.serving.callers import CancelWhenGone
from emotion_svc.serving.chat import chat_wire
from emotion_svc.serving.crowd import Crowd
from emotion_svc.serving.decisions import decisions_wire
from emotion_svc.serving.documents import with_keys
from emotion_svc.serving.gate import Gate
from emotion_svc.serving.keys import Keys
from emotion_svc.serving.limits import BodyLimit
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.once import Once
from emotion_svc.serving.openai_errors import encode_for
from emotion_svc.serving.pages import docs_page
from emotion_svc.serving.patience import Patience
from emotion_svc.serving.problems import HTTP_PROBLEMS
from emotion_svc.serving.readiness import Readiness
from emotion_svc.serving.refusals import refusal
from emotion_svc.serving.registry import FurtherModel, Registry
from emotion_svc.serving.served_models import models_wire
from emotion_svc.serving.service import Service
from emotion_svc.serving.stopping import Stopping
from emotion_svc.serving.traces import Traced
from emotion_svc.serving.wires import health_wires, native_wires

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider


_SINGLE_TURN: Final = frozenset({"/v1/classify", "/v1/chat/completions", "/v1/decisions"})


def create_app(
    engine: Engine,
    settings: Settings,
    further: Sequence[FurtherModel] = (),
    *,
    tracing: "TracerProvider | None" = None,
) -> FastAPI:
    """The service around the default model's engine, and further models, which are loaded when they are asked for.

    It starts with the app's lifespan, which raises `ServiceError`. `app.state.stopping` is the `Stopping` that the
    server begins when it was asked to stop.

    Raises:
        ConfigError: two models have the same name, or the keys of the settings cannot be read, or are missing where
            they are needed.
    """
    keys = Keys.of(settings)
    metrics = Metrics()
    models = Registry(
        engine if isinstance(engine, Router) else Router.around(engine, deadline_ms=settings.deadline_ms),
        settings.model_aliases,
        further,
        idle_s=settings.model_idle_s,
        while_loading=settings.while_loading,
        metrics=metrics,
    )
    once = Once(VerdictCache(settings.cache_bytes, metrics.saw_eviction), metrics)
    admission = Admission(settings.max_in_flight, metrics)
    readiness = Readiness(lambda: models.default.answers_canary(), metrics)
    stopping, patience = Stopping(on_begin=readiness.end), Patience()
    service = Service(models, once, admission, readiness, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.ready():
            yield

    app = FastAPI(
        title="emotion-svc",
        version=__version__,
        summary="Which face Pika wears, and whether the child just got an English exercise right.",
        lifespan=lifespan,
        docs_url=None,  # `docs_page` is the same with a policy for what it may load
        redoc_url=None,
        # A redirect would send the caller's own path back; with or without a slash at its end, a path is exact.
        redirect_slashes=False,
        # FastAPI's own (0.165 and later) records queries and the texts of exceptions; ours is `traces`.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        exception_handlers={
            ServiceError: partial(_answer_service_error, patience),
            HTTPException: _answer_http_error,
        },
    )
    app.state.stopping = stopping
    routers = [
        native_wires(service, settings),
        chat_wire(service, settings),
        decisions_wire(service, settings),
        models_wire(models, started=int(time.time())),
        health_wires(service, metrics, stopping),
    ]
    for router in routers:
        app.include_router(router)
    wires = frozenset(route.path for router in routers for route in router.routes if isinstance(route, APIRoute))
    # The last one is the outermost.
    app.add_middleware(CancelWhenGone)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, timeout_s=settings.receive_timeout_s)
    app.add_middleware(
        Crowd, wires=_SINGLE_TURN, models=models, admission=admission, patience=patience, metrics=metrics
    )
    app.add_middleware(Gate, keys=keys, settings=settings, metrics=metrics)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-deadline-ms", "x-request-id"],
            expose_headers=["x-request-id", "server-timing", "retry-after"],
        )
    app.add_middleware(Border, wires=wires, metrics=metrics, stopping=stopping)
    if tracing is not None:
        app.add_middleware(Traced, provider=tracing)
    assert app.openapi_url is not None
    app.include_router(docs_page(app.title, app.openapi_url))
    if keys is not None:
        with_keys(app)
    return app


async def _answer_service_error(patience: Patience, request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    if isinstance(error, Overloaded):
        await patience.refuse()
    return refusal(request.scope, error)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    body = encode_for(request.scope, HTTP_PROBLEMS[status], status)
    return Response(body, status, dict(error.headers or {}), media_type="application/json")
