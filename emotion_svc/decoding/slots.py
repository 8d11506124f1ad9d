"""Slots: the places in the answer where the model chooses, as token ids of the shipped tokenizer.

A tokenizer that has every label and every piece of the skeleton as one token speaks the answer in four
tokens, two forced and two chosen:

    position   0              1          2                   3
    token      {"emotion":"   <label>    ","learn_score":    true} │ false}
"""

from typing import NamedTuple

from tokenizers import Tokenizer

from emotion_svc.decoding.index import AnswerIndex
from emotion_svc.errors import ModelError
from emotion_svc.schema import Answer
from emotion_svc.taxonomy import LABELS


class Slots(NamedTuple):
    """Token ids of the answer. `labels` is in the order of `taxonomy.LABELS`."""

    opening: int
    labels: tuple[int, ...]
    between: int
    true: int
    false: int


def find_slots(tokenizer: Tokenizer, index: AnswerIndex) -> Slots:
    """Reads the slots off the way in which `tokenizer` writes the 46 answers.

    Raises:
        ModelError: an answer is not four tokens of the expected kind, or the index refuses it.
    """

    def ids(answer: Answer) -> list[int]:
        text = answer.model_dump_json()
        found = tokenizer.encode(text, add_special_tokens=False).ids
        if len(found) != 4 or not index.accepts(found):
            raise ModelError(
                f"the tokenizer writes {text} in {len(found)} tokens; the embedded engine needs 4 that the grammar "
                "accepts (labels and skeleton as single tokens); use the vllm engine for this model"
            )
        return found

    true = [ids(Answer(emotion=label, learn_score=True)) for label in LABELS]
    false = [ids(Answer(emotion=label, learn_score=False)) for label in LABELS]
    slots = Slots(true[0][0], tuple(row[1] for row in true), true[0][2], true[0][3], false[0][3])
    expected = [
        ([slots.opening, label, slots.between, slots.true], [slots.opening, label, slots.between, slots.false])
        for label in slots.labels
    ]
    if list(zip(true, false, strict=True)) != expected or len(set(slots.labels)) != len(LABELS):
        raise ModelError("the tokenizer does not write every answer with the same skeleton tokens")
    return slots
