"""The yardstick and first teacher: character and word n-grams with logistic regression (scikit-learn).

It sees a bag of n-grams: no order, no comparison of answer and question beyond what words give away. A model
that is not better is not worth its milliseconds.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from emotion_svc.data import read_examples, read_responses
from emotion_svc.errors import SetupError
from emotion_svc.eval.metrics import Prediction
from emotion_svc.schema import Example, ResponseExample, Turn
from emotion_svc.taxonomy import FAMILIES, Family

Floats = npt.NDArray[np.float64]


class NgramBaseline:
    """Two logistic regressions: the family from the response, `learn_score` from all three fields."""

    def __init__(self) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        def features() -> object:
            characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), sublinear_tf=True, min_df=2)
            words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")  # noqa: S106 no password
            return make_union(characters, words)

        self._emotion = make_pipeline(features(), LogisticRegression(C=20, max_iter=200))
        self._learn_score = make_pipeline(features(), LogisticRegression(C=20, max_iter=200))

    def fit(self, turns: Sequence[Example], responses: Sequence[ResponseExample]) -> "NgramBaseline":
        """Learns from whole turns, and the family from single responses too."""
        self.fit_emotion([t.response for t in turns] + [r.response for r in responses],
                         [t.emotion for t in turns] + [r.emotion for r in responses])  # fmt: skip
        self._learn_score.fit([_joined(t.turn) for t in turns], [t.learn_score for t in turns])
        return self

    def fit_emotion(self, texts: Sequence[str], families: Sequence[Family]) -> None:
        """Learns the family alone."""
        self._emotion.fit([text.lower() for text in texts], families)

    def families(self, texts: Sequence[str]) -> Floats:
        """Probabilities (n, 16) in the order of `taxonomy.FAMILIES`; 0 for a family that it has never met."""
        said = np.zeros((len(texts), len(FAMILIES)))
        columns = [FAMILIES.index(family) for family in self._emotion.classes_]
        said[:, columns] = self._emotion.predict_proba([text.lower() for text in texts])
        return said

    def learn_scores(self, turns: Sequence[Turn]) -> Floats:
        """Probabilities (n,) of true."""
        column = list(self._learn_score.classes_).index(True)
        return np.asarray(self._learn_score.predict_proba([_joined(turn) for turn in turns]))[:, column]

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """What the baseline says of whole turns."""
        families = self.families([e.response for e in examples])
        values = self.learn_scores([e.turn for e in examples])
        return [
            Prediction(FAMILIES[int(row.argmax())], bool(p >= 0.5), float(row.max()), float(max(p, 1 - p)))
            for row, p in zip(families, values, strict=True)
        ]


class Written(NamedTuple):
    """The lines that a baseline learns from, and where they were found, for a report."""

    turns: list[Example]
    responses: list[ResponseExample]
    told: str


def read_written(train_data: Path, own: Sequence[Path] = ()) -> Written:
    """Turns and single responses below `train_data`, and the turns of `own`; no exercises and no lexicon.

    Raises:
        DataError: a line is wrong.
        SetupError: there is too little to tell anything apart.
    """
    turns = read_examples([*sorted((train_data / "turns").glob("*.jsonl")), *own])
    responses = read_responses(sorted((train_data / "responses").glob("*.jsonl")))
    places = ", ".join(map(str, (train_data, *own)))
    if len({turn.emotion for turn in turns}) < 2 or len({turn.learn_score for turn in turns}) < 2:
        raise SetupError(
            "the baseline needs turns of several families and with both values of learn_score; found "
            f"{len(turns)} turns in {places}; run this in a checkout of the project, or give its --train-data"
        )
    return Written(turns, responses, f"{len(turns):,} turns and {len(responses):,} responses of {places}")


def _joined(turn: Turn) -> str:
    return f"{turn.previous_question} ¦ {turn.previous_answer} ¦ {turn.response}".lower()
