"""The command line, with the shipped model."""

import json
import os
import pty
import subprocess
import sys
import termios
import unicodedata
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from emotion_svc.cli import main
from emotion_svc.schema import ALL_ANSWERS, Verdict

EXAMPLE = {
    "previous_question": "Tớ buồn quá.",
    "previous_answer": "i think a yummy",
    "response": "Nghe vui quá! Bể Hả, cậu có muốn chơi trò kể tên các loại trái cây bằng tiếng Anh không? "
    "Name fruits in English!",
}
WORD = "Zanzibar"


def options(turn: dict[str, str]) -> list[str]:
    return [part for name, text in turn.items() for part in (f"--{name.replace('_', '-')}", text)]


def call(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["classify", *arguments], input=stdin)


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def test_a_turn_is_answered_with_the_answer_alone_on_one_line() -> None:
    done = call(*options(EXAMPLE))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.removesuffix("\n") in ALL_ANSWERS
    answer = json.loads(done.stdout)
    assert answer["emotion"].startswith("playful")
    assert answer["learn_score"] is False


def test_detail_is_the_whole_verdict_on_one_line() -> None:
    done = call(*options(EXAMPLE), "--detail")
    [line] = done.stdout.splitlines()
    verdict = Verdict.model_validate_json(line)
    assert (verdict.engine, verdict.family, verdict.truncated) == ("embedded", "playful", False)


def test_nfd_gives_the_same_answer() -> None:
    spelt = {name: unicodedata.normalize("NFD", text) for name, text in EXAMPLE.items()}
    assert call(*options(spelt)).stdout == call(*options(EXAMPLE)).stdout


def test_question_and_answer_may_be_empty() -> None:
    assert call(*options(EXAMPLE | {"previous_question": "", "previous_answer": ""})).exit_code == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"response": ""}, "response: expected a text that is not empty"),
        ({"response": WORD * 1000}, "response: 8000 characters; the limit is 4000"),
    ],
)
def test_what_is_no_turn_is_told_in_one_line_without_the_text(change: dict[str, str], reason: str) -> None:
    done = call(*options(dict.fromkeys(EXAMPLE, WORD) | change))
    assert (done.exit_code, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"emotion-svc: {reason}")
    assert WORD not in line


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "missing --previous-question, --previous-answer, --response"),
        (["--response", "x"], "missing --previous-question, --previous-answer"),
        (["--input", "-", "--response", "x"], "not both"),
        (["--input", "/nowhere.jsonl"], "No such file"),
        (["--respond", "x"], "No such option"),
    ],
)
def test_a_wrong_call_is_explained(arguments: list[str], reason: str) -> None:
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert reason in " ".join(done.stderr.replace("│", "").split())


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--model", "/nowhere"], "model directory '/nowhere' does not exist"),
        (
            ["--engine", "magic"],
            "setting 'engine' (EMOTION_SVC_ENGINE): Input should be 'embedded', 'vllm' or 'remote'",
        ),
    ],
)
def test_a_wrong_setup_is_told_in_one_line(arguments: list[str], reason: str) -> None:
    done = call(*options(EXAMPLE), *arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"emotion-svc: {reason}")


def test_an_engine_whose_package_is_missing_says_how_to_get_it() -> None:
    hidden = "import sys; sys.modules['vllm'] = None; from emotion_svc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "classify", *options(EXAMPLE), "--engine", "vllm"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "the package 'vllm', which is not installed; install the extra '" in line


def test_a_line_for_vllm_needs_vllm_and_says_how_to_get_it() -> None:
    hidden = "import sys; sys.modules['vllm'] = None; from emotion_svc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", hidden, "vllm-args", "some/model"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.endswith("install the extra 'vllm' of emotion-svc (in a checkout: pip install '.[vllm]')")


def test_a_file_is_answered_line_by_line_in_order(tmp_path: Path) -> None:
    turns = [EXAMPLE | {"response": text} for text in ("Chính xác!", "Đừng lo nhé.", EXAMPLE["response"])] * 50
    file = tmp_path / "turns.jsonl"
    file.write_bytes(jsonl(*turns))
    done = call("--input", str(file))
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 150
    assert set(lines) <= set(ALL_ANSWERS)
    assert lines[:3] * 50 == lines
    assert lines[:3] == [call(*options(turn)).stdout.strip() for turn in turns[:3]]


def test_a_bad_line_is_told_by_number_and_answered_in_its_place_and_the_good_ones_are_answered() -> None:
    marked = dict.fromkeys(EXAMPLE, WORD)
    stdin = jsonl(EXAMPLE, {"response": WORD}, EXAMPLE) + WORD.encode() + b"\n" + jsonl(marked | {"x": WORD}, EXAMPLE)
    done = call("--input", "-", stdin=stdin)
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["error" in row for row in rows] == [False, True, False, True, True, False]
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["line 2", "line 4", "line 5"]
    assert "body: an unknown field (1 characters; known are" in done.stderr
    assert WORD not in done.stdout + done.stderr


def test_nothing_in_nothing_out() -> None:
    done = call("--input", "-", stdin=b"")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


def test_a_file_with_detail_gives_verdicts() -> None:
    done = call("--input", "-", "--detail", stdin=jsonl(EXAMPLE))
    assert Verdict.model_validate_json(done.stdout).family == "playful"


def test_a_terminal_gets_a_progress_bar_and_stdout_only_answers(tmp_path: Path) -> None:
    file = tmp_path / "turns.jsonl"
    file.write_bytes(jsonl(EXAMPLE, EXAMPLE))
    terminal, stderr = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    done = subprocess.run(
        [sys.executable, "-m", "emotion_svc", "classify", "--input", str(file)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=True,
    )
    os.close(stderr)
    assert b"2/2" in read_all(terminal)
    assert len(done.stdout.splitlines()) == 2


def read_all(terminal: int) -> bytes:
    """What was written to the other end of a terminal that is closed by now."""
    parts = []
    with suppress(OSError):  # this is how a closed terminal ends
        while part := os.read(terminal, 10_000):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts)
