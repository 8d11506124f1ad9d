"""The command: what it is told to compare with, and how it ends."""

import json
import shutil
from collections.abc import Awaitable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from emotion_svc.cli import main
from emotion_svc.modeldir import SHIPPED, WEIGHTS_FILE, digest_of
from emotion_svc.taxonomy import FAMILIES
from tests.eval.made import response, turn, turns, write
from tests.upstream import Connection, Request, Upstream, says, status


def evaluate(*options: str | Path) -> Result:
    return CliRunner().invoke(main, ["eval", *map(str, options)])


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """A turn of each family."""
    return write(tmp_path / "gold.jsonl", [turn(family, "mình ơi", origin="gold") for family in FAMILIES])


@pytest.fixture
def train_data(tmp_path: Path) -> Path:
    """Lines that know all families but the last four."""
    pytest.importorskip("sklearn", reason="needs scikit-learn (extra 'train')")
    known = FAMILIES[:-4]
    write(tmp_path / "lines" / "responses" / "part01.jsonl", [response(family) for family in known])
    return write(tmp_path / "lines" / "turns" / "part01.jsonl", turns(known)).parent.parent


def test_where_no_file_is_named_the_turns_for_choices_are_asked_and_not_those_for_final_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "'eval_data/dev.jsonl' does not exist" in evaluate().stderr


def test_the_baseline_is_scored_like_any_engine_and_says_what_it_learnt_from(gold: Path, train_data: Path) -> None:
    done = evaluate(gold, "--engine", "baseline", "--train-data", train_data)
    assert done.exit_code == 0, done.stderr
    assert f"`n-grams, learnt from 48 turns and 12 responses of {train_data}`" in done.stdout
    assert "| emotion accuracy (family, strict) | 75.0% [" in done.stdout
    assert "| learn_score accuracy | 100.0% [" in done.stdout


def test_the_baseline_learns_from_own_turns_too_where_the_model_did(
    gold: Path, train_data: Path, tmp_path: Path
) -> None:
    mine = write(tmp_path / "mine.jsonl", turns(FAMILIES[-4:], origin="mine"))
    done = evaluate(gold, "--against-baseline", "--train-data", train_data, "--data", mine)
    assert done.exit_code == 0, done.stderr
    assert f"Against n-grams, learnt from 64 turns and 12 responses of {train_data}, {mine}:" in done.stdout
    [row] = [line for line in done.stdout.splitlines() if line.startswith("| emotion |")]
    assert row.split(" | ")[2].startswith("100.0% [")


@pytest.mark.parametrize("options", [["--engine", "baseline"], ["--against-baseline"]])
def test_a_baseline_with_nothing_to_learn_from_says_what_to_do(
    gold: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn (extra 'train')")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = evaluate(gold, *options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "found 0 turns in train_data; run this in a checkout of the project" in done.stderr


def test_lines_for_a_baseline_that_nobody_asks_are_refused(gold: Path) -> None:
    done = evaluate(gold, "--data", gold)
    assert done.exit_code == 2
    assert "give --against-baseline, too" in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("bar", "value", "status", "told"),
    [
        ("--min-emotion", "0.75", 0, ""),
        ("--min-emotion", "0.76", 1, "emotion accuracy 75.0% is under the bar of 76.0%"),
        ("--min-learn-score", "1", 0, ""),
    ],
)
def test_it_ends_with_status_1_under_a_bar_and_only_then(
    gold: Path, train_data: Path, bar: str, value: str, status: int, told: str
) -> None:
    done = evaluate(gold, "--engine", "baseline", "--train-data", train_data, bar, value)
    assert (done.exit_code, done.stderr.strip()) == (status, told)
    assert "emotion accuracy" in done.stdout


def test_what_int8_costs_is_a_difference_on_the_same_turns(gold: Path) -> None:
    pytest.importorskip("onnx", reason="needs onnx (extra 'dev')")
    done = evaluate(gold, "--against-fp32")
    assert done.exit_code == 0, done.stderr
    weights = digest_of(SHIPPED / WEIGHTS_FILE)
    begin = done.stdout.index(f"Against the same weights in fp32 ({weights}):\n\n| slot | ours | its | difference |")
    rows = done.stdout[begin:].splitlines()[4:6]
    assert [row.split(" | ")[0] for row in rows] == ["| emotion", "| learn_score"]
    for row in rows:
        assert abs(float(row.split(" | ")[3].split("%")[0])) <= 100 / 16  # at most one of the 16 turns


def test_without_the_weights_there_is_nothing_to_compare_int8_with(gold: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs onnx (extra 'dev')")
    bare = shutil.copytree(SHIPPED, tmp_path / "bare", ignore=shutil.ignore_patterns(WEIGHTS_FILE))
    done = evaluate(gold, "--model", bare, "--against-fp32")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"a model directory holds {WEIGHTS_FILE}" in done.stderr


def test_comparing_with_fp32_says_which_extra_it_needs(gold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion_svc.eval.cli.find_spec", lambda name: None if name == "onnx" else name)
    done = evaluate(gold, "--against-fp32")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "install the extra 'train' of emotion-svc" in done.stderr


def test_another_engine_has_no_int8_file(gold: Path) -> None:
    done = evaluate(gold, "--engine", "baseline", "--against-fp32")
    assert done.exit_code == 2
    assert "--against-fp32 is for --engine embedded" in " ".join(done.stderr.replace("│", " ").split())


def test_a_threshold_from_elsewhere_is_shown_on_this_file(gold: Path, train_data: Path) -> None:
    done = evaluate(gold, "--engine", "baseline", "--train-data", train_data, "--threshold", "0")
    assert "under **0.000** (as given): that keeps 100.0% [" in done.stdout
    assert "of the kept ones 25.0% [" in done.stdout


def test_a_file_without_turns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").write_text("\n\n")
    done = evaluate(tmp_path / "gold.jsonl")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "gold.jsonl' holds no turns" in done.stderr


def test_a_folder_that_is_not_there_is_told_before_anybody_is_asked(gold: Path, tmp_path: Path) -> None:
    done = evaluate(gold, "--json", tmp_path / "none" / "report.json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"--json: the folder '{tmp_path / 'none'}' does not exist" in done.stderr


def test_a_turn_that_the_host_does_not_answer_is_left_out_and_told(gold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def behave(request: Request, connection: Connection) -> Awaitable[None]:
        is_odd = "Pika sad mình ơi." in json.dumps(request.fields, ensure_ascii=False)
        return (status(400) if is_odd else says('{"emotion":"happy","learn_score":true}'))(request, connection)

    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    with Upstream(behave) as host:
        done = evaluate(gold, "--engine", "remote", "--preset", "vllm", "--model", "m", "--base-url", host.url)
    assert done.exit_code == 1
    assert done.stdout.startswith("15 turns of")
    assert "**1 further turns got no answer (turn_refused 1) and are in no figure.**" in done.stdout
    assert "turns without an answer: turn_refused 1" in done.stderr
