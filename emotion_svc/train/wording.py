"""Fits the voter that reads a response's wording (`decoding/wording.py`), and its doubles for the training lines.

A voter knows the lines that it was fitted on by heart: its opinions would be worth more in training than they ever are
on new text. So every training response is read by a double that was fitted without it.
"""

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emotion_svc.decoding.facts import words_of
from emotion_svc.decoding.wording import WORDING_FILE, Opinion, Wording, places_of
from emotion_svc.errors import ModelError
from emotion_svc.schema import Example, ResponseExample
from emotion_svc.taxonomy import FAMILIES, Family

FOLDS: Final = 5
_BITS: Final = 18
_STRENGTH: Final = 60.0
"""Inverse strength of the ridge penalty, chosen on dev."""


_FILES: Final = (WORDING_FILE, *(f"wording-{fold}.npz" for fold in range(FOLDS)))


def _load(path: Path) -> Wording:
    voter = Wording.load(path)
    if voter is None:
        raise ModelError(f"'{path}' does not exist; delete the run's directory to begin anew")
    return voter


def fold_of(response: str) -> int:
    """Which double has not seen a training response, nor the same words in another dress."""
    return zlib.crc32(" ".join(words_of(response)).encode()) % FOLDS


class Voters:
    """The voter that is shipped, and one double for each fold of the training lines."""

    def __init__(self, turns: Sequence[Example], responses: Sequence[ResponseExample]) -> None:
        from joblib import Parallel, delayed

        lines = [(t.response, t.emotion) for t in turns] + [(r.response, r.emotion) for r in responses]
        known = [[line for line in lines if fold_of(line[0]) != fold] for fold in range(FOLDS)]
        voters: list[Wording] = Parallel(n_jobs=-1)(delayed(fit)(part) for part in [lines, *known])
        self.shipped, self._doubles = voters[0], voters[1:]

    @classmethod
    def load(cls, directory: Path) -> "Voters":
        """The voters that a run has saved.

        Raises:
            ModelError: a file is missing, or is no voter.
        """
        voters = cls.__new__(cls)
        voters.shipped, *voters._doubles = (_load(directory / name) for name in _FILES)
        return voters

    def save(self, directory: Path) -> None:
        """Writes all of them to a run's directory, so that it goes on with the same ones."""
        for name, voter in zip(_FILES, [self.shipped, *self._doubles], strict=True):
            voter.save(directory / name)

    def opinion(self, response: str, fold: int | None) -> Opinion:
        """The opinion on a text; `fold` is that of the training response that it was made from, if any."""
        return (self.shipped if fold is None else self._doubles[fold]).opinion(response)


def fit(lines: Sequence[tuple[str, Family]]) -> Wording:
    """A voter of responses and their families: logistic regression over hashed n-grams, in int8.

    N-grams weigh as much as they are rare (inverse document frequency, smoothed), long texts no more than short ones.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    # A text without words for each family, so that all are there.
    places = [places_of(response, _BITS) for response in [*(response for response, _ in lines), *[""] * len(FAMILIES)]]
    held = np.bincount(np.concatenate([np.unique(found) for found in places]), minlength=1 << _BITS)
    kept = (np.log((1 + len(places)) / (1 + held)) + 1).astype(np.float16)
    rarity = kept.astype(np.float32)
    values = [rarity[found] / np.sqrt(rarity[found] @ rarity[found]) for found in places]
    rows = np.concatenate([[0], np.cumsum([found.size for found in places])])
    used, columns = np.unique(np.concatenate(places), return_inverse=True)  # of a few lines, hardly any of the table
    features = csr_matrix((np.concatenate(values).astype(np.float64), columns, rows), shape=(len(places), used.size))
    features.sum_duplicates()
    model = LogisticRegression(C=_STRENGTH, max_iter=100, tol=1e-3)
    model.fit(features, [*(FAMILIES.index(family) for _, family in lines), *range(len(FAMILIES))])
    weights = np.zeros((len(FAMILIES), 1 << _BITS))
    weights[:, used] = model.coef_ * rarity[used]
    return quantized(weights, kept, model.intercept_)


def quantized(
    weights: npt.NDArray[np.float64], rarity: npt.NDArray[np.float16], bias: npt.NDArray[np.float64]
) -> Wording:
    """A voter with weights (16, places) in int8: each family has its own step, so that its largest weight is 127."""
    scale = np.maximum(np.abs(weights).max(axis=1), np.finfo(np.float32).tiny) / 127
    steps = np.rint(weights / scale[:, None]).astype(np.int8)
    return Wording(np.ascontiguousarray(steps.T), rarity, scale.astype(np.float32), bias.astype(np.float32))
