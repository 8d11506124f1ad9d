"""Language-model pretraining: before labels, the network learns to predict each next token of turns and responses.

A label says something of the few words that decide it; what stands around a word says something of every word. Dai and
Le (2015, arXiv:1511.01432) begin text classifiers as language models of the same texts.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from emotion_svc.train.batches import Batcher, like_lengths
from emotion_svc.train.config import TrainConfig
from emotion_svc.train.learner import Learner
from emotion_svc.train.loop import Loop
from emotion_svc.train.model import Decoder
from emotion_svc.train.samples import Sample

_NOT_ASKED: Final = -100
"""What `cross_entropy` leaves out."""


class Texts(NamedTuple):
    """`ids`: (batch, length), right-padded. `following`: (batch, length), the token behind each, or -100."""

    ids: Tensor
    following: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Texts":
        """One batch."""
        length = max(map(len, rows))
        ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in rows])
        following = torch.tensor([[*row[1:], *[_NOT_ASKED] * (length - len(row) + 1)] for row in rows])
        return cls(ids, following)

    def to(self, device: torch.device) -> "Texts":
        """The batch on another device."""
        return Texts(*(tensor.to(device) for tensor in self))


class Pretrainer(Loop[Texts]):
    """Trains a decoder to predict the tokens of prompts, up to where the answer begins.

    Args:
        model: the network; it is moved to `device`.
        batcher: makes the prompts.
        epoch_samples: an epoch's samples, the same ones each time it is called; their labels are not looked at.
        dev: held-out samples for the log.
        config: the run's settings.
        out: a directory of its own.
        device: where it is trained.
    """

    def __init__(
        self,
        model: Decoder,
        batcher: Batcher,
        epoch_samples: Callable[[int], list[Sample]],
        dev: list[Sample],
        config: TrainConfig,
        out: Path,
        device: torch.device,
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        super().__init__(config.pretrain.epochs, out, device)
        self._batcher, self._epoch_samples, self._dev, self._config = batcher, epoch_samples, dev, config
        self._learner = Learner(model.to(device), config.optim, config.pretrain.learning_rate)

    @property
    def average(self) -> Decoder:
        """The averaged network."""
        return self._learner.average

    def _steps_per_epoch(self) -> int:
        return -(-len(self._epoch_samples(0)) // self._config.optim.batch)

    def _batches(self, epoch: int) -> Iterator[Texts]:
        rng = np.random.default_rng((self._config.seed, epoch))
        rows = self._batcher.prompts(self._epoch_samples(epoch), self._config.augment, rng)
        for group in like_lengths([len(row) for row in rows], self._config.optim.batch, rng):
            yield Texts.of([rows[place] for place in group])

    def _train_step(self, batch: Texts, done: float) -> float:
        loss = self._loss(self._learner.model, batch.to(self.device))
        self._learner.follow(loss, self._step, done)
        return loss.item()

    def _loss(self, model: Decoder, batch: Texts) -> Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            logits = model(batch.ids)
        return functional.cross_entropy(
            logits.float().flatten(0, 1), batch.following.flatten(), ignore_index=_NOT_ASKED
        )

    def _dev_scores(self) -> dict[str, float]:
        if not self._dev:
            return {}
        rows = self._batcher.prompts(self._dev, None, np.random.default_rng(0))
        with torch.inference_mode():
            losses = [
                self._loss(self.average, Texts.of(rows[start : start + 64]).to(self.device)).item()
                for start in range(0, len(rows), 64)
            ]
        return {"dev_loss": float(np.mean(losses))}

    def _state(self) -> dict[str, Any]:
        return self._learner.state()

    def _restore(self, state: dict[str, Any]) -> None:
        self._learner.restore(state)
