"""Any decoder model in vLLM, on a GPU or the CPU: the shipped checkpoint, or an instruct model of the Hub.

vLLM's scheduler, prefix cache and CUDA graphs do the work; its outlines backend holds every token inside the
answer language. A turn is two requests of few tokens (see `decoding/spelling.py`), never a whole JSON: the
first ends as soon as the family is certain, the second reads `learn_score` behind the chosen label, as the
embedded engine does. Where the wording suggests a label, the second does not wait for the first; it is made
anew where another label is chosen. Both share the prompt's keys and values through the prefix cache. With one
request for the whole answer, six to eight steps instead of two to four are needed for a common tokenizer, and
the value of `learn_score` would belong to the likeliest label instead of the chosen one.
"""

import asyncio
import gc
import itertools
import os
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from emotion_svc.decoding.choice import VariantPolicy, choose_label, likely_label, make_verdict
from emotion_svc.decoding.posterior import Floats, Posteriors, Slot, Step, slot_posterior
from emotion_svc.decoding.spelling import Question
from emotion_svc.decoding.tokens import Encoded
from emotion_svc.engines.checkpoint import Checkpoint, load_checkpoint
from emotion_svc.engines.vllm_options import tuned
from emotion_svc.errors import EngineUnavailable, MissingExtra, ModelError
from emotion_svc.schema import Timings, Turn, Verdict
from emotion_svc.taxonomy import Label

_ENVIRONMENT: Final = {
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",  # stdout is for answers
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",  # vLLM would report to its makers
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a fork would copy locks that other engines' threads hold
}


class VllmEngine:
    """A model in vLLM as an engine.

    Args:
        model: a model directory, or a model of the Hugging Face Hub such as `Qwen/Qwen3-0.6B`.
        variants: which animation of the chosen family is played.
        prompts: directory of the prompt files; the package's own by default.
    """

    name = "vllm"

    def __init__(
        self,
        model: str,
        *,
        variants: VariantPolicy = "stable",
        prompts: Path | None = None,
    ) -> None:
        self._model, self._variants, self._prompts = model, variants, prompts
        self._loaded: Checkpoint | None = None
        self._llm: Any = None
        self._params: dict[str, Any] = {}
        self._under_way: set[asyncio.Task[Verdict]] = set()
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
    def _ready(self) -> Checkpoint:
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
        prepare()
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        loaded = load_checkpoint(self._model, self._variants, self._prompts)
        self._llm = _open_vllm(loaded)
        self._params = {question.said: _sampling(question) for question in loaded.questions}
        self._loaded = loaded

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        """Verdicts for the turns, in the same order. A cancelled call ends its requests in vLLM.

        Raises:
            EngineUnavailable: the engine is not started, or vLLM failed.
        """
        loaded = self._ready
        started = time.perf_counter()
        prompts = [loaded.encode(turn) for turn in turns]
        tokenize_ms = (time.perf_counter() - started) * 1e3
        tasks = [
            asyncio.create_task(self._classify_one(loaded, turn, prompt, tokenize_ms))
            for turn, prompt in zip(turns, prompts, strict=True)
        ]
        self._under_way.update(tasks)
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # where one has failed, the others are not waited for
                task.cancel()
            self._under_way.difference_update(tasks)

    async def close(self) -> None:
        """Answers what is under way, then ends vLLM and its processes."""
        self._loaded = None
        if self._llm is None:
            return
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._llm.shutdown()
        self._llm = None
        # vLLM's objects point at each other and shut down once more when they are freed, which fails with a
        # traceback if that is left to the end of the process.
        gc.collect()

    async def _classify_one(self, loaded: Checkpoint, turn: Turn, prompt: Encoded, tokenize_ms: float) -> Verdict:
        started = time.perf_counter()
        draft = prompt.likely and likely_label(turn, prompt.likely, self._variants)
        drafted = draft and asyncio.create_task(self._learn_score(loaded, prompt, draft))
        try:
            emotion = await self._read("emotion", prompt, loaded.emotion, loaded.temperatures.emotion)
            label = choose_label(turn, Posteriors(emotion, 0.0), self._variants)
            known = drafted if drafted and label == draft else self._learn_score(loaded, prompt, label)
            learn_score = await known
        finally:
            if drafted:
                drafted.add_done_callback(_forget)
                drafted.cancel()
        return make_verdict(
            label,
            Posteriors(emotion, float(learn_score[1])),
            engine=self.name,
            model_digest=loaded.digest,
            truncated=prompt.truncated,
            timings=Timings(tokenize_ms=tokenize_ms, infer_ms=(time.perf_counter() - started) * 1e3),
        )

    async def _learn_score(self, loaded: Checkpoint, prompt: Encoded, label: Label) -> Floats:
        """The posterior of `learn_score` behind a label."""
        return await self._read("learn_score", prompt, loaded.learn_score[label], loaded.temperatures.learn_score)

    async def _read(self, slot: Slot, prompt: Encoded, question: Question, temperature: float) -> Floats:
        """The posterior of a slot, from the tokens with which the model answers the question."""
        request = {"type": "token", "prompt_token_ids": prompt.ids + question.prefix_ids}
        try:
            async for output in self._llm.generate(request, self._params[question.said], f"turn-{next(self._numbers)}"):
                completion = output.outputs[0]
        except Exception as error:  # vLLM's errors share no public base class
            raise EngineUnavailable(f"vLLM failed ({type(error).__name__}); its log on stderr says why") from error
        if completion.finish_reason != "stop":
            raise EngineUnavailable(f"vLLM ended a request before its answer ({completion.finish_reason})")
        steps = [
            Step(token_id, {other: entry.logprob for other, entry in entries.items()})
            for token_id, entries in zip(completion.token_ids, completion.logprobs, strict=True)
        ]
        try:
            return slot_posterior(slot, question.grammar, steps, said=question.said, temperature=temperature)
        except ValueError as error:
            raise EngineUnavailable(f"vLLM left the answer language: {error}") from error


def _forget(drafted: asyncio.Task[Floats]) -> None:
    """Looks at what came of a draft, or asyncio would log a failure that nobody waited for."""
    if not drafted.cancelled():
        drafted.exception()


def _open_vllm(loaded: Checkpoint) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    widest = max(question.widest for question in loaded.questions)
    options = tuned(dtype=loaded.dtype, window=loaded.window, widest=widest, on_cpu=runs_on_cpu())
    arguments = AsyncEngineArgs(model=str(loaded.directory), **options)
    try:
        return AsyncLLM.from_engine_args(arguments)
    except Exception as error:  # vLLM raises whatever its parts raise
        raise ModelError(
            f"vLLM cannot run '{loaded.name}' ({type(error).__name__}); its log on stderr says why"
        ) from error


def _sampling(question: Question) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    return SamplingParams(
        temperature=0.0,
        structured_outputs=StructuredOutputsParams(regex=question.regex),
        allowed_token_ids=question.token_ids,
        stop_token_ids=question.deciding_ids,
        max_tokens=question.grammar.max_tokens,
        logprobs=question.widest,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,  # a deep copy for every request; nothing in it is changed
    )


def runs_on_cpu() -> bool:
    """Whether the installed vLLM runs on the CPU."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def installed_version() -> str:
    """The version of vLLM that is installed."""
    import vllm

    return str(vllm.__version__)


def prepare() -> None:
    """Makes vLLM quiet before it is imported for the first time.

    Raises:
        MissingExtra: vLLM is not installed.
    """
    if find_spec("vllm") is None:
        raise MissingExtra("vllm", "vllm")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
