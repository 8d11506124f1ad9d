"""The file of further models that the setting `models` names.

    [[models]]
    name = "qwen"                    # what requests say in `model`
    model = "Qwen/Qwen3-0.6B"        # a directory or a Hub id, as in the setting `model`
    engine = "vllm"                  # embedded by default
    aliases = ["Qwen/Qwen3-0.6B"]    # further names

What an entry does not say (threads, variants) is as for the default model.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from emotion_svc.config import ConfigError, Settings
from emotion_svc.engines.factory import create_engine
from emotion_svc.files import read_settings
from emotion_svc.routing.router import Router
from emotion_svc.serving.registry import FurtherModel

_Name = Annotated[str, Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: _Name
    model: _Name
    engine: Literal["embedded", "vllm"] = "embedded"
    aliases: Annotated[tuple[_Name, ...], Field(strict=False)] = ()


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    models: tuple[_Entry, ...]


def further_models(settings: Settings) -> tuple[FurtherModel, ...]:
    """The models of the file that the settings name; none without one. Nothing is loaded.

    Raises:
        ConfigError: the file is missing or no TOML, or a key is missing, unknown or wrong, or vLLM would be loaded
            by several workers.
    """
    if settings.models is None:
        return ()
    entries = _read(settings.models)
    for entry in entries:
        if entry.engine == "vllm" and settings.workers > 1:
            raise ConfigError(
                f"models file '{settings.models}': '{entry.name}' needs the engine vllm, of which every worker would "
                f"load its own; workers ({settings.workers}) must be 1"
            )
    return tuple(FurtherModel(entry.name, entry.aliases, partial(_router_of, entry, settings)) for entry in entries)


def _read(path: Path) -> tuple[_Entry, ...]:
    return read_settings(path, _File, "models file", ConfigError, "see the setting 'models'").models


def _router_of(entry: _Entry, settings: Settings) -> Router:
    """One tier with the entry's name: by that of its engine, metrics could not tell it from another model's."""
    engine = create_engine(settings.model_copy(update={"engine": entry.engine, "model": entry.model}))
    return Router.around(engine, name=entry.name, deadline_ms=settings.deadline_ms)
