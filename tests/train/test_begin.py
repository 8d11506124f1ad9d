"""Which run a directory holds: it goes on, or another begins anew; hours of training are not dropped unasked."""

import json
from pathlib import Path
from typing import Any

import pytest

from emotion_svc.errors import SetupError
from emotion_svc.train.begin import enter, sign

NAME: dict[str, Any] = {"lines": "abc", "prompt": "def", "pretrain": {"epochs": 2}, "optim": {"epochs": 3}}
OTHER = NAME | {"lines": "xyz", "optim": {"epochs": 4}}


def train(folder: Path, epochs: int) -> None:
    """As if so many epochs were done, and a part of the next."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.pt").touch()
    (folder / "log.jsonl").write_text("{}\n" * epochs, encoding="utf-8")


def test_the_same_run_goes_on_and_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs" / "new"
    assert not enter(out, NAME)
    assert capsys.readouterr().err == ""
    sign(out, NAME)
    for folder, epochs, told in [
        (None, 0, "nothing is trained yet"),
        (out / "pretrained", 0, "epoch of pretraining 1 of 2"),
        (out / "pretrained", 2, "pretraining is done"),
        (out, 1, "epoch 2 of 3"),
        (out, 3, "all epochs are done"),
    ]:
        if folder:
            train(folder, epochs)
        assert enter(out, NAME)
        assert capsys.readouterr().err == f"going on in '{out}': {told}\n"
    assert (out / "state.pt").exists()


@pytest.mark.parametrize(
    ("folder", "epochs", "told"), [("", 1, "epoch 2 of 3"), ("pretrained", 2, "pretraining is done")]
)
def test_another_run_that_is_not_finished_is_dropped_only_when_that_is_asked_for(
    folder: str, epochs: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enter(tmp_path, NAME)
    sign(tmp_path, NAME)
    train(tmp_path / folder, epochs)
    with pytest.raises(SetupError, match=rf"differs in lines, optim and is not finished \({told}\); .* --anew"):
        enter(tmp_path, OTHER)
    assert enter(tmp_path, NAME)
    capsys.readouterr()
    assert not enter(tmp_path, OTHER, anew=True)
    assert capsys.readouterr().err == f"beginning anew: the run in '{tmp_path}' differs in lines, optim\n"
    assert not [*tmp_path.rglob("state.pt"), *tmp_path.rglob("log.jsonl"), *tmp_path.rglob("config.json")]


def test_a_finished_run_makes_room_for_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    enter(tmp_path, NAME)
    sign(tmp_path, NAME)
    train(tmp_path, 3)
    assert not enter(tmp_path, OTHER)
    assert "beginning anew" in capsys.readouterr().err
    assert not (tmp_path / "state.pt").exists()


def test_a_name_whose_writing_was_broken_off_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(NAME)[:20], encoding="utf-8")
    assert not enter(tmp_path, NAME)
