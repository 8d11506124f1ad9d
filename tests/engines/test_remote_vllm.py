"""The remote engine against vLLM's own server, on the CPU, with a tiny instruct model of random weights."""

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from emotion_svc.engines.base import check_canary
from emotion_svc.engines.factory import create_remote
from emotion_svc.engines.remote import RemoteEngine
from emotion_svc.errors import AnswerRefused, HostRefuses
from emotion_svc.schema import ALL_ANSWERS, Turn
from emotion_svc.serving.server import bind
from tests import hostile
from tests.engines.marks import NEEDS_VLLM

pytestmark = [*NEEDS_VLLM]

WINDOW = 16_384
"""Room for the longest hostile turn: what is longer than the model's window is refused by the server."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from tests.engines import tiny

    model = tiny.write_to_hub_cache(tmp_path_factory.mktemp("hub"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": WINDOW}))
    with server(model) as url:
        yield url


class server:  # noqa: N801 - reads as what it is: with server(model) as url
    """`vllm serve` on a free port, up to the line with which uvicorn says that it listens."""

    def __init__(self, model: Path) -> None:
        with bind("127.0.0.1", 0) as sock:
            self._port = sock.getsockname()[1]
        command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
        command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--enforce-eager", "--max-model-len", str(WINDOW), "--max-num-seqs", "32", "--disable-log-stats"]
        quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=os.environ | quiet
        )

    def __enter__(self) -> str:
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if "startup complete" in line:
                break
        else:
            raise AssertionError("".join(said[-40:]))
        # Whatever it says from now on is read away, or it would stop at a full pipe.
        self._reader = threading.Thread(target=self._process.stderr.read)
        self._reader.start()
        return f"http://127.0.0.1:{self._port}/v1"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._reader.join(60)
        assert self._process.stderr is not None
        self._process.stderr.close()


async def started(url: str, preset: str = "vllm", model: str = "tiny") -> RemoteEngine:
    engine = create_remote(preset, model=model, base_url=url, environment={"DEEPSEEK_API_KEY": "none"})
    await engine.start()
    return engine


async def test_random_weights_stay_inside_the_language_whatever_a_turn_holds(url: str, gold_turns: list[Turn]) -> None:
    engine = await started(url)
    await check_canary(engine)
    verdicts = await engine.classify([*hostile.TURNS, *gold_turns[:40]])
    assert {verdict.answer.model_dump_json() for verdict in verdicts} <= set(ALL_ANSWERS)
    assert len({verdict.answer.emotion for verdict in verdicts}) > 1
    await engine.close()


async def test_a_json_schema_is_taken_too_but_random_weights_may_fill_its_room_with_white_space(
    url: str, gold_turns: list[Turn]
) -> None:
    engine = await started(url, "llama-cpp")
    outcomes = await asyncio.gather(*(engine.classify([turn]) for turn in gold_turns[:40]), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, AnswerRefused)]
    answered = [outcome[0] for outcome in outcomes if isinstance(outcome, list)]
    assert len(refused) + len(answered) == 40
    assert answered
    assert {verdict.answer.model_dump_json() for verdict in answered} <= set(ALL_ANSWERS)
    await engine.close()


async def test_its_log_probabilities_become_posteriors_and_its_counts_are_told(
    url: str, gold_turns: list[Turn]
) -> None:
    engine = await started(url)
    verdicts = await engine.classify(gold_turns[:20])
    for verdict in verdicts:
        assert sum(verdict.emotion_posterior.values()) == pytest.approx(1)
        assert verdict.usage is not None
        assert verdict.usage.prompt_tokens > 300
        assert 5 < verdict.usage.completion_tokens < 63
    assert all(0 < verdict.learn_score_probability < 1 for verdict in verdicts)
    assert any(verdict.family_confidence < 1 for verdict in verdicts)
    await engine.close()


async def test_without_a_constraint_random_weights_say_no_answer_and_are_refused(
    url: str, gold_turns: list[Turn]
) -> None:
    engine = await started(url, "deepseek")
    with pytest.raises(AnswerRefused) as raised:
        await engine.classify(gold_turns[:1])
    assert raised.value.prompt_tokens > 300
    await engine.close()


async def test_a_model_that_it_does_not_serve_is_refused_and_not_asked_for_again(
    url: str, gold_turns: list[Turn]
) -> None:
    engine = await started(url, model="large")
    with pytest.raises(HostRefuses, match="status 404; check the address and the model 'large'"):
        await engine.classify(gold_turns[:1])
    await engine.close()


async def test_a_cancelled_call_leaves_the_others_alone(url: str, gold_turns: list[Turn]) -> None:
    engine = await started(url)
    expected = [verdict.answer for verdict in await engine.classify(gold_turns[:3])]
    given_up = asyncio.create_task(engine.classify(gold_turns[3:20]))
    kept = asyncio.create_task(engine.classify(gold_turns[:3]))
    await asyncio.sleep(0)
    given_up.cancel()
    assert [verdict.answer for verdict in await kept] == expected
    await engine.close()
