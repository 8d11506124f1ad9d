"""What the wording of a response suggests, in three marks that the shipped model reads.

A bag of n-grams knows rare words that a small decoder has met once or twice; the decoder knows order, negation and
context. So a linear voter over letters and words reads the response first, and the prompt shows its opinion: the
likeliest family, the second one, and how sure it is. The marks are hints and decide nothing (docs/log.md has what they
gave). In training a response is read by a voter that was not fitted on it, so that the model learns what the opinion
is worth on new text.
"""

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from emotion_svc.errors import ModelError
from emotion_svc.taxonomy import FAMILIES, Family
from emotion_svc.text import without_final_punctuation

WORDING_FILE: Final = "wording.npz"
_TAKE_ALL: Final = "take all files from one training run (python -m emotion_svc.train)"

Sureness = Literal["sure", "likely", "unsure"]
SURENESS: Final[tuple[Sureness, ...]] = ("sure", "likely", "unsure")

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Codes = npt.NDArray[np.uint64]

_LETTERS: Final = 6
"""Letters of the longest run that is a feature, spaces included."""

_WORDS: Final = 3
"""Words and marks of punctuation of the longest run that is a feature."""

_SURE, _LIKELY = 0.85, 0.5
_WORD: Final = re.compile(r"\w+|[^\w\s]")
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ divided by the golden ratio, odd (Knuth, The Art of Computer Programming 3, 6.4): neighbours land far apart."""


class Opinion(NamedTuple):
    """The likeliest family, the second one, and how sure the voter is of the first."""

    first: Family
    second: Family
    sureness: Sureness


class Wording:
    """A linear voter over hashed n-grams of a response.

    Args:
        weights: int8 (2^bits, 16), a row for each place of the hash table, columns in the order of `FAMILIES`; what is
            rare weighs more in them already.
        rarity: float16 (2^bits,), how rare a place is (inverse document frequency).
        scale: float32 (16,), what a column's weights are multiplied by.
        bias: float32 (16,).
    """

    def __init__(
        self, weights: npt.NDArray[np.int8], rarity: npt.NDArray[np.float16], scale: Floats, bias: Floats
    ) -> None:
        self.weights, self.rarity, self.scale, self.bias = weights, rarity, scale, bias
        self._bits = weights.shape[0].bit_length() - 1

    @classmethod
    def load(cls, path: Path) -> "Wording | None":
        """The voter in a file; None where there is none.

        Raises:
            ModelError: the file is no voter.
        """
        if not path.exists():
            return None
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in ("weights", "rarity", "scale", "bias")}
        except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
            raise ModelError(f"'{path}' is no voter ({error}); {_TAKE_ALL}") from error
        weights, rarity, scale, bias = arrays.values()
        rows, families = weights.shape if weights.ndim == 2 else (0, 0)
        is_table = weights.dtype == np.int8 and families == len(FAMILIES) and rows > 1 and rows & (rows - 1) == 0
        if not is_table or rarity.shape != (rows,) or not (scale.shape == bias.shape == (families,)):
            found = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
            raise ModelError(
                f"'{path}': expected int8 weights for {len(FAMILIES)} families in 2^n rows, a rarity for each row, a "
                f"scale and a bias for each family; found {found}; {_TAKE_ALL}"
            )
        return cls(weights, rarity, scale, bias)

    def save(self, path: Path) -> None:
        """Writes the voter to a file."""
        np.savez(path, weights=self.weights, rarity=self.rarity, scale=self.scale, bias=self.bias)

    def scores(self, response: str) -> Floats:
        """Log-odds (16,) up to a constant: their softmax are probabilities of the families.

        They are the mean of those of the response as it ends and without final punctuation, so that an end alone seldom
        decides. One that ends on no mark is read as if it were a full stop.
        """
        places, shares = _both(response, self._bits)
        rarity = self.rarity.take(places).astype(np.float32)
        # One matrix product in float32 is faster than a sum of integers, and exact up to 2^24 / 127 n-grams.
        rows = self.weights.take(places, axis=0).astype(np.float32)
        summed = (shares @ rows).astype(np.int32)
        odds = summed * (self.scale / np.sqrt(shares @ (rarity * rarity))[:, None]) + self.bias
        return np.asarray(odds.mean(axis=0), dtype=np.float32)

    def opinion(self, response: str) -> Opinion:
        """What the wording suggests. The response is normalized (`text.normalize`); case does not matter."""
        return opinion_of(self.scores(response))


def opinion_of(scores: Floats) -> Opinion:
    """The opinion behind log-odds (16,)."""
    order = np.argsort(scores)
    odds = np.exp(scores - scores[order[-1]])
    sure = 1 / float(odds.sum())
    sureness = SURENESS[0] if sure >= _SURE else SURENESS[1] if sure >= _LIKELY else SURENESS[2]
    return Opinion(FAMILIES[int(order[-1])], FAMILIES[int(order[-2])], sureness)


def places_of(response: str, bits: int) -> Places:
    """The places of a response's n-grams in a hash table of 2^bits, one for each time that an n-gram stands there.

    Case and spaces change nothing. There is at least one place, as a space stands at both ends.
    """
    text = " ".join(response.lower().split())
    return _hashed([*_runs(_letters(text), _LETTERS, 1), *_runs(_words(text), _WORDS, 1 + _LETTERS)], bits)


def _both(response: str, bits: int) -> tuple[Places, Floats]:
    """The places (n,) of a response as it ends and without final punctuation, and how often each is in either (2, n).

    What both hold is looked up once: of the shorter text, only the runs that take in the space at its end are others.
    """
    text = " ".join(response.lower().split())
    bare = without_final_punctuation(text)
    whole = text if bare != text else f"{text}."
    letters, inner = _letters(whole), len(bare) + 1
    # Behind the letters, those of the other end. Runs over the seam are in neither text.
    end = _letters(bare)[-_LETTERS:]
    words = _words(whole)
    of_letters = _runs(np.concatenate((letters, end)), min(_LETTERS, letters.size), 1)
    of_words = _runs(words, _WORDS, 1 + _LETTERS)
    marks = len(whole) - len(bare) - whole.count(" ", len(bare))
    shares = []
    for length, run in enumerate(of_letters, 1):
        share = np.zeros((2, run.size), np.float32)
        share[0, : letters.size + 1 - length] = 1
        share[1, : max(0, inner + 1 - length)] = 1
        share[1, -1] = length <= end.size
        shares.append(share)
    for length, run in enumerate(of_words, 1):
        share = np.ones((2, run.size), np.float32)
        share[1, max(0, words.size - marks + 1 - length) :] = 0
        shares.append(share)
    return _hashed([*of_letters, *of_words], bits), np.concatenate(shares, axis=1)


def _letters(text: str) -> Codes:
    return np.frombuffer(f" {text} ".encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)


def _words(text: str) -> Codes:
    return np.array([zlib.crc32(word.encode()) for word in _WORD.findall(text)], dtype=np.uint64)


def _hashed(runs: Sequence[Codes], bits: int) -> Places:
    mixed = np.concatenate(runs)
    mixed *= _FACTOR
    mixed ^= mixed >> np.uint64(32)
    mixed *= _FACTOR
    return (mixed >> np.uint64(64 - bits)).astype(np.int64)


def _runs(codes: Codes, longest: int, salt: int) -> Sequence[Codes]:
    """A number for every run of 1 to `longest` codes; `salt` keeps runs of different kinds and lengths apart."""
    found, run = [], codes
    for length in range(1, min(longest, codes.size) + 1):
        if length > 1:
            run = run[:-1] * _FACTOR + codes[length - 1 :]
        found.append(run + np.uint64(salt + length))
    return found
