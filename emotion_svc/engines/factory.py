"""From settings to an engine, and from an engine to one that is proven to work."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path

from emotion_svc.config import Settings
from emotion_svc.engines.base import Engine, check_canary
from emotion_svc.errors import MissingExtra
from emotion_svc.modeldir import SHIPPED


def create_engine(settings: Settings) -> Engine:
    """The engine that the settings name, not started yet. Each engine's libraries are imported in its branch.

    Raises:
        MissingExtra: the engine's package is not installed.
    """
    match settings.engine:
        case "embedded":
            from emotion_svc.engines.embedded import EmbeddedEngine

            directory = SHIPPED if settings.model is None else Path(settings.model)
            return EmbeddedEngine(directory, threads=settings.threads, variants=settings.variants)
        case "vllm":
            if find_spec("vllm") is None:
                raise MissingExtra("vllm", "vllm")
            from emotion_svc.engines.vllm import VllmEngine

            return VllmEngine(settings.model or str(SHIPPED), variants=settings.variants)


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[Engine]:
    """The engine, started and past its canary; closed at the end.

    Raises:
        SetupError: the engine cannot start, or failed the canary.
    """
    await engine.start()
    try:
        await check_canary(engine)
        yield engine
    finally:
        await engine.close()
