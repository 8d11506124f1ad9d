"""A calibration is for exactly the files that it names."""

import shutil
from pathlib import Path

import pytest

from emotion_svc.errors import ModelError
from emotion_svc.modeldir import SHIPPED, load_calibration


@pytest.mark.parametrize("companion", ["wordbook.json", "wording.npz"])
def test_a_companion_of_another_run_is_refused(tmp_path: Path, companion: str) -> None:
    directory = shutil.copytree(SHIPPED, tmp_path / "model")
    assert load_calibration(directory) is not None
    with (directory / companion).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ModelError, match=f"is for a {companion} with digest .*; take all files from one training run"):
        load_calibration(directory)
    (directory / companion).unlink()
    with pytest.raises(ModelError, match=f"'.*{companion}' does not exist"):
        load_calibration(directory)
