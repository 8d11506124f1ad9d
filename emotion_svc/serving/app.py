"""The app: one expression from an engine and settings. Nothing is global, so a test needs no patching."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import ceil

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from emotion_svc import __version__
from emotion_svc.config import Settings
from emotion_svc.engines.base import Engine
from emotion_svc.errors import InvalidTurn, Overloaded, ServiceError
from emotion_svc.routing.router import Router
from emotion_svc.serving.admission import Admission
from emotion_svc.serving.border import Border
from emotion_svc.serving.cache import VerdictCache
from emotion_svc.serving.chat import chat_wire
from emotion_svc.serving.decisions import decisions_wire
from emotion_svc.serving.limits import BodyLimit
from emotion_svc.serving.metrics import Metrics
from emotion_svc.serving.once import Once
from emotion_svc.serving.openai_errors import Refused, encode_for
from emotion_svc.serving.problems import HTTP_PROBLEMS, describe, problem_of
from emotion_svc.serving.registry import FurtherModel, Registry
from emotion_svc.serving.served_models import models_wire
from emotion_svc.serving.service import Service
from emotion_svc.serving.wires import health_wires, native_wires


def create_app(engine: Engine, settings: Settings, further: Sequence[FurtherModel] = ()) -> FastAPI:
    """The service around the default model's engine, and further models, which are loaded when they are asked for.

    The engine starts with the app's lifespan, which raises `ServiceError`.

    Raises:
        ConfigError: two models have the same name.
    """
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
    service = Service(models, once, Admission(settings.max_in_flight), metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.ready():
            yield

    app = FastAPI(
        title="emotion-svc",
        version=__version__,
        summary="Which face Pika wears, and whether the child just got an English exercise right.",
        lifespan=lifespan,
        redoc_url=None,
        # A redirect would send the caller's own path back; with or without a slash at its end, a path is exact.
        redirect_slashes=False,
        exception_handlers={
            ServiceError: _answer_service_error,
            HTTPException: _answer_http_error,
            RequestValidationError: _answer_bad_query,
        },
    )
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(Border, metrics=metrics)  # added last: outermost
    app.include_router(native_wires(service, settings))
    app.include_router(chat_wire(service, settings))
    app.include_router(decisions_wire(service, settings))
    app.include_router(models_wire(models, started=int(time.time())))
    app.include_router(health_wires(service, metrics))
    return app


async def _answer_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServiceError)
    headers = {}
    if error.status == Overloaded.status:
        headers["retry-after"] = str(max(1, ceil(error.retry_after_s or 0)))
    param = error.param if isinstance(error, Refused) else None
    return _answer(error.status, encode_for(request.scope, problem_of(error), error.status, param), headers)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    status = error.status_code
    return _answer(status, encode_for(request.scope, HTTP_PROBLEMS[status], status), dict(error.headers or {}))


async def _answer_bad_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _answer_service_error(request, InvalidTurn(describe(error.errors())))


def _answer(status: int, body: str, headers: dict[str, str]) -> Response:
    return Response(body, status, headers, media_type="application/json")
