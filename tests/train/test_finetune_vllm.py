"""What fine-tuning writes, in the vllm engine: taken as it is, with the verdicts that transformers computes."""

from pathlib import Path

import pytest

from emotion_svc.config import Settings
from emotion_svc.engines.factory import create_engine, running
from emotion_svc.modeldir import WEIGHTS_FILE, digest_of
from tests.engines.marks import NEEDS_VLLM

pytestmark = [
    *NEEDS_VLLM,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]


@pytest.mark.parametrize("with_adapters", [False, True])
async def test_vllm_answers_as_transformers_does(tmp_path: Path, with_adapters: bool) -> None:
    import torch

    from emotion_svc.train.config import LoraConfig
    from emotion_svc.train.finetune import FinetuneRun
    from tests.train.tiny_finetune import CONFIG, checkpoint, lines

    config = CONFIG.model_copy(
        update={
            "optim": CONFIG.optim.model_copy(update={"epochs": 4}),
            "lora": LoraConfig(rank=8, dropout=0.0, learning_rate=3e-3) if with_adapters else None,
        }
    )
    # With the project's own prompt, as `emotion-svc serve --engine vllm --model DIR` finds it.
    run = FinetuneRun(str(checkpoint(tmp_path)), config, lines(), lines().turns, tmp_path / "out")
    expected = run.write(run.train(torch.device("cpu"), progress=False), "the training turns")
    directory = tmp_path / "out" / "model"
    async with running(create_engine(Settings(engine="vllm", model=str(directory)))) as engine:
        said = await engine.classify([turn.turn for turn in lines().turns])
    assert engine_digest(directory) == said[0].model_digest
    for ours, theirs in zip(expected, said, strict=True):
        assert theirs.answer == ours.answer
        assert list(theirs.emotion_posterior.values()) == pytest.approx(list(ours.emotion_posterior.values()), abs=0.01)
        assert theirs.learn_score_probability == pytest.approx(ours.learn_score_probability, abs=0.01)


def engine_digest(directory: Path) -> str:
    return digest_of(directory / WEIGHTS_FILE)
