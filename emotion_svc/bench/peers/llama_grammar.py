"""llama.cpp under a grammar, by llama-cpp-python. The prompt goes in as the shipped tokenizer's ids."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from emotion_svc.bench.load import Ask, Reply
from emotion_svc.bench.peers.plain import ANSWER_TOKENS, answer_schema, prompt_of
from emotion_svc.bench.subjects import Spec
from emotion_svc.schema import Turn


@asynccontextmanager
async def llama_grammar(spec: Spec) -> AsyncIterator[Ask]:
    """One context, one call at a time, as the library's class `Llama` is meant."""
    from llama_cpp import Llama, LlamaGrammar

    llama = Llama(str(spec.checkpoint), n_ctx=512, verbose=False)
    grammar = LlamaGrammar.from_json_schema(json.dumps(answer_schema()), verbose=False)
    thread = ThreadPoolExecutor(1)

    def answer(turn: Turn) -> tuple[str, list[float]]:
        pieces, times = [], []
        for chunk in llama.create_completion(
            prompt_of(spec, turn), grammar=grammar, max_tokens=ANSWER_TOKENS, temperature=0.0, stream=True
        ):
            times.append(time.perf_counter())
            pieces.append(chunk["choices"][0]["text"])
        return "".join(pieces), times

    async def ask(turn: Turn) -> Reply:
        asked = time.perf_counter()
        text, times = await asyncio.get_running_loop().run_in_executor(thread, answer, turn)
        # The last piece only says that the answer has ended.
        return Reply(text=text.strip(), first_token_s=times[0] - asked, tokens=max(1, len(times) - 1))

    await ask(Turn(previous_question="", previous_answer="", response="Chào cậu!"))
    yield ask
    thread.shutdown()
