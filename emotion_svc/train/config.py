"""The settings of one training run: a TOML file, read once, refused where a key is unknown."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotion_svc.errors import SetupError

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


class ModelConfig(_Section):
    """The network (see `model.Shape`); its vocabulary is learnt from the texts."""

    name: str = "pika-tiny"
    vocab: int = 8_000
    hidden: int = 256
    intermediate: int = 704
    layers: int = 3
    heads: int = 4


class OptimConfig(_Section):
    """AdamW with a linear warm-up and a cosine decay; the shipped weights are the running average."""

    epochs: int = 12
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    warmup_share: Share = 0.05
    dropout: Share = 0.1
    label_smoothing: Share = 0.05
    label_noise: Share = 0.15
    learn_score_weight: float = 1.0
    average_decay: Share = 0.998


class TrainConfig(_Section):
    """One run, from the lines to the shipped files."""

    seed: int = 1
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()


def load_config(path: Path) -> TrainConfig:
    """Reads a run's settings.

    Raises:
        SetupError: the file is missing, is no TOML, or a key is unknown or has a wrong value.
    """
    try:
        return TrainConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise SetupError(f"training configuration '{path}' does not exist") from error
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"training configuration '{path}' is no valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise SetupError(f"'{path}': {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
