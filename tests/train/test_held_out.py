"""Lines to train on are compared with the held-out turns before anything is trained."""

from pathlib import Path

import pytest

from emotion_svc.data import DataError
from emotion_svc.schema import Example
from emotion_svc.train.config import DataConfig
from emotion_svc.train.held_out import in_words
from emotion_svc.train.pipeline import read_lines

ROOT_DATA = DataConfig(turns="turns/*.jsonl", responses="responses/*.jsonl", exercises=0, dev="dev.jsonl")
HELD_OUT = Example(
    id="h1", previous_question="What is it?", previous_answer="A cat", response="Đúng rồi, a cat!",
    emotion="thats_right", learn_score=True, slice="core",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    other = HELD_OUT.model_copy(update={"id": "o1", "response": "Ta chơi tiếp nhé!"})
    for name, turn in (("turns/mine", other), ("dev", HELD_OUT.model_copy(update={"response": "Ồ!"}))):
        write(tmp_path / f"{name}.jsonl", turn)
    write(tmp_path / "eval_data" / "test.jsonl", other.model_copy(update={"response": "Thôi nào."}), HELD_OUT)
    return tmp_path


def write(path: Path, *turns: Example) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(turn.model_dump_json() + "\n" for turn in turns), encoding="utf-8")
    return path


@pytest.mark.parametrize(("response", "answer"), [("Đúng rồi, a cat!", "A cat"), ("đúng rồi a CAT…", "a cat.")])
def test_a_held_out_turn_is_refused_with_both_lines(root: Path, response: str, answer: str) -> None:
    same = HELD_OUT.model_copy(update={"id": "m2", "response": response, "previous_answer": answer})
    extra = write(root / "more.jsonl", HELD_OUT.model_copy(update={"id": "m1", "response": "Hay ghê!"}), same)
    both = r"more\.jsonl:2: .* are those of .*test\.jsonl:2, which is held out"
    with pytest.raises(DataError, match=both) as refused:
        read_lines(root, ROOT_DATA, [extra])
    assert "cat" not in str(refused.value).replace(str(root), "")


def test_the_turns_that_calibrate_are_held_out_wherever_they_are(root: Path) -> None:
    write(root / "turns" / "copied.jsonl", HELD_OUT.model_copy(update={"id": "c1", "response": "ồ"}))
    with pytest.raises(DataError, match=r"copied\.jsonl:1: .* those of .*dev\.jsonl:1"):
        read_lines(root, ROOT_DATA)


def test_the_same_response_to_another_answer_is_no_held_out_turn(root: Path) -> None:
    extra = write(root / "more.jsonl", HELD_OUT.model_copy(update={"id": "m1", "previous_answer": "Cat"}))
    assert len(read_lines(root, ROOT_DATA, [extra]).turns) == 2


def test_a_text_without_words_is_itself() -> None:
    assert in_words("👍") == "👍"
    assert in_words("Don't  STOP!") == "dont stop"
