"""Temperatures for the very files that are shipped, fitted on turns that were not trained on."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from emotion_svc.decoding.comparison import WORDBOOK_FILE
from emotion_svc.decoding.posterior import Floats, family_posterior, softmax
from emotion_svc.decoding.slots import Slots
from emotion_svc.decoding.wording import WORDING_FILE
from emotion_svc.engines.embedded import EmbeddedModel
from emotion_svc.modeldir import (
    CALIBRATION_FILE,
    ONNX_FILE,
    UNCALIBRATED,
    WEIGHTS_FILE,
    Calibration,
    Temperatures,
    digest_of,
)
from emotion_svc.prompt import prompt_for
from emotion_svc.schema import Example
from emotion_svc.taxonomy import FAMILIES, LABELS
from emotion_svc.train.export import export_onnx


def calibrate(directory: Path, slots: Slots, examples: Sequence[Example], fitted_on: str) -> Calibration:
    """Fits and writes the calibration of a model directory: for its int8 file, and for its fp32 weights.

    `fitted_on` names the held-out file that `examples` are from.
    """
    exact = directory / "model.fp32.onnx"
    export_onnx(directory, slots, exact)
    try:
        by_digest = {
            digest_of(directory / ONNX_FILE): fit(EmbeddedModel(directory, temperatures=UNCALIBRATED), examples),
            digest_of(directory / WEIGHTS_FILE): fit(
                EmbeddedModel(directory, onnx_file=exact, temperatures=UNCALIBRATED), examples
            ),
        }
    finally:
        exact.unlink()
    prompt = prompt_for(EmbeddedModel(directory, temperatures=UNCALIBRATED).name)
    companions = [directory / name for name in (WORDBOOK_FILE, WORDING_FILE)]
    calibration = Calibration(
        prompt_digest=prompt.digest,
        fitted_on=fitted_on,
        turns=len(examples),
        by_digest=by_digest,
        companions={path.name: digest_of(path) for path in companions if path.exists()},
    )
    (directory / CALIBRATION_FILE).write_text(calibration.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return calibration


def fit(model: EmbeddedModel, examples: Sequence[Example]) -> Temperatures:
    """The temperatures with the least negative log-likelihood of the gold values (Guo et al. 2017)."""
    verdicts = model.classify([example.turn for example in examples])
    labels = np.log([[max(v.emotion_posterior[label], 1e-12) for label in LABELS] for v in verdicts])
    families = np.array([FAMILIES.index(example.emotion) for example in examples])
    true = np.clip([v.learn_score_probability for v in verdicts], 1e-9, 1 - 1e-9)
    values = np.stack((np.log1p(-true), np.log(true)), axis=1)
    gold = np.array([int(example.learn_score) for example in examples])
    return Temperatures(
        emotion=best_temperature(lambda t: negative_log_likelihood(family_posterior(softmax(labels, t)), families)),
        learn_score=best_temperature(lambda t: negative_log_likelihood(softmax(values, t), gold)),
    )


def negative_log_likelihood(probabilities: Floats, gold: npt.NDArray[np.int_]) -> float:
    """Mean over rows, in nats; probabilities: (n, values), gold: (n,)."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(gold)), gold], 1e-12)).mean())


def best_temperature(loss: Callable[[float], float]) -> float:
    """The temperature between 0.2 and 5 with the least loss."""
    result = minimize_scalar(loss, bounds=(0.2, 5.0), method="bounded")
    return round(float(result.x), 4)
