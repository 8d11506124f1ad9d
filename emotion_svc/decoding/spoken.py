"""What a model said as text, somewhere else: whether it is an answer, and its posteriors as far as they can be known.

Engines that hold the tokenizer read token ids (`posterior.slot_posterior`). A remote host gives text, at most with
the log-probabilities of the likeliest texts of each token. White space between the pieces of JSON does not count here:
no label and no key has any.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from emotion_svc.decoding.posterior import Floats, Posteriors, Slot, left_open
from emotion_svc.schema import ALL_ANSWERS, Answer
from emotion_svc.taxonomy import LABELS

_ENDINGS: Final[dict[str, frozenset[str]]] = {
    said: frozenset(answer.removeprefix(said) for answer in ALL_ANSWERS if answer.startswith(said))
    for said in {answer[:length] for answer in ALL_ANSWERS for length in range(len(answer) + 1)}
}
"""How an answer can go on, for each way in which one can begin."""


class TextStep(NamedTuple):
    """One token as text, and the log-probabilities of the texts that it was chosen from, as far as they are told."""

    text: str
    logprobs: Mapping[str, float]


def read_answer(text: str, *, brace_may_be_missing: bool = False) -> Answer | None:
    """The answer that a text is; None where it is anything else than exactly one.

    White space and the order of the keys do not count. A key that occurs twice, another key, another label, another
    spelling of a boolean, and anything before or behind the JSON do.

    Args:
        text: what a model said.
        brace_may_be_missing: whether the closing brace may have been eaten by a stop token, so that it is put back.
    """
    if brace_may_be_missing and not text.rstrip().endswith("}"):
        text += "}"
    try:
        return Answer.model_validate(json.loads(text, object_pairs_hook=_without_duplicates))
    except (ValueError, RecursionError):  # ValidationError is a ValueError, too
        return None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return found


def certain(answer: Answer) -> Posteriors:
    """The posteriors where nothing but the answer is known: all on its label and its value."""
    return Posteriors(np.array([label == answer.emotion for label in LABELS], float), float(answer.learn_score))


def spoken_posteriors(steps: Sequence[TextStep]) -> Posteriors | None:
    """The posteriors of both slots from the tokens of one answer; None where they do not spell all of it, in our order.

    As `posterior.slot_posterior`, with two differences. What the host did not tell (it names the likeliest texts of a
    token, 20 at most) counts as impossible. And a host may give the probabilities as they were before its grammar
    forbade tokens; so what cannot go on to an answer is left out here, and the rest is scaled to 1.
    """
    emotion, learn_score = _slot("emotion", steps), _slot("learn_score", steps)
    return None if emotion is None or learn_score is None else Posteriors(emotion, float(learn_score[1]))


def _slot(slot: Slot, steps: Iterable[TextStep]) -> Floats | None:
    said, rest = "", 1.0
    posterior = np.zeros_like(left_open(slot, said, _ENDINGS[said]))
    for step in steps:
        if said in ALL_ANSWERS:
            break  # what comes now is the end-of-text token
        taken_text = said + _bare(step.text)
        if taken_text not in _ENDINGS:
            return None
        shares = _shares(said, step)
        taken = 0.0
        after_taken = left_open(slot, taken_text, _ENDINGS[taken_text])
        for text, share in shares.items():
            after = left_open(slot, text, _ENDINGS[text])
            if np.array_equal(after, after_taken):
                taken += share
            else:
                posterior += rest * share * after
        rest *= taken
        said = taken_text
    if len(_ENDINGS[said]) > 1:
        return None  # a part of the answer came without log-probabilities
    return posterior + rest * left_open(slot, said, _ENDINGS[said])


def _shares(said: str, step: TextStep) -> dict[str, float]:
    """The probability of each way in which the answer goes on with this token; they sum to 1."""
    powers: dict[str, float] = {}
    for text, logprob in step.logprobs.items():
        if (after := said + _bare(text)) in _ENDINGS:
            powers[after] = powers.get(after, 0.0) + float(np.exp(min(logprob, 0.0)))
    total = sum(powers.values())
    if not total:
        return {said + _bare(step.text): 1.0}
    return {text: power / total for text, power in powers.items()}


def _bare(text: str) -> str:
    return "".join(text.split())
