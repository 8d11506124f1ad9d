"""Settings: one frozen object, read from the environment (`EMOTION_SVC_…`) and checked once.

A setting that does not exist is refused, not ignored: a misspelt limit would otherwise be no limit.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from emotion_svc.errors import SetupError

ENV_PREFIX: Final = "EMOTION_SVC_"

EngineName = Literal["embedded", "vllm", "remote"]
Variants = Literal["stable", "first", "model"]
"""`decoding.choice.VariantPolicy`, spelt again because settings import no room; a test holds them equal."""

KeysCover = Literal["wires", "all"]
LogLevel = Literal["debug", "info", "warning"]
WhileLoading = Literal["wait", "default"]

Count = Annotated[int, Field(ge=1)]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], NoDecode]
"""In the environment, separated by commas."""


class ConfigError(SetupError):
    """A setting is unknown or has a value that cannot be; the message names it."""

    kind = "config"


_MOST_PASSES: Final = 4
"""So many threads at a time gain something; more wait for Python's lock."""


def _cores_of_worker(workers: int) -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores_granted(cores) // workers


def _passes_at_a_time(given: dict[str, Any]) -> int:
    return max(1, min(_MOST_PASSES, _cores_of_worker(int(given.get("workers", 1)))))


def beside_event_loop(settings: "Settings") -> "Settings":
    """The same for a service, which reads and writes requests beside its passes: unless told, it leaves a core to that.

    Two passes at a time on two cores answer a quarter more while all wait their turn; asked for more than it can do,
    such a service is late (docs/reliability.md).
    """
    if "threads" in settings.model_fields_set:
        return settings
    passes = max(1, min(_MOST_PASSES, _cores_of_worker(settings.workers) - 1))
    return settings.model_copy(update={"threads": passes})


