"""The temperature that is fitted: on made logits whose right one is known."""

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs scipy (extra 'train')")
pytest.importorskip("onnx", reason="needs onnx (extra 'dev')")

from emotion_svc.decoding.posterior import softmax
from emotion_svc.train.calibrate import best_temperature, negative_log_likelihood


@pytest.mark.parametrize("right", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_gold_values_is_found_again(right: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 4))
    gold = (logits / right + rng.gumbel(size=logits.shape)).argmax(axis=1)  # drawn from softmax(logits / right)
    found = best_temperature(lambda t: negative_log_likelihood(softmax(logits, t), gold))
    assert found == pytest.approx(right, rel=0.05)


def test_a_model_that_is_always_right_is_not_made_sure_without_bound() -> None:
    logits, gold = np.array([[0.0, 1.0]]), np.array([1])
    assert best_temperature(lambda t: negative_log_likelihood(softmax(logits, t), gold)) == pytest.approx(0.2, abs=1e-3)


def test_the_loss_of_a_value_that_was_ruled_out_is_large_but_finite() -> None:
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))
    assert negative_log_likelihood(np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1])) == pytest.approx(
        -(np.log(0.5) + np.log(0.75)) / 2
    )
