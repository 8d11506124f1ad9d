"""How steady an engine is: the same turns, written otherwise."""

from collections.abc import Sequence

from emotion_svc.engines.scripted import ScriptedEngine
from emotion_svc.eval.run import CHANGES, steadiness
from emotion_svc.schema import Answer, Turn, Verdict
from emotion_svc.taxonomy import FAMILIES
from tests.eval.made import turn

EXAMPLES = [turn(family) for family in FAMILIES[:4]]


def test_each_way_to_write_a_turn_says_which_turns_kept_their_family() -> None:
    asked: list[Turn] = []

    def reads_capitals(turns: Sequence[Turn]) -> list[Verdict]:
        """Says sad of all that is written in capitals, and of the first family's turn in any writing."""
        asked.extend(turns)
        sad = Answer(emotion="sad", learn_score=False)
        table = {t.response: sad for t in turns if t.response.isupper() or "happy" in t.response}
        return [ScriptedEngine(table)._verdict(t) for t in turns]

    kept = steadiness(reads_capitals, EXAMPLES)
    assert kept.keys() == CHANGES.keys()
    assert {name: rows.tolist() for name, rows in kept.items()} == {
        "NFD": [True] * 4,
        "upper case": [True, False, False, False],
        "extra spaces": [True] * 4,
        "no final punctuation": [True] * 4,
    }
    assert len(asked) == 4 * (1 + len(CHANGES))
    assert [t.previous_answer for t in asked].count("CAT") == 4  # every field is rewritten


def test_what_the_ways_to_write_make_of_a_text() -> None:
    bare = CHANGES["no final punctuation"]
    assert [bare(text) for text in ("Giỏi quá!!!", "Hả…?", "Ừ", "...")] == ["Giỏi quá", "Hả", "Ừ", "..."]
    assert CHANGES["upper case"]("đọc lại nhé") == "ĐỌC LẠI NHÉ"
