"""vLLM as a plain user takes it: one request for the whole answer, under the answer's JSON schema."""

import itertools
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from emotion_svc.bench.load import Ask, Reply
from emotion_svc.bench.peers.plain import ANSWER_TOKENS, VLLM, answer_schema, prompt_of
from emotion_svc.bench.subjects import Spec
from emotion_svc.schema import Turn


@asynccontextmanager
async def vllm_json(spec: Spec) -> AsyncIterator[Ask]:
    """VLLM's `AsyncLLM` in this process, with its defaults."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams
    from vllm.v1.engine.async_llm import AsyncLLM

    llm = AsyncLLM.from_engine_args(AsyncEngineArgs(model=str(spec.checkpoint), **VLLM))
    numbers = itertools.count()

    async def ask(turn: Turn) -> Reply:
        params = SamplingParams(
            temperature=0.0,
            max_tokens=ANSWER_TOKENS,
            structured_outputs=StructuredOutputsParams(json=answer_schema()),
            output_kind=RequestOutputKind.DELTA,
        )
        asked = time.perf_counter()
        pieces, tokens, first = [], 0, None
        prompt = prompt_of(spec, turn)
        request = prompt if isinstance(prompt, str) else {"prompt_token_ids": prompt}
        async for output in llm.generate(request, params, f"turn-{next(numbers)}"):
            if first is None:
                first = time.perf_counter() - asked
            pieces.append(output.outputs[0].text)
            tokens += len(output.outputs[0].token_ids)
        return Reply(text="".join(pieces).strip(), first_token_s=first, tokens=tokens)

    try:
        await ask(Turn(previous_question="", previous_answer="", response="Chào cậu!"))
        yield ask
    finally:
        llm.shutdown()
