"""The settings of one training run: a TOML file, read once, refused where a key is unknown."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from emotion_svc.errors import SetupError
from emotion_svc.files import read_settings


class DeviceName(StrEnum):
    """Where a network is trained; `auto` takes a GPU where there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Where the lines are, and how often each kind is seen in one epoch."""

    turns: str = "train_data/turns/*.jsonl"
    responses: str = "train_data/responses/*.jsonl"
    knowledge: str = "train_data"
    dev: str = "eval_data/dev.jsonl"
    turn_repeats: int = 2
    response_repeats: int = 1
    joined: int = 3_000
    exercises: int = 12_000
    crops: int = 8_000
    teacher_share: Share = 0.3


class AugmentConfig(_Section):
    """How texts are varied before they are tokenized. Shares are probabilities for each field."""

    bpe_dropout: Share = 0.1
    word_dropout: Share = 0.05
    no_diacritics: Share = 0.05
    no_final_punctuation: Share = 0.2
    borrowed_context: Share = 0.6
    unknown_word: Share = 0.3
    unread: Share = 0.3


class ModelConfig(_Section):
    """The network (see `model.Shape`); its vocabulary is learnt from the texts."""

    name: str = "pika-tiny"
    vocab: int = 8_000
    hidden: int = 256
    intermediate: int = 704
    layers: int = 3
    heads: int = 4


class OptimConfig(_Section):
    """AdamW with a linear warm-up and a cosine decay; the shipped weights are the running average.

    A share of the samples, `twins`, stands in its batch beside itself without final punctuation. `agreement` is the
    weight of the divergence between what the network says of the two (R-Drop, Liang et al. 2021, arXiv:2106.14448).
    """

    epochs: int = 12
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_share: Share = 0.05
    dropout: Share = 0.1
    label_smoothing: Share = 0.05
    label_noise: Share = 0.15
    learn_score_weight: float = 1.0
    twins: Share = 0.0
    agreement: float = 1.0
    average_decay: Share = 0.998


class PretrainConfig(_Section):
    """Reading before labels: how often all turns and responses are read as a language model; the rest as in `optim`."""

    epochs: Annotated[int, Field(ge=0)] = 0
    learning_rate: float = 2e-3


class TrainConfig(_Section):
    """One run, from the lines to the shipped files."""

    seed: int = 1
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    pretrain: PretrainConfig = PretrainConfig()
    optim: OptimConfig = OptimConfig()


class FinetuneOptimConfig(_Section):
    """AdamW with a linear warm-up and a cosine decay.

    `precision` is that of the arithmetic; weights and optimizer are kept in fp32 either way.
    """

    epochs: int = 3
    batch: int = 16
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup_share: Share = 0.05
    learn_score_weight: float = 1.0
    precision: Literal["bf16", "fp32"] = "bf16"


class LoraConfig(_Section):
    """Low-rank adapters on every linear layer but the output (Hu et al. 2021, arXiv:2106.09685).

    They begin at nothing and learn with `learning_rate` instead of that in `optim`, which is for all weights.
    """

    rank: Annotated[int, Field(ge=1)] = 16
    alpha: float = 32.0
    dropout: Share = 0.05
    learning_rate: float = 2e-4


class FinetuneConfig(_Section):
    """One run that starts from an existing checkpoint; without `lora`, all of its weights are trained."""

    seed: int = 1
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    optim: FinetuneOptimConfig = FinetuneOptimConfig()
    lora: LoraConfig | None = None

    @property
    def learning_rate(self) -> float:
        """That of what is trained: the adapters, or all weights."""
        return self.lora.learning_rate if self.lora else self.optim.learning_rate

    @field_validator("augment")
    @classmethod
    def _the_checkpoint_has_its_own_tokens(cls, augment: AugmentConfig) -> AugmentConfig:
        if "bpe_dropout" in augment.model_fields_set:
            raise ValueError("bpe_dropout is for training from scratch; leave it out to fine-tune")
        return augment


Config = TypeVar("Config", TrainConfig, FinetuneConfig)


def load_config(path: Path, kind: type[Config]) -> Config:
    """Reads a run's settings.

    Raises:
        SetupError: the file is missing, is no TOML, or a key is unknown or has a wrong value.
    """
    advice = "run this in a checkout of the project, or give --config"
    return read_settings(path, kind, "training configuration", SetupError, advice)
