"""What the model is told about a response's wording: three marks, alike for all cases and spaces."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotion_svc.decoding.tokens import MARKS, TurnTokenizer, marks_of_opinion, within_reach
from emotion_svc.decoding.wording import SURENESS, WORDING_FILE, Wording, opinion_of, places_of
from emotion_svc.errors import ModelError
from emotion_svc.modeldir import SHIPPED
from emotion_svc.prompt import prompt_for
from emotion_svc.schema import Turn
from emotion_svc.taxonomy import FAMILIES
from emotion_svc.text import normalize, without_final_punctuation
from tests import hostile

TOKENS = TurnTokenizer(SHIPPED / "tokenizer.json", prompt_for("pika-tiny"))
hostile_turns = st.builds(Turn, **dict.fromkeys(Turn.model_fields, st.sampled_from(["x", *MARKS, *hostile.TEXTS])))


def made(bits: int = 10, seed: int = 0) -> Wording:
    """A voter with random weights."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, size=(1 << bits, len(FAMILIES))).astype(np.int8)
    rarity, scale, bias = (rng.random(size, dtype=np.float32) for size in (1 << bits, len(FAMILIES), len(FAMILIES)))
    return Wording(weights, (1 + rarity).astype(np.float16), scale, bias)


@given(st.text(max_size=80))
def test_any_text_has_an_opinion(text: str) -> None:
    opinion = made().opinion(text)
    assert opinion.first in FAMILIES
    assert opinion.second in FAMILIES
    assert opinion.first != opinion.second
    assert opinion.sureness in SURENESS


@given(st.text(max_size=60))
def test_spaces_change_nothing(text: str) -> None:
    assert places_of(f"  {text.replace(' ', '   ')} ", 16).tolist() == places_of(text, 16).tolist()


@pytest.mark.parametrize("text", ["Đúng rồi, giỏi quá!", "ÔI TRỜI ƠI", "You got it"])
def test_case_changes_nothing(text: str) -> None:
    assert places_of(text.lower(), 16).tolist() == places_of(text.upper(), 16).tolist()


@given(st.text(max_size=60))
def test_every_run_of_letters_and_of_words_has_a_place_in_the_table(text: str) -> None:
    places = places_of(text, 8)
    assert ((places >= 0) & (places < 256)).all()


def test_another_order_of_words_has_other_places() -> None:
    assert set(places_of("mèo ăn cá", 18).tolist()) != set(places_of("cá ăn mèo", 18).tolist())


def read_once(voter: Wording, text: str) -> npt.NDArray[np.float64]:
    """The scaled sum of the weights over the text's length."""
    places = places_of(text, 10)
    length = np.sqrt((voter.rarity[places].astype(float) ** 2).sum())
    return np.asarray(voter.weights[places].astype(float).sum(axis=0) * voter.scale / length + voter.bias)


@given(text=st.text(st.sampled_from("aB đ1',;.!?…~ "), max_size=24) | st.text(max_size=60))
def test_scores_are_the_mean_over_the_text_as_it_ends_and_without_final_punctuation(text: str) -> None:
    voter, text = made(), normalize(text)
    bare = without_final_punctuation(text)
    whole = text if bare != text else text + "."
    expected = (read_once(voter, whole) + read_once(voter, bare)) / 2
    assert voter.scores(text) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@given(text=st.text(min_size=1, max_size=60).map(normalize))
def test_a_full_stop_more_or_less_changes_nothing(text: str) -> None:
    bare = without_final_punctuation(text)
    if bare.strip(" .!?…~"):
        assert made().opinion(bare + ".") == made().opinion(bare)


@pytest.mark.parametrize(("odds", "sureness"), [(6.0, "sure"), (3.5, "likely"), (0.5, "unsure")])
def test_how_sure_an_opinion_is_follows_from_its_probability(odds: float, sureness: str) -> None:
    scores = np.zeros(len(FAMILIES), dtype=np.float32)
    scores[[2, 5]] = odds, 0.1
    assert opinion_of(scores) == (FAMILIES[2], FAMILIES[5], sureness)


def test_a_voter_is_read_as_it_was_written(tmp_path: Path) -> None:
    voter = made()
    voter.save(tmp_path / WORDING_FILE)
    again = Wording.load(tmp_path / WORDING_FILE)
    assert again is not None
    assert again.scores("Hôm nay vui ghê") == pytest.approx(voter.scores("Hôm nay vui ghê"))


def test_without_a_file_nobody_has_read_the_wording(tmp_path: Path) -> None:
    assert Wording.load(tmp_path / WORDING_FILE) is None
    assert marks_of_opinion(None) == ("<|unread|>",)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_table_that_is_no_power_of_two_is_refused(tmp_path: Path, rows: int) -> None:
    weights, rarity = np.zeros((rows, len(FAMILIES)), dtype=np.int8), np.ones(rows, dtype=np.float16)
    one = np.zeros(len(FAMILIES), dtype=np.float32)
    np.savez(tmp_path / WORDING_FILE, weights=weights, rarity=rarity, scale=one, bias=one)
    with pytest.raises(ModelError, match="expected int8 weights for 16 families"):
        Wording.load(tmp_path / WORDING_FILE)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_a_file_that_is_no_voter_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / WORDING_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="is no voter"):
        Wording.load(tmp_path / WORDING_FILE)


@given(hostile_turns)
def test_the_model_reads_exactly_the_marks_of_comparison_and_wording(turn: Turn) -> None:
    ids = {TOKENS.tokenizer.token_to_id(mark) for mark in MARKS}
    read = [TOKENS.tokenizer.id_to_token(token_id) for token_id in TOKENS.encode(turn).ids if token_id in ids]
    assert TOKENS.wording is not None
    turn = within_reach(turn)
    comparison = TOKENS.wordbook.compare(turn.previous_question, turn.previous_answer)
    opinion = TOKENS.wording.opinion(turn.response)
    assert read == [
        f"<|{part}|>" for part in (*comparison, f"like_{opinion.first}", f"or_{opinion.second}", opinion.sureness)
    ]
