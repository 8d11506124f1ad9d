"""The default engine: the shipped model in ONNX Runtime on the CPU.

Nothing is generated. One pass over the prompt reads the posterior of the `emotion` slot and, behind the label that is
likely beforehand, the `learn_score` slot: a draft, as in speculative decoding (Leviathan et al. 2023,
arXiv:2211.17192). Where another label is chosen, a second pass reads the `learn_score` slot anew behind that one, so
the draft decides nothing.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emotion_svc.decoding.choice import VariantPolicy, choose_label, likely_label, make_verdict
from emotion_svc.decoding.index import AnswerIndex, vocabulary_of
from emotion_svc.decoding.posterior import Posteriors, softmax
from emotion_svc.decoding.slots import find_slots
from emotion_svc.decoding.tokens import Encoded, TurnTokenizer
from emotion_svc.engines.batching import Batcher
from emotion_svc.errors import EngineUnavailable, ModelError
from emotion_svc.modeldir import (
    ONNX_FILE,
    SHIPPED,
    UNCALIBRATED,
    Temperatures,
    digest_of,
    load_calibration,
    model_name,
)
from emotion_svc.prompt import prompt_for
from emotion_svc.schema import Answer, Timings, Turn, Verdict
from emotion_svc.taxonomy import FAMILIES, LABELS, Label

Floats = npt.NDArray[np.float32]

_BLOCKED: Final = -1e9
_INPUTS: Final = ("ids", "read", "read_bias")
"""Of the graph; see `train/export.py`."""

_MAX_BATCH: Final = 4
"""Turns in one pass. More gain nothing (0.94 ms for one turn alone, 0.81 ms for each of 2, 0.70 of 4, 0.71 of 8, 0.75
of 16; one thread of a shared Xeon), and a pass of 4 is short enough for a single turn to wait behind."""


class EmbeddedModel:
    """The model and its files, called directly, from any number of threads; a call computes on its caller's thread.

    Args:
        directory: config.json, tokenizer.json and the ONNX file.
        variants: which animation of the chosen family is played.
        onnx_file: the graph, inside or outside the directory.
        prompts: directory of the prompt files; the package's own by default.
        temperatures: instead of the directory's calibration.
        profile: ONNX Runtime writes what every operator took to a file that begins so (see `end_profile`).

    Raises:
        ModelError: a file is missing or damaged, or the calibration is for another file.
        PromptError: no prompt is for this model.
    """

    def __init__(
        self,
        directory: Path = SHIPPED,
        *,
        variants: VariantPolicy = "stable",
        onnx_file: Path | None = None,
        prompts: Path | None = None,
        temperatures: Temperatures | None = None,
        profile: Path | None = None,
    ) -> None:
        self.name = model_name(directory)
        prompt = prompt_for(self.name, prompts)
        path = onnx_file or directory / ONNX_FILE
        self.digest = digest_of(path)
        self.passes = 0
        """How often the graph was run; exact where one thread calls."""
        if temperatures is None:
            calibration = load_calibration(directory)
            temperatures = calibration.temperatures(self.digest, prompt.digest) if calibration else UNCALIBRATED
        self._temperatures, self._variants = temperatures, variants
        self._session = open_session(path, profile)
        inputs = tuple(put.name for put in self._session.get_inputs())
        if inputs != _INPUTS:
            raise ModelError(
                f"'{path}': expected a graph that reads {', '.join(_INPUTS)}, found {', '.join(inputs)}; it is of "
                "another version: make it anew (python -m emotion_svc.train, in its run's directory)"
            )
        self.tokens = TurnTokenizer(directory / "tokenizer.json", prompt)
        tokenizer = self.tokens.tokenizer
        eos = tokenizer.token_to_id("<|end|>")
        if eos is None:
            raise ModelError(f"'{directory / 'tokenizer.json'}' has no token <|end|>; this is no model of this project")
        self.index = AnswerIndex(vocabulary_of(tokenizer), eos)
        self.slots = find_slots(tokenizer, self.index)

    def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        """Verdicts for the turns, in the same order."""
        started = time.perf_counter()
        encoded = [self.tokens.encode(turn) for turn in turns]
        tokenized = time.perf_counter()
        # Turns of like length share a batch, so that little is padded.
        order = sorted(range(len(turns)), key=lambda i: len(encoded[i].ids))
        verdicts: dict[int, Verdict] = {}
        tokenize_ms = (tokenized - started) * 1e3
        for group in _chunks(order, _MAX_BATCH):
            begun = time.perf_counter()
            labels, posteriors = self._infer([turns[i] for i in group], [encoded[i] for i in group])
            timings = Timings(tokenize_ms=tokenize_ms, infer_ms=(time.perf_counter() - begun) * 1e3)
            for i, label, posterior in zip(group, labels, posteriors, strict=True):
                verdicts[i] = make_verdict(
                    label,
                    posterior,
                    engine="embedded",
                    model_digest=self.digest,
                    truncated=encoded[i].truncated,
                    timings=timings,
                )
        return [verdicts[i] for i in range(len(turns))]

    def end_profile(self) -> Path:
        """Ends a profile that was asked for; the file that holds it (Chrome's trace format)."""
        return Path(self._session.end_profiling())

    def _infer(self, turns: Sequence[Turn], encoded: Sequence[Encoded]) -> tuple[list[Any], list[Posteriors]]:
        """Chosen labels and posteriors of one batch."""
        drafts = [
            likely_label(turn, e.likely or FAMILIES[0], self._variants) for turn, e in zip(turns, encoded, strict=True)
        ]
        rows = [
            [*self.tokens.system_ids, *e.ids, self.slots.opening, self._token_of(draft), self.slots.between]
            for e, draft in zip(encoded, drafts, strict=True)
        ]
        lengths = np.array([len(row) for row in rows])
        ids = np.zeros((len(rows), int(lengths.max())), np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        logits = self._pass(ids, lengths[:, None] - [3, 1])
        emotion = softmax(logits[:, 0, : len(LABELS)], self._temperatures.emotion)
        labels = [
            choose_label(turn, Posteriors(row, 0.0), self._variants) for turn, row in zip(turns, emotion, strict=True)
        ]
        pairs = logits[:, 1, len(LABELS) :]
        others = [place for place, (label, draft) in enumerate(zip(labels, drafts, strict=True)) if label != draft]
        if others:
            ids[others, lengths[others] - 2] = [self._token_of(labels[place]) for place in others]
            pairs[others] = self._pass(ids[others], lengths[others, None] - 1)[:, 0, len(LABELS) :]
        values = softmax(pairs, self._temperatures.learn_score)
        return labels, [Posteriors(row, float(pair[1])) for row, pair in zip(emotion, values, strict=True)]

    def _token_of(self, label: Label) -> int:
        return self.slots.labels[LABELS.index(label)]

    def _pass(self, ids: npt.NDArray[np.int64], read: npt.NDArray[np.int64]) -> Floats:
        """Slot logits (batch, n, 25). ids: (batch, length), right-padded. read: (batch, n), see `train/export.py`."""
        self.passes += 1
        [logits] = self._session.run(None, {"ids": ids, "read": read, "read_bias": read_bias(read, ids.shape[1])})
        return np.asarray(logits)


def read_bias(read: npt.NDArray[np.int64], length: int) -> Floats:
    """What the graph takes for where to look from the positions `read` (batch, n): (batch, 1, n, length)."""
    seen = np.arange(length) <= read[:, None, :, None]
    return np.where(seen, np.float32(0), np.float32(_BLOCKED))


class EmbeddedEngine:
    """The embedded model as an engine: calls that come at the same time share passes.

    Args:
        directory: as for `EmbeddedModel`.
        threads: passes at a time.
        variants: as for `EmbeddedModel`.
        prompts: as for `EmbeddedModel`.
    """

    name = "embedded"

    def __init__(
        self,
        directory: Path = SHIPPED,
        *,
        threads: int = 1,
        variants: VariantPolicy = "stable",
        prompts: Path | None = None,
    ) -> None:
        self._directory, self._threads, self._variants, self._prompts = directory, threads, variants, prompts
        self._model: EmbeddedModel | None = None
        self._batcher: Batcher | None = None

    @property
    def model_name(self) -> str:
        """The model's name in config.json."""
        return self._loaded.name

    @property
    def model_digest(self) -> str:
        """Digest of the ONNX file."""
        return self._loaded.digest

    @property
    def _loaded(self) -> EmbeddedModel:
        if self._model is None:
            raise EngineUnavailable("the embedded engine is not started, or closed; call start() on a new one")
        return self._model

    @property
    def _line(self) -> Batcher:
        if self._batcher is None:
            raise EngineUnavailable("the embedded engine is not started, or closed; call start() on a new one")
        return self._batcher

    async def start(self) -> None:
        """Loads the model, in a thread; raises `errors.ModelError` or `errors.PromptError` where it is unfit."""
        self._model = await asyncio.to_thread(
            EmbeddedModel, self._directory, variants=self._variants, prompts=self._prompts
        )
        self._batcher = Batcher(self._model.classify, _MAX_BATCH, self._threads)

    async def classify(self, turns: Sequence[Turn]) -> list[Verdict]:
        """Verdicts for the turns, in the same order."""
        return await self._line.classify(turns)

    async def classify_within(self, turns: Sequence[Turn], within_s: float) -> list[Verdict]:
        """As `classify`, but raises `errors.Overloaded` for a single turn that would be answered too late."""
        return await self._line.classify(turns, within_s)

    def expected_ms(self, turns: int) -> float:
        """How long so many turns would take now; 0 where the engine is idle."""
        return 0.0 if self._batcher is None else self._batcher.expected_ms(turns)

    def count_tokens(self, turn: Turn, answer: Answer) -> tuple[int, int]:
        """Tokens of the turn as the model reads it, without the system prompt, and of the answer."""
        tokens = self._loaded.tokens
        text = answer.model_dump_json()
        return tokens.count(turn), len(tokens.tokenizer.encode(text, add_special_tokens=False).ids)

    async def close(self) -> None:
        """Answers what is queued, stops, and lets go of the model."""
        if self._batcher is not None:
            await self._batcher.close()
        self._model = self._batcher = None


def open_session(path: Path, profile: Path | None = None) -> Any:
    """A session of ONNX Runtime on the CPU, as the engine runs it: whoever calls it computes, no thread helps.

    Raises:
        ModelError: the file cannot be loaded.
    """
    # Since 1.29 its wheels report every session to their maker and keep an id of the machine in the home folder.
    # Its own disable_telemetry_events() comes too late for both; this is read when the library is loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it plans memory for every length that comes, and keeps it: 15–25 MB
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no public base class
        raise ModelError(
            f"ONNX Runtime cannot load '{path}' ({type(error).__name__}); the file is damaged or of another version: "
            "fetch it again, or make it anew (python -m emotion_svc.train)"
        ) from error


def _chunks(items: Iterable[int], size: int) -> Iterator[list[int]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
