"""The training loop: seeded, logged, stopped and resumed at will."""

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from emotion_svc.decoding.slots import Slots
from emotion_svc.schema import Example
from emotion_svc.taxonomy import FAMILIES, FAMILY_OF, LABELS
from emotion_svc.train.batches import Batch, Batcher
from emotion_svc.train.config import OptimConfig, TrainConfig
from emotion_svc.train.model import Decoder
from emotion_svc.train.samples import Sample, from_turn

STATE_FILE: Final = "state.pt"
LOG_FILE: Final = "log.jsonl"
_SAVE_EVERY_S: Final = 120
_IN_FAMILY = torch.tensor([[float(FAMILY_OF[label] == family) for family in FAMILIES] for label in LABELS])


def loss_of(logits: Tensor, batch: Batch, slots: Slots, optim: OptimConfig) -> Tensor:
    """Cross-entropy at the answer's four positions: two forced tokens, the label, the value of learn_score.

    logits: (batch, 4, vocab). Label smoothing stays inside a slot: all other tokens have target 0, so the
    model learns the grammar, too.
    """
    logs = functional.log_softmax(logits.float(), dim=-1)
    labels = torch.tensor(slots.labels)
    target = (1 - optim.label_smoothing) * batch.emotion + optim.label_smoothing / len(LABELS)
    emotion = -((target * logs[:, 1, labels]).sum(-1) * batch.weight).mean()
    forced = -(logs[:, 0, slots.opening].mean() + logs[:, 2, slots.between].mean())
    known = ~batch.learn_score.isnan()
    if not known.any():
        return emotion + 0.1 * forced
    value = batch.learn_score[known] * (1 - optim.label_smoothing) + optim.label_smoothing / 2
    learn_score = -(value * logs[known, 3, slots.true] + (1 - value) * logs[known, 3, slots.false]).mean()
    return emotion + optim.learn_score_weight * learn_score * known.float().mean() + 0.1 * forced


def predict(model: Decoder, batcher: Batcher, slots: Slots, samples: list[Sample]) -> tuple[Tensor, Tensor]:
    """Probabilities without calibration: emotion (n, 16) by family, learn_score (n,), given the best label."""
    model.eval()
    rng, families, values = np.random.default_rng(0), [], []
    prompts = batcher.encode(samples, 0.0, random.Random(0))
    labels = torch.tensor(slots.labels)
    with torch.inference_mode():
        for start in range(0, len(samples), 64):
            part = slice(start, start + 64)
            batch = batcher.make(samples[part], prompts[part], rng)
            emotion = model(batch.ids, batch.read[:, 1:2])[:, 0, labels].float().softmax(-1)
            ids = batch.ids.clone()
            ids[torch.arange(len(ids)), batch.read[:, 2]] = labels[emotion.argmax(-1)]
            pair = model(ids, batch.read[:, 3:4])[:, 0, [slots.false, slots.true]].float().softmax(-1)
            families.append(emotion @ _IN_FAMILY)
            values.append(pair[:, 1])
    model.train()
    return torch.cat(families), torch.cat(values)


