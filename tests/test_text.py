import unicodedata
from unicodedata import category

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.text import normalize, without_final_punctuation

ANY_TEXT = st.text(st.characters())  # lone surrogates, controls and unassigned characters too


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("Chính xác!", "Chính xác!"),
        (unicodedata.normalize("NFD", "Giỏi quá, đúng rồi!"), "Giỏi quá, đúng rồi!"),
        ("  a \t b\r\nc ", "a b c"),
        ("a\u00a0b\u2003c\u2028d", "a b c d"),
        ("zero\u200bwidth\u200d and\ufeff bom", "zerowidth and bom"),
        ("nul\x00 bell\x07 escape\x1b", "nul bell escape"),
        ("right\u202eto\u202cleft", "righttoleft"),
        ("half \ud83d an emoji \udc00", "half an emoji"),
        ("whole 😀 emoji", "whole 😀 emoji"),
        ("\u200b\x00\ufeff", ""),
        ("", ""),
    ],
)
def test_invisible_and_invalid_characters_go_and_white_space_is_one_space(raw: str, normal: str) -> None:
    assert normalize(raw) == normal


@given(ANY_TEXT)
def test_normal_text_stays_as_it_is(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once


@given(ANY_TEXT)
def test_the_same_text_in_nfc_and_nfd_is_the_same(text: str) -> None:
    assert normalize(unicodedata.normalize("NFD", text)) == normalize(unicodedata.normalize("NFC", text))


@given(ANY_TEXT)
def test_normal_text_is_one_line_that_can_be_encoded(text: str) -> None:
    normal = normalize(text)
    assert len(normal.splitlines()) <= 1
    assert normal == normal.strip()
    normal.encode("utf-8")


def plainly(text: str) -> str:
    """The same, character by character."""
    dropped = {"Cc", "Cf", "Cs", "Co", "Cn"}
    kept = [" " if char.isspace() else char for char in text if char.isspace() or category(char) not in dropped]
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


@given(ANY_TEXT | st.text(st.sampled_from("aé ̣\n\t\x00\u200b\u2028\u00a0\ue000\ud83d"), max_size=40))
def test_few_or_many_kinds_of_such_characters_are_treated_alike(text: str) -> None:
    assert normalize(text) == plainly(text)


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("Giỏi quá!", "Giỏi quá"),
        ("Thật hả?! ", "Thật hả"),
        ("Ừm... để xem…", "Ừm... để xem"),
        ("vui ghê ~", "vui ghê"),
        ("“Cat!”", "“Cat!”"),
        ("...", "..."),
        ("", ""),
    ],
)
def test_final_punctuation_goes_where_something_else_is_left(text: str, bare: str) -> None:
    assert without_final_punctuation(text) == bare


@given(ANY_TEXT)
def test_without_final_punctuation_nothing_more_goes(text: str) -> None:
    bare = without_final_punctuation(text)
    assert text.startswith(bare)
    assert without_final_punctuation(bare) == bare
