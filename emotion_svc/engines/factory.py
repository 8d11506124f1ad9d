"""From settings to an engine, and from an engine to one that is proven to work."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from emotion_svc.config import Settings, Variants
from emotion_svc.engines.base import Engine, check_canary
from emotion_svc.errors import MissingExtra
from emotion_svc.modeldir import SHIPPED

if TYPE_CHECKING:
    from emotion_svc.engines.remote import RemoteEngine

AnyEngine = TypeVar("AnyEngine", bound=Engine)


def create_engine(settings: Settings) -> Engine:
    """The engine that the settings name, not started yet. Each engine's libraries are imported in its branch.

    Raises:
        MissingExtra: the engine's package is not installed.
        PresetError: as `create_remote`.
    """
    match settings.engine:
        case "embedded":
            from emotion_svc.engines.embedded import EmbeddedEngine

            directory = SHIPPED if settings.model is None else Path(settings.model)
            return EmbeddedEngine(
                directory, threads=settings.threads, variants=settings.variants, prompts=settings.prompts
            )
        case "vllm":
            if find_spec("vllm") is None:
                raise MissingExtra("vllm", "vllm")
            from emotion_svc.engines.vllm import VllmEngine

            return VllmEngine(settings.model or str(SHIPPED), variants=settings.variants, prompts=settings.prompts)
        case "remote":
            assert settings.preset is not None, "checked by the settings"
            return create_remote(
                settings.preset,
                model=settings.model,
                base_url=settings.base_url,
                variants=settings.variants,
                prompts=settings.prompts,
            )


def create_remote(
    preset: str,
    *,
    model: str | None = None,
    base_url: str | None = None,
    variants: Variants = "stable",
    prompts: Path | None = None,
    environment: Mapping[str, str] = os.environ,
) -> "RemoteEngine":
    """The engine for a host that `presets.toml` describes, not started yet.

    Args:
        preset: its name.
        model: the model's name at the host, instead of the preset's.
        base_url: where the host is, instead of the preset's.
        variants: which animation of the chosen family is played.
        prompts: directory of the prompt files; the package's own by default.
        environment: where the key is looked up, under the name in the preset.

    Raises:
        PresetError: there is no such preset, it names no model and none is given, or its key is missing.
        PromptError: the directory has no instruct.toml, or a wrong one.
    """
    from emotion_svc.engines.presets import find_preset
    from emotion_svc.engines.remote import RemoteEngine

    host = find_preset(preset, model=model, base_url=base_url)
    return RemoteEngine(host, host.key_from(environment), variants=variants, prompts=prompts)


@asynccontextmanager
async def running(engine: AnyEngine) -> AsyncIterator[AnyEngine]:
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
