"""Whether an answer is right, where what is right is written down."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.comparison import Entry, Wordbook
from emotion_svc.decoding.facts import JUDGEMENTS, NUMBERS, Fact, stem, words_of

BOOK = Wordbook(
    [
        Entry("eight", ("tám",), ("ết",), ()),
        *(Entry(word, (), (), ()) for word in ("six", "eleven", "twelve", "tiger", "snake", "cow")),
    ],
    [
        Fact(("leg spider", "chân nhện"), ("eight",)),
        Fact(("leg snake",), ("none", "zero")),
        Fact(("say moo", "kêu moo"), ("cow", "a cow")),
        Fact(("elephant's nose",), ("Trunk",)),
        Fact(("how many week year",), ("fifty-two",)),
        Fact(("year",), ("twelve",)),
    ],
    [Fact(("animal", "con vật"), ("tiger", "snake", "cow"))],
)


@pytest.mark.parametrize(
    ("question", "answer", "judgement"),
    [
        ("How many legs does a spider have?", "eight", "right"),
        ("How many legs do spiders have?", "8 legs ạ", "right"),
        ("Con nhện có mấy cái chân, in English?", "dạ eight", "right"),
        ("How many legs does a spider have?", "ết", "right"),
        ("How many legs does a spider have?", "six", "wrong"),
        ("How many legs does a spider have?", "tám", "open"),
        ("How many legs does a spider have?", "xích", "open"),
        ("How many legs does a spider have?", "", "open"),
        ("How many legs does a crab have?", "eight", "open"),
        ("What animal says 'moo'?", "cow mà nó to lắm", "right"),
        ("What animal says 'moo'?", "snake", "wrong"),
        ("What is an elephant's nose called?", "trunk", "right"),
        ("How many weeks are there in a year?", "52", "right"),
        ("How many weeks are there in a year?", "twelve", "wrong"),
        ("Name an animal.", "tigers", "member"),
        ("Name an animal that starts with a 'T'.", "tiger", "member"),
        ("Let's start with a snake. Name an animal!", "tiger", "member"),
        ("Name an animal.", "table", "open"),
        ("Name an animal that starts with T.", "tiger", "member"),
        ("Name an animal that starts with T.", "snake", "open"),
        ("Kể tên một con vật bắt đầu bằng chữ T.", "tiger", "member"),
        ("What is three plus four?", "seven", "right"),
        ("3 + 4 = ?", "7", "right"),
        ("What's ten minus two?", "eight", "right"),
        ("Two times six?", "twelve", "right"),
        ("twenty cộng one", "twenty one", "right"),
        ("What is three plus four?", "eleven", "wrong"),
        ("What is two minus five?", "three", "open"),
        ("twenty-one plus four", "twenty-five", "right"),
        ("12 + 30 = ?", "forty two", "right"),
        ("120 + 30 = ?", "fifty", "open"),
        ("3 + 4 + 2 = ?", "six", "open"),
        ("Say 'twenty-one'.", "nineteen", "open"),
        ("What number is between eight and ten?", "eighteen", "open"),
        ("Do you like bread and butter?", "yes", "open"),
    ],
)
def test_an_answer_is_judged(question: str, answer: str, judgement: str) -> None:
    assert BOOK.compare(question, answer).judgement == judgement


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_texts_have_a_judgement(question: str, answer: str) -> None:
    assert BOOK.compare(question, answer).judgement in JUDGEMENTS


def test_an_empty_book_judges_nothing_but_sums() -> None:
    assert Wordbook().compare("How many legs does a spider have?", "eight").judgement == "open"
    assert Wordbook().compare("1 + 1", "two").judgement == "right"


def test_numbers_are_in_order_and_none_occurs_twice() -> None:
    assert (NUMBERS[0], NUMBERS[13], NUMBERS[20], NUMBERS[21], NUMBERS[99], NUMBERS[100]) == (
        "zero", "thirteen", "twenty", "twenty one", "ninety nine", "one hundred",
    )  # fmt: skip
    assert len(set(NUMBERS)) == 101


@pytest.mark.parametrize(
    ("word", "stemmed"), [("legs", "leg"), ("says", "say"), ("glass", "glass"), ("bus", "bus"), ("4", "four")]
)
def test_a_plurals_s_does_not_count(word: str, stemmed: str) -> None:
    assert stem(word) == stemmed


@pytest.mark.parametrize("question", ["a" * 4_000, "one " * 1_000, "1 " * 2_000, "start " * 700, "2 + " * 1_000])
def test_a_long_question_is_read_in_no_time(question: str) -> None:
    started = time.perf_counter()
    BOOK.compare(question, "cat")
    assert time.perf_counter() - started < 0.1


def test_a_set_without_words_is_never_asked_for() -> None:
    assert Wordbook([], [Fact(("", "!"), ("cat",))]).compare("", "cat").judgement == "open"


@given(st.text(max_size=40))
def test_words_are_the_runs_of_letters_and_digits_in_lower_case(text: str) -> None:
    apart = re.sub(r"(?<=\w)['’](?=\w)", "", text.lower())
    assert words_of(text) == re.findall(r"[^\W_]+", apart)
