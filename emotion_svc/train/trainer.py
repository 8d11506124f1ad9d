"""Trains the shipped model's network from scratch."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emotion_svc.decoding.slots import Slots
from emotion_svc.schema import Example
from emotion_svc.taxonomy import FAMILIES, FAMILY_OF, LABELS
from emotion_svc.train.batches import Batch, Batcher
from emotion_svc.train.config import OptimConfig, TrainConfig
from emotion_svc.train.learner import Learner
from emotion_svc.train.loop import Loop, shares_right
from emotion_svc.train.model import Decoder
from emotion_svc.train.samples import Sample, from_turn, without_final_marks

_IN_FAMILY: Final = torch.tensor([[float(FAMILY_OF[label] == family) for family in FAMILIES] for label in LABELS])


def loss_of(logits: Tensor, batch: Batch, slots: Slots, optim: OptimConfig) -> Tensor:
    """Cross-entropy at the answer's four positions: two forced tokens, the label, the value of learn_score.

    logits: (batch, 4, vocab). Label smoothing stays inside a slot: all other tokens have target 0, so the
    model learns the grammar, too.
    """
    logs = functional.log_softmax(logits.float(), dim=-1)
    labels = torch.tensor(slots.labels, device=logits.device)
    target = (1 - optim.label_smoothing) * batch.emotion + optim.label_smoothing / len(LABELS)
    emotion = -((target * logs[:, 1, labels]).sum(-1) * batch.weight).mean()
    forced = -(logs[:, 0, slots.opening].mean() + logs[:, 2, slots.between].mean())
    known = ~batch.learn_score.isnan()
    if not known.any():
        return emotion + 0.1 * forced
    value = batch.learn_score[known] * (1 - optim.label_smoothing) + optim.label_smoothing / 2
    learn_score = -(value * logs[known, 3, slots.true] + (1 - value) * logs[known, 3, slots.false]).mean()
    return emotion + optim.learn_score_weight * learn_score * known.float().mean() + 0.1 * forced


def divergence(logits: Tensor, twins: Tensor, slots: Slots) -> Tensor:
    """How far apart what is said of twins is: the symmetric Kullback-Leibler divergence of labels and of learn_score.

    logits: (batch, 4, vocab); twins: (pairs, 2). In nats, the mean over pairs; 0 where there are none.
    """
    if not len(twins):
        return logits.new_zeros(())
    apart = logits.new_zeros((), dtype=torch.float32)
    for position, tokens in ((1, slots.labels), (3, (slots.false, slots.true))):
        said = functional.log_softmax(logits[:, position, list(tokens)].float(), dim=-1)
        one, other = said[twins[:, 0]], said[twins[:, 1]]
        apart = apart + 0.5 * ((one.exp() - other.exp()) * (one - other)).sum(-1).mean()
    return apart


def predict(model: Decoder, batcher: Batcher, slots: Slots, samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """Probabilities without calibration: emotion (n, 16) by family, learn_score (n,), given the best label."""
    model.eval()
    device = model.embed_tokens.weight.device
    rng, families, values = np.random.default_rng(0), [], []
    prompts = batcher.encode(samples, random.Random(0))
    labels = torch.tensor(slots.labels, device=device)
    with torch.inference_mode():
        for start in range(0, len(samples), 64):
            part = slice(start, start + 64)
            batch = batcher.make(samples[part], prompts[part], rng).to(device)
            emotion = model(batch.ids, batch.read[:, 1:2])[:, 0, labels].float().softmax(-1)
            ids = batch.ids.clone()
            ids[torch.arange(len(ids), device=device), batch.read[:, 2]] = labels[emotion.argmax(-1)]
            pair = model(ids, batch.read[:, 3:4])[:, 0, [slots.false, slots.true]].float().softmax(-1)
            families.append(emotion.cpu() @ _IN_FAMILY)
            values.append(pair[:, 1].cpu())
    model.train()
    return torch.cat(families), torch.cat(values)


class Trainer(Loop[Batch]):
    """Trains a decoder on the samples of each epoch.

    Args:
        model: the network; it is moved to `device`.
        batcher: makes batches of samples.
        slots: the answer's tokens.
        epoch_samples: an epoch's samples, the same ones each time it is called.
        dev: held-out turns for the log.
        config: the run's settings.
        out: the run's directory.
        device: where it is trained.
    """

    def __init__(
        self,
        model: Decoder,
        batcher: Batcher,
        slots: Slots,
        epoch_samples: Callable[[int], list[Sample]],
        dev: list[Example],
        config: TrainConfig,
        out: Path,
        device: torch.device,
    ) -> None:
        super().__init__(config.optim.epochs, out, device)
        self._learner = Learner(model.to(device), config.optim, config.optim.learning_rate)
        self._batcher, self._slots, self._config = batcher, slots, config
        self._epoch_samples, self._dev = epoch_samples, dev

    @property
    def average(self) -> Decoder:
        """The averaged network, which is what a run is for."""
        return self._learner.average

    def _steps_per_epoch(self) -> int:
        return -(-len(self._epoch_samples(0)) // self._config.optim.batch)

    def _batches(self, epoch: int) -> Iterator[Batch]:
        rng = np.random.default_rng((self._config.seed, epoch))
        samples = self._epoch_samples(epoch)
        optim, augment = self._config.optim, self._config.augment
        return self._batcher.batches(samples, optim.batch, augment, rng, twins=optim.twins)

    def _train_step(self, batch: Batch, done: float) -> float:
        batch = batch.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits = self._learner.model(batch.ids, batch.read)
            loss = loss_of(logits, batch, self._slots, self._config.optim)
            loss = loss + self._config.optim.agreement * divergence(logits, batch.twins, self._slots)
        self._learner.follow(loss, self._step, done)
        return loss.item()

    def _dev_scores(self) -> dict[str, float]:
        if not self._dev:
            return {}
        dev = [from_turn(example) for example in self._dev]
        families, values = predict(self.average, self._batcher, self._slots, dev)
        bare, _ = predict(self.average, self._batcher, self._slots, [without_final_marks(sample) for sample in dev])
        said = [FAMILIES[place] for place in families.argmax(-1).tolist()]
        emotion = np.array([family == e.emotion for family, e in zip(said, self._dev, strict=True)])
        learn_score = (values >= 0.5).numpy() == np.array([e.learn_score for e in self._dev])
        steady = (families.argmax(-1) == bare.argmax(-1)).float().mean().item()
        return shares_right(self._dev, emotion, learn_score) | {"dev_steady": steady}

    def _state(self) -> dict[str, Any]:
        return self._learner.state()

    def _restore(self, state: dict[str, Any]) -> None:
        self._learner.restore(state)
