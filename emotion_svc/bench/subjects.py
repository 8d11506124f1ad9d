"""What can be measured: our engines, and what a user would take instead of them ("peers")."""

from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

from emotion_svc.config import EngineName
from emotion_svc.modeldir import SHIPPED, WEIGHTS_FILE, digest_of
from emotion_svc.prompt import prompt_for

PeerName = Literal["vllm-json", "vllm-json-135m", "outlines", "llama-cpp"]
"""`vllm-json`: vLLM as a plain user takes it, with the answer's JSON schema as response format, and the checkpoint of
the model directory; `vllm-json-135m`: the same with random weights of SmolLM2-135M's shape and a general prompt;
`outlines`: transformers under outlines, the directory's checkpoint; `llama-cpp`: llama.cpp with a grammar, the same
checkpoint."""

Name = Literal[EngineName, PeerName]
ENGINES: Final[tuple[str, ...]] = get_args(EngineName)
NAMES: Final[tuple[str, ...]] = get_args(Name)

RANDOM_135M: Final = "random-135m"
"""By this name the model with random weights finds its prompt."""

Way = Literal["process", "http"]
WAYS: Final[tuple[Way, ...]] = get_args(Way)

Part = Literal["load", "floor", "batch", "growth"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
"""Parts of a report: latency and throughput; the floor and a profile; `classify --input`; how cost grows."""

SERVED: Final = (*ENGINES, "vllm-json", "vllm-json-135m")
"""What can be asked over HTTP. transformers and outlines bring no server; llama-cpp-python's takes no token ids, and
llama.cpp has no tokenizer like the shipped one."""


class Spec(BaseModel):
    """One subject for one process, as it is handed to that process.

    `settings` are those of an engine of ours; `model` is the directory whose checkpoint a peer runs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    settings: dict[str, str] = {}
    gold: tuple[Path, ...]
    seed: int
    model: Path = SHIPPED
    assets: Path

    @property
    def is_engine(self) -> bool:
        """Whether it is one of our own."""
        return self.name in ENGINES

    @property
    def checkpoint(self) -> Path:
        """What a peer reads; what no directory holds is made before (see `prepare`).

        What is made bears the digest of what it is made of, so that it is made anew when that has changed.
        """
        match self.name:
            case "vllm-json-135m":
                return self.assets / f"{RANDOM_135M}-{prompt_for(RANDOM_135M).digest}"
            case "llama-cpp":
                parts = [digest_of(self.model / name) for name in (WEIGHTS_FILE, "tokenizer.json", "config.json")]
                return self.assets / f"{'-'.join(parts)}.gguf"
            case _:
                return self.model
