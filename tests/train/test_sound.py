"""How Vietnamese ears write English is learnt from the spellings in the wordbook."""

from emotion_svc.decoding.sound import SoundTable, english_sounds, vietnamese_sounds
from emotion_svc.train.sound import fit_sounds

SPELLINGS = [
    ("cat", "két"), ("cat", "cát"), ("car", "ca"), ("cow", "cao"), ("kite", "cai tờ"), ("bike", "bai cờ"),
    ("bee", "bi"), ("bat", "bét"), ("tea", "ti"), ("tiger", "tai gơ"), ("bear", "be"), ("cake", "cây cờ"),
]  # fmt: skip


def nearness(table: SoundTable, words: str, heard: str) -> float:
    return table.nearness(english_sounds(words.split()), vietnamese_sounds(heard.split()))


def test_what_was_often_written_so_is_likelier_than_what_never_was() -> None:
    table = fit_sounds(SPELLINGS)
    assert table.written["c"]["c-"] > 0 > table.written["c"]["?"]
    assert table.written["b"]["b-"] > 0 > table.written["b"]["?"]


def test_a_new_word_is_recognized_by_the_sounds_of_others() -> None:
    table = fit_sounds([pair for pair in SPELLINGS if pair[0] != "cat"])
    assert nearness(table, "cat", "két") > 0 > nearness(table, "cat", "bi")


def test_the_same_spellings_make_the_same_table_in_any_order() -> None:
    assert fit_sounds(SPELLINGS) == fit_sounds(SPELLINGS[::-1])


def test_from_no_spellings_comes_a_table_that_can_be_asked() -> None:
    assert nearness(fit_sounds([]), "cat", "két") < 0
