"""The model card: what it says of the lines behind a model, and what it leaves to those who wrote them."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from emotion_svc.cli import main
from emotion_svc.data import read_examples
from emotion_svc.modeldir import SHIPPED
from emotion_svc.schema import Example
from emotion_svc.train.card import OwnFile, write_card
from emotion_svc.train.config import DataConfig
from tests.paths import EVAL_DATA
from tests.train.tiny import lines

CLAIM = "all of them synthetic"
LICENCE = "license: apache-2.0"
Card = Callable[[DataConfig, Sequence[OwnFile]], str]

CONFIG = """
[data]
dev = "dev.jsonl"
exercises = 0
joined = 0
crops = 0
teacher_share = 0
[model]
name = "pika-test"
vocab = 700
hidden = 64
intermediate = 96
layers = 1
heads = 1
"""


@pytest.fixture(scope="module")
def dev() -> list[Example]:
    """Some held-out turns of every family."""
    return read_examples([EVAL_DATA / "dev.jsonl"])[::80]


@pytest.fixture
def card(tmp_path: Path, dev: list[Example]) -> Card:
    """Writes the card of a copy of the shipped model, as if it had learnt from the lines of the tests."""
    directory = Path(shutil.copytree(SHIPPED, tmp_path / "model"))

    def write(data: DataConfig, own: Sequence[OwnFile]) -> str:
        write_card(directory, dev, data, lines(), own)
        return " ".join((directory / "README.md").read_text(encoding="utf-8").split())

    return write


def test_of_the_projects_lines_it_says_what_they_are_and_their_licence(card: Card) -> None:
    text = card(DataConfig(), [])
    assert "80 written turns, 80 written single responses" in text
    assert CLAIM in text
    assert LICENCE in text
    assert "--data`:" not in text


def test_files_of_others_are_named_and_counted_apart_without_claim_or_licence(card: Card) -> None:
    text = card(DataConfig(), [OwnFile("mine.jsonl", 20), OwnFile("school.jsonl", 3)])
    assert "57 written turns, 80 written single responses" in text
    assert "given with `--data`: `mine.jsonl` (20 turns), `school.jsonl` (3 turns)." in text
    assert "under which licence they stand is not known here" in text
    assert LICENCE not in text


def test_a_configuration_that_names_other_lines_gets_no_claim(card: Card) -> None:
    text = card(DataConfig(turns="recorded/*.jsonl"), [])
    assert "not the project's lines, but those of `recorded/*.jsonl`" in text
    assert CLAIM not in text
    assert LICENCE not in text


def test_the_command_that_serves_the_model_names_its_directory(card: Card, tmp_path: Path) -> None:
    assert f"`emotion-svc serve --model {tmp_path / 'model'}`" in card(DataConfig(), [])


def test_the_shipped_card_names_no_place_on_the_machine_where_it_was_written() -> None:
    text = (SHIPPED / "README.md").read_text(encoding="utf-8")
    assert "`emotion-svc serve` serves this directory." in text
    assert str(SHIPPED) not in text


def test_it_says_what_the_held_out_turns_were_used_for_and_times_nothing(card: Card) -> None:
    text = card(DataConfig(), [])
    assert "both calibration errors are in-sample" in text
    assert "in process, one turn at a time" not in text


def test_the_training_command_tells_the_card_of_files_beside_the_projects(tmp_path: Path) -> None:
    def write(path: Path, turns: Sequence[Example]) -> None:
        path.write_text("".join(turn.model_dump_json() + "\n" for turn in turns), encoding="utf-8")

    project, data = tmp_path / "project", lines()
    (project / "train_data" / "turns").mkdir(parents=True)
    config = project / "train_data" / "small.toml"
    config.write_text(CONFIG, encoding="utf-8")
    write(project / "train_data" / "turns" / "theirs.jsonl", data.turns[5:])
    write(project / "dev.jsonl", [t.model_copy(update={"response": f"Dạ, {t.response}"}) for t in data.turns[::3]])
    write(tmp_path / "mine.jsonl", data.turns[:5])
    options = ["--config", config, "--data", tmp_path / "mine.jsonl", "--out", tmp_path / "out", "--device", "cpu"]
    done = CliRunner().invoke(main, ["train", *map(str, options), "--epochs", "1"])
    assert done.exit_code == 0, done.stderr
    text = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "75 written turns, 0 written single responses" in text
    assert "`mine.jsonl` (5 turns)" in text
    assert LICENCE not in text
