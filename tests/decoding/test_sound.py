"""English words are recognized in what a Vietnamese ear writes down, by sound and not by a list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.comparison import Wordbook
from emotion_svc.decoding.sound import SoundTable, english_sounds, vietnamese_sounds
from emotion_svc.modeldir import SHIPPED

TABLE = SoundTable({"c": {"k-": 2.0, "": -2.0, "?": -1.0}, "a": {"a": 2.0, "": -2.0, "?": -1.0}}, {"?": -1.0})


def nearness(table: SoundTable, words: str, heard: str) -> float:
    return table.nearness(english_sounds(words.split()), vietnamese_sounds(heard.split()))


def shipped() -> SoundTable:
    table = Wordbook.load(SHIPPED).sounds
    assert table is not None
    return table


@pytest.mark.parametrize(
    ("words", "sounds"),
    [
        ("cat", ["c", "a", "t"]),
        ("school", ["sch", "oo", "l"]),
        ("bottle", ["b", "o", "tt", "l", "e#"]),
        ("he is", ["h", "e", "i", "s"]),
        ("night", ["n", "igh", "t"]),
        ("", []),
    ],
)
def test_english_falls_into_sounds(words: str, sounds: list[str]) -> None:
    assert english_sounds(words.split()) == sounds


@pytest.mark.parametrize(
    ("words", "sounds"),
    [
        ("sít tờ", ["s-", "i", "-t", "t-", "ơ"]),
        ("nghiêng", ["ngh-", "iê", "-ng"]),
        ("gì", ["g-", "i"]),
        ("giếng", ["gi-", "ê", "-ng"]),
        ("quả", ["qu-", "a"]),
        ("đường", ["đ-", "ươ", "-ng"]),
        ("banana", ["b", "a", "n", "a", "n", "a"]),
        ("", []),
    ],
)
def test_vietnamese_falls_into_the_sounds_of_its_syllables(words: str, sounds: list[str]) -> None:
    assert vietnamese_sounds(words.split()) == sounds


def test_nearness_is_that_of_the_best_way_through_the_table() -> None:
    assert nearness(TABLE, "ca", "ka") == pytest.approx((2 + 2) / 2)
    assert nearness(TABLE, "ca", "ca") == pytest.approx((-1 + 2) / 2)
    assert nearness(TABLE, "ca", "a") == pytest.approx((-2 + 2) / 2)
    assert nearness(TABLE, "ca", "k x a") == pytest.approx((2 - 1 + 2) / 2)
    assert nearness(TABLE, "ca", "") == pytest.approx((-2 - 2) / 2)


def test_words_around_what_was_said_cost_nothing() -> None:
    assert nearness(TABLE, "ca", "mẹ ka ơi") == nearness(TABLE, "ca", "ka")


@pytest.mark.parametrize(
    ("words", "right", "wrong"),
    [
        ("i have a sister", "ai hép ơ sít tơ", "ai hép ơ brót đờ"),
        ("squirrel", "sờ quơ rồ", "sờ quơ"),
        ("umbrella", "ăm bờ re la", "ăm bờ"),
        ("wait for me", "quết pho mi", "quết"),
        ("milk", "miu cờ", "miu"),
        ("butterfly", "bắt tờ phờ lai", "phờ lao ờ"),
        ("close the window", "cờ lâu dờ uyn đâu", "ô pừn dờ đo"),
    ],
)
def test_the_right_words_sound_nearer_than_part_of_them_or_others(words: str, right: str, wrong: str) -> None:
    table = shipped()
    assert nearness(table, words, right) > nearness(table, words, wrong) + 0.3


@given(words=st.text(max_size=80), heard=st.text(max_size=120))
def test_any_texts_can_be_compared(words: str, heard: str) -> None:
    assert -10 < nearness(TABLE, words.lower(), heard.lower()) < 10


@given(heard=st.text(alphabet="kaờ ", max_size=20), more=st.text(alphabet="kaờ ", max_size=20))
def test_saying_more_never_makes_it_less_near(heard: str, more: str) -> None:
    assert nearness(TABLE, "ca", f"{heard} {more}") >= nearness(TABLE, "ca", heard)
