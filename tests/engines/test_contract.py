"""The same promises, once for each engine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Final

import pytest
import pytest_asyncio

from emotion_svc.config import Settings
from emotion_svc.engines.base import Engine, check_canary
from emotion_svc.engines.embedded import EmbeddedEngine
from emotion_svc.engines.factory import create_remote
from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.errors import EngineUnavailable, MissingExtra
from emotion_svc.modeldir import SHIPPED
from emotion_svc.schema import ALL_ANSWERS, Answer, Turn, Verdict
from emotion_svc.taxonomy import LABELS_OF, family_of
from tests import hostile
from tests.engines.marks import LET_VLLM_WARN, NEEDS_VLLM
from tests.serving.conftest import listening

TABLE: Final = {
    "Chính xác, cat đó!": Answer(emotion="thats_right", learn_score=True),
    "Tớ sợ sấm lắm.": Answer(emotion="afraid", learn_score=False),
}


def vllm() -> Engine:
    from emotion_svc.engines.vllm import VllmEngine

    return VllmEngine(str(SHIPPED))


def remote(base_url: str = "http://127.0.0.1:1/v1") -> Engine:
    return create_remote(
        "openai-decisions", model="pika-tiny", base_url=base_url, environment={"OPENAI_API_KEY": "none"}
    )


ENGINES: Final[dict[str, Callable[[], Engine]]] = {
    "scripted": lambda: ScriptedEngine(TABLE),
    "embedded": EmbeddedEngine,
    "vllm": vllm,
    "remote": remote,
}

pytestmark = [pytest.mark.asyncio(loop_scope="module"), LET_VLLM_WARN]


@pytest_asyncio.fixture(
    scope="module",
    loop_scope="module",
    params=["scripted", "embedded", pytest.param("vllm", marks=NEEDS_VLLM), "remote"],
)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    with ExitStack() as stack:
        if request.param == "remote":  # asks a service of ours
            served = stack.enter_context(
                listening(EmbeddedEngine(), Settings(max_field_chars=4_100, deadline_ms=60_000))
            )
            engine = remote(f"{served.base_url}/v1")
        else:
            engine = ENGINES[request.param]()
        await engine.start()
        yield engine
        await engine.close()


def turn(response: str) -> Turn:
    return Turn(previous_question="Con mèo tiếng Anh là gì?", previous_answer="cat", response=response)


def answers(verdicts: list[Verdict]) -> list[Answer]:
    return [verdict.answer for verdict in verdicts]


async def test_it_passes_the_canary(engine: Engine) -> None:
    assert (await check_canary(engine)).engine == engine.name


async def test_it_says_who_answered(engine: Engine) -> None:
    [verdict] = await engine.classify([turn("Chính xác, cat đó!")])
    assert (verdict.engine, verdict.model_digest) == (engine.name, engine.model_digest)
    assert engine.model_name


async def test_a_plain_turn_is_answered_sensibly(engine: Engine) -> None:
    right, afraid = await engine.classify([turn("Chính xác, cat đó!"), turn("Tớ sợ sấm lắm.")])
    assert (right.family, right.answer.learn_score) == ("thats_right", True)
    assert afraid.family == "afraid"


async def test_no_turns_give_no_verdicts(engine: Engine) -> None:
    assert await engine.classify([]) == []


async def test_verdicts_come_in_the_order_of_the_turns(engine: Engine, gold_turns: list[Turn]) -> None:
    turns = gold_turns[:40]
    forwards, backwards = await engine.classify(turns), await engine.classify(turns[::-1])
    assert answers(forwards) == answers(backwards)[::-1]
    assert len({answer.emotion for answer in answers(forwards)}) > 5 or engine.name == "scripted"


async def test_a_turn_gets_the_same_answer_alone_and_among_others(engine: Engine, gold_turns: list[Turn]) -> None:
    turns = gold_turns[40:60]
    alone = [(await engine.classify([one]))[0] for one in turns]
    assert answers(alone) == answers(await engine.classify(turns))


async def test_calls_at_the_same_time_get_their_own_answers(engine: Engine, gold_turns: list[Turn]) -> None:
    calls = [gold_turns[place : place + 3] for place in range(0, 30, 3)]
    one_by_one = [answers(await engine.classify(call)) for call in calls]
    together = await asyncio.gather(*(engine.classify(call) for call in calls))
    assert list(map(answers, together)) == one_by_one


async def test_every_answer_is_valid_whatever_the_fields_hold(engine: Engine) -> None:
    for verdict in await engine.classify(hostile.TURNS):
        assert verdict.answer.model_dump_json() in ALL_ANSWERS


async def test_posteriors_sum_to_one_and_a_family_is_the_sum_of_its_labels(
    engine: Engine, gold_turns: list[Turn]
) -> None:
    for verdict in await engine.classify(gold_turns[:30]):
        assert sum(verdict.emotion_posterior.values()) == pytest.approx(1, abs=1e-6)
        labels = LABELS_OF[verdict.family]
        assert verdict.family == family_of(verdict.answer.emotion)
        assert verdict.family_confidence == pytest.approx(sum(verdict.emotion_posterior[label] for label in labels))
        assert verdict.answer.learn_score == (verdict.learn_score_probability >= 0.5)


async def test_a_cancelled_call_leaves_the_others_alone(engine: Engine, gold_turns: list[Turn]) -> None:
    expected = answers(await engine.classify(gold_turns[:5]))
    given_up = asyncio.create_task(engine.classify(gold_turns[5:25]))
    kept = asyncio.create_task(engine.classify(gold_turns[:5]))
    await asyncio.sleep(0)
    given_up.cancel()
    assert answers(await kept) == expected
    assert await asyncio.wait({given_up}) == ({given_up}, set())


@pytest.mark.parametrize("name", ["scripted", "embedded", pytest.param("vllm", marks=NEEDS_VLLM), "remote"])
async def test_an_engine_that_is_not_started_says_so(name: str) -> None:
    with pytest.raises(EngineUnavailable, match="not started"):
        await ENGINES[name]().classify([turn("Chính xác!")])


@pytest.mark.parametrize("name", ["scripted", "embedded", "remote"])
async def test_a_closed_engine_says_so(name: str) -> None:
    engine = ENGINES[name]()
    await engine.start()
    await engine.close()
    with pytest.raises(EngineUnavailable):
        await engine.classify([turn("Chính xác!")])


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
async def test_an_engine_whose_package_is_missing_says_what_to_install() -> None:
    with pytest.raises(MissingExtra, match="install the extra 'vllm'"):
        await vllm().start()
