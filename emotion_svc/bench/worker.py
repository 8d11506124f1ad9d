"""One subject in a process of its own: `python -m emotion_svc.bench.worker SPEC`.

It says `ready` on stdout, then reads one `Press` a line on stdin and answers each with one line, a `Load`. At the end
of stdin it closes the subject and ends. Whatever libraries print goes to stderr.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TextIO

from pydantic import BaseModel, ConfigDict

from emotion_svc.bench.load import Ask, Reply, press
from emotion_svc.bench.subjects import Spec
from emotion_svc.bench.turns import shuffled
from emotion_svc.config import load_settings
from emotion_svc.schema import Turn

READY: Final = "ready"


class Press(BaseModel):
    """So many clients, for so long, from this place in the order of turns on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    first: int
    clients: int
    seconds: float


@asynccontextmanager
async def opened(spec: Spec) -> AsyncIterator[Ask]:
    """The subject, started; each one's libraries are imported in its branch."""
    match spec.name:
        case "vllm-json" | "vllm-json-135m":
            from emotion_svc.bench.peers.vllm_json import vllm_json

            opening = vllm_json(spec)
        case "outlines":
            from emotion_svc.bench.peers.outlines_transformers import outlines_transformers

            opening = outlines_transformers(spec)
        case "llama-cpp":
            from emotion_svc.bench.peers.llama_grammar import llama_grammar

            opening = llama_grammar(spec)
        case _:
            opening = _own_engine(spec)
    async with opening as ask:
        yield ask


@asynccontextmanager
async def _own_engine(spec: Spec) -> AsyncIterator[Ask]:
    from emotion_svc.engines.factory import create_engine, running

    async with running(create_engine(load_settings(engine=spec.name, **spec.settings))) as engine:

        async def ask(turn: Turn) -> Reply:
            [verdict] = await engine.classify([turn])
            return Reply(text=verdict.answer.model_dump_json(), infer_s=verdict.timings.infer_ms / 1e3)

        yield ask


async def work(spec: Spec, answers: TextIO) -> None:
    """Serves presses until stdin ends."""
    turns = [example.turn for example in shuffled(spec.gold, spec.seed)]
    async with opened(spec) as ask:
        print(READY, file=answers, flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            wanted = Press.model_validate_json(line)
            load = await press([ask] * wanted.clients, turns, first=wanted.first, seconds=wanted.seconds)
            print(load.model_dump_json(), file=answers, flush=True)


def main() -> None:
    """The entry point of `python -m emotion_svc.bench.worker`."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # native libraries print, too
    asyncio.run(work(Spec.model_validate_json(sys.argv[1]), answers))


if __name__ == "__main__":
    main()
