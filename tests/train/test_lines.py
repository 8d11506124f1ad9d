"""Where a configuration's files are looked for."""

from pathlib import Path

import pytest

from emotion_svc.errors import SetupError
from emotion_svc.train.config import DataConfig
from emotion_svc.train.pipeline import read_lines


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ([], "the configuration names 'dev.jsonl', which is not in"),
        (["dev.jsonl"], "the configuration names 'known', which is not in"),
        (["dev.jsonl", "known"], r"no training turns match 'turns/\*.jsonl' in"),
    ],
)
def test_what_a_configuration_names_and_is_missing_is_told_with_the_folder(
    there: list[str], told: str, tmp_path: Path
) -> None:
    for name in there:
        (tmp_path / name).touch()
    data = DataConfig(turns="turns/*.jsonl", responses="responses/*.jsonl", knowledge="known", dev="dev.jsonl")
    with pytest.raises(SetupError, match=rf"{told} '{tmp_path}', where its paths begin: the folder above the config"):
        read_lines(tmp_path, data)
