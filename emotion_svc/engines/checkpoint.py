"""A causal checkpoint as this project asks it: its prompt in tokens, its questions, its calibration.

Whoever runs the weights (vLLM to answer, torch to fine-tune) reads a turn in exactly this way.
"""

import json
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from emotion_svc.decoding.choice import VariantPolicy
from emotion_svc.decoding.spelling import Question, Spelling
from emotion_svc.decoding.tokens import Encoded, TurnTokenizer
from emotion_svc.decoding.wording import WORDING_FILE
from emotion_svc.engines.chat_tokens import ChatTokenizer
from emotion_svc.errors import ModelError
from emotion_svc.modeldir import UNCALIBRATED, Temperatures, digest_of, load_calibration, model_name
from emotion_svc.prompt import Prompt, prompt_for
from emotion_svc.schema import Turn
from emotion_svc.taxonomy import Label, family_of

WINDOW: Final = 1024
"""The most tokens of a request: a turn needs fewer, and a small window costs less memory."""

_HUB_NAME: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*")
TEXTS: Final = ("*.json", "*.jinja", "*.model", "*.txt")
"""All files of a model but its weights and those of a voter."""

_FILES: Final = ("*.safetensors", WORDING_FILE, *TEXTS)


class Checkpoint(NamedTuple):
    """All that is known of a model before its weights are loaded.

    `dtype` is the one that config.json names, or `auto`; `window` is in tokens. `encode` makes the whole prompt of a
    turn, behind which the `prefix_ids` of a question belong.
    """

    name: str
    digest: str
    directory: Path
    dtype: str
    window: int
    prompt: Prompt
    temperatures: Temperatures
    encode: Callable[[Turn], Encoded]
    spelling: Spelling
    emotion: Question
    learn_score: dict[Label, Question]

    @property
    def questions(self) -> list[Question]:
        """All places at which the model chooses."""
        return [self.emotion, *self.learn_score.values()]


def load_checkpoint(model: str, variants: VariantPolicy = "stable", prompts: Path | None = None) -> Checkpoint:
    """Reads a model directory, or fetches a model of the Hugging Face Hub first.

    Args:
        model: the directory, or a name on the Hub such as `Qwen/Qwen3-0.6B`.
        variants: with `model`, the emotion is asked for down to the animation, otherwise down to the family.
        prompts: directory of the prompt files; the package's own by default.

    Raises:
        ModelError: there is no such model, or the answer language cannot do with its tokenizer.
        PromptError: no prompt is for this model, or it does not fit the model's chat template.
    """
    directory = find_model(model)
    name = model_name(directory) if directory == Path(model) else model
    prompt = prompt_for(name, prompts)
    dtype, window = shape_of(directory)
    digest = weights_digest(directory)
    calibration = load_calibration(directory)
    tokenizer = tokenizer_of(model, directory)
    spelling = Spelling(tokenizer.backend_tokenizer, tokenizer.eos_token_id)
    # Only one policy lets the model choose within a family; for the others the family is enough.
    emotion, learn_score = spelling.emotion(str if variants == "model" else family_of), spelling.learn_score()
    longest = max(len(q.prefix_ids) + q.grammar.max_tokens for q in [emotion, *learn_score.values()])
    return Checkpoint(
        name=name,
        digest=digest,
        directory=directory,
        dtype=dtype,
        window=window,
        prompt=prompt,
        temperatures=calibration.temperatures(digest, prompt.digest) if calibration else UNCALIBRATED,
        encode=_encoder(directory, tokenizer, prompt, window - longest),
        spelling=spelling,
        emotion=emotion,
        learn_score=learn_score,
    )


def shape_of(directory: Path) -> tuple[str, int]:
    """The data type that config.json names, or `auto`, and the longest request that we let the model take, in tokens.

    Raises:
        ModelError: there is no model in the directory.
    """
    model_name(directory)  # tells what is wrong with it
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    window: int = min(WINDOW, config.get("max_position_embeddings", WINDOW))
    return config.get("dtype", config.get("torch_dtype", "auto")), window


def tokenizer_of(model: str, directory: Path) -> Any:
    """The tokenizer as transformers loads it; `model` names it in errors.

    Raises:
        ModelError: transformers cannot load it, or it has no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory)
    except Exception as error:  # transformers raises whatever its parts raise
        raise ModelError(f"transformers cannot load the tokenizer of '{model}' ({type(error).__name__})") from error
    if tokenizer.eos_token_id is None:
        raise ModelError(f"the tokenizer of '{model}' names no end-of-sequence token; vLLM's grammar needs one")
    return tokenizer


def find_model(model: str, files: Sequence[str] = _FILES) -> Path:
    """The model's directory; where `model` is a name on the Hub, such files of it are fetched.

    Raises:
        ModelError: they cannot be fetched.
    """
    if Path(model).is_dir() or not _HUB_NAME.fullmatch(model):
        return Path(model)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=list(files), ignore_patterns="*/*"))
    except Exception as error:  # the hub's client raises its own errors and those of the network
        raise ModelError(
            f"'{model}' is no directory and cannot be fetched from the Hugging Face Hub ({type(error).__name__}); "
            "give a model directory, or check the name and the network"
        ) from error


def weights_digest(directory: Path) -> str:
    """One digest for all weight files; of a single file, the one that a calibration names."""
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise ModelError(f"'{directory}' holds no *.safetensors; expected a checkpoint in Hugging Face format")
    if len(files) == 1:
        return digest_of(files[0])
    return sha256("".join(map(digest_of, files)).encode()).hexdigest()[:16]


def _encoder(directory: Path, tokenizer: Any, prompt: Prompt, room: int) -> Callable[[Turn], Encoded]:
    """What makes a whole prompt of a turn: the shipped model's tokens, or a chat template's."""
    if prompt.style == "chat":
        return ChatTokenizer(tokenizer, prompt, room).encode
    tokens = TurnTokenizer(directory / "tokenizer.json", prompt)

    def encode(turn: Turn) -> Encoded:
        encoded = tokens.encode(turn)
        return encoded._replace(ids=tokens.system_ids + encoded.ids)

    return encode
