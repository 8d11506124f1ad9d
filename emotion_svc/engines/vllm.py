"""Any decoder model in vLLM, on a GPU or the CPU: the shipped checkpoint, or an instruct model of the Hub.

vLLM's scheduler, prefix cache and CUDA graphs do the work; its outlines backend holds every token inside the
answer language. A turn is two requests of few tokens (see `decoding/spelling.py`), never a whole JSON: the
first ends as soon as the family is certain, the second reads `learn_score` behind the chosen label, as the
embedded engine does. Both share the prompt's keys and values through the prefix cache. With one request for
the whole answer, six to eight steps instead of two to four are needed for a common tokenizer, and the value
of `learn_score` would belong to the likeliest label instead of the chosen one.
"""

import asyncio
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from emotion_svc.decoding.choice import VariantPolicy, choose_label, make_verdict
from emotion_svc.decoding.posterior import Posteriors, Step, slot_posterior
from emotion_svc.decoding.spelling import Question, Spelling
from emotion_svc.decoding.tokens import Encoded, TurnTokenizer
from emotion_svc.engines.chat_tokens import ChatTokenizer
from emotion_svc.errors import EngineUnavailable, MissingExtra, ModelError
from emotion_svc.modeldir import UNCALIBRATED, Temperatures, digest_of, load_calibration, model_name
from emotion_svc.prompt import Prompt, prompt_for
from emotion_svc.schema import Timings, Turn, Verdict
from emotion_svc.taxonomy import Label, family_of

Dtype = Literal["auto", "float32", "float16", "bfloat16"]

WINDOW: Final = 1024
"""The most tokens of a request: a turn needs fewer, and a small window costs less memory."""

_MAX_REQUESTS: Final = 64
"""Requests that are worked on at the same time; more wait in vLLM."""

_CPU_CACHE_BYTES: Final = 1 << 30
_CPU_BLOCK: Final = 32
"""Tokens that the CPU's prefix cache keeps or forgets together: its smallest. With vLLM's default of 128,
most turns are shorter than one block, and the second request of a turn would compute the first one's again."""

_ENVIRONMENT: Final = {
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # stdout is for answers
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",  # vLLM would report to its makers
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would copy locks that other engines' threads hold
}
_CPU_ENVIRONMENT: Final = {
    # The model runs in the engine's own process instead of a worker's: one hop less (2 ms of 13), ready in half the time.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
}


class VllmEngine:
    """A model in vLLM as an engine.

    Args:
        model: a model directory, or a model of the Hugging Face Hub such as `Qwen/Qwen3-0.6B`.
        dtype: what vLLM computes in; the checkpoint's own type by default.
        variants: which animation of the chosen family is played.
        prompts: directory of the prompt files; the package's own by default.
    """

    name = "vllm"

    def __init__(
        self,
        model: str,
        *,
        dtype: Dtype = "auto",
        variants: VariantPolicy = "stable",
        prompts: Path | None = None,
    ) -> None:
        self._model, self._dtype, self._variants, self._prompts = model, dtype, variants, prompts
        self._loaded: _Loaded | None = None
        self._llm: Any = None
        self._numbers = itertools.count()

    @property
    def model_name(self) -> str:
        """The model's name in config.json, or on the Hub."""
        return self._ready.name

    @property
    def model_digest(self) -> str:
        """Digest of the weights."""
        return self._ready.digest

    @property
    def _ready(self) -> "_Loaded":
        if self._loaded is None:
            raise EngineUnavailable("the vllm engine is not started, or closed; call start() on a new one")
        return self._loaded

    async def start(self) -> None:
        """Loads the model and starts vLLM (10 s for a small model on the CPU, a minute for a large one on a GPU).

        Raises:
            MissingExtra: vLLM is not installed.
            ModelError: there is no such model, or vLLM or the answer language cannot do with it.
            PromptError: no prompt is for this model, or it does not fit the model's chat template.
        """
        if find_spec("vllm") is None:
            raise MissingExtra("vllm", "vllm")
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        loaded = await asyncio.to_thread(_load, self._model, self._variants, self._prompts)
        self._llm = await asyncio.to_thread(_open_vllm, loaded, self._dtype)
        self._loaded = loaded

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        """Verdicts for the turns, in the same order. A cancelled call ends its requests in vLLM."""
        loaded = self._ready
        started = time.perf_counter()
        encoded = [loaded.encode(turn) for turn in turns]
        tokenize_ms = (time.perf_counter() - started) * 1e3
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._classify_one(turn, prompt, tokenize_ms))
                    for turn, prompt in zip(turns, encoded, strict=True)
                ]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _classify_one(self, turn: Turn, prompt: Encoded, tokenize_ms: float) -> Verdict:
        loaded = self._ready
        started = time.perf_counter()
        emotion = slot_posterior(
            "emotion",
            loaded.emotion.index,
            await self._ask(prompt, loaded.emotion),
            said=loaded.emotion.said,
            temperature=loaded.temperatures.emotion,
        )
        label = choose_label(turn, Posteriors(emotion, 0.0), self._variants)
        question = loaded.learn_score[label]
        values = slot_posterior(
            "learn_score",
            question.index,
            await self._ask(prompt, question),
            said=question.said,
            temperature=loaded.temperatures.learn_score,
        )
        return make_verdict(
            label,
            Posteriors(emotion, float(values[1])),
            engine=self.name,
            model_digest=loaded.digest,
            truncated=prompt.truncated,
            timings=Timings(tokenize_ms=tokenize_ms, infer_ms=(time.perf_counter() - started) * 1e3),
        )
