"""vLLM itself, on what this machine has: the shipped model, and an instruct model with labels of several tokens."""

import asyncio
import json
import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from emotion_svc.decoding.index import AnswerIndex, vocabulary_of
from emotion_svc.decoding.language import answer_regex
from emotion_svc.engines.base import CANARY, check_canary
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.engines.vllm import VllmEngine
from emotion_svc.errors import EngineUnavailable, ModelError
from emotion_svc.modeldir import CALIBRATION_FILE, SHIPPED, WEIGHTS_FILE, digest_of
from emotion_svc.schema import ALL_ANSWERS, Turn
from emotion_svc.taxonomy import FAMILIES, LABELS_OF
from tests import hostile
from tests.engines.marks import NEEDS_VLLM

pytestmark = [*NEEDS_VLLM, pytest.mark.asyncio(loop_scope="module")]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the Hub's client that holds the tiny instruct model; its snapshot is returned."""
    from tests.engines import tiny

    return tiny.write_to_hub_cache(tmp_path_factory.mktemp("hub"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shipped() -> AsyncIterator[VllmEngine]:
    engine = VllmEngine(str(SHIPPED))
    await engine.start()
    yield engine
    await engine.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def instruct(hub: Path) -> AsyncIterator[VllmEngine]:
    """The tiny model by its name on the Hub, with the model choosing among a family's animations."""
    from huggingface_hub import constants

    from tests.engines import tiny

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(hub.parent.parent.parent))
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        engine = VllmEngine(tiny.NAME, variants="model")
        await engine.start()
    yield engine
    await engine.close()


async def test_the_shipped_model_answers_as_in_the_embedded_engine(
    shipped: VllmEngine, exact: EmbeddedModel, gold_turns: list[Turn]
) -> None:
    in_vllm, in_onnx = await shipped.classify(gold_turns), exact.classify(gold_turns)
    same = [a.answer == b.answer for a, b in zip(in_vllm, in_onnx, strict=True)]
    assert np.mean(same) >= 0.995, f"{len(same) - sum(same)} of {len(same)} answers differ"
    for a, b in zip(in_vllm, in_onnx, strict=True):
        assert list(a.emotion_posterior.values()) == pytest.approx(list(b.emotion_posterior.values()), abs=0.01)
        assert a.learn_score_probability == pytest.approx(b.learn_score_probability, abs=0.01)


async def test_a_label_that_the_wording_suggests_saves_no_request_and_decides_nothing(
    shipped: VllmEngine, gold_turns: list[Turn]
) -> None:
    [expected] = await shipped.classify(gold_turns[:1])
    prompt = shipped._ready.encode(gold_turns[0])
    wrong = next(family for family in FAMILIES if family != expected.family)
    requests = []
    for likely in (expected.family, wrong, None):
        before = next(shipped._numbers)
        verdict = await shipped._classify_one(shipped._ready, gold_turns[0], prompt._replace(likely=likely), 0.0)
        requests.append(next(shipped._numbers) - before - 1)
        assert verdict.answer == expected.answer
        assert verdict.learn_score_probability == pytest.approx(expected.learn_score_probability, abs=1e-3)
    assert requests == [2, 3, 2]


async def test_the_shipped_model_is_named_by_its_weights(shipped: VllmEngine) -> None:
    assert shipped.model_digest == digest_of(SHIPPED / WEIGHTS_FILE)


async def test_a_model_of_the_hub_is_found_by_its_name_and_passes_the_canary(instruct: VllmEngine, hub: Path) -> None:
    assert instruct.model_name == "someone/tiny-instruct"
    assert instruct.model_digest == digest_of(hub / WEIGHTS_FILE)
    assert (await check_canary(instruct)).answer.model_dump_json() in ALL_ANSWERS


async def test_random_weights_and_labels_of_several_tokens_give_valid_answers(
    instruct: VllmEngine, gold_turns: list[Turn]
) -> None:
    verdicts = await instruct.classify([*hostile.TURNS, *gold_turns[:40]])
    assert {verdict.answer.model_dump_json() for verdict in verdicts} <= set(ALL_ANSWERS)
    assert len({verdict.answer.emotion for verdict in verdicts}) > 1
    for verdict in verdicts:
        assert sum(verdict.emotion_posterior.values()) == pytest.approx(1, abs=1e-6)


async def test_the_model_may_choose_among_the_animations_of_a_family(
    instruct: VllmEngine, gold_turns: list[Turn]
) -> None:
    for verdict in await instruct.classify(gold_turns[:20]):
        posterior = verdict.emotion_posterior
        assert verdict.answer.emotion == max(LABELS_OF[verdict.family], key=posterior.__getitem__)


async def test_verdicts_of_calls_at_the_same_time_keep_their_order(
    instruct: VllmEngine, gold_turns: list[Turn]
) -> None:
    calls = [gold_turns[place : place + 4] for place in range(0, 40, 4)]
    together = await asyncio.gather(*(instruct.classify(call) for call in calls))
    for call, verdicts in zip(calls, together, strict=True):
        for turn, verdict in zip(call, verdicts, strict=True):
            [alone] = await instruct.classify([turn])
            assert list(verdict.emotion_posterior.values()) == pytest.approx(
                list(alone.emotion_posterior.values()), abs=0.01
            )


async def test_a_turn_longer_than_the_window_is_cut_and_answered(instruct: VllmEngine) -> None:
    long = " ".join(["con mèo"] * 500)
    cut, whole = await instruct.classify([Turn(previous_question=long, previous_answer=long, response=long), CANARY])
    assert (cut.truncated, whole.truncated) == (True, False)


async def test_outlines_alone_holds_random_weights_inside_the_language(instruct: VllmEngine, hub: Path) -> None:
    """The engine also names the tokens that may be said; here nothing but the grammar stands against the model."""
    from transformers import AutoTokenizer
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

    tokenizer = AutoTokenizer.from_pretrained(hub)
    longest = AnswerIndex(vocabulary_of(tokenizer.backend_tokenizer), tokenizer.eos_token_id).max_tokens
    asked = SamplingParams(
        temperature=2.0,
        seed=5,
        max_tokens=longest,
        structured_outputs=StructuredOutputsParams(regex=answer_regex()),
        stop=["}"],
        include_stop_str_in_output=True,
    )
    llm = instruct._llm
    for number in range(10):
        prompt = {"prompt_token_ids": tokenizer.encode(f"poem number {number}, no JSON")}
        async for output in llm.generate(prompt, asked, f"free-{number}"):
            text = output.outputs[0].text
        assert text in ALL_ANSWERS


async def test_a_cancelled_call_leaves_nothing_behind_in_vllm(instruct: VllmEngine, gold_turns: list[Turn]) -> None:
    given_up = asyncio.create_task(instruct.classify(gold_turns[:30]))
    in_vllm = instruct._llm.output_processor.has_unfinished_requests
    for _ in range(10_000):
        if in_vllm():
            break
        await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await instruct.classify([CANARY])
    assert not in_vllm()


async def test_closing_answers_what_is_under_way(hub: Path, gold_turns: list[Turn]) -> None:
    engine = VllmEngine(str(hub))
    await engine.start()
    under_way = asyncio.create_task(engine.classify(gold_turns[:20]))
    await asyncio.sleep(0)
    await engine.close()
    assert len(await under_way) == 20
    with pytest.raises(EngineUnavailable, match="closed"):
        await engine.classify([CANARY])


async def test_an_engine_whose_process_dies_says_so_and_can_be_closed(hub: Path) -> None:
    before = set(multiprocessing.active_children())
    engine = VllmEngine(str(hub))
    await engine.start()
    await engine.classify([CANARY])
    for process in set(multiprocessing.active_children()) - before:
        process.kill()
        process.join()
    with pytest.raises(EngineUnavailable, match="vLLM failed"):
        await engine.classify([CANARY])
    await engine.close()


def copy_of(model: Path, to: Path) -> Path:
    return Path(shutil.copytree(model, to / "model"))


async def test_a_model_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        await VllmEngine(str(tmp_path / "nothing")).start()


async def test_a_name_that_the_hub_does_not_give_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="Hugging Face Hub"):
        await VllmEngine("nobody/nothing").start()


