"""`--init`: fine-tunes an existing causal checkpoint on the project's lines, for the vllm engine.

The messages are those that `engines/vllm.py` will send, token for token; what is learnt are the choices that it
will ask for (`choices.py`).
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from emotion_svc.engines.checkpoint import Checkpoint, load_checkpoint
from emotion_svc.errors import ModelError
from emotion_svc.modeldir import CALIBRATION_FILE, Calibration, Temperatures
from emotion_svc.schema import Example, Turn, Verdict
from emotion_svc.train.batches import like_lengths
from emotion_svc.train.begin import enter, sign
from emotion_svc.train.causal import load_causal, with_adapters, write_model
from emotion_svc.train.choices import ChoiceBatch, ChoiceBatcher, choice_loss
from emotion_svc.train.config import FinetuneConfig
from emotion_svc.train.loop import Loop, schedule, shares_right
from emotion_svc.train.pipeline import Epochs, Lines
from emotion_svc.train.reader import Reader
from emotion_svc.train.samples import Sample

ADAPTER: Final = "adapter"
"""Beside the model directory, not in it: transformers would take an adapter inside for the model."""


class Finetuner(Loop[ChoiceBatch]):
    """Trains the weights of a causal model that want a gradient: all of them, or its adapters'.

    Args:
        model: the network; it is moved to `device`.
        checkpoint: what the network was loaded from.
        epoch_samples: an epoch's samples, the same ones each time it is called.
        dev: held-out turns for the log.
        config: the run's settings.
        out: the run's directory.
        device: where it is trained.
    """

    def __init__(
        self,
        model: Any,
        checkpoint: Checkpoint,
        epoch_samples: Callable[[int], list[Sample]],
        dev: Sequence[Example],
        config: FinetuneConfig,
        out: Path,
        device: torch.device,
    ) -> None:
        super().__init__(config.optim.epochs, out, device)
        self.model, self._checkpoint, self._config = model.to(device).train(), checkpoint, config
        self._epoch_samples, self._dev = epoch_samples, dev
        self._batcher = ChoiceBatcher(checkpoint, learn_score_weight=config.optim.learn_score_weight)
        self._trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._optimizer = torch.optim.AdamW(
            self._trained.values(), lr=config.learning_rate, weight_decay=config.optim.weight_decay
        )

    @property
    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self._config.optim.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _steps_per_epoch(self) -> int:
        return -(-len(self._epoch_samples(0)) // self._config.optim.batch)

    def _batches(self, epoch: int) -> Iterator[ChoiceBatch]:
        rng = np.random.default_rng((self._config.seed, epoch))
        samples = self._epoch_samples(epoch)
        prompts = [self._checkpoint.encode(_turn(sample)).ids for sample in samples]
        for group in like_lengths([len(prompt) for prompt in prompts], self._config.optim.batch, rng):
            yield self._batcher.make([samples[i] for i in group], [prompts[i] for i in group], rng)

    def _train_step(self, batch: ChoiceBatch, done: float) -> float:
        rate = self._config.learning_rate * schedule(done, self._config.optim.warmup_share)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        batch = batch.to(self.device)
        with self._arithmetic:
            output = self.model(
                input_ids=batch.ids, attention_mask=batch.mask, logits_to_keep=batch.kept, use_cache=False
            )
        loss = choice_loss(output.logits, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._trained.values(), 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss.item()

    def _dev_scores(self) -> dict[str, float]:
        if not self._dev:
            return {}
        verdicts = Reader(self.model, self._checkpoint, self._arithmetic).classify([e.turn for e in self._dev])
        return shares_right(
            self._dev,
            np.array([v.family == e.emotion for v, e in zip(verdicts, self._dev, strict=True)]),
            np.array([v.answer.learn_score == e.learn_score for v, e in zip(verdicts, self._dev, strict=True)]),
        )

    def _state(self) -> dict[str, Any]:
        weights = {name: weight.detach() for name, weight in self._trained.items()}
        return {"weights": weights, "optimizer": self._optimizer.state_dict()}

    def _restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, weight in self._trained.items():
                weight.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])


class FinetuneRun:
    """One run in a directory of its own: `model/` at the end, `adapter/` beside it with LoRA.

    Args:
        init: a model directory, or a model of the Hugging Face Hub.
        config: the settings; a run is resumed only with the same ones and the same checkpoint.
        lines: what is trained on.
        dev: held-out turns for the log and the calibration.
        out: the run's directory.
        anew: another run in `out` may be dropped before it is finished.
        prompts: directory of the prompt files; the package's own by default.

    Raises:
        ModelError: there is no such checkpoint, the answer language cannot do with it, it lies in `out`, or it
            is one that is trained from scratch here.
        SetupError: another run in `out` is not finished.
        PromptError: no prompt is for it.
    """

    def __init__(
        self,
        init: str,
        config: FinetuneConfig,
        lines: Lines,
        dev: Sequence[Example],
        out: Path,
        *,
        anew: bool = False,
        prompts: Path | None = None,
    ) -> None:
        self.checkpoint = load_checkpoint(init, prompts=prompts)
        if self.checkpoint.directory.resolve().is_relative_to(out.resolve()):
            raise ModelError(f"'{init}' lies in the run's directory '{out}', which is written to; give another --out")
        if self.checkpoint.prompt.style == "completion":
            raise ModelError(
                f"'{init}' is a model of this project, which reads more than its checkpoint has (wordbook, voter): "
                "train another from the lines and your own turns with: emotion-svc train --data FILE"
            )
        self._config, self._lines, self._dev, self._out, self._prompts = config, lines, dev, out, prompts
        name = {"base": self.checkpoint.digest, "prompt": self.checkpoint.prompt.digest, "lines": lines.digest}
        name |= config.model_dump()
        if not enter(out, name, anew=anew):
            sign(out, name)

    def train(self, device: torch.device, *, progress: bool = True) -> Any:
        """Trains, or goes on with a stopped run; returns the network."""
        torch.manual_seed(self._config.seed)
        model = load_causal(self.checkpoint)
        if self._config.lora is not None:
            model = with_adapters(model, self._config.lora, self.checkpoint.name)
        epochs = Epochs(self._lines, self._config)
        trainer = Finetuner(model, self.checkpoint, epochs, self._dev, self._config, self._out, device)
        trainer.resume()
        trainer.run(progress=progress)
        return trainer.model

    def write(self, model: Any, fitted_on: str) -> list[Verdict]:
        """Writes `model/`, calibrated on the held-out turns; returns the verdicts of what was written on them.

        The network is used up: adapters are merged into it, and it is rounded to the checkpoint's dtype. What `model/`
        held before is replaced when the new files are whole.
        """
        device = next(model.parameters()).device
        new, directory = self._out / "model.new", self._out / "model"
        shutil.rmtree(new, ignore_errors=True)
        write_model(model, self.checkpoint, new, self._out / ADAPTER)
        verdicts = self._calibrate(new, device, fitted_on)
        shutil.rmtree(directory, ignore_errors=True)
        new.replace(directory)
        return verdicts

    def _calibrate(self, directory: Path, device: torch.device, fitted_on: str) -> list[Verdict]:
        # What is written is what is calibrated and scored, so it is read back.
        finished = load_checkpoint(str(directory), prompts=self._prompts)
        reader = Reader(load_causal(finished, _dtype(finished)).to(device).eval(), finished, nullcontext())
        if not self._dev:
            return []
        temperatures: Temperatures = reader.fit(self._dev)
        calibration = Calibration(
            prompt_digest=finished.prompt.digest,
            fitted_on=fitted_on,
            turns=len(self._dev),
            by_digest={finished.digest: temperatures},
        )
        (directory / CALIBRATION_FILE).write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
        return reader.classify([example.turn for example in self._dev], temperatures)


def _dtype(checkpoint: Checkpoint) -> torch.dtype:
    found = getattr(torch, checkpoint.dtype)
    assert isinstance(found, torch.dtype)
    return found


def _turn(sample: Sample) -> Turn:
    return Turn(previous_question=sample.question, previous_answer=sample.answer, response=sample.response)
