"""Twins: turns that are learnt beside themselves without final punctuation, and should be told the same."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from emotion_svc.text import without_final_punctuation
from emotion_svc.train.batches import Batch
from emotion_svc.train.config import AugmentConfig
from emotion_svc.train.pipeline import Run
from emotion_svc.train.samples import Sample, from_turn
from emotion_svc.train.trainer import disagreement, loss_of
from tests.train.tiny import CONFIG, lines, run

SIZE = 16
LOGITS = st.lists(st.lists(st.floats(-9, 9), min_size=3, max_size=3), min_size=2, max_size=6)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("twins"))


def batches(made: Run, samples: list[Sample], augment: AugmentConfig) -> list[Batch]:
    return list(made.batcher.batches(samples, SIZE, augment, np.random.default_rng(0)))


def prompts(made: Run, batch: Batch) -> list[list[int]]:
    return [ids[: end + 1].tolist() for ids, end in zip(batch.ids, batch.read[:, 0], strict=True)]


def test_a_twin_is_the_same_turn_without_its_final_punctuation(made: Run) -> None:
    samples = [from_turn(turn)._replace(fold=0) for turn in lines().turns]
    everything = AugmentConfig(twins=1.0, bpe_dropout=0.0, unread=0.5, unknown_word=0.5)
    tokenizer: Tokenizer = made.tokenizer
    for batch in batches(made, samples, everything):
        twins = len(batch.twin_of)
        assert twins == len(batch.ids) / 2  # every turn of `lines` ends in a full stop
        shown = [tokenizer.decode(ids, skip_special_tokens=False) for ids in prompts(made, batch)]
        for row, twin in zip(batch.twin_of.tolist(), range(len(batch.ids) - twins, len(batch.ids)), strict=True):
            assert shown[row] != shown[twin]
            assert "".join(shown[row].replace(".", "").split()) == "".join(shown[twin].split())
            assert torch.equal(batch.emotion[row], batch.emotion[twin])
            assert torch.equal(batch.learn_score[row], batch.learn_score[twin])
            answers = [batch.ids[n, batch.read[n, 1] + 1 : batch.read[n, 3] + 2] for n in (row, twin)]
            assert torch.equal(*answers), "the second question stands behind one label"


def test_a_share_of_the_samples_has_twins_and_each_sample_comes_once(made: Run) -> None:
    samples = [from_turn(turn)._replace(fold=0) for turn in lines().turns] * 10
    found = batches(made, samples, AugmentConfig(twins=0.4))
    twins = sum(len(batch.twin_of) for batch in found)
    assert sum(len(batch.ids) for batch in found) - twins == len(samples)
    assert 0.35 < twins / len(samples) < 0.45


def test_a_response_without_final_punctuation_has_no_twin(made: Run) -> None:
    samples = [
        from_turn(turn)._replace(fold=0, response=without_final_punctuation(turn.response)) for turn in lines().turns
    ]
    assert not any(len(batch.twin_of) for batch in batches(made, samples, AugmentConfig(twins=1.0)))


@given(LOGITS, st.floats(-5, 5))
def test_twins_that_are_told_the_same_agree(rows: list[list[float]], shift: float) -> None:
    logits = torch.tensor(rows, dtype=torch.float64)
    apart = disagreement(torch.cat([logits, logits + shift]), torch.arange(len(rows)))
    assert apart.item() == pytest.approx(0, abs=1e-9)


@given(LOGITS)
def test_disagreement_is_half_the_divergence_each_way(rows: list[list[float]]) -> None:
    logs = torch.tensor(rows, dtype=torch.float64).log_softmax(-1)
    each_way = [
        torch.nn.functional.kl_div(a, b, reduction="sum", log_target=True)
        for a, b in ((logs[0], logs[-1]), (logs[-1], logs[0]))
    ]
    expected = torch.stack(each_way).sum().item() / 2
    assert disagreement(logs, torch.tensor([0])).item() == pytest.approx(expected, abs=1e-9)


def test_a_network_that_tells_twins_apart_pays_for_it(made: Run) -> None:
    samples = [from_turn(turn)._replace(fold=0) for turn in lines().turns]
    batch = batches(made, samples, AugmentConfig(twins=1.0))[0]
    logits = torch.randn(len(batch.ids), 4, made.tokenizer.get_vocab_size(), generator=torch.Generator().manual_seed(0))
    price = [
        loss_of(logits, batch, made.slots, CONFIG.optim.model_copy(update={"agreement": agreement})).item()
        for agreement in (0.0, 1.0, 3.0)
    ]
    slots = made.slots
    apart = disagreement(logits[:, 1, slots.labels], batch.twin_of).item()
    apart += disagreement(logits[:, 3, [slots.false, slots.true]], batch.twin_of).item()
    assert apart > 0.1
    assert price[1] - price[0] == pytest.approx(apart, abs=1e-4)
    assert price[2] - price[0] == pytest.approx(3 * apart, abs=1e-4)


def test_training_with_twins_is_seeded(made: Run, tmp_path: Path) -> None:
    config = CONFIG.model_copy(
        update={
            "augment": CONFIG.augment.model_copy(update={"twins": 0.5}),
            "optim": CONFIG.optim.model_copy(update={"epochs": 2}),
        }
    )
    first, second = (run(tmp_path / name, config).train(progress=False) for name in ("a", "b"))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
