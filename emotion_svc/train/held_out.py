"""Held-out turns stay held out: what a model has learnt by heart says nothing of what it is worth."""

from collections.abc import Iterable
from pathlib import Path

from emotion_svc.data import DataError, read_numbered
from emotion_svc.decoding.facts import words_of
from emotion_svc.schema import Example


def in_words(text: str) -> str:
    """A text as its words alone: case and punctuation make no other text of it."""
    return " ".join(words_of(text)) or text


def refuse_held_out(trained: Iterable[Path], held_out: Iterable[Path]) -> None:
    """Refuses files of turns that hold a held-out turn.

    Two turns are the same where the words of response and answer are: a short response may well be said twice.

    Raises:
        DataError: a turn is also in a file of `held_out`; the message names both lines.
    """
    known = {key: where for path in held_out for key, where in _turns(path)}
    for path in trained:
        for key, where in _turns(path):
            if key in known:
                raise DataError(
                    f"{where}: response and answer are those of {known[key]}, which is held out: a score on a turn "
                    "that was trained on says nothing; take the line out"
                )


def _turns(path: Path) -> Iterable[tuple[tuple[str, str], str]]:
    for number, turn in read_numbered(path, Example):
        yield (in_words(turn.response), in_words(turn.previous_answer)), f"{path}:{number}"
