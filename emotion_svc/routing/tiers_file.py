"""The file that lists the tiers (TOML), read and checked once. docs/tiers.md explains each key."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from emotion_svc.engines.presets import Price
from emotion_svc.errors import SetupError
from emotion_svc.files import read_toml

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Usd = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]

DEADLINE_MS: Final = 50.0
"""What a request may take in all, unless the file says otherwise: the robot is about to speak."""

_ONLY_REMOTE: Final = ("preset", "base_url", "retry", "price")
_NOT_FOR_THE_NET: Final = ("asked_when", "deadline_ms", "concurrency")


class TiersError(SetupError):
    """The tiers cannot be: the message names the file, the place in it and the key."""

    kind = "tiers"


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AskedWhen(_Table):
    """When a tier is asked although one before it has answered. One condition that holds is enough."""

    emotion_below: Probability = Field(default=0.0, description="The family's probability is under this.")
    learn_score_below: Probability = Field(default=0.0, description="learn_score's probability is under this.")
    outside_knowledge: bool = Field(
        default=False, description="A text was cut, or has letters that are neither Latin nor Vietnamese."
    )
    longer_than_chars: Count | None = Field(default=None, description="A field has more characters than this.")


class TierTable(_Table):
    """One `[[tiers]]`."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=40)]
    engine: Literal["embedded", "vllm", "remote"]
    model: Annotated[str, Field(min_length=1)] | None = None
    preset: Annotated[str, Field(min_length=1)] | None = None
    base_url: Annotated[str, Field(min_length=1)] | None = None
    asked_when: AskedWhen | None = None
    deadline_ms: Positive | None = None
    concurrency: Count | None = None
    retry: bool = False
    price: Price | None = None

    @model_validator(mode="after")
    def _keys_belong_to_the_engine(self) -> Self:
        strange = [name for name in _ONLY_REMOTE if name in self.model_fields_set]
        if self.engine != "remote" and strange:
            raise ValueError(f"{', '.join(strange)}: only for engine 'remote', and this is '{self.engine}'")
        if self.engine == "remote" and self.preset is None:
            raise ValueError("preset: missing; engine 'remote' needs to know which kind of host it asks")
        return self


class Tiers(_Table):
    """The whole file."""

    deadline_ms: Positive = DEADLINE_MS
    spend_cap_usd_per_day: Usd | None = None
    tiers: Annotated[tuple[TierTable, ...], Field(min_length=1)]

    @property
    def safety_net(self) -> TierTable | None:
        """The tier that is always there in time, and is never cancelled: the first embedded one."""
        return next((tier for tier in self.tiers if tier.engine == "embedded"), None)

    @model_validator(mode="after")
    def _tiers_fit_each_other(self) -> Self:
        names = [tier.name for tier in self.tiers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tiers: the name {', '.join(twice)} is given twice")
        if self.tiers[0].asked_when is not None:
            raise ValueError(f"tiers.0 ({names[0]}): asked_when: the first tier is always asked; leave it out")
        for place, tier in enumerate(self.tiers):
            if tier.deadline_ms is not None and tier.deadline_ms > self.deadline_ms:
                raise ValueError(
                    f"tiers.{place} ({tier.name}): deadline_ms: {tier.deadline_ms:g} is more than the "
                    f"{self.deadline_ms:g} that a request has in all"
                )
            if tier is self.safety_net and (strange := [n for n in _NOT_FOR_THE_NET if n in tier.model_fields_set]):
                raise ValueError(
                    f"tiers.{place} ({tier.name}): {', '.join(strange)}: not for the safety net (the first embedded "
                    "tier): it is asked where no other has answered, and never cut off or refused"
                )
        return self


def load_tiers(path: Path) -> Tiers:
    """Reads and checks the file.

    Raises:
        TiersError: it is missing, no TOML, or a key is unknown, missing or has a value that cannot be.
    """
    content = read_toml(path, "tiers file", TiersError)
    try:
        return Tiers.model_validate(content)
    except ValidationError as error:
        raise TiersError(f"tiers file '{path}': {_explain(error, content)}") from error


def _explain(error: ValidationError, content: dict[str, Any]) -> str:
    first = error.errors(include_url=False)[0]
    loc = first["loc"]
    where = f"{_place(loc, content)}: " if loc else ""
    if first["type"] == "extra_forbidden":
        known: dict[str, type[BaseModel]] = {"price": Price, "asked_when": AskedWhen, "tiers": TierTable}
        table = next((known[str(part)] for part in reversed(loc[:-1]) if part in known), Tiers)
        return f"{where}unknown key; there are: {', '.join(table.model_fields)}"
    if first["type"] == "missing":
        return f"{where}missing"
    message = first["msg"].removeprefix("Value error, ")
    found = first["input"]
    return f"{where}{message}" if isinstance(found, dict) else f"{where}{message}, found {str(found)[:40]!r}"


def _place(loc: tuple[int | str, ...], content: dict[str, Any]) -> str:
    """`tiers.1 (groq).asked_when.emotion_below`: the place in the file, with the tier's name where it has one."""
    parts = [str(part) for part in loc]
    if len(loc) > 1 and loc[0] == "tiers" and isinstance(loc[1], int):
        tier = content["tiers"][loc[1]]
        if isinstance(tier, dict) and isinstance(name := tier.get("name"), str):
            parts[1] += f" ({name[:40]})"
    return ".".join(parts)
