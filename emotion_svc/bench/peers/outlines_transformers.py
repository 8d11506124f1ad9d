"""transformers under outlines, as outlines' own documentation shows it."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from emotion_svc.bench.load import Ask, Reply
from emotion_svc.bench.peers.plain import ANSWER_TOKENS, own_text
from emotion_svc.bench.subjects import Spec
from emotion_svc.schema import Answer, Turn


class _Clock:
    """Notes when tokens come; transformers calls it a streamer. The prompt is put first, at once."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


@asynccontextmanager
async def outlines_transformers(spec: Spec) -> AsyncIterator[Ask]:
    """One model, one call at a time: `generate` is no server and may not be called from two threads."""
    import outlines
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(spec.checkpoint, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(spec.checkpoint)
    generate = outlines.Generator(outlines.from_transformers(model, tokenizer), Answer)
    thread = ThreadPoolExecutor(1)

    def answer(turn: Turn) -> tuple[str, _Clock]:
        clock = _Clock()
        text = generate(own_text(spec, turn), max_new_tokens=ANSWER_TOKENS, do_sample=False, streamer=clock)
        return str(text), clock

    async def ask(turn: Turn) -> Reply:
        asked = time.perf_counter()
        text, clock = await asyncio.get_running_loop().run_in_executor(thread, answer, turn)
        return Reply(text=text.strip(), first_token_s=clock.times[1] - asked, tokens=len(clock.times) - 1)

    await ask(Turn(previous_question="", previous_answer="", response="Chào cậu!"))
    yield ask
    thread.shutdown()
