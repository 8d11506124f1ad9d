"""What the model is told about answer and question: three marks, from any texts, and nothing that a child can write."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.comparison import ECHOES, MEANINGS, WORDBOOK_FILE, Entry, Wordbook
from emotion_svc.decoding.facts import Fact
from emotion_svc.decoding.sound import SoundTable
from emotion_svc.decoding.tokens import TurnTokenizer
from emotion_svc.errors import ModelError
from emotion_svc.modeldir import SHIPPED
from emotion_svc.prompt import prompt_for

BOOK = Wordbook(
    [
        Entry("monkey", ("con khỉ", "khỉ"), ("măng ki",), ("monkeys",)),
        Entry("mouse", ("con chuột",), ("mao",), ("mice",)),
        Entry("hot", ("nóng",), ("hót",), ("cold",)),
        Entry("ice cream", ("kem",), (), ()),
    ],
    [Fact(("color sky", "màu trời"), ("blue",))],
    [Fact(("animal",), ("monkey", "mouse"))],
    SoundTable({"m": {"m-": 2.0, "": -2.0, "?": -1.0}}, {"?": -1.0}),
)
TOKENS = TurnTokenizer(SHIPPED / "tokenizer.json", prompt_for("pika-tiny"))


@pytest.mark.parametrize(
    ("question", "answer", "echo"),
    [
        ("Say 'crayon'.", "crayon", "repeated"),
        ("Say 'crayon'.", "dạ crayon ạ", "repeated"),
        ("Repeat after me: I'm sorry.", "im sorry", "repeated"),
        ('Đọc: "I like milk"', "i like fish", "part"),
        ("Repeat after me, umbrella!", "umbrella", "within"),
        ("Spell 'sun' for me.", "s u n", "spelled"),
        ("Spell 'sun' for me.", "S-U-N", "spelled"),
        ("Spell 'dog'.", "d o c", "misspelled"),
        ("Con mèo tiếng Anh là gì?", "cat", "new"),
        ("Con mèo tiếng Anh là gì?", "", "silent"),
        ("Con mèo tiếng Anh là gì?", "…?!", "silent"),
        ("", "cat", "new"),
    ],
)
def test_the_words_themselves_are_compared(question: str, answer: str, echo: str) -> None:
    assert BOOK.compare(question, answer).echo == echo


@pytest.mark.parametrize(
    ("question", "answer", "meaning"),
    [
        ("Con khỉ tiếng Anh là gì?", "monkey", "means"),
        ("Con khỉ tiếng Anh là gì?", "dạ là măng ki ạ", "means"),
        ("What does 'monkey' mean?", "con khỉ", "translated"),
        ("Kem nói sao?", "ice cream", "means"),
        ("One mouse, two…?", "mice", "form"),
        ("Opposite of 'hot'?", "cold", "form"),
        ("Say 'monkey'.", "măng ki", "sounds"),
        ("Con khỉ tiếng Anh là gì?", "mouse", "another"),
        ("Con khỉ tiếng Anh là gì?", "donkey", "unknown"),
        ("Con khỉ tiếng Anh là gì?", "", "unknown"),
    ],
)
def test_the_wordbook_says_what_it_knows(question: str, answer: str, meaning: str) -> None:
    assert BOOK.compare(question, answer).meaning == meaning


@given(question=st.text(max_size=60), answer=st.text(max_size=60))
def test_any_texts_have_a_comparison_and_case_does_not_matter(question: str, answer: str) -> None:
    comparison = BOOK.compare(question, answer)
    assert comparison.echo in ECHOES
    assert comparison.meaning in MEANINGS
    if question.lower() == question.upper().lower() and answer.lower() == answer.upper().lower():
        assert BOOK.compare(question.upper(), answer.upper()) == comparison


def test_a_wordbook_is_read_as_it_was_written(tmp_path: Path) -> None:
    BOOK.save(tmp_path)
    again = Wordbook.load(tmp_path)
    assert (again.entries, again.facts, again.groups) == (BOOK.entries, BOOK.facts, BOOK.groups)
    assert again.sounds == BOOK.sounds


def test_without_a_file_the_wordbook_is_empty_and_knows_nothing(tmp_path: Path) -> None:
    assert Wordbook.load(tmp_path).compare("Con khỉ tiếng Anh là gì?", "monkey") == ("new", "unknown", "open")


@pytest.mark.parametrize(
    "content", ["{", "[1]", json.dumps([{"en": "cat"}]), json.dumps({"words": [["cat"]]}), json.dumps({"words": []})]
)
def test_a_file_that_is_no_wordbook_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / WORDBOOK_FILE).write_text(content)
    with pytest.raises(ModelError, match="is no wordbook"):
        Wordbook.load(tmp_path)


def test_the_shipped_wordbook_knows_the_lexicon() -> None:
    assert len(TOKENS.wordbook.entries) >= 1_500
    assert TOKENS.wordbook.compare("Con voi tiếng Anh là gì?", "elephant").meaning == "means"


@pytest.mark.parametrize(
    ("question", "answer", "meaning"),
    [
        ("Say 'squirrel'.", "sờ quơ rồ", "sounds"),
        ("Say: 'I have a sister.'", "ai hép ơ sít tơ", "sounds"),
        ("Say: 'I have a sister.'", "ai hép ơ brót đờ", "unlike"),
        ("Say 'umbrella'.", "em hổng biết", "unlike"),
        ("Say 'twelve'.", "tu eo", "sounds"),  # a spelling of the wordbook, however unlike
        ("Say 'curtain'.", "window", "another"),
    ],
)
def test_what_is_quoted_is_to_be_heard_whole(question: str, answer: str, meaning: str) -> None:
    assert TOKENS.wordbook.compare(question, answer).meaning == meaning


def test_a_right_answer_by_ear_is_right_though_no_list_has_it() -> None:
    assert TOKENS.wordbook.compare("What is the capital of England?", "lân đần").judgement == "right"
    assert TOKENS.wordbook.compare("What is the capital of England?", "cà phê sữa").judgement != "right"


@pytest.mark.parametrize(
    ("question", "answer", "judgement"),
    [
        ("How many legs does a spider have?", "eight", "right"),
        ("What comes after Tuesday?", "wednesday", "right"),
        ("What comes after Tuesday?", "monday", "wrong"),
        ("Name a fruit.", "mango", "member"),
        ("Tell me a story.", "one day a cat came", "open"),
    ],
)
def test_the_shipped_wordbook_knows_facts(question: str, answer: str, judgement: str) -> None:
    assert TOKENS.wordbook.compare(question, answer).judgement == judgement


def test_no_right_answer_of_the_shipped_facts_is_judged_wrong() -> None:
    book = TOKENS.wordbook
    asked = [(words, fact.right[0]) for fact in book.facts for words in fact.asked if len(fact.right[0].split()) < 4]
    wrong = [pair for pair in asked if book.compare(*pair).judgement == "wrong"]
    assert len(asked) > 3_000
    assert len(wrong) < 0.01 * len(asked), wrong  # some sets hold another one
