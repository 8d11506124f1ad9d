"""Gold and training files, line by line."""

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from emotion_svc.data import DataError, read_examples, read_responses, read_rows
from emotion_svc.schema import Example, Slice
from emotion_svc.taxonomy import FAMILIES
from emotion_svc.train.check import near_duplicates, read
from tests.paths import EVAL_DATA, TRAIN_DATA

TURNS = sorted((TRAIN_DATA / "turns").glob("*.jsonl"))
RESPONSES = sorted((TRAIN_DATA / "responses").glob("*.jsonl"))
GOLD = {name: read_examples([EVAL_DATA / f"{name}.jsonl"]) for name in ("dev", "test")}


@pytest.mark.parametrize("name", GOLD)
def test_each_gold_file_has_at_least_500_turns_of_every_slice_and_family(name: str) -> None:
    examples = GOLD[name]
    assert len(examples) >= 500
    assert Counter(e.slice for e in examples).keys() == set(get_args(Slice))
    assert min(Counter(e.emotion for e in examples)[family] for family in FAMILIES) >= 25
    assert 0.3 < sum(e.learn_score for e in examples) / len(examples) < 0.45
    assert sum(e.hard for e in examples) >= 200


def test_no_gold_turn_is_also_a_training_line() -> None:
    trained = {e.response for e in read_examples(TURNS)} | {r.response for r in read_responses(RESPONSES)}
    held_out = [e.response for examples in GOLD.values() for e in examples]
    assert not trained & set(held_out)
    assert len(set(held_out)) == len(held_out)


def test_at_least_12000_lines_were_written_one_by_one() -> None:
    verdicts = sum(len(path.read_text("utf-8").splitlines()) for path in (TRAIN_DATA / "verdicts").glob("*.jsonl"))
    assert len(read_examples(TURNS)) + len(read_responses(RESPONSES)) + verdicts >= 12_000


def test_no_training_line_says_nearly_the_same_as_another() -> None:
    assert [(a.where, b.where) for a, b, _ in near_duplicates(read(TURNS, RESPONSES))] == []


def test_a_wrong_line_is_named_with_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    good = GOLD["dev"][0].model_dump_json()
    path.write_text(good + "\n" + good.replace(f'"{GOLD["dev"][0].emotion}"', '"joyful"', 1) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"turns\.jsonl:2: emotion: Input should be 'happy'"):
        read_rows(path, Example)


def test_an_id_must_not_occur_twice(tmp_path: Path) -> None:
    path = tmp_path / "turns.jsonl"
    path.write_text((GOLD["dev"][0].model_dump_json() + "\n") * 2, encoding="utf-8")
    with pytest.raises(DataError, match="is also in"):
        read_examples([path])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_rows(tmp_path / "none.jsonl", Example)
