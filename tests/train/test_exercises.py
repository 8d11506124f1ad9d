"""Generated exercises follow the two conditions of docs/annotation.md §2."""

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emotion_svc.data import DataError
from emotion_svc.train.exercises import Exercise, ExerciseMaker
from emotion_svc.train.lexicon import load_knowledge

KNOWLEDGE = load_knowledge(Path(__file__).parents[2] / "train_data")
MAKER = ExerciseMaker(KNOWLEDGE)


@pytest.fixture(scope="module")
def exercises() -> list[Exercise]:
    rng = random.Random(5)
    return [MAKER.make(rng) for _ in range(5_000)]


def test_the_same_seed_makes_the_same_exercises() -> None:
    first, second = random.Random(9), random.Random(9)
    assert [MAKER.make(first) for _ in range(50)] == [MAKER.make(second) for _ in range(50)]


def test_the_same_seed_makes_the_same_exercises_in_another_process() -> None:
    """Strings hash differently in every process: no choice may hang on the order of a set."""
    code = (
        "import random; from tests.train.test_exercises import MAKER; rng = random.Random(9); "
        "print([MAKER.make(rng, late=late) for late in (False, True) for _ in range(300)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_late_in_the_training_more_exercises_are_small_talk() -> None:
    shares = []
    for late in (False, True):
        rng = random.Random(3)
        made = [MAKER.make(rng, late=late) for _ in range(4_000)]
        talk = {q.question for q in KNOWLEDGE.quiz["opinion"]} | {*KNOWLEDGE.forms["no_talk"]}
        shares.append(sum(e.question in talk for e in made) / len(made))
    assert shares[1] > 1.3 * shares[0]


def test_no_placeholder_is_left_open(exercises: list[Exercise]) -> None:
    names = "en|EN|vi|x|wrong|word|said|clue|gapped|sentence_en|sentence_vi|category_vi|category_en"
    for exercise in exercises:
        text = f"{exercise.question} {exercise.answer} {exercise.response}"
        assert not re.search(rf"\{{({names})\}}", text), text


def test_right_answers_are_neither_rare_nor_the_rule(exercises: list[Exercise]) -> None:
    assert 0.3 < sum(e.learn_score for e in exercises) / len(exercises) < 0.5


def test_silence_is_never_right_unless_pika_says_so(exercises: list[Exercise]) -> None:
    right = {r.response for r in KNOWLEDGE.reactions["right"] if "{" not in r.response}
    for exercise in exercises:
        if not exercise.answer and exercise.learn_score:
            assert exercise.response in right or any(
                re.fullmatch(re.sub(r"\\\{\w+\\\}", ".+", re.escape(r.response)), exercise.response)
                for r in KNOWLEDGE.reactions["right"]
            )


def test_a_verdict_decides_against_the_answer(exercises: list[Exercise]) -> None:
    wrong = {r.response for r in KNOWLEDGE.reactions["wrong"] if "{" not in r.response}
    assert not any(e.learn_score for e in exercises if e.response in wrong)


def test_the_lexicon_knows_at_least_1500_words() -> None:
    assert len({word.en.lower() for word in KNOWLEDGE.words}) >= 1_500


@pytest.mark.parametrize("word", KNOWLEDGE.words, ids=lambda word: word.en)
def test_a_lexicon_entry_does_not_contradict_itself(word: object) -> None:
    from emotion_svc.train.lexicon import Word

    assert isinstance(word, Word)
    assert word.vi
    assert word.en.lower() not in {wrong.lower() for wrong in (*word.confused, *word.misspelt)}
    assert not set(word.confused) & set(word.ear)
    assert re.search(rf"(?<!\w){re.escape(word.en)}(?!\w)", word.sentence[0], re.IGNORECASE)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        ("[]", "Input should be an object"),
        ('{"animals": {"legs": 4}}', "animals."),
    ],
)
def test_wrong_categories_are_refused_with_the_file(content: str | None, told: str, tmp_path: Path) -> None:
    data = shutil.copytree(Path(__file__).parents[2] / "train_data", tmp_path / "train_data")
    path = data / "exercises/categories.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError) as raised:
        load_knowledge(data)
    assert str(path) in str(raised.value)
    assert told in str(raised.value)
