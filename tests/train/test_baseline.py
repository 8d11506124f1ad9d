"""The bags of n-grams: the yardstick, the teacher, and the one that doubts labels; on lines that they can learn."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from emotion_svc.errors import SetupError
from emotion_svc.taxonomy import FAMILIES, Family
from tests.eval.made import VOICES, response, turn, turns, write

pytest.importorskip("sklearn", reason="needs scikit-learn (extra 'train')")

from emotion_svc.train.baseline import NgramBaseline, read_written
from emotion_svc.train.check import Line, doubtful
from emotion_svc.train.teacher import NgramTeacher

UNSEEN = [turn(family, "mình ơi", knows=knows) for family, knows in product(FAMILIES, (True, False))]


def test_the_baseline_learns_the_family_from_the_response_and_learn_score_from_the_whole_turn() -> None:
    said = NgramBaseline().fit(turns(), [response(family) for family in FAMILIES]).predict(UNSEEN)
    assert [(p.family, p.learn_score) for p in said] == [(e.emotion, e.learn_score) for e in UNSEEN]
    assert all(0.5 <= p.learn_score_confidence <= 1 and 1 / 16 < p.family_confidence <= 1 for p in said)


def test_its_probabilities_are_in_the_order_of_the_families_and_0_for_one_that_it_never_met() -> None:
    met = FAMILIES[1::2]
    baseline = NgramBaseline().fit(turns(met), [])
    said = baseline.families([turn(family).response for family in met])
    assert said.shape == (8, 16)
    assert said.sum(axis=1) == pytest.approx(1)
    assert [FAMILIES[place] for place in said.argmax(axis=1)] == list(met)
    assert not said[:, ::2].any()


def test_it_reads_turns_responses_and_own_files_and_tells_how_many(tmp_path: Path) -> None:
    write(tmp_path / "turns" / "a.jsonl", turns())
    write(tmp_path / "responses" / "a.jsonl", [response("sad")])
    mine = write(tmp_path / "mine.jsonl", turns(("sad",), origin="mine"))
    lines = read_written(tmp_path, [mine])
    assert (len(lines.turns), len(lines.responses)) == (68, 1)
    assert lines.told == f"68 turns and 1 responses of {tmp_path}, {mine}"


@pytest.mark.parametrize("rows", [[], turns(("sad",)), [turn(family) for family in FAMILIES]])
def test_lines_that_tell_nothing_apart_are_refused(tmp_path: Path, rows: list[object]) -> None:
    write(tmp_path / "turns" / "a.jsonl", rows)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=f"several families and with both values.* found {len(rows)} turns"):
        read_written(tmp_path)


def test_the_teacher_gives_every_family_some_probability_and_the_right_one_the_most() -> None:
    teacher = NgramTeacher(turns(), [response(family) for family in FAMILIES])
    said = teacher.families([example.response for example in UNSEEN])
    assert said.sum(axis=1) == pytest.approx(1)
    assert (said > 0).all()
    assert [FAMILIES[place] for place in said.argmax(axis=1)] == [example.emotion for example in UNSEEN]


def test_what_the_teacher_remembers_is_what_it_says() -> None:
    teacher = NgramTeacher(turns(), [])
    texts = [UNSEEN[0].response, UNSEEN[3].response, UNSEEN[0].response]
    first = teacher.remembered(texts)
    np.testing.assert_array_equal(first[[0, 1]], teacher.families(texts[:2]))
    np.testing.assert_array_equal(teacher.remembered(texts), first)


def test_a_label_that_the_other_lines_contradict_is_doubted_the_surest_first() -> None:
    lines = [Line(f"a:{n}", f"Pika {family} {voice}.", family) for n, (family, voice) in enumerate(MANY)]
    assert doubtful(lines) == []
    lines[5] = lines[5]._replace(family="thinking")
    doubts = doubtful(lines)
    assert doubts[0][:2] == (lines[5], "happy")
    sure = [confidence for _, _, confidence in doubts]
    assert sure == sorted(sure, reverse=True)


SOME: tuple[Family, ...] = ("happy", "thinking", "noisy")
MANY = list(product(SOME, (*VOICES, "mình ơi", "tớ nè", "cô ơi", "anh à")))
