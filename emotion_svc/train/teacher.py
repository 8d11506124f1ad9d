"""The teacher of the emotion slot: three bags of n-grams, each with logistic regression, that vote together.

A small decoder trained on labels alone learns the lines by heart; what it lacks is a smooth opinion on words met
once or twice, and that is what bags of n-grams have. Each sees something else: letters within words, short runs of
words and marks, letters across words. Together they are better than any of them (docs/log.md).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from emotion_svc.schema import Example, ResponseExample
from emotion_svc.taxonomy import FAMILIES

Floats = npt.NDArray[np.float64]

_LEAST = 1e-4
"""A family's least probability: no voter may rule out what the others believe."""


class NgramTeacher:
    """Responses to probabilities of the families. What it has said of a text, it remembers."""

    def __init__(self, turns: Sequence[Example], responses: Sequence[ResponseExample]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline, make_union

        texts = [t.response.lower() for t in turns] + [r.response.lower() for r in responses]
        families = [t.emotion for t in turns] + [r.emotion for r in responses]
        inside = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), sublinear_tf=True, min_df=2)
        pairs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")  # noqa: S106 no password
        runs = TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]")  # noqa: S106
        across = TfidfVectorizer(analyzer="char", ngram_range=(2, 6), sublinear_tf=True, min_df=3)
        self._voters = [
            make_pipeline(features, LogisticRegression(C=20, max_iter=100, tol=1e-3)).fit(texts, families)
            for features in (make_union(inside, pairs), runs, across)
        ]
        self._said: dict[str, Floats] = {}

    def families(self, texts: Sequence[str]) -> Floats:
        """Probabilities (n, 16) in the order of `taxonomy.FAMILIES`: the voters' geometric mean."""
        votes = []
        for voter in self._voters:
            columns = [list(voter.classes_).index(family) for family in FAMILIES]
            votes.append(np.log(voter.predict_proba([text.lower() for text in texts])[:, columns] + _LEAST))
        together = np.exp(np.mean(votes, axis=0))
        return np.asarray(together / together.sum(axis=1, keepdims=True))

    def remembered(self, texts: Sequence[str]) -> Floats:
        """The same for texts that come again in every epoch."""
        new = [text for text in dict.fromkeys(texts) if text not in self._said]
        if new:
            self._said.update(zip(new, self.families(new), strict=True))
        return np.array([self._said[text] for text in texts])
