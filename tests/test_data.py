"""Gold and training files, line by line."""

from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from emotion_svc.data import DataError, read_examples, read_responses, read_rows
from emotion_svc.schema import Example, ResponseExample, Slice
from emotion_svc.taxonomy import FAMILIES
from emotion_svc.train.check import near_duplicates, read
from emotion_svc.train.held_out import in_words
from emotion_svc.train.lexicon import Reaction
from tests.paths import EVAL_DATA, TRAIN_DATA

TURNS = sorted((TRAIN_DATA / "turns").glob("*.jsonl"))
RESPONSES = sorted((TRAIN_DATA / "responses").glob("*.jsonl"))
VERDICTS = sorted((TRAIN_DATA / "verdicts").glob("*.jsonl"))
GOLD = {name: read_examples([EVAL_DATA / f"{name}.jsonl"]) for name in ("dev", "test", "fresh")}


@pytest.mark.parametrize("name", ["dev", "test"])
def test_each_gold_file_has_at_least_500_turns_of_every_slice_and_family(name: str) -> None:
    examples = GOLD[name]
    assert len(examples) >= 500
    assert Counter(e.slice for e in examples).keys() == set(get_args(Slice))
    assert min(Counter(e.emotion for e in examples)[family] for family in FAMILIES) >= 25
    assert 0.3 < sum(e.learn_score for e in examples) / len(examples) < 0.45
    assert sum(e.hard for e in examples) >= 200


def test_the_fresh_turns_are_of_every_slice_and_family_too() -> None:
    examples = GOLD["fresh"]
    assert Counter(e.slice for e in examples).keys() == set(get_args(Slice))
    assert min(Counter(e.emotion for e in examples)[family] for family in FAMILIES) >= 20


def test_no_gold_response_is_that_of_a_training_line_in_other_case_or_punctuation() -> None:
    verdicts = [row for path in VERDICTS for row in read_rows(path, Reaction)]
    trained = [line.response for line in read_examples(TURNS)] + [line.response for line in read_responses(RESPONSES)]
    trained += [line.response for line in verdicts]
    held_out = [in_words(e.response) for examples in GOLD.values() for e in examples]
    assert not {in_words(response) for response in trained} & set(held_out)
    assert len(set(held_out)) == len(held_out)


def test_at_least_12000_lines_were_written_one_by_one() -> None:
    verdicts = sum(len(read_rows(path, Reaction)) for path in VERDICTS)
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


def test_a_file_that_cannot_be_read_is_named_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl' does not exist"):
        read_rows(tmp_path / "none.jsonl", Example)
    with pytest.raises(DataError, match="is a directory; give the files in it"):
        read_rows(tmp_path, Example)
    looped = tmp_path / "looped.jsonl"
    looped.symlink_to(looped)  # a file without rights would be open to root
    with pytest.raises(DataError, match=r"looped\.jsonl' cannot be read"):
        read_rows(looped, Example)


def test_a_file_in_another_encoding_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_bytes(b'{"response": "ok", "emotion": "sad"}\n{"response": "voil\xe0", "emotion": "sad"}\n')
    with pytest.raises(DataError, match=r"old\.jsonl:2: is not in UTF-8; save the file as UTF-8"):
        read_rows(path, ResponseExample)


def test_a_mark_at_the_beginning_windows_line_ends_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    lines = ['{"response": "Hay quá!", "emotion": "happy"}', "", '{"response": "Ôi!", "emotion": "nobody"}', " "]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines[:2]).encode())
    assert [row.response for row in read_rows(path, ResponseExample)] == ["Hay quá!"]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    with pytest.raises(DataError, match=r"windows\.jsonl:3: emotion"):
        read_rows(path, ResponseExample)
    with pytest.raises(DataError, match=r"windows\.jsonl:3: emotion"):
        read([], [path])


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_a_separator_of_unicode_inside_a_text_ends_no_line(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "separated.jsonl"
    path.write_text(f'{{"response": "Hay{separator}quá!", "emotion": "happy"}}\n', encoding="utf-8")
    assert [row.response for row in read_rows(path, ResponseExample)] == ["Hay quá!"]
