"""Probabilities of a slot's values, from logits or from the log-probabilities of generated tokens."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from emotion_svc.decoding.index import AnswerIndex
from emotion_svc.decoding.language import FORCED_OPENING
from emotion_svc.schema import ALL_ANSWERS, Answer
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


class Step(NamedTuple):
    """One generated token and the log-probabilities, after the grammar's mask, of the tokens it was chosen from."""

    token_id: int
    logprobs: Mapping[int, float]


def posteriors_from_steps(index: AnswerIndex, steps: Sequence[Step], *, opening: str = FORCED_OPENING) -> Posteriors:
    """Posteriors of both slots from one generated answer, for any tokenizer.

    Labels may be several tokens long. At each step, the probability of every token that was not taken goes to
    the labels that it could still have become, in equal parts (what the model would have said there was not
    computed); labels that share their first token, as a family's do, keep the right sum. `learn_score` is
    read off the path that was taken, so it is conditional on the generated label.

    Args:
        index: the grammar of what follows `opening`.
        steps: the generated tokens, in order, up to the end of the answer.
        opening: what stood before the first generated token.

    Raises:
        ValueError: the tokens are no complete answer.
    """
    emotion = dict.fromkeys(LABELS, 0.0)
    values = {True: 0.0, False: 0.0}
    label_mass = value_mass = 1.0
    text, state = opening, index.initial_state
    for step in steps:
        allowed = index.allowed(state)
        weights = {t: np.exp(p) for t, p in step.logprobs.items() if t in allowed}
        total = sum(weights.values())
        if step.token_id not in weights or not total > 0:
            raise ValueError(f"token {step.token_id} is not allowed after {text!r}")
        before = _reachable(text)
        for token_id, weight in weights.items():
            reached = _reachable(text + index.text_of([token_id]).decode())
            if token_id == step.token_id or not reached:
                continue
            label_gain, value_gain = label_mass * weight / total, value_mass * weight / total
            if len(_labels(before)) > 1:
                for label in (labels := _labels(reached)):
                    emotion[label] += label_gain / len(labels)
            elif len(_values(before)) > 1:
                for value in (left := _values(reached)):
                    values[value] += value_gain / len(left)
        share = weights[step.token_id] / total
        if len(_labels(before)) > 1:
            label_mass *= share
        elif len(_values(before)) > 1:
            value_mass *= share
        text, state = text + index.text_of([step.token_id]).decode(), allowed[step.token_id]
    taken = Answer.model_validate_json(text) if text in ALL_ANSWERS else None
    if taken is None:
        raise ValueError(f"{len(steps)} tokens are no complete answer")
    emotion[taken.emotion] += label_mass
    values[taken.learn_score] += value_mass
    labels_array = np.array([emotion[label] for label in LABELS])
    return Posteriors(labels_array / labels_array.sum(), values[True] / (values[True] + values[False]))


def _reachable(prefix: str) -> list[Answer]:
    return [answer for text, answer in _PARSED if text.startswith(prefix)]


def _labels(answers: Iterable[Answer]) -> list[Any]:
    return list(dict.fromkeys(answer.emotion for answer in answers))


def _values(answers: Iterable[Answer]) -> list[bool]:
    return list(dict.fromkeys(answer.learn_score for answer in answers))


_PARSED: Final = [(text, Answer.model_validate_json(text)) for text in ALL_ANSWERS]