class Trainer:
    """One run. `epoch_samples(epoch)` must give the same samples each time it is called."""

    def __init__(
        self,
        model: Decoder,
        batcher: Batcher,
        slots: Slots,
        epoch_samples: Callable[[int], list[Sample]],
        dev: list[Example],
        config: TrainConfig,
        out: Path,
    ) -> None:
        self.model, self._batcher, self._slots, self._config, self._out = model, batcher, slots, config, out
        self._epoch_samples, self._dev = epoch_samples, dev
        self.average = Decoder(model.shape)
        self.average.load_state_dict(model.state_dict())
        decayed = [p for p in model.parameters() if p.dim() > 1]
        plain = [p for p in model.parameters() if p.dim() < 2]
        optim = config.optim
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": optim.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=optim.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self._step = self._epoch = self._step_in_epoch = 0

    @property
    def _state_file(self) -> Path:
        return self._out / STATE_FILE

    def save(self) -> None:
        """Writes all that a resumed run needs; the old state is replaced at once or not at all."""
        state = {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "torch_rng": torch.get_rng_state(),
            "place": (self._step, self._epoch, self._step_in_epoch),
        }
        torch.save(state, self._state_file.with_suffix(".new"))
        self._state_file.with_suffix(".new").replace(self._state_file)

    def resume(self) -> bool:
        """Goes on where the run in this directory stopped; False where there is nothing to resume."""
        if not self._state_file.exists():
            return False
        state = torch.load(self._state_file, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["torch_rng"])
        self._step, self._epoch, self._step_in_epoch = state["place"]
        return True

    def run(self, *, progress: bool = True) -> None:
        """Trains to the end of the last epoch, or raises KeyboardInterrupt after saving."""
        optim = self._config.optim
        per_epoch = -(-len(self._epoch_samples(0)) // optim.batch)
        bar = tqdm(total=per_epoch * optim.epochs, initial=self._step, disable=not progress, unit="step")
        saved = time.monotonic()
        try:
            while self._epoch < optim.epochs:
                rng = np.random.default_rng((self._config.seed, self._epoch))
                samples = self._epoch_samples(self._epoch)
                batches = self._batcher.batches(samples, optim.batch, self._config.augment.bpe_dropout, rng)
                started, losses = time.monotonic(), []
                for place, batch in enumerate(batches):
                    if place < self._step_in_epoch:
                        continue
                    losses.append(self._train_step(batch, per_epoch * optim.epochs))
                    self._step_in_epoch = place + 1
                    bar.update()
                    if time.monotonic() - saved > _SAVE_EVERY_S:
                        self.save()
                        saved = time.monotonic()
                self._epoch, self._step_in_epoch = self._epoch + 1, 0
                self._log(float(np.mean(losses)) if losses else float("nan"), time.monotonic() - started)
                self.save()
        except KeyboardInterrupt:
            self.save()
            raise

    def _train_step(self, batch: Batch, total: int) -> float:
        optim = self._config.optim
        rate = optim.learning_rate * schedule(min(1.0, self._step / total), optim.warmup_share)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(self.model(batch.ids, batch.read), batch, self._slots, optim)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._step += 1
        # Early on the average follows the weights closely, later it forgets slowly.
        decay = min(optim.average_decay, (1 + self._step) / (10 + self._step))
        with torch.no_grad():
            for mine, theirs in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)
        return loss.item()

    def _log(self, loss: float, seconds: float) -> None:
        row = {"epoch": self._epoch, "step": self._step, "loss": round(loss, 4), "seconds": round(seconds, 1)}
        if self._dev:
            families, values = predict(self.average, self._batcher, self._slots, [from_turn(e) for e in self._dev])
            gold_family = torch.tensor([FAMILIES.index(e.emotion) for e in self._dev])
            gold_value = torch.tensor([e.learn_score for e in self._dev])
            row["dev_emotion"] = round((families.argmax(-1) == gold_family).float().mean().item(), 4)
            row["dev_learn_score"] = round(((values >= 0.5) == gold_value).float().mean().item(), 4)
            hard = torch.tensor([e.hard for e in self._dev])
            if hard.any():
                row["dev_emotion_hard"] = round((families.argmax(-1) == gold_family)[hard].float().mean().item(), 4)
                row["dev_learn_score_hard"] = round(((values >= 0.5) == gold_value)[hard].float().mean().item(), 4)
        with (self._out / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        tqdm.write(json.dumps(row))


def schedule(done: float, warmup: float) -> float:
    """The learning rate's factor when the share `done` of all steps is done: up to 1, then a cosine to 0.02."""
    if done < warmup:
        return done / warmup
    return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * (done - warmup) / (1 - warmup))))


def seed_everything(seed: int) -> random.Random:
    """Seeds torch and returns a generator for the rest."""
    torch.manual_seed(seed)
    return random.Random(seed)
