"""Verdicts of a causal model in torch, computed as the vllm engine computes them: greedy steps under the grammar."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import torch

from emotion_svc.decoding.choice import choose_label, make_verdict
from emotion_svc.decoding.posterior import Floats, Posteriors, Slot, Step, family_posterior, slot_posterior
from emotion_svc.decoding.spelling import Question
from emotion_svc.decoding.tokens import Encoded
from emotion_svc.engines.checkpoint import Checkpoint
from emotion_svc.modeldir import UNCALIBRATED, Temperatures
from emotion_svc.schema import Example, Turn, Verdict
from emotion_svc.taxonomy import FAMILIES, Label
from emotion_svc.train.calibrate import best_temperature, negative_log_likelihood

_BATCH: Final = 16


class Reading(NamedTuple):
    """What the model said of one turn: the steps of both questions, and the label behind which the second was put."""

    emotion: list[Step]
    label: Label
    learn_score: list[Step]
    truncated: bool


class Reader:
    """Asks a causal model of transformers the questions of its checkpoint.

    Args:
        model: the network; it is read on the device where it is, and left in training mode if it was in it.
        checkpoint: prompt, grammar and questions.
        arithmetic: entered around each pass, for autocast.
    """

    def __init__(self, model: Any, checkpoint: Checkpoint, arithmetic: AbstractContextManager[Any]) -> None:
        self._model, self._checkpoint, self._arithmetic = model, checkpoint, arithmetic

    def classify(self, turns: Sequence[Turn], temperatures: Temperatures = UNCALIBRATED) -> list[Verdict]:
        """Verdicts for the turns, in the same order."""
        verdicts = []
        for reading in self.read(turns, temperatures):
            emotion = self._posterior("emotion", reading, temperatures.emotion)
            true = float(self._posterior("learn_score", reading, temperatures.learn_score)[1])
            verdicts.append(
                make_verdict(
                    reading.label,
                    Posteriors(emotion, true),
                    engine="transformers",
                    model_digest=self._checkpoint.digest,
                    truncated=reading.truncated,
                )
            )
        return verdicts

    def read(self, turns: Sequence[Turn], temperatures: Temperatures = UNCALIBRATED) -> list[Reading]:
        """What the model says of the turns, in the same order."""
        encoded = [self._checkpoint.encode(turn) for turn in turns]
        order = sorted(range(len(turns)), key=lambda place: len(encoded[place].ids))
        groups = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
        was_training = self._model.training
        self._model.eval()
        with torch.inference_mode(), self._arithmetic:
            found = [
                self._read_group([turns[i] for i in group], [encoded[i] for i in group], temperatures)
                for group in groups
            ]
        self._model.train(was_training)
        by_place = dict(zip(order, chain.from_iterable(found), strict=True))
        return [by_place[place] for place in range(len(turns))]

    def _read_group(
        self, turns: Sequence[Turn], encoded: Sequence[Encoded], temperatures: Temperatures
    ) -> list[Reading]:
        emotion_question = self._checkpoint.emotion
        emotion = self._ask([e.ids for e in encoded], [emotion_question] * len(encoded))
        labels = [
            choose_label(turn, Posteriors(_posterior("emotion", emotion_question, steps, temperatures.emotion), 0.0))
            for turn, steps in zip(turns, emotion, strict=True)
        ]
        learn_score = self._ask([e.ids for e in encoded], [self._checkpoint.learn_score[label] for label in labels])
        return [
            Reading(first, label, second, e.truncated)
            for first, label, second, e in zip(emotion, labels, learn_score, encoded, strict=True)
        ]

    def _ask(self, prompts: Sequence[list[int]], questions: Sequence[Question]) -> list[list[Step]]:
        """The steps of each answer, up to where it is decided. Rows that are done leave the batch."""
        rows = [prompt + question.prefix_ids for prompt, question in zip(prompts, questions, strict=True)]
        states = [question.grammar.initial_state for question in questions]
        steps: list[list[Step]] = [[] for _ in questions]
        open_rows = list(range(len(rows)))
        while open_rows:
            logits = self._next_logits([rows[i] for i in open_rows])
            for place, row in enumerate(open_rows):
                allowed = questions[row].grammar.allowed(states[row])
                logprobs = dict(zip(allowed, logits[place, list(allowed)].log_softmax(-1).tolist(), strict=True))
                token_id = max(logprobs, key=logprobs.__getitem__)
                steps[row].append(Step(token_id, logprobs))
                rows[row].append(token_id)
                states[row] = allowed[token_id]
            open_rows = [row for row in open_rows if steps[row][-1].token_id not in questions[row].deciding_ids]
        return steps

    def _next_logits(self, rows: Sequence[list[int]]) -> torch.Tensor:
        """Logits (rows, vocab) of the token after each row."""
        device, length = next(self._model.parameters()).device, max(map(len, rows))
        shortest = min(map(len, rows))
        logits = self._model(
            input_ids=torch.tensor([row + [0] * (length - len(row)) for row in rows], device=device),
            attention_mask=torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=device),
            logits_to_keep=length - shortest + 1,
            use_cache=False,
        ).logits
        ends = torch.tensor([len(row) - shortest for row in rows], device=device)
        last: torch.Tensor = logits[torch.arange(len(rows), device=device), ends].float().cpu()
        return last

    def _posterior(self, slot: Slot, reading: Reading, temperature: float) -> Floats:
        if slot == "emotion":
            return _posterior(slot, self._checkpoint.emotion, reading.emotion, temperature)
        return _posterior(slot, self._checkpoint.learn_score[reading.label], reading.learn_score, temperature)

    def fit(self, examples: Sequence[Example]) -> Temperatures:
        """The temperatures with the least negative log-likelihood of the gold values, as `calibrate.fit`."""
        readings = self.read([example.turn for example in examples])
        families = np.array([FAMILIES.index(example.emotion) for example in examples])
        values = np.array([int(example.learn_score) for example in examples])

        def posteriors(slot: Slot, temperature: float) -> Floats:
            return np.array([self._posterior(slot, reading, temperature) for reading in readings])

        return Temperatures(
            emotion=best_temperature(
                lambda t: negative_log_likelihood(family_posterior(posteriors("emotion", t)), families)
            ),
            learn_score=best_temperature(lambda t: negative_log_likelihood(posteriors("learn_score", t), values)),
        )


def _posterior(slot: Slot, question: Question, steps: Sequence[Step], temperature: float) -> Floats:
    return slot_posterior(slot, question.grammar, steps, said=question.said, temperature=temperature)
