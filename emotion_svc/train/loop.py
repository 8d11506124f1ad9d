"""The loop of a training run: seeded, logged, stopped and resumed at will. What is trained fills in the steps."""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from emotion_svc.errors import SetupError
from emotion_svc.schema import Example
from emotion_svc.train.config import DeviceName

STATE_FILE: Final = "state.pt"
LOG_FILE: Final = "log.jsonl"
_SAVE_EVERY_S: Final = 120

BatchT = TypeVar("BatchT")
Bools = npt.NDArray[np.bool_]


class Loop(ABC, Generic[BatchT]):
    """One run in a directory of its own: `state.pt` and `log.jsonl`.

    Args:
        epochs: how often all samples are seen.
        out: the run's directory.
        device: where the network is.
    """

    def __init__(self, epochs: int, out: Path, device: torch.device) -> None:
        self._epochs, self._out, self.device = epochs, out, device
        self._step = self._epoch = self._step_in_epoch = 0
        self._losses = 0.0  # of this epoch, summed

    @abstractmethod
    def _steps_per_epoch(self) -> int:
        """How many batches an epoch has; where epochs differ, the first one's."""

    @abstractmethod
    def _batches(self, epoch: int) -> Iterator[BatchT]:
        """The epoch's batches, the same ones each time it is called."""

    @abstractmethod
    def _train_step(self, batch: BatchT, done: float) -> float:
        """Learns from a batch, when the share `done` of all steps is done; returns its loss."""

    @abstractmethod
    def _dev_scores(self) -> dict[str, float]:
        """What held-out turns say, for the log; empty where there are none."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """All that `_restore` needs, as tensors and plain values."""

    @abstractmethod
    def _restore(self, state: dict[str, Any]) -> None:
        """Takes back what `_state` gave; its tensors are on the CPU."""

    @property
    def _state_file(self) -> Path:
        return self._out / STATE_FILE

    def save(self) -> None:
        """Writes all that a resumed run needs; the old state is replaced at once or not at all."""
        state = self._state() | {
            "torch_rng": torch.get_rng_state(),
            "place": (self._step, self._epoch, self._step_in_epoch),
            "losses": self._losses,
        }
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state(self.device)
        torch.save(state, self._state_file.with_suffix(".new"))
        self._state_file.with_suffix(".new").replace(self._state_file)

    def resume(self) -> bool:
        """Goes on where the run in this directory stopped; False where there is nothing to resume.

        The log keeps the epochs that the state has done: a row is written just before its state.
        """
        log = self._out / LOG_FILE
        if not self._state_file.exists():
            log.unlink(missing_ok=True)
            return False
        state = torch.load(self._state_file, weights_only=True, map_location="cpu")
        self._restore(state)
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda" and "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        self._step, self._epoch, self._step_in_epoch = state["place"]
        self._losses = state["losses"]
        rows = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
        log.write_text("".join(rows[: self._epoch]), encoding="utf-8")
        return True

    def run(self, *, progress: bool = True, what: str = "training") -> None:
        """Trains to the end of the last epoch, or raises KeyboardInterrupt after saving.

        `what` stands before the bar, whose time left is that of these epochs alone.
        """
        total = self._steps_per_epoch() * self._epochs
        bar = tqdm(total=total, initial=self._step, disable=not progress, unit="step", desc=what)
        saved = time.monotonic()
        try:
            while self._epoch < self._epochs:
                started = time.monotonic()
                for place, batch in enumerate(self._batches(self._epoch)):
                    if place < self._step_in_epoch:
                        continue
                    self._losses += self._train_step(batch, min(1.0, self._step / total))
                    self._step += 1
                    self._step_in_epoch = place + 1
                    bar.update()
                    if time.monotonic() - saved > _SAVE_EVERY_S:
                        self.save()
                        saved = time.monotonic()
                # Stopped in the scoring, an epoch is not done: it is scored, logged and saved when the run goes on.
                self._log(time.monotonic() - started)
                self._epoch, self._step_in_epoch, self._losses = self._epoch + 1, 0, 0.0
                self.save()
        except KeyboardInterrupt:
            self.save()
            raise

    def _log(self, seconds: float) -> None:
        loss = self._losses / self._step_in_epoch
        row = {"epoch": self._epoch + 1, "step": self._step, "loss": round(loss, 4), "seconds": round(seconds, 1)}
        row |= {name: round(score, 4) for name, score in self._dev_scores().items()}
        with (self._out / LOG_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        tqdm.write(json.dumps(row))


def schedule(done: float, warmup: float) -> float:
    """The learning rate's factor when the share `done` of all steps is done: up to 1, then a cosine to 0.02."""
    if done < warmup:
        return done / warmup
    return 0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * (done - warmup) / (1 - warmup))))


def shares_right(dev: Sequence[Example], emotion: Bools, learn_score: Bools) -> dict[str, float]:
    """A log's dev scores, over all turns and over the hard ones, from what was right, each (turns,)."""
    hard = np.array([example.hard for example in dev], dtype=bool)
    scores = {"dev_emotion": emotion.mean(), "dev_learn_score": learn_score.mean()}
    if hard.any():
        scores |= {"dev_emotion_hard": emotion[hard].mean(), "dev_learn_score_hard": learn_score[hard].mean()}
    return {name: float(score) for name, score in scores.items()}


def find_device(name: DeviceName) -> torch.device:
    """The device to train on; `auto` takes a GPU where there is one.

    Raises:
        SetupError: `cuda` is asked for and torch sees none.
    """
    has_gpu = torch.cuda.is_available()
    if name is DeviceName.CUDA and not has_gpu:
        raise SetupError("--device cuda: torch sees no CUDA device; use --device cpu, or a CUDA build of torch")
    return torch.device("cuda" if has_gpu and name is not DeviceName.CPU else "cpu")
