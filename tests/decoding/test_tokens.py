"""The tokens of a turn as they are counted for OpenAI's clients."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emotion_svc.decoding.tokens import FIELD_TOKENS, TurnTokenizer, cut, within_reach
from emotion_svc.errors import ModelError
from emotion_svc.modeldir import SHIPPED
from emotion_svc.prompt import prompt_for
from emotion_svc.schema import Turn
from emotion_svc.text import normalize

TOKENS = TurnTokenizer(SHIPPED / "tokenizer.json", prompt_for("pika-tiny"))
TEXT = st.text(max_size=60).map(normalize)


@given(question=TEXT, answer=TEXT, response=TEXT.filter(bool))
@example(question="Con gì? " * 90, answer="mèo " * 90, response="Giỏi quá! " * 90)
def test_a_turn_has_as_many_tokens_as_it_is_read_with(question: str, answer: str, response: str) -> None:
    turn = Turn(previous_question=question, previous_answer=answer, response=response)
    assert TOKENS.count(turn) == len(TOKENS.encode(turn).ids)


@given(st.text(max_size=80) | st.text(st.sampled_from("aB1.!-_ …“ñêộ\u0301\u00a0\t"), max_size=80))
@example("Con nói: 'It's 3.5kg!' … “mèo”—cat__dog ②")
@example("\u0301e " + "ộ" * 40)
def test_a_field_taken_to_pieces_has_the_tokens_of_the_whole(text: str) -> None:
    assert TOKENS.field_ids(text) == TOKENS.field_tokenizer.encode(text, add_special_tokens=False).ids


def test_a_tokenizer_that_cuts_elsewhere_is_refused(tmp_path: Path) -> None:
    state = json.loads((SHIPPED / "tokenizer.json").read_text(encoding="utf-8"))
    state["pre_tokenizer"]["pretokenizers"].pop(1)
    (tmp_path / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")
    with pytest.raises(ModelError, match=r"cuts by WhitespaceSplit, Punctuation, .* found WhitespaceSplit, Digits"):
        TurnTokenizer(tmp_path / "tokenizer.json", prompt_for("pika-tiny"))


def test_a_long_field_counts_as_what_is_kept_of_it() -> None:
    long = dict.fromkeys(FIELD_TOKENS, "mèo " * 400)
    assert TOKENS.count(Turn(**long)) == TOKENS.count(Turn(**dict.fromkeys(FIELD_TOKENS, "mèo " * 500)))


def test_of_a_text_that_is_far_too_long_the_middle_goes_unread_and_nothing_else_changes() -> None:
    words = ["Chính", "xác", "rồi,", "con", "mèo", "tiếng", "Anh", "là", "cat", "đó,", "giỏi", "quá", "thôi", "nha!"]
    for count in (20, 100, 400, 900):
        text = " ".join(words[number % len(words)] + str(number) for number in range(count))
        turn = Turn(previous_question=text, previous_answer=text, response=text)
        uncut = {name: cut(TOKENS.field_ids(text), limit)[0] for name, limit in FIELD_TOKENS.items()}
        found = TOKENS.encode(turn)
        assert found.ids == TOKENS.assemble(uncut, TOKENS.marks(turn))
        assert found.truncated == (count > 20)


@given(st.text(st.sampled_from("aâ1 ."), max_size=3_000).map(normalize).filter(bool))
def test_what_is_read_begins_and_ends_as_the_text_and_is_never_longer_than_it_may_be(text: str) -> None:
    turn = Turn(previous_question=text, previous_answer="", response=text)
    read = within_reach(turn)
    assert len(read.previous_question) <= 641
    assert len(read.response) <= 1281
    assert read.response[0] == text[0]
    assert read.response[-1] == text[-1]
    assert (read is turn) == (len(text) <= 640)


def test_a_text_without_a_space_is_cut_all_the_same() -> None:
    assert len(within_reach(Turn(previous_question="", previous_answer="", response="x" * 4000)).response) == 1281
