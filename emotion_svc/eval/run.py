"""Lets an engine answer gold turns and measures how it did, how steady it is, and how fast."""

import time
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.eval.metrics import Bools, Floats, Prediction
from emotion_svc.schema import Example, Turn, Verdict
from emotion_svc.text import without_final_punctuation

Classify = Callable[[Sequence[Turn]], list[Verdict]]

CHANGES: Final[dict[str, Callable[[str], str]]] = {
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "upper case": str.upper,
    "extra spaces": lambda text: "  " + text.replace(" ", "   ") + " ",
    "no final punctuation": without_final_punctuation,
}
"""Ways to write the same response; the family should not change."""


def predictions(verdicts: Sequence[Verdict]) -> list[Prediction]:
    """What the measures need of each verdict."""
    return [Prediction(v.family, v.answer.learn_score, v.family_confidence, v.learn_score_confidence) for v in verdicts]


def steadiness(classify: Classify, examples: Sequence[Example]) -> dict[str, Bools]:
    """For each way to rewrite the three fields: whether each turn keeps its family, shape (turns,)."""
    plain = [verdict.family for verdict in classify([example.turn for example in examples])]
    kept = {}
    for name, change in CHANGES.items():
        turns = [Turn(**{field: change(text) for field, text in e.turn.model_dump().items()}) for e in examples]
        kept[name] = np.array([v.family == family for v, family in zip(classify(turns), plain, strict=True)])
    return kept


def latency(model: EmbeddedModel, turns: Sequence[Turn], *, warm_up: int = 50) -> Floats:
    """Milliseconds of `classify` for one turn after the other, in the given order, after warm-up: shape (turns,)."""
    for turn in turns[:warm_up]:
        model.classify([turn])
    times = []
    for turn in turns:
        started = time.perf_counter()
        model.classify([turn])
        times.append((time.perf_counter() - started) * 1e3)
    return np.array(times)
