"""The remote engine in front of a host that does what it is told."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from emotion_svc.engines.presets import find_preset
from emotion_svc.engines.remote import RemoteEngine
from emotion_svc.schema import Answer, Turn
from tests.upstream import (
    WAIT_S,
    Upstream,
)

TURN = Turn(previous_question="Con mèo tiếng Anh là gì?", previous_answer="cat", response="Chính xác, cat đó!")
SAD = '{"emotion":"sad","learn_score":true}'
KEY = "sk-5e1f-zanzibar"
COUNTS = {"prompt_tokens": 230, "completion_tokens": 12, "total_tokens": 242}


@asynccontextmanager
async def engine_for(
    upstream: Upstream, preset: str = "vllm", timeout_s: float = WAIT_S
) -> AsyncIterator[RemoteEngine]:
    host = find_preset(preset, model="m", base_url=upstream.url)
    engine = RemoteEngine(host, host.key_from({host.key_env: KEY}), timeout_s=timeout_s)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


async def ask(upstream: Upstream, preset: str = "vllm", timeout_s: float = WAIT_S) -> Answer:
    async with engine_for(upstream, preset, timeout_s) as engine:
        [verdict] = await engine.classify([TURN])
    return verdict.answer
