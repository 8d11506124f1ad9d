"""BPE dropout with a seed: the same text in other pieces, so that a model does not lean on one cut.

Provilkov et al. 2020 (arXiv:1910.13267): while a word is merged, each possible merge is skipped with some
probability. `tokenizers` has it built in, but draws from a generator that cannot be seeded, and a run must
be repeatable. To be fast enough, words that no skip would touch keep their usual, cached pieces.
"""

import json
import random
from collections.abc import Sequence
from itertools import pairwise

from tokenizers import Tokenizer


class SeededBpe:
    """Encodes fields (no added tokens) with BPE dropout."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        model = json.loads(tokenizer.to_str())["model"]
        self._tokenizer = tokenizer
        self._id_of: dict[str, int] = model["vocab"]
        self._rank = {(left, right): rank for rank, (left, right) in enumerate(model["merges"])}
        self._usual: dict[str, list[int]] = {}

    def encode(self, texts: Sequence[str], dropout: float, rng: random.Random) -> list[list[int]]:
        """Token ids of each text; with `dropout` 0, those of the tokenizer itself."""
        return [self._encode(text, dropout, rng) if text else [] for text in texts]

    def _encode(self, text: str, dropout: float, rng: random.Random) -> list[int]:
        ids: list[int] = []
        for word, _ in self._tokenizer.pre_tokenizer.pre_tokenize_str(self._tokenizer.normalizer.normalize_str(text)):
            usual = self._usual_ids(word)
            merges = len(word) - len(usual)
            if dropout and rng.random() < 1 - (1 - dropout) ** merges:
                ids += self._in_other_pieces(word, dropout, rng) or usual
            else:
                ids += usual
        return ids

    def _usual_ids(self, word: str) -> list[int]:
        if word not in self._usual:
            self._usual[word] = [token.id for token in self._tokenizer.model.tokenize(word)]
        return self._usual[word]

    def _in_other_pieces(self, word: str, dropout: float, rng: random.Random) -> list[int]:
        """The word merged with skips; empty where a character has no token of its own."""
        pieces = list(word)
        if any(piece not in self._id_of for piece in pieces):
            return []
        while True:
            ranked = [
                (rank, place)
                for place, pair in enumerate(pairwise(pieces))
                if (rank := self._rank.get(pair)) is not None and rng.random() >= dropout
            ]
            if not ranked:
                return [self._id_of[piece] for piece in pieces]
            place = min(ranked)[1]
            pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
