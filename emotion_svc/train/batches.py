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
from emotion_svc.train.samples import Sample, without_final_marks


class Batch(NamedTuple):
    """`ids`: (batch, length), right-padded. `read`: (batch, 4), the positions that predict the answer's tokens.

    `emotion`: (batch, 23) target over labels. `weight`: (batch,) of the emotion. `learn_score`: (batch,) target,
    NaN where unknown. `twins`: (pairs, 2), rows that hold the same sample with and without final punctuation.
    """

    ids: Tensor
    read: Tensor
    emotion: Tensor
    weight: Tensor
    learn_score: Tensor
    twins: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device."""
        return Batch(*(tensor.to(device) for tensor in self))


Marks = dict[str, tuple[str, ...]]
"""What a prompt is told beside the fields, by the name of its place."""

Reader = Callable[[str, int | None], Opinion]
"""What the wording of a response suggests to somebody who has not seen the training responses of this fold."""


class _Hidden(NamedTuple):
    """What a prompt keeps from the model, so that it knows some by itself: a sample's words, its wording."""

    word: bool
    wording: bool

    @classmethod
    def draw(cls, augment: AugmentConfig | None, rng: random.Random) -> "_Hidden":
        """Nothing without `augment`."""
        if augment is None:
            return cls(word=False, wording=False)
        return cls(rng.random() < augment.unknown_word, rng.random() < augment.unread)


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
        fields = self._fields(samples, rng, augment)
        return self._assembled(fields, [self._marks(sample, _Hidden.draw(augment, rng)) for sample in samples])

    def _fields(
        self, samples: Sequence[Sample], rng: random.Random, augment: AugmentConfig | None
    ) -> list[dict[str, list[int]]]:
        bpe_dropout = augment.bpe_dropout if augment else 0.0
        columns = [
            [cut(ids, limit)[0] for ids in self._bpe.encode([getattr(s, short) for s in samples], bpe_dropout, rng)]
            for limit, short in zip(FIELD_TOKENS.values(), ("question", "answer", "response"), strict=True)
        ]
        return [dict(zip(FIELD_TOKENS, ids, strict=True)) for ids in zip(*columns, strict=True)]

    def _assembled(self, fields: Sequence[dict[str, list[int]]], marks: Sequence[Marks]) -> list[list[int]]:
        system, opening = self._tokens.system_ids, self._slots.opening
        return [[*system, *self._tokens.assemble(ids, read), opening] for ids, read in zip(fields, marks, strict=True)]

    def _marks(self, sample: Sample, hidden: "_Hidden") -> Marks:
        comparison = self._tokens.wordbook.compare(sample.question, sample.answer)
        if hidden.word:
            comparison = comparison._replace(meaning="unknown", judgement="open")
        opinion = None if hidden.wording else self._reader(sample.response, sample.fold)
        return {COMPARISON: marks_of(comparison), WORDING: marks_of_opinion(opinion)}

    def prompts(
        self, samples: Sequence[Sample], augment: AugmentConfig | None, rng: np.random.Generator
    ) -> list[list[int]]:
        """As `encode`, with the randomness of numpy."""
        return self.encode(samples, random.Random(int(rng.integers(2**63))), augment)

    def batches(
        self,
        samples: Sequence[Sample],
        size: int,
        augment: AugmentConfig,
        rng: np.random.Generator,
        *,
        twins: float = 0.0,
    ) -> Iterator[Batch]:
        """All samples once, in batches of like length, the batches in random order.

        The share `twins` of them has a twin in its batch, beyond `size`: itself without final punctuation, cut into
        other pieces, with the same marks hidden.
        """
        seeded = random.Random(int(rng.integers(2**63)))
        fields = self._fields(samples, seeded, augment)
        hidden = [_Hidden.draw(augment, seeded) for _ in samples]
        prompts = self._assembled(fields, [self._marks(*of) for of in zip(samples, hidden, strict=True)])
        bare = {place: without_final_marks(sample) for place, sample in enumerate(samples) if seeded.random() < twins}
        bare = {place: twin for place, twin in bare.items() if twin != samples[place]}
        fields = self._fields(list(bare.values()), seeded, augment)
        marks = [self._marks(twin, hidden[place]) for place, twin in bare.items()]
        doubles = dict(zip(bare, self._assembled(fields, marks), strict=True))
        for group in like_lengths([len(prompt) for prompt in prompts], size, rng):
            pairs = [n for n, place in enumerate(group) if place in doubles]
            rows = [*group, *(group[n] for n in pairs)]
            texts = [*(prompts[place] for place in group), *(doubles[group[n]] for n in pairs)]
            yield self.make([samples[place] for place in rows], texts, rng, pairs)

    def make(
        self,
        samples: Sequence[Sample],
        prompts: Sequence[list[int]],
        rng: np.random.Generator,
        twins: Sequence[int] = (),
    ) -> Batch:
        """One batch, in the given order; its last rows are the twins of the rows `twins`."""
        emotion = np.array([label_target(sample) for sample in samples], dtype=np.float32)
        labels = [int(rng.choice(len(LABELS), p=row / row.sum())) for row in emotion.astype(np.float64)]
        # The learn_score slot must not lean on a label that may be wrong.
        labels = [int(rng.integers(len(LABELS))) if rng.random() < self._label_noise else i for i in labels]
        first = len(samples) - len(twins)
        labels[first:] = [labels[row] for row in twins]
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
            torch.tensor([(row, first + n) for n, row in enumerate(twins)], dtype=torch.long).view(-1, 2),
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
