"""Probabilities of a slot's values, from logits or from the log-probabilities of generated tokens."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from emotion_svc.decoding.index import AnswerIndex
from emotion_svc.schema import ANSWER_OF
from emotion_svc.taxonomy import FAMILIES, FAMILY_OF, LABELS

Floats = npt.NDArray[np.float64]

_IN_FAMILY: Final[Floats] = np.array([[FAMILY_OF[label] == family for family in FAMILIES] for label in LABELS], float)


def softmax(logits: npt.NDArray[Any], temperature: float = 1.0) -> Floats:
    """Softmax over the last axis of `logits / temperature`, shifted by the maximum so that it cannot overflow."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    powers: Floats = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def family_posterior(labels: npt.NDArray[Any]) -> Floats:
    """Sums label probabilities, shape (…, 23), over the labels of each family: shape (…, 16)."""
    return np.asarray(labels @ _IN_FAMILY)


class Posteriors(NamedTuple):
    """Both slots. `emotion`: shape (23,), in the order of `taxonomy.LABELS`; it sums to 1."""

    emotion: Floats
    learn_score_true: float


Slot = Literal["emotion", "learn_score"]


class Step(NamedTuple):
    """One generated token and the log-probabilities, after the grammar's mask, of the tokens it was chosen from."""

    token_id: int
    logprobs: Mapping[int, float]


def slot_posterior(
    slot: Slot, index: AnswerIndex, steps: Sequence[Step], *, said: str, temperature: float = 1.0
) -> Floats:
    """The posterior of one slot from generated tokens, for any tokenizer.

    A value may be several tokens long, so what a token that was not taken would have led to was not computed:
    its probability goes to the values that it leaves open, in equal parts (of `emotion`: to the families, and
    in a family to its labels). Tokens that leave open what the taken one does count as taken. So the sum over
    a family is exact where its labels begin with the same token, and everything is exact where each value is
    one token. What the steps leave open in the end is shared out in the same way.

    Args:
        slot: the slot that is read.
        index: the grammar of what follows `said`.
        steps: the generated tokens, in order; an answer's beginning is enough.
        said: the part of the answer that stood before the first of them.
        temperature: what each step's log-probabilities are divided by.

    Returns:
        `emotion`: shape (23,), in the order of `taxonomy.LABELS`; `learn_score`: shape (2,), false and true.

    Raises:
        ValueError: a token has probability that the grammar does not allow there, or was taken without having any.
    """
    state, rest = index.initial_state, 1.0
    posterior = np.zeros(len(_VALUES[slot]))
    for number, step in enumerate(steps, 1):
        allowed = index.allowed(state)
        likely = {token_id: p for token_id, p in step.logprobs.items() if np.exp(p) > 0}
        if step.token_id not in likely or not likely.keys() <= allowed.keys():
            raise ValueError(f"token {number} was not chosen among the grammar's {len(allowed)} tokens alone")
        after = {
            token_id: left_open(slot, said + index.text_of([token_id]).decode(), index.endings(allowed[token_id]))
            for token_id in likely
        }
        taken = 0.0
        for token_id, share in zip(likely, softmax(np.array(list(likely.values())), temperature), strict=True):
            if np.array_equal(after[token_id], after[step.token_id]):
                taken += float(share)
            else:
                posterior += rest * share * after[token_id]
        rest *= taken
        said, state = said + index.text_of([step.token_id]).decode(), allowed[step.token_id]
    return posterior + rest * left_open(slot, said, index.endings(state))


@cache
def left_open(slot: Slot, said: str, endings: frozenset[str]) -> Floats:
    """One unit of probability over the values that an answer may still have: `said` and one of the endings.

    Equal parts for what is open (of `emotion`: for the families, and in a family for its labels); shape as in
    `slot_posterior`.
    """
    values = _VALUES[slot]
    counts = np.zeros(len(values))
    for ending in endings:
        counts[values.index(getattr(ANSWER_OF[said + ending], slot))] = 1
    if slot == "emotion":
        counts /= np.maximum(1, _IN_FAMILY @ (counts @ _IN_FAMILY))
    return np.asarray(counts / counts.sum())


_VALUES: Final[dict[Slot, tuple[Any, ...]]] = {"emotion": LABELS, "learn_score": (False, True)}
