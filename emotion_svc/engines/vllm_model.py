"""All that is known of a model before vLLM has it: its files, its window, and how its tokenizer writes the answers."""

import json
import re
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple

from emotion_svc.decoding.choice import VariantPolicy
from emotion_svc.decoding.spelling import Question, Spelling
from emotion_svc.decoding.tokens import Encoded, TurnTokenizer
from emotion_svc.engines.chat_tokens import ChatTokenizer
from emotion_svc.engines.vllm_options import WINDOW
from emotion_svc.errors import ModelError
from emotion_svc.modeldir import UNCALIBRATED, Temperatures, digest_of, load_calibration, model_name
from emotion_svc.prompt import Prompt, prompt_for
from emotion_svc.schema import Turn
from emotion_svc.taxonomy import Label, family_of

_HUB_NAME: Final = re.compile(r"\w[\w.-]*/\w[\w.-]*")
HUB_TEXTS: Final = ["*.json", "*.jinja", "*.model", "*.txt"]
"""All files of a model but its weights."""

_HUB_FILES: Final = ["*.safetensors", *HUB_TEXTS]


class Loaded(NamedTuple):
    """What the engine needs to know of a model; `window` in tokens."""

    name: str
    digest: str
    directory: Path
    dtype: str
    window: int
    temperatures: Temperatures
    encode: Callable[[Turn], Encoded]
    emotion: Question
    learn_score: dict[Label, Question]

    @property
    def questions(self) -> list[Question]:
        """All that the model may be asked."""
        return [self.emotion, *self.learn_score.values()]


def load(model: str, variants: VariantPolicy, prompts: Path | None) -> Loaded:
    """Reads the model's files; those of a model on the Hub are fetched first.

    Raises:
        ModelError: there is no such model, or the answer language cannot do with it.
        PromptError: no prompt is for this model, or it does not fit the model's chat template.
    """
    directory = find(model)
    name = model_name(directory) if directory == Path(model) else model
    prompt = prompt_for(name, prompts)
    dtype, window = shape_of(directory)
    digest = _digest(directory)
    calibration = load_calibration(directory)
    tokenizer = tokenizer_of(model, directory)
    spelling = Spelling(tokenizer.backend_tokenizer, tokenizer.eos_token_id)
    # Only one policy lets the model choose within a family; for the others the family is enough.
    emotion, learn_score = spelling.emotion(str if variants == "model" else family_of), spelling.learn_score()
    longest = max(len(q.prefix_ids) + q.grammar.max_tokens for q in [emotion, *learn_score.values()])
    return Loaded(
        name=name,
        digest=digest,
        directory=directory,
        dtype=dtype,
        window=window,
        temperatures=calibration.temperatures(digest, prompt.digest) if calibration else UNCALIBRATED,
        encode=_encoder(directory, tokenizer, prompt, window - longest),
        emotion=emotion,
        learn_score=learn_score,
    )


def find(model: str, files: Sequence[str] = _HUB_FILES) -> Path:
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


def shape_of(directory: Path) -> tuple[str, int]:
    """The data type of the checkpoint, and the longest request that we let the model take."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    window: int = min(WINDOW, config.get("max_position_embeddings", WINDOW))
    return config.get("dtype") or config.get("torch_dtype") or "auto", window


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


def _digest(directory: Path) -> str:
    """One digest for all weight files; of a single file, the one that a calibration names."""
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise ModelError(f"'{directory}' holds no *.safetensors; vLLM needs a checkpoint in Hugging Face format")
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
