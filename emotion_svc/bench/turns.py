"""What is measured: gold turns, with their labels, in a random order that a seed makes again."""

import random
from collections.abc import Iterable
from pathlib import Path

from emotion_svc.data import read_examples
from emotion_svc.schema import Example


def shuffled(paths: Iterable[Path], seed: int) -> list[Example]:
    """The examples of the gold files; the same seed gives the same order in every process.

    Raises:
        DataError: a file is missing, or a line is no gold turn.
    """
    examples = read_examples(paths)
    random.Random(seed).shuffle(examples)
    return examples
