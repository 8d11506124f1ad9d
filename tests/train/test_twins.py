"""Twins: a sample beside itself without final punctuation, of which the network is to say the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.slots import Slots
from emotion_svc.text import without_final_punctuation
from emotion_svc.train.batches import Batch
from emotion_svc.train.config import AugmentConfig
from emotion_svc.train.pipeline import Run
from emotion_svc.train.samples import Sample, gold, without_final_marks
from emotion_svc.train.trainer import divergence
from tests.train import tiny

SAMPLES = [
    Sample("Con mèo tiếng Anh là gì?", "cat!", "Tớ vui ghê cậu ơi!", gold("happy"), 1.0),
    Sample("", "", "không sao đâu", gold("no_problem"), None),
    Sample("Con gì đây?", "", "Ủa thật hả?!", gold("surprised"), 0.0),
    Sample("", "ừ", "để nghĩ đã…", gold("thinking"), None),
]
PLAIN = AugmentConfig(bpe_dropout=0.0, unknown_word=0.5, unread=0.5)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.run(tmp_path_factory.mktemp("run"))


def batch(run: Run, twins: float, seed: int = 0) -> Batch:
    [only] = run.batcher.batches(SAMPLES, 8, PLAIN, np.random.default_rng(seed), twins=twins)
    return only


def holds(run: Run, ids: list[int], text: str) -> bool:
    part = run._tokens.field_ids(text)
    return any(ids[start : start + len(part)] == part for start in range(len(ids)))


@pytest.mark.parametrize("seed", range(4))
def test_a_twin_is_its_sample_without_final_punctuation_and_shares_all_else(run: Run, seed: int) -> None:
    found = batch(run, 1.0, seed)
    pairs = found.twins.tolist()
    assert len(pairs) == 3  # one sample ends on no mark anywhere
    assert len(found.ids) == len(SAMPLES) + len(pairs)
    for row, twin in pairs:
        for target in ("emotion", "weight", "learn_score"):
            one, other = getattr(found, target)[row], getattr(found, target)[twin]
            assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))
        one, other = found.ids[row].tolist(), found.ids[twin].tolist()
        ends = int(found.read[row, 3]), int(found.read[twin, 3])
        # The label that learn_score is asked behind is the same one, and so are the marks where both show them.
        assert one[ends[0] - 1 : ends[0] + 1] == other[ends[1] - 1 : ends[1] + 1]
        unread = run.tokenizer.token_to_id("<|unread|>")
        assert one.count(unread) == other.count(unread)
        [sample] = [sample for sample in SAMPLES if holds(run, one, sample.response)]
        assert holds(run, other, without_final_punctuation(sample.response))
        assert not holds(run, other, sample.response)


def test_without_a_share_there_are_none(run: Run) -> None:
    found = batch(run, 0.0)
    assert (found.twins.shape, len(found.ids)) == ((0, 2), len(SAMPLES))


def test_the_share_is_that_of_the_samples_that_have_a_mark_to_lose(run: Run) -> None:
    many = SAMPLES * 200
    batches = run.batcher.batches(many, 64, PLAIN, np.random.default_rng(1), twins=0.5)
    assert sum(len(found.twins) for found in batches) == pytest.approx(0.5 * 600, abs=60)


@given(st.text(), st.text(), st.text(min_size=1))
def test_a_twin_has_no_twin(question: str, answer: str, response: str) -> None:
    bare = without_final_marks(Sample(question, answer, response, gold("sad"), None))
    assert bare.response
    assert without_final_marks(bare) == bare


def slots() -> Slots:
    return Slots(opening=0, labels=tuple(range(1, 24)), between=24, true=25, false=26)


def test_divergence_is_the_symmetric_one_of_labels_and_of_learn_score() -> None:
    logits = torch.randn((3, 4, 30), generator=torch.Generator().manual_seed(0))
    expected = 0.0
    for position, tokens in ((1, list(range(1, 24))), (3, [26, 25])):
        p, q = (torch.softmax(logits[row, position, tokens].double(), 0) for row in (0, 2))
        expected += float(0.5 * ((p * (p / q).log()).sum() + (q * (q / p).log()).sum()))
    found = [divergence(logits, torch.tensor([pair]), slots()).item() for pair in ((0, 2), (2, 0))]
    assert found == pytest.approx([expected, expected], rel=1e-5)


def test_who_says_the_same_of_twins_pays_nothing() -> None:
    logits = torch.randn((2, 4, 30), generator=torch.Generator().manual_seed(0))[[0, 0, 1]]
    assert divergence(logits, torch.tensor([[0, 1]]), slots()).item() == pytest.approx(0, abs=1e-6)
    assert divergence(logits, torch.zeros((0, 2), dtype=torch.long), slots()).item() == 0
    assert divergence(logits, torch.tensor([[0, 2]]), slots()).item() > 0.1
