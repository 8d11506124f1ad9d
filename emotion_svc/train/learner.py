"""A network that learns: AdamW, a schedule, and the running average of the weights, which is what a run is for."""

from typing import Any

import torch
from torch import Tensor

from emotion_svc.train.config import OptimConfig
from emotion_svc.train.loop import schedule
from emotion_svc.train.model import Decoder


class Learner:
    """Follows the gradient of a loss.

    Args:
        model: the network, on its device.
        optim: the run's settings.
        learning_rate: the highest of the schedule.
    """

    def __init__(self, model: Decoder, optim: OptimConfig, learning_rate: float) -> None:
        self.model, self._optim, self._learning_rate = model, optim, learning_rate
        self.average = Decoder(model.shape).to(model.embed_tokens.weight.device)
        self.average.load_state_dict(model.state_dict())
        decayed = [p for p in model.parameters() if p.dim() > 1]
        plain = [p for p in model.parameters() if p.dim() < 2]
        self._optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": optim.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )

    def follow(self, loss: Tensor, step: int, done: float) -> None:
        """Takes the step number `step` (from 0) down the loss, when the share `done` of all steps is done."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate * schedule(done, self._optim.warmup_share)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        # Early on the average follows the weights closely, later it forgets slowly.
        decay = min(self._optim.average_decay, (2 + step) / (11 + step))
        with torch.no_grad():
            for mine, theirs in zip(self.average.parameters(), self.model.parameters(), strict=True):
                mine.lerp_(theirs, 1 - decay)

    def state(self) -> dict[str, Any]:
        """All that `restore` needs, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
