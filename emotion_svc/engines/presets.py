"""Presets: what is known of the hosts that the remote engine can ask, from `presets.toml` beside this file."""

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from emotion_svc.errors import SetupError
from emotion_svc.schema import TokenUsage

_FILE: Final = Path(__file__).with_name("presets.toml")

Constraint = Literal["json_schema", "structured_outputs", "stop"]
_Name = Annotated[str, Field(min_length=1)]


class PresetError(SetupError):
    """There is no such preset, its key is missing, or what was set instead of its own values cannot be."""

    kind = "preset"


class Price(BaseModel):
    """USD per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_usd: float = Field(ge=0, allow_inf_nan=False)
    output_usd: float = Field(ge=0, allow_inf_nan=False)

    def usd(self, usage: TokenUsage) -> float:
        """What a call costs."""
        return (usage.prompt_tokens * self.input_usd + usage.completion_tokens * self.output_usd) / 1e6


class _Host(BaseModel):
    """What every preset says.

    `key_env` names the environment variable that holds the key. `price` is None where tokens are not billed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    base_url: str
    model: _Name
    key_env: _Name
    needs_key: bool = False
    price: Price | None = None

    @field_validator("base_url")
    @classmethod
    def _can_be_called(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("expected a URL such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("expected a URL without user, password and query; the key has a variable of its own")
        return url

    def key_from(self, environment: Mapping[str, str]) -> SecretStr | None:
        """The key.

        Raises:
            PresetError: the host needs one, and the variable is not set.
        """
        key = environment.get(self.key_env, "").strip()
        if not key and self.needs_key:
            raise PresetError(f"preset '{self.name}' needs a key; put it into the environment variable {self.key_env}")
        return SecretStr(key) if key else None


class ChatPreset(_Host):
    """A host with `POST /chat/completions`.

    `constraint` is how it is held to the answer language: `json_schema` (OpenAI's `response_format`),
    `structured_outputs` (vLLM's, with the language's regex), or `stop` (no constraint: it is asked to stop at
    the closing brace). `reasoning_tokens` come on top of the answer's. `logprobs` says whether it gives
    log-probabilities together with that constraint. `extra` goes into each request as it is.
    """

    wire: Literal["chat"]
    constraint: Constraint
    stream: bool = False
    logprobs: bool = False
    reasoning_effort: str | None = None
    reasoning_tokens: int = Field(default=0, ge=0)
    extra: dict[str, Any] = {}

    @model_validator(mode="after")
    def _what_is_billed_is_counted(self) -> Self:
        if self.stream and self.price is not None:
            raise ValueError(
                "expected no stream from a host that bills tokens: it is left as soon as the answer is whole, and "
                "hosts count at its end"
            )
        return self


class DecisionsPreset(_Host):
    """A host with OpenAI's `POST /decisions`, which gives probabilities and no text."""

    wire: Literal["decisions"]


Preset = ChatPreset | DecisionsPreset
_PRESET: Final[TypeAdapter[Preset]] = TypeAdapter(Annotated[Preset, Field(discriminator="wire")])


@cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


def preset_names() -> tuple[str, ...]:
    """All presets, in the order of the file."""
    return tuple(_tables())


def find_preset(name: str, *, model: str | None = None, base_url: str | None = None) -> Preset:
    """The preset of this name, with another model or at another place where these are given.

    Raises:
        PresetError: there is none, it names no model and none is given, or a given value cannot be.
    """
    if name not in _tables():
        raise PresetError(f"no such preset: '{name}'; there are: {', '.join(preset_names())}")
    given = {field: value for field, value in {"model": model, "base_url": base_url}.items() if value is not None}
    try:
        return _PRESET.validate_python({"name": name, **_tables()[name], **given})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
    field = str(first["loc"][-1])
    if first["type"] == "missing" and field == "model":
        raise PresetError(f"preset '{name}' names no model; set the one that the host serves")
    raise PresetError(f"preset '{name}': {field}: {first['msg'].removeprefix('Value error, ')}")
