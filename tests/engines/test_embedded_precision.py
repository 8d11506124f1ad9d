"""What int8 costs: the shipped file against the same weights in fp32."""

import numpy as np

from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.schema import Turn


def test_int8_gives_the_answers_of_fp32(exact: EmbeddedModel, gold_turns: list[Turn]) -> None:
    int8, fp32 = EmbeddedModel().classify(gold_turns), exact.classify(gold_turns)
    same = [a.answer == b.answer for a, b in zip(int8, fp32, strict=True)]
    assert np.mean(same) >= 0.99, f"{len(same) - sum(same)} of {len(same)} answers differ"
