"""An answer as the choices that a model makes while it writes it, for any tokenizer.

The engine asks two questions (`decoding/spelling.py`) and holds the model to the grammar between them, so that is
all there is to learn: at each token where the grammar allows several, the right one *among those*. Forced tokens
teach nothing, and what the model would say outside the grammar is never asked. The alternative, cross-entropy of
all the answer's tokens over the whole vocabulary, spends most of its loss on JSON that is never generated, and
does not lower what the engine is measured by.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from emotion_svc.decoding.spelling import Question
from emotion_svc.engines.checkpoint import Checkpoint
from emotion_svc.schema import ALL_ANSWERS, Answer
from emotion_svc.taxonomy import LABELS
from emotion_svc.train.batches import label_target
from emotion_svc.train.samples import Sample


class Choice(NamedTuple):
    """A token of an answer that is chosen: its place in the answer, its id, and the ids that the grammar allows."""

    place: int
    token_id: int
    allowed: tuple[int, ...]


class Written(NamedTuple):
    """An answer's tokens up to the last that is chosen, and the choices of each slot.

    `emotion` ends where the family is certain: which of its animations is played is no matter of the model.
    """

    ids: list[int]
    emotion: list[Choice]
    learn_score: list[Choice]


def written(checkpoint: Checkpoint, answer: Answer) -> Written:
    """How a checkpoint's tokenizer writes an answer."""
    ids = checkpoint.spelling.ids_of(answer)
    learn_score = _choices(checkpoint.learn_score[answer.emotion], ids)
    return Written(ids[: learn_score[-1].place + 1], _choices(checkpoint.emotion, ids), learn_score)


def _choices(question: Question, ids: Sequence[int]) -> list[Choice]:
    choices, state = [], question.grammar.initial_state
    for place in range(len(question.prefix_ids), len(ids)):
        allowed = question.grammar.allowed(state)
        if len(allowed) > 1:
            choices.append(Choice(place, ids[place], tuple(sorted(allowed))))
        if ids[place] in question.deciding_ids:
            break
        state = allowed[ids[place]]
    return choices


class ChoiceBatch(NamedTuple):
    """Prompts with their answers, and the choices in them.

    `ids`, `mask`: (batch, length), right-padded. Of the logits only the last `kept` positions are needed; `rows`,
    `places`: (choices,), which row and which of the kept positions predicts the chosen token. `allowed`, `is_allowed`:
    (choices, widest). `target`: (choices,), the chosen token's column in `allowed`. `weight`: (choices,), already
    divided by the number of samples.
    """

    ids: Tensor
    mask: Tensor
    kept: int
    rows: Tensor
    places: Tensor
    allowed: Tensor
    is_allowed: Tensor
    target: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> "ChoiceBatch":
        """The batch on another device."""
        return ChoiceBatch(*(part.to(device) if isinstance(part, Tensor) else part for part in self))  # type: ignore[arg-type]


class ChoiceBatcher:
    """Makes batches for one checkpoint. `learn_score_weight`: how much that slot counts beside `emotion`."""

    def __init__(self, checkpoint: Checkpoint, *, learn_score_weight: float) -> None:
        self._written = {text: written(checkpoint, Answer.model_validate_json(text)) for text in ALL_ANSWERS}
        self._learn_score_weight = learn_score_weight

    def make(self, samples: Sequence[Sample], prompts: Sequence[list[int]], rng: np.random.Generator) -> ChoiceBatch:
        """One batch, in the given order. A soft target is met by drawing the label that is written from it."""
        answers = [self._answer(sample, rng) for sample in samples]
        rows = [prompt + answer.ids for prompt, answer in zip(prompts, answers, strict=True)]
        length = max(map(len, rows))
        found: list[tuple[int, int, Choice, float]] = []  # row, the position that predicts the choice, weight
        for row, (sample, prompt, answer) in enumerate(zip(samples, prompts, answers, strict=True)):
            weighted = [(choice, sample.weight) for choice in answer.emotion]
            if sample.learn_score is not None:
                weighted += [(choice, self._learn_score_weight) for choice in answer.learn_score]
            found += [(row, len(prompt) + choice.place - 1, choice, weight) for choice, weight in weighted]
        kept = length - min(position for _, position, _, _ in found)
        widest = max(len(choice.allowed) for _, _, choice, _ in found)
        padded = [[*choice.allowed, *[0] * (widest - len(choice.allowed))] for _, _, choice, _ in found]
        return ChoiceBatch(
            ids=torch.tensor([row + [0] * (length - len(row)) for row in rows]),
            mask=torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows]),
            kept=kept,
            rows=torch.tensor([row for row, _, _, _ in found]),
            places=torch.tensor([position - (length - kept) for _, position, _, _ in found]),
            allowed=torch.tensor(padded),
            is_allowed=torch.tensor(
                [[place < len(choice.allowed) for place in range(widest)] for _, _, choice, _ in found]
            ),
            target=torch.tensor([choice.allowed.index(choice.token_id) for _, _, choice, _ in found]),
            weight=torch.tensor([weight / len(samples) for _, _, _, weight in found]),
        )

    def _answer(self, sample: Sample, rng: np.random.Generator) -> Written:
        target = np.array(label_target(sample))
        label = LABELS[int(rng.choice(len(LABELS), p=target / target.sum()))]
        answer = Answer(emotion=label, learn_score=(sample.learn_score or 0) >= 0.5)
        return self._written[answer.model_dump_json()]


def choice_loss(logits: Tensor, batch: ChoiceBatch) -> Tensor:
    """Cross-entropy of each choice among the tokens that the grammar allows there, summed by weight.

    logits: (batch, kept, vocab).
    """
    rows = logits[batch.rows, batch.places].float()
    among = rows.gather(1, batch.allowed).masked_fill(~batch.is_allowed, float("-inf"))
    chosen = among.log_softmax(-1).gather(1, batch.target[:, None])[:, 0]
    return -(chosen * batch.weight).sum()
