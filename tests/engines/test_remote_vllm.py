"""The remote engine against vLLM's own server, on the CPU, with a tiny instruct model of random weights."""

import asyncio
from collections.abc import Iterator

import pytest

from emotion_svc.engines.base import check_canary
from emotion_svc.engines.factory import create_remote
from emotion_svc.engines.remote import RemoteEngine
from emotion_svc.errors import AnswerRefused, HostRefuses
from emotion_svc.schema import ALL_ANSWERS, Turn
from tests import hostile
from tests.engines.marks import NEEDS_VLLM
from tests.engines.vllm_server import MODEL, VllmServer, tiny_model

pytestmark = [*NEEDS_VLLM]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with VllmServer(tiny_model(tmp_path_factory.mktemp("hub"))) as server:
        yield server.url


async def started(url: str, preset: str = "vllm", model: str = MODEL) -> RemoteEngine:
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