async def test_a_directory_without_weights_is_refused(hub: Path, tmp_path: Path) -> None:
    model = copy_of(hub, tmp_path)
    (model / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        await VllmEngine(str(model)).start()


async def test_a_directory_without_a_tokenizer_is_refused(hub: Path, tmp_path: Path) -> None:
    model = copy_of(hub, tmp_path)
    for file in model.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        await VllmEngine(str(model)).start()


async def test_a_tokenizer_without_an_end_is_refused(hub: Path, tmp_path: Path) -> None:
    model = copy_of(hub, tmp_path)
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "eos_token"}))
    with pytest.raises(ModelError, match="end-of-sequence"):
        await VllmEngine(str(model)).start()


async def test_a_calibration_for_other_weights_is_refused(tmp_path: Path) -> None:
    model = copy_of(SHIPPED, tmp_path)
    calibration = json.loads((model / CALIBRATION_FILE).read_text())
    (model / CALIBRATION_FILE).write_text(json.dumps(calibration | {"by_digest": {}}))
    with pytest.raises(ModelError, match="calibrat"):
        await VllmEngine(str(model)).start()


async def test_weights_that_vllm_cannot_read_are_refused(hub: Path, tmp_path: Path) -> None:
    model = copy_of(hub, tmp_path)
    (model / WEIGHTS_FILE).write_bytes(b"no weights")
    with pytest.raises(ModelError, match="vLLM cannot run"):
        await VllmEngine(str(model)).start()


async def test_the_command_line_prints_the_answer_alone_and_no_word_of_the_turn() -> None:
    fields = ["--previous-question", "", "--previous-answer", "Zanzibar", "--response", "Zanzibar, chính xác rồi!"]
    command = [sys.executable, "-m", "emotion_svc", "classify", "--engine", "vllm", *fields]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.removesuffix("\n") in ALL_ANSWERS
    assert "Zanzibar" not in done.stderr
    assert "Traceback" not in done.stderr
