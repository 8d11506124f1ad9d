"""The turns that are measured: gold turns in a random order that a seed makes again."""

import random
from collections.abc import Iterable
from pathlib import Path

from emotion_svc.data import read_examples
from emotion_svc.schema import Turn


def shuffled(paths: Iterable[Path], seed: int) -> list[Turn]:
    """The turns of the gold files; the same seed gives the same order in every process.

    Raises:
        DataError: a file is missing, or a line is no gold turn.
    """
    turns = [example.turn for example in read_examples(paths)]
    random.Random(seed).shuffle(turns)
    return turns
