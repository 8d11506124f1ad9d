"""A model directory: which files it holds, what names them, and the calibration that belongs to them."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from emotion_svc.errors import ModelError
from emotion_svc.files import first_fault

ONNX_FILE: Final = "model.int8.onnx"
WEIGHTS_FILE: Final = "model.safetensors"
CALIBRATION_FILE: Final = "calibration.json"

SHIPPED: Final = Path(__file__).parent / "model"
"""The model that comes with the package."""

Temperature = Annotated[float, Field(gt=0)]


class Temperatures(BaseModel):
    """What each slot's logits are divided by before the softmax; 1 changes nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    emotion: Temperature = 1.0
    learn_score: Temperature = 1.0


UNCALIBRATED: Final = Temperatures()


class Calibration(BaseModel):
    """Temperatures fitted on held-out turns, for exactly the files and the prompt that are named.

    `companions` are digests of the files beside the model that its prompt is made with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_digest: str
    fitted_on: str
    turns: int
    by_digest: dict[str, Temperatures]
    companions: dict[str, str] = {}

    def temperatures(self, file_digest: str, prompt_digest: str) -> Temperatures:
        """The temperatures for one file.

        Raises:
            ModelError: the calibration was fitted for another file or another prompt.
        """
        if prompt_digest != self.prompt_digest:
            raise ModelError(
                f"the model was trained and calibrated with the prompt {self.prompt_digest}, but the prompt file has "
                f"digest {prompt_digest}; restore the file or train again (python -m emotion_svc.train)"
            )
        if file_digest not in self.by_digest:
            raise ModelError(
                f"{CALIBRATION_FILE} is for the files {', '.join(self.by_digest)}, but this one has digest "
                f"{file_digest}; take all files from one training run (python -m emotion_svc.train)"
            )
        return self.by_digest[file_digest]


def digest_of(path: Path) -> str:
    """What names a model file in verdicts, metrics and calibrations: 16 hex digits of its SHA-256.

    Raises:
        ModelError: the file does not exist.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except FileNotFoundError as error:
        raise ModelError(f"'{path}' does not exist; a model directory holds {path.name}") from error


def model_name(directory: Path) -> str:
    """The name that prompt files match (`_name_or_path` in config.json, else the directory's own name).

    Raises:
        ModelError: there is no config.json, or it is no JSON.
    """
    if not directory.is_dir():
        raise ModelError(
            f"model directory '{directory}' does not exist; give a directory with config.json, tokenizer.json and "
            f"{ONNX_FILE}, or leave the setting out for the shipped model"
        )
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as error:
        raise ModelError(f"'{directory / 'config.json'}' is missing or no JSON; it is part of a checkpoint") from error
    return str(config.get("_name_or_path") or directory.name)


def load_calibration(directory: Path) -> Calibration | None:
    """The directory's calibration, or None where it has none.

    Raises:
        ModelError: the file is no valid calibration, or is for other companions than those of the directory.
    """
    path = directory / CALIBRATION_FILE
    if not path.exists():
        return None
    try:
        calibration = Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ModelError(f"'{path}': {first_fault(error)}") from error
    for name, digest in calibration.companions.items():
        if (found := digest_of(directory / name)) != digest:
            raise ModelError(
                f"{CALIBRATION_FILE} is for a {name} with digest {digest}, but this one has digest {found}; take all "
                "files from one training run (python -m emotion_svc.train)"
            )
    return calibration