def cores_granted(cores: int, cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many of these cores a container may use up: at least 1.

    A limit of CPU time (`docker run --cpus`, Kubernetes) hides no core; it stands in `cpu_max`, the kernel's file of
    the control group (version 2: microseconds in each period, docs.kernel.org/admin-guide/cgroup-v2.html).
    """
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or its quota is "max"
        return cores


class Settings(BaseSettings):
    """Everything that can be set. Each field is also the environment variable `EMOTION_SVC_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=30030, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    workers: Count = Field(default=1, description="Processes that share the port, each with its own engine.")
    engine: EngineName = Field(default="embedded", description="What runs the model: embedded, vllm or remote.")
    model: str | None = Field(
        default=None,
        min_length=1,
        description="Model directory, Hub id, or the name at a remote host; the shipped or the preset's by default.",
    )
    preset: str | None = Field(
        default=None, min_length=1, description="The host that the engine remote asks (docs/remote.md)."
    )
    base_url: str | None = Field(default=None, min_length=1, description="Where it is, instead of the preset's URL.")
    model_aliases: Names = Field(
        default=("HuggingFaceTB/SmolLM2-135M-Instruct",),
        description="Further names that a request may call the model by, separated by commas; yours replace this one.",
    )
    tiers: Path | None = Field(
        default=None, description="TOML file of several tiers (docs/tiers.md), in place of the one that engine names."
    )
    spend_file: Path | None = Field(
        default=None, description="Where the day's spend is kept over restarts; needed where a tier has a price."
    )
    models: Path | None = Field(
        default=None, description="TOML file of further models, which requests name; see docs/operations.md."
    )
    model_idle_s: Count = Field(default=600, description="A further model that is unused for so long is unloaded.")
    while_loading: WhileLoading = Field(
        default="wait",
        description="A request for a model that is loading: wait, up to its deadline, or default, answered by "
        "the default model.",
    )
    threads: Count = Field(
        default_factory=_passes_at_a_time,
        description="Passes of the embedded engine at a time, each on a thread; by default one for each core, "
        "shared among the workers, and at most 4. A service leaves one core of each worker to its event loop.",
    )
    prompts: Path | None = Field(
        default=None,
        description="Folder of prompt files in place of the package's own: instruct.toml is what vllm and remote ask a "
        "general model, pika.toml what the shipped one was trained with.",
    )
    variants: Variants = Field(
        default="stable",
        description="Which animation of the chosen family is played: stable by a hash of the response, first the plain "
        "one, model the likeliest.",
    )
    max_field_chars: Count = Field(default=4_000, description="The longest field of a turn, in characters as sent.")
    max_batch: Count = Field(default=256, description="The most turns in one batch.")
    max_body_bytes: Count = Field(default=1_048_576, description="The largest body of a request, or line of a file.")
    max_in_flight: Count = Field(
        default=512, description="The most turns that are worked on or wait at a time; more are refused with 503."
    )
    deadline_ms: Count = Field(
        default=50,
        description="How long an answer may take, in ms, without a tiers file, which has its own. The embedded engine "
        "refuses what would wait too long; vllm and remote alone are waited for (docs/tiers.md).",
    )
    cache_bytes: int = Field(
        default=16 * 1024 * 1024,
        ge=0,
        description="What the verdicts kept for repeated turns may take, for each worker; 0 keeps none.",
    )

    keys: SecretStr | None = Field(
        default=None,
        description="Who may ask, as 'name:sha256[:requests_per_minute]', separated by commas (see emotion-svc key); "
        "none-on-purpose where something in front checks who asks. Needed where the host is not loopback.",
    )
    keys_file: str | None = Field(
        default=None, min_length=1, description="The same as a TOML file, which others may not read."
    )
    keys_cover: KeysCover = Field(
        default="wires", description="What asks for a key: wires, or all but /healthz and /readyz."
    )
    client_requests_per_minute: Count | None = Field(
        default=None,
        description="How often a client may ask whose key says nothing else. A client is a key or, "
        "without keys, an address; each worker counts for itself.",
    )
    client_in_flight: Count | None = Field(default=None, description="The most requests of one client at a time.")
    receive_timeout_s: float = Field(
        default=10.0, gt=0, description="Within how many seconds a request's headers must be in, and then its body."
    )
    stop_grace_s: float = Field(
        default=1.0,
        ge=0,
        description="Seconds on SIGTERM during which /readyz says no and requests are still taken.",
    )
    tls_cert: str | None = Field(default=None, min_length=1, description="PEM file with the certificate, for https.")
    tls_key: str | None = Field(default=None, min_length=1, description="PEM file with its key.")
    trusted_proxies: Names = Field(
        default=(), description="Addresses or networks whose X-Forwarded-For is believed, separated by commas."
    )
    cors_origins: Names = Field(
        default=(), description="Origins whose pages may ask from a browser, separated by commas; none by default."
    )
    log_level: LogLevel = Field(
        default="info",
        description="info has a line for each request, debug one more at its beginning, warning only what went wrong.",
    )

    @field_validator("model_aliases", "trusted_proxies", "cors_origins", mode="before")
    @classmethod
    def _names_are_separated_by_commas(cls, names: Any) -> Any:
        if not isinstance(names, str):
            return names
        return tuple(name.strip() for name in names.split(",")) if names.strip() else ()

    @model_validator(mode="after")
    def _a_full_batch_can_be_admitted(self) -> Self:
        if self.max_in_flight < self.max_batch:
            raise ValueError(
                f"max_in_flight ({self.max_in_flight}) must be at least max_batch ({self.max_batch}), "
                "or a full batch would never be taken"
            )
        return self

    @model_validator(mode="after")
    def _vllm_is_not_multiplied(self) -> Self:
        if self.engine == "vllm" and self.workers > 1:
            raise ValueError(
                f"workers ({self.workers}) must be 1 with the engine vllm: it batches by itself, and every worker "
                "would load the model again"
            )
        return self

    @model_validator(mode="after")
    def _a_host_belongs_to_the_remote_engine(self) -> Self:
        if self.engine == "remote" and self.preset is None:
            raise ValueError("the engine remote needs a preset (EMOTION_SVC_PRESET), such as groq; see docs/remote.md")
        if self.engine != "remote" and (self.preset or self.base_url) is not None:
            raise ValueError(f"preset and base_url are for the engine remote; the engine is {self.engine}")
        return self

    @model_validator(mode="after")
    def _tiers_name_their_own_engines(self) -> Self:
        if self.tiers is not None and (self.engine != "embedded" or self.model is not None):
            raise ValueError("tiers: its file names engines and models; leave the settings engine and model out")
        if self.tiers is not None and "deadline_ms" in self.model_fields_set:
            raise ValueError("tiers: its file has a deadline_ms of its own; leave the setting deadline_ms out")
        return self

    @model_validator(mode="after")
    def _a_certificate_has_its_key(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both for https, or none for http")
        return self


def load_settings(**given: str | int | None) -> Settings:
    """The settings: what is given and not None, else the environment, else the default.

    Raises:
        ConfigError: a variable of the environment names no setting, or a value cannot be.
    """
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    if unknown := sorted(name for name in os.environ if name.startswith(ENV_PREFIX) and name not in known):
        raise ConfigError(f"no such setting: {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise ConfigError(first["msg"].removeprefix("Value error, ")) from error
        name = str(first["loc"][0])
        raise ConfigError(
            f"setting '{name}' ({ENV_PREFIX}{name.upper()}): {first['msg']}, found {str(first['input'])[:40]!r}"
        ) from error
