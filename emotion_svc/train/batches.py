"""Samples to tensors: prompt, answer, and what is to be learnt at the answer's positions."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from emotion_svc.decoding.slots import Slots
from emotion_svc.decoding.tokens import FIELD_TOKENS, TurnTokenizer, cut, marks_of, marks_of_opinion
from emotion_svc.decoding.wording import Opinion
from emotion_svc.prompt import COMPARISON, WORDING
from emotion_svc.taxonomy import FAMILIES, FAMILY_OF, LABELS
from emotion_svc.train.bpe_dropout import SeededBpe
from emotion_svc.train.config import AugmentConfig
from emotion_svc.train.samples import Sample


class Batch(NamedTuple):
    """`ids`: (batch, length), right-padded. `read`: (batch, 4), the positions that predict the answer's tokens.

    `emotion`: (batch, 23) target over labels. `weight`: (batch,) of the emotion. `learn_score`: (batch,) target,
    NaN where unknown.
    """

    ids: Tensor
    read: Tensor
    emotion: Tensor
    weight: Tensor
    learn_score: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))


Reader = Callable[[str, int | None], Opinion]
"""What the wording of a response suggests to somebody who has not seen the training responses of this fold."""


class Batcher:
    """Makes batches of samples of like length, so that little is padded.

    Args:
        tokens: makes tokens of turns.
        slots: the answer's tokens.
        reader: reads the wording of each response.
        label_noise: how often learn_score is asked behind a random label.
    """

    def __init__(self, tokens: TurnTokenizer, slots: Slots, reader: Reader, *, label_noise: float) -> None:
        self._tokens, self._slots, self._reader, self._label_noise = tokens, slots, reader, label_noise
        self._bpe = SeededBpe(tokens.field_tokenizer)

    def encode(
        self, samples: Sequence[Sample], rng: random.Random, augment: AugmentConfig | None = None
    ) -> list[list[int]]:
        """The prompt of each sample up to the forced opening.

        With `augment`, pieces of the fields fall apart, and sometimes the wordbook does not know a sample's words, or
        nobody has read its wording: the model must know some by itself.
        """
        bpe_dropout = augment.bpe_dropout if augment else 0.0
        columns = {
            name: [
                cut(ids, limit)[0] for ids in self._bpe.encode([getattr(s, short) for s in samples], bpe_dropout, rng)
            ]
            for (name, limit), short in zip(FIELD_TOKENS.items(), ("question", "answer", "response"), strict=True)
        }
        system, opening = self._tokens.system_ids, self._slots.opening
        return [
            [
                *system,
                *self._tokens.assemble(
                    {name: ids[n] for name, ids in columns.items()}, self._marks(sample, augment, rng)
                ),
                opening,
            ]
            for n, sample in enumerate(samples)
        ]

    def _marks(self, sample: Sample, augment: AugmentConfig | None, rng: random.Random) -> dict[str, tuple[str, ...]]:
        comparison = self._tokens.wordbook.compare(sample.question, sample.answer)
        if augment and rng.random() < augment.unknown_word:
            comparison = comparison._replace(meaning="unknown", judgement="open")
        is_read = augment is None or rng.random() >= augment.unread
        opinion = self._reader(sample.response, sample.fold) if is_read else None
        return {COMPARISON: marks_of(comparison), WORDING: marks_of_opinion(opinion)}

    def prompts(
        self, samples: Sequence[Sample], augment: AugmentConfig | None, rng: np.random.Generator
    ) -> list[list[int]]:
        """As `encode`, with the randomness of numpy."""
        return self.encode(samples, random.Random(int(rng.integers(2**63))), augment)

    def batches(
        self, samples: Sequence[Sample], size: int, augment: AugmentConfig, rng: np.random.Generator
    ) -> Iterator[Batch]:
        """All samples once, in batches of like length, the batches in random order."""
        prompts = self.prompts(samples, augment, rng)
        for group in like_lengths([len(prompt) for prompt in prompts], size, rng):
            yield self.make([samples[i] for i in group], [prompts[i] for i in group], rng)

    def make(self, samples: Sequence[Sample], prompts: Sequence[list[int]], rng: np.random.Generator) -> Batch:
        """One batch, in the given order."""
        emotion = np.array([label_target(sample) for sample in samples], dtype=np.float32)
        labels = [int(rng.choice(len(LABELS), p=row / row.sum())) for row in emotion.astype(np.float64)]
        # The learn_score slot must not lean on a label that may be wrong.
        labels = [int(rng.integers(len(LABELS))) if rng.random() < self._label_noise else i for i in labels]
        slots = self._slots
        rows = [
            [*prompt, slots.labels[label], slots.between, slots.true if (s.learn_score or 0) >= 0.5 else slots.false]
            for prompt, label, s in zip(prompts, labels, samples, strict=True)
        ]
        length = max(map(len, rows))
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        ends = torch.tensor([len(prompt) - 1 for prompt in prompts])
        return Batch(
            ids,
            ends[:, None] + torch.arange(-1, 3),
            torch.from_numpy(emotion),
            torch.tensor([s.weight for s in samples]),
            torch.tensor([float("nan") if s.learn_score is None else s.learn_score for s in samples]),
        )


def like_lengths(lengths: Sequence[int], size: int, rng: np.random.Generator) -> Iterator[list[int]]:
    """All places once, in groups of `size` (the last may be smaller), the groups in random order.

    Sorted by length in windows of 32 groups: little is padded, and a group still mixes kinds of samples.
    """
    window = size * 32
    order = [
        place
        for start in range(0, len(lengths), window)
        for place in sorted(range(start, min(start + window, len(lengths))), key=lengths.__getitem__)
    ]
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    for group in rng.permutation(len(groups)):
        yield groups[group]


def label_target(sample: Sample) -> list[float]:
    """The sample's target over the 23 labels; a family's share is spread evenly over its variants."""
    per_family = {family: sample.emotion.get(family, 0.0) for family in FAMILIES}
    sizes = {family: sum(FAMILY_OF[label] == family for label in LABELS) for family in FAMILIES}
    return [per_family[FAMILY_OF[label]] / sizes[FAMILY_OF[label]] for label in LABELS]
